"""Learning from thumbs up and down: Kahneman-Tversky optimisation (KTO, arXiv:2402.01306), which needs no pairs.

A reply is pulled up or pushed down as far as it stands from a reference point z0 = max(0, KL(policy | reference)). KL is
estimated on replies set against the wrong prompts: row i of the data has, once and for all, the reply of another row with
another prompt, so the reference's log-probabilities of both replies are computed once, one shared row each, and kept (see
pairs.py, refcache.py). Before each step the policy scores the wrong replies of the whole optimiser batch without gradient:
one z0 for all micro-batches and processes, the sum over the batch divided by its count, as in the authors' code and unlike
TRL, where every device's micro-batch has its own.

Departure: the authors take the wrong reply from the same batch. Here it comes from anywhere in the data, so that batches
can be shuffled and sorted by length while the reference is still scored once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trivet.alignment import engine, memory, models, objectives, parallel, settings
from trivet.alignment.batches import Row, collate, encode_replies, plan, tell_long
from trivet.alignment.logprobs import per_owner
from trivet.alignment.pairs import Pair, can_share, pairs_digest
from trivet.alignment.refcache import reference_logps
from trivet.alignment.trackers import trackers
from trivet.core.config import option
from trivet.core.errors import ConfigError, DataError
from trivet.core.lessons import Feedback
from trivet.core.messages import digest_of


@dataclass(frozen=True)
class Config:
    """Settings of a run on judged replies."""

    model: str = option("", "folder or hub name of the model to start from")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    reference: str = option("", "folder or hub name of the reference; empty for the start model")
    beta: float = option(0.1, "how strongly the reference holds")
    desirable_weight: float = option(1.0, "weight of desirable replies")
    undesirable_weight: float = option(1.0, "weight of undesirable replies")
    epochs: float = option(1.0, "passes over the data, fractions allowed")
    max_steps: int = option(0, "optimiser steps; above 0 it decides instead of epochs")
    lr: float = option(1e-6, "highest learning rate; about 1e-5 with LoRA, 1e-4 for models of a few million parameters")
    warmup: float = option(0.1, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("linear", "how it falls afterwards")
    weight_decay: float = option(0.0, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_size: int = option(32, "replies per optimiser step; KL is estimated on as many")
    batch_tokens: int = option(
        0, "padded tokens per micro-batch; changes speed and memory, not the result; 0: 2048 on a CPU, 16384 on a GPU"
    )
    max_length: int = option(
        1024, "longest prompt with reply in tokens, at most the model's context; longer rows are dropped and counted"
    )
    share_prefix: bool = option(True, "read the prompt once for both replies in the reference's pass, where possible")
    cache: str = option(
        "", "folder for the reference's log-probabilities, to share between runs; empty for OUT/reference"
    )
    seed: int = option(0, "of the data order, of the wrong replies and of fresh adapters")
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
    save_every: int = option(100, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.quantize != "none" and self.parallel == "fsdp":
            raise ConfigError("quantised weights cannot be split by fsdp; use parallel=ddp")
        if self.quantize != "none" and not self.lora:
            raise ConfigError(
                f"quantize is {self.quantize} and quantised weights cannot be trained; set lora, say to 16"
            )


class Encoded(NamedTuple):
    """For each judged reply a pair: its own reply first, a wrong one second; whether it is desirable; what was dropped."""

    pairs: list[Pair]
    desirable: np.ndarray
    dropped: dict[str, int]


def run(
    config: Config,
    lessons: Sequence[Feedback],
    *,
    heldout: Sequence[Feedback] = (),
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train, resuming where an earlier run of the same command stopped; a finished run returns at once."""
    settings.check(asdict(config))
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = parallel.join(config.device)
    budget = memory.micro_tokens(config.batch_tokens, ranks.device)
    torch.manual_seed(config.seed)
    kept = models.weights_dtype(config.dtype, config.lora)
    model, tokenizer = models.load(config.model, device=ranks.device, dtype=kept, quantize=config.quantize)
    longest = models.longest(config.max_length, model)
    pairs, desirable, dropped = encode_feedback(tokenizer, lessons, longest, config.seed)
    unseen, unseen_desirable, _ = encode_feedback(tokenizer, heldout, longest, None)
    start, other = models.weights_digest(model), None
    if config.reference:
        other, _ = models.load(config.reference, device=ranks.device, dtype=kept)
        if other.config.get_text_config().vocab_size != model.config.get_text_config().vocab_size:
            raise ConfigError(f"the reference {config.reference} has another vocabulary than {config.model}")
    anchor = models.weights_digest(other) if config.reference else start
    labels = digest_of([*desirable.tolist(), *unseen_desirable.tolist()])
    identity = engine.identity_of(
        asdict(config),
        weights=start,
        anchor=anchor,
        data=pairs_digest(pairs),
        heldout=pairs_digest(unseen),
        labels=labels,
    )
    done = engine.finished(out, identity)
    if done:
        return done

    steps = plan(
        [len(pair.prompt) + len(pair.chosen) for pair in pairs],
        batch_size=config.batch_size,
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    if config.lora:
        model = models.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    pad, device = tokenizer.pad_token_id, ranks.device
    scorer = engine.scorer(model, config.dtype)
    share = config.share_prefix and can_share(scorer, 2 * longest)
    own, wrong = ([pair.row(pick(pair)) for pair in pairs] for pick in (lambda p: p.chosen, lambda p: p.rejected))
    lengths, wrong_lengths = (np.asarray([len(row) for row in rows]) for rows in (own, wrong))

    def largest() -> Tensor:
        rows = parallel.largest_share(lengths, config.batch_size, budget)
        return scorer(collate([own[i] for i in rows], pad).to(device)).sum()

    with memory.told():
        checkpointing = memory.checkpointed(config.checkpointing, model, largest, ranks)
        models.still(model, checkpointing=checkpointing)
        voice = parallel.spread(scorer, ranks, config.parallel, engine.DTYPES[config.dtype])
        # Before any pass: what is split over processes is gathered by a pass, and must be optimised split.
        optimizer = engine.adamw(scorer, betas=config.betas, weight_decay=config.weight_decay)
        # Fresh adapters change nothing, so before the first step the model to be trained is the reference.
        reader = (
            parallel.spread(engine.scorer(other.requires_grad_(False), config.dtype), ranks, config.parallel)
            if other
            else voice
        )
        cache = Path(config.cache).expanduser() if config.cache else out / "reference"
        reference, unseen_reference = (
            reference_logps(
                reader,
                part,
                weights=anchor,
                folder=cache,
                pad=pad,
                budget=budget,
                share=share,
                arithmetic=config.dtype,
                ranks=ranks,
            )
            for part in (pairs, unseen)
        )
    del reader, other

    def batch_of(step: int) -> list[dict[str, Any]]:
        rows = [int(i) for i in np.concatenate(steps[step])]
        return [{"row": i, "text": tokenizer.decode(own[i].ids), "desirable": bool(desirable[i])} for i in rows]

    follow = trackers(config.track, out, identity) if ranks.main else ()
    work = engine.Run(
        out, scorer, optimizer, identity, progress=progress, ranks=ranks, batch_of=batch_of, trackers=follow
    )
    began = time.monotonic()

    while work.step < len(steps):
        indices = np.concatenate(steps[work.step])
        order = indices[np.argsort(wrong_lengths[indices], kind="stable")]
        strayed = shifts(voice, [wrong[i] for i in order], reference[order, 1], pad, budget, ranks)
        kl = max(0.0, float(strayed.mean()))
        for part in ranks.shares(indices, lengths, budget):
            batch = collate([own[i] for i in part.rows], pad).to(device)
            with memory.told(), parallel.quietly(voice, part):
                logps = per_owner(voice(batch), batch.owners, len(part.rows))
                shift = logps - reference[part.rows, 0].to(device)
                good = torch.from_numpy(desirable[part.rows]).to(device)
                losses = objective(config, shift, good, kl)
                (losses.sum() * (ranks.world * part.real / len(indices))).backward()
            if part.real:
                work.tally.add(tokens=batch.ids.numel(), **readouts(losses, shift, good))
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        if ranks.main:
            work.tally.add(replies=len(indices), kl=kl * len(indices), grad_norm=norm * len(indices))

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums, seconds = work.tally.take(), time.monotonic() - began
            speed = {"replies_per_second": sums["replies"] / seconds, "tokens_per_second": sums.pop("tokens") / seconds}
            work.log({"steps": len(steps), **means(sums), "lr": rate, **speed})
            began = time.monotonic()
        if unseen and last:
            far = shifts(voice, [p.row(p.chosen) for p in unseen], unseen_reference[:, 0], pad, budget, ranks)
            good = torch.from_numpy(unseen_desirable)
            sums = readouts(objective(config, far, good, kl), far, good)
            found = means({**{name: float(value) for name, value in sums.items()}, "replies": len(unseen)})
            work.log({f"heldout_{name}": value for name, value in found.items()})
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    return work.finish(model, tokenizer, dropped, base=config.model)


def encode_feedback(tokenizer: Any, lessons: Sequence[Feedback], max_length: int, seed: int | None) -> Encoded:
    """Judged replies in the order given, each beside a wrong reply; too long and empty ones are dropped and counted.

    Without a seed no wrong replies are looked for and the own one stands in their place: they are for training only.
    """
    dropped = {"too_long": 0, "empty": 0}
    spoken = [lesson for lesson in lessons if lesson.reply.strip()]
    dropped["empty"] = len(lessons) - len(spoken)
    rows = encode_replies(tokenizer, [(lesson.prompt, lesson.reply) for lesson in spoken])
    tell_long([one for one, row in zip(spoken, rows, strict=True) if len(row) > max_length], max_length)
    fits = [at for at, row in enumerate(rows) if len(row) <= max_length]
    dropped["too_long"] = len(rows) - len(fits)
    rows, prompts = [rows[at] for at in fits], [spoken[at].prompt.digest for at in fits]
    others = range(len(rows)) if seed is None else mismatched(prompts, seed)
    pairs = [
        Pair(row.ids[: row.start], row.ids[row.start :], _cut(rows[other], max_length - row.start))
        for row, other in zip(rows, others, strict=True)
    ]
    return Encoded(pairs, np.asarray([spoken[at].desirable for at in fits], dtype=bool), dropped)


def _cut(row: Row, room: int) -> np.ndarray:
    """The reply of a row, no longer than the context leaves room for: where it ends does not matter for an estimate."""
    return row.ids[row.start :][: max(1, room)]


def mismatched(prompts: Sequence[str], seed: int) -> list[int]:
    """For each row the number of a row with another prompt; every row is taken equally often where prompts allow it.

    A random order is turned by one; where the neighbour has the same prompt (a pair that was split), by more.
    Raises DataError when all prompts are the same, because then no reply is wrong.
    """
    if len(prompts) and len(set(prompts)) < 2:
        raise DataError(
            "all judged replies answer one prompt; KTO estimates KL on replies to other prompts and needs some"
        )
    order = np.random.default_rng(seed).permutation(len(prompts))
    found = [0] * len(prompts)
    for at, row in enumerate(order):
        ahead = (int(order[(at + step) % len(order)]) for step in range(1, len(order)))
        found[row] = next(other for other in ahead if prompts[other] != prompts[row])
    return found


@torch.no_grad()
def shifts(
    voice: nn.Module, rows: Sequence[Row], reference: Tensor, pad: int, budget: int, ranks: parallel.Ranks
) -> Tensor:
    """log pi - log pi_ref of whole replies, [rows] on the CPU, computed by all processes together."""
    found, lengths = torch.zeros(len(rows)), np.asarray([len(row) for row in rows])
    for part in ranks.shares(np.arange(len(rows)), lengths, budget):
        batch = collate([rows[i] for i in part.rows], pad).to(next(voice.parameters()).device)
        logps = per_owner(voice(batch), batch.owners, len(part.rows)).cpu()
        if part.real:
            found[torch.from_numpy(part.rows)] = logps
    return ranks.total(found) - reference


def objective(config: Config, shift: Tensor, desirable: Tensor, kl: float) -> Tensor:
    return objectives.kto(
        shift,
        desirable,
        kl,
        beta=config.beta,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
    )


def readouts(losses: Tensor, shift: Tensor, desirable: Tensor) -> dict[str, Tensor]:
    """Sums over replies of what a run is watched by; nothing here is synchronised."""
    shift = shift.detach()
    return {
        "loss": losses.sum(),
        "desirable_shift": shift.masked_fill(~desirable, 0.0).sum(),
        "undesirable_shift": shift.masked_fill(desirable, 0.0).sum(),
        "desirable": desirable.sum(),
    }


def means(sums: dict[str, float]) -> dict[str, float]:
    """Sums as means: shifts over the replies of their kind, and the margin between the two where there are both."""
    count, good = sums.pop("replies"), sums.pop("desirable")
    up, down = sums.pop("desirable_shift"), sums.pop("undesirable_shift")
    found = {name: value / count for name, value in sums.items()}
    if good:
        found["desirable_shift"] = up / good
    if count - good:
        found["undesirable_shift"] = down / (count - good)
    if 0 < good < count:
        found["margin"] = found["desirable_shift"] - found["undesirable_shift"]
    return {**found, "desirable_share": good / count}
