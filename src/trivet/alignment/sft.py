"""Supervised fine-tuning: learn to say what the demonstrations say.

The loss is the negative log-likelihood of the reply's tokens, the end of the turn included, divided by the number of
such tokens in the whole optimiser batch. Plain texts (demonstrations with an empty prompt) are learnt whole.
With `lora` > 0 only low-rank adapters are trained; the result is merged all the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from trivet.alignment import engine, objectives
from trivet.alignment.batches import Row, collate, encode_demonstrations, plan, rows_digest, split_by_tokens
from trivet.alignment.logprobs import Scorer
from trivet.core.config import option
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
    seed: int = option(0, "of the data order and of fresh adapters")
    lora: int = option(0, "rank of the adapters; 0 trains all weights")
    lora_alpha: float = option(16.0, "scale of the adapters: they count alpha / rank times")
    lora_targets: str = option("all-linear", "which modules get adapters: all-linear, or names with commas between")
    dtype: Literal["fp32", "bf16"] = option(
        "fp32", "arithmetic; trained weights stay in fp32, frozen ones under LoRA follow it"
    )
    device: str = option("auto", "auto, cpu, cuda")
    save_every: int = option(200, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")


def run(
    config: Config,
    lessons: Sequence[Demonstration],
    *,
    heldout: Sequence[Demonstration] = (),
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train, resuming where an earlier run of the same command stopped; a finished run returns at once."""
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    kept = engine.weights_dtype(config.dtype, config.lora)
    model, tokenizer = engine.load(config.model, device=config.device, dtype=kept)
    longest = engine.longest(config.max_length, model)
    rows, too_long = encode_demonstrations(tokenizer, lessons, longest)
    unseen = encode_demonstrations(tokenizer, heldout, longest).rows
    identity = engine.identity_of(
        asdict(config), weights=engine.weights_digest(model), data=rows_digest(rows), heldout=rows_digest(unseen)
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
        model = engine.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    optimizer = engine.adamw(model, betas=config.betas, weight_decay=config.weight_decay)
    scorer = engine.scorer(model, config.dtype)
    work = engine.Run(out, model, optimizer, identity, progress=progress)
    pad, device = tokenizer.pad_token_id, model.device
    model.train()
    began, seen = time.monotonic(), 0

    while work.step < len(steps):
        micro_batches = [[rows[i] for i in indices] for indices in steps[work.step]]
        learnt = sum(len(row) - row.start for part in micro_batches for row in part)
        for part in micro_batches:
            batch = collate(part, pad).to(device)
            loss = objectives.sft(scorer(batch)).sum() / learnt
            loss.backward()
            work.tally.add(loss=loss)
            seen += batch.ids.numel()
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        work.tally.add(steps=1, tokens=learnt, grad_norm=norm)

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums = work.tally.take()
            seconds = time.monotonic() - began
            work.log(
                {
                    "steps": len(steps),
                    "loss": sums["loss"] / sums["steps"],
                    "grad_norm": sums["grad_norm"] / sums["steps"],
                    "lr": rate,
                    "tokens": sums["tokens"],
                    "tokens_per_second": seen / seconds,
                }
            )
            began, seen = time.monotonic(), 0
        if unseen and (last or (config.eval_every and work.step % config.eval_every == 0)):
            work.log({"heldout_loss": heldout_loss(scorer, unseen, pad, config.batch_tokens)})
            began, seen = time.monotonic(), 0
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    return work.finish(tokenizer, {"too_long": too_long})


@torch.no_grad()
def heldout_loss(scorer: Scorer, rows: Sequence[Row], pad: int, batch_tokens: int) -> float:
    """Mean negative log-likelihood per token over rows that were not trained on."""
    lengths = np.asarray([len(row) for row in rows])
    scorer.model.eval()
    total = count = 0.0
    for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, batch_tokens):
        batch = collate([rows[i] for i in part], pad).to(scorer.model.device)
        total += float(objectives.sft(scorer(batch)).sum())
        count += len(batch.targets)
    scorer.model.train()
    return total / count
