"""Supervised fine-tuning: learn to say what the demonstrations say.

The loss is the negative log-likelihood of the reply's tokens, the end of the turn included, divided by the number of
such tokens in the whole optimiser batch. Plain texts (demonstrations with an empty prompt) are learnt whole.
With `lora` > 0 only low-rank adapters are trained; the result is merged all the same. With `packing` short rows stand side
by side without seeing each other: the same losses from fewer padded tokens, where the model takes a mask. Dropout is off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trivet.alignment import engine, memory, models, objectives, parallel, settings
from trivet.alignment.batches import Row, collate, collate_packed, encode_demonstrations, plan, rows_digest
from trivet.alignment.pairs import can_share
from trivet.alignment.trackers import trackers
from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.lessons import Demonstration


@dataclass(frozen=True)
class Config:
    """Settings of a supervised run."""

    model: str = option("", "folder or hub name of the model to start from")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    epochs: float = option(1.0, "passes over the data, fractions allowed")
    max_steps: int = option(0, "optimiser steps; above 0 it decides instead of epochs")
    lr: float = option(2e-5, "highest learning rate; 1e-3 to 3e-3 for models of a few million parameters")
    warmup: float = option(0.05, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "how it falls afterwards")
    weight_decay: float = option(0.01, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_tokens: int = option(8192, "padded tokens per micro-batch; rows of like length go together")
    batch_size: int = option(0, "rows per micro-batch; above 0 it decides instead of batch_tokens")
    accumulate: int = option(1, "micro-batches per optimiser step")
    max_length: int = option(
        1024,
        "longest row in tokens, at most the model's context; longer conversations are dropped and counted, texts split",
    )
    packing: bool = option(
        False, "short rows side by side in one; the same losses, less padding where lengths differ much"
    )
    seed: int = option(0, "of the data order and of fresh adapters")
    lora: int = option(0, "rank of the adapters; 0 trains all weights")
    lora_alpha: float = option(16.0, "scale of the adapters: they count alpha / rank times")
    lora_targets: str = option("all-linear", "which modules get adapters: all-linear, or names with commas between")
    dtype: Literal["fp32", "bf16"] = option(
        "fp32", "arithmetic; trained weights stay in fp32, frozen ones under LoRA follow it"
    )
    quantize: Literal["none", "nf4", "int8"] = option("none", "frozen weights in 4 or 8 bits (QLoRA); needs lora")
    checkpointing: Literal["auto", "on", "off"] = option(
        "auto", "compute activations twice to save memory; auto: on a GPU, where they do not fit"
    )
    parallel: Literal["ddp", "fsdp"] = option("ddp", "with several processes: whole copies, or split (FSDP2)")
    track: str = option("", "also write figures to tensorboard, wandb, mlflow (commas between)")
    device: str = option("auto", "auto, cpu, cuda")
    save_every: int = option(200, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.quantize != "none" and self.parallel == "fsdp":
            raise ConfigError("quantised weights cannot be split by fsdp; use parallel=ddp")
        if self.quantize != "none" and not self.lora:
            raise ConfigError(
                f"quantize is {self.quantize} and quantised weights cannot be trained; set lora, say to 16"
            )


def run(
    config: Config,
    lessons: Sequence[Demonstration],
    *,
    heldout: Sequence[Demonstration] = (),
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train, resuming where an earlier run of the same command stopped; a finished run returns at once."""
    settings.check(asdict(config))
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = parallel.join(config.device)
    torch.manual_seed(config.seed)
    kept = models.weights_dtype(config.dtype, config.lora)
    model, tokenizer = models.load(config.model, device=ranks.device, dtype=kept, quantize=config.quantize)
    longest = models.longest(config.max_length, model)
    rows, too_long = encode_demonstrations(tokenizer, lessons, longest)
    unseen = encode_demonstrations(tokenizer, heldout, longest).rows
    identity = engine.identity_of(
        asdict(config), weights=models.weights_digest(model), data=rows_digest(rows), heldout=rows_digest(unseen)
    )
    done = engine.finished(out, identity)
    if done:
        return done

    steps = plan(
        [len(row) for row in rows],
        batch_tokens=config.batch_tokens,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    if config.lora:
        model = models.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    pad, device = tokenizer.pad_token_id, ranks.device
    scorer = engine.scorer(model, config.dtype)
    if config.packing and not can_share(scorer, 2 * longest):
        raise ConfigError(
            f"packing: {config.model} cannot read several texts in one row (see pairs.can_share); turn it off"
        )
    together = collate_packed if config.packing else collate
    lengths = np.asarray([len(row) for row in rows])
    budget = config.batch_tokens if not config.batch_size else int(lengths.max()) * config.batch_size

    def largest() -> Tensor:
        few = parallel.largest_share(lengths, config.batch_size, budget)
        return scorer(together([rows[i] for i in few], pad).to(device)).sum()

    with memory.told():
        checkpointing = memory.checkpointed(config.checkpointing, model, largest, ranks)
        models.still(model, checkpointing=checkpointing)  # gradients flow all the same; dropout does not
        voice = parallel.spread(scorer, ranks, config.parallel, engine.DTYPES[config.dtype])
    optimizer = engine.adamw(scorer, betas=config.betas, weight_decay=config.weight_decay)

    def batch_of(step: int) -> list[dict[str, Any]]:
        return [{"row": int(i), "text": tokenizer.decode(rows[i].ids)} for i in np.concatenate(steps[step])]

    follow = trackers(config.track, out, identity) if ranks.main else ()
    work = engine.Run(
        out, scorer, optimizer, identity, progress=progress, ranks=ranks, batch_of=batch_of, trackers=follow
    )
    began = time.monotonic()

    while work.step < len(steps):
        indices = np.concatenate(steps[work.step])
        learnt = sum(len(rows[i]) - rows[i].start for i in indices)
        for part in ranks.shares(indices, lengths, budget):
            batch = together([rows[i] for i in part.rows], pad).to(device)
            with memory.told(), parallel.quietly(voice, part):
                loss = objectives.sft(voice(batch)).sum() * (part.real / learnt)
                (loss * ranks.world).backward()
            work.tally.add(loss=loss, seen=batch.ids.numel() * part.real)
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        if ranks.main:
            work.tally.add(steps=1, tokens=learnt, grad_norm=norm)

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums, seconds = work.tally.take(), time.monotonic() - began
            figures = {
                "steps": len(steps),
                "loss": sums["loss"] / sums["steps"],
                "grad_norm": sums["grad_norm"] / sums["steps"],
                "lr": rate,
                "tokens": sums["tokens"],
                "tokens_per_second": sums["seen"] / seconds,
            }
            work.log(figures)
            began = time.monotonic()
        if unseen and (last or (config.eval_every and work.step % config.eval_every == 0)):
            work.log({"heldout_loss": heldout_loss(voice, unseen, pad, config.batch_tokens, ranks)})
            began = time.monotonic()
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    return work.finish(model, tokenizer, {"too_long": too_long}, base=config.model)


@torch.no_grad()
def heldout_loss(
    scorer: nn.Module, rows: Sequence[Row], pad: int, batch_tokens: int, ranks: parallel.Ranks = parallel.ALONE
) -> float:
    """Mean negative log-likelihood per token over rows that were not trained on."""
    lengths = np.asarray([len(row) for row in rows])
    sums = {"loss": 0.0, "tokens": 0.0}
    with models.evaluating(scorer):
        for part in ranks.shares(np.argsort(lengths, kind="stable"), lengths, batch_tokens):
            batch = collate([rows[i] for i in part.rows], pad).to(next(scorer.parameters()).device)
            sums["loss"] += float(objectives.sft(scorer(batch)).sum()) * part.real
            sums["tokens"] += len(batch.targets) * part.real
    sums = ranks.totals(sums)
    return sums["loss"] / sums["tokens"]
