"""Learning from preferences without a reward model: DPO and its smoothed, robust and anchored forms, IPO, ORPO, SimPO.

Each pair is one row (see pairs.py); the reference is scored once, before training, and let go (see refcache.py): with
or without adapters there is never a second model in memory. Dropout is off, so that the loss of DPO starts at ln 2.

Watch `chosen_shift`: how far the log-probability of the chosen replies has moved from the reference. When it falls
while the margin grows, the model learns to avoid the rejected replies rather than to give the chosen ones (likelihood
displacement, arXiv:2410.08847); `nll_weight` (arXiv:2404.19733) holds it up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import engine, memory, models, objectives, parallel, settings
from trivet.alignment.batches import plan
from trivet.alignment.logprobs import per_owner
from trivet.alignment.pairs import Pair, can_share, collate_pairs, encode_preferences, pairs_digest
from trivet.alignment.refcache import reference_logps, score_pairs
from trivet.alignment.trackers import trackers
from trivet.core.config import option
from trivet.core.errors import ConfigError, DataError
from trivet.core.lessons import Preference

ANCHORED = ("dpo", "rdpo", "ipo")
"""The losses that need a reference; the others save its pass."""


@dataclass(frozen=True)
class Config:
    """Settings of a run of preference optimisation."""

    model: str = option("", "folder or hub name of the model to start from")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    reference: str = option("", "folder or hub name of the reference; empty for the start model")
    loss: Literal["dpo", "rdpo", "ipo", "orpo", "simpo"] = option("dpo", "the objective")
    beta: float = option(0.1, "how strongly the reference holds (IPO: tau, ORPO: lambda; SimPO: scale, 2 to 10)")
    gamma: float = option(0.5, "SimPO's target margin")
    label_smoothing: float = option(0.0, "chance that a label is wrong (dpo: cDPO, rdpo: robust DPO)")
    normalize: Literal["none", "tokens"] = option(
        "none", "log-probabilities summed, or averaged over a reply's tokens (ORPO and SimPO always average)"
    )
    nll_weight: float = option(0.0, "weight of the chosen replies' mean negative log-likelihood per token (RPO)")
    epochs: float = option(1.0, "passes over the data, fractions allowed")
    max_steps: int = option(0, "optimiser steps; above 0 it decides instead of epochs")
    lr: float = option(1e-6, "highest learning rate; about 1e-5 with LoRA, 1e-4 for models of a few million parameters")
    warmup: float = option(0.1, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("linear", "how it falls afterwards")
    weight_decay: float = option(0.0, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_size: int = option(32, "pairs per optimiser step")
    batch_tokens: int = option(
        0, "padded tokens per micro-batch; changes speed and memory, not the result; 0: 2048 on a CPU, 16384 on a GPU"
    )
    max_length: int = option(
        1024, "longest prompt with reply in tokens, at most the model's context; longer pairs are dropped and counted"
    )
    share_prefix: bool = option(True, "read the prompt once per pair where the model allows it")
    cache: str = option(
        "", "folder for the reference's log-probabilities, to share between runs; empty for OUT/reference"
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
    save_every: int = option(100, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.label_smoothing and self.loss not in ("dpo", "rdpo"):
            raise ConfigError(f"label_smoothing works with dpo and rdpo only, not with {self.loss}; set it to 0")
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it is a chance from 0 to below 0.5")
        if self.reference and self.loss not in ANCHORED:
            raise ConfigError(f"{self.loss} has no reference; leave `reference` out or use {', '.join(ANCHORED)}")
        if self.loss == "ipo" and self.beta <= 0:
            raise ConfigError(f"beta is {self.beta}; IPO's target is 1 / (2 beta), so it is above 0")
        if self.quantize != "none" and self.parallel == "fsdp":
            raise ConfigError("quantised weights cannot be split by fsdp; use parallel=ddp")
        if self.quantize != "none" and not self.lora:
            raise ConfigError(
                f"quantize is {self.quantize} and quantised weights cannot be trained; set lora, say to 16"
            )


def run(
    config: Config,
    lessons: Sequence[Preference],
    *,
    heldout: Sequence[Preference] = (),
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
    pairs, dropped = encode_preferences(tokenizer, lessons, longest)
    unseen, _ = encode_preferences(tokenizer, heldout, longest)
    _refuse_soft(config, [*pairs, *unseen])
    start, other = models.weights_digest(model), None
    if config.reference:
        other, _ = models.load(config.reference, device=ranks.device, dtype=kept)
        if other.config.get_text_config().vocab_size != model.config.get_text_config().vocab_size:
            raise ConfigError(f"the reference {config.reference} has another vocabulary than {config.model}")
    anchor = models.weights_digest(other) if config.reference else start
    identity = engine.identity_of(
        asdict(config), weights=start, anchor=anchor, data=pairs_digest(pairs), heldout=pairs_digest(unseen)
    )
    done = engine.finished(out, identity)
    if done:
        return done

    steps = plan(
        [len(pair) for pair in pairs],
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
    lengths = np.asarray([len(pair) for pair in pairs])
    anchored = config.loss in ANCHORED

    def largest() -> Tensor:
        rows = parallel.largest_share(lengths, config.batch_size, budget)
        return scorer(collate_pairs([pairs[i] for i in rows], pad, share=share).to(device)).sum()

    with memory.told():
        checkpointing = memory.checkpointed(config.checkpointing, model, largest, ranks)
        models.still(model, checkpointing=checkpointing)  # gradients flow all the same; dropout does not
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
            ).to(device)
            if anchored
            else torch.zeros(len(part), 2, device=device)
            for part in (pairs, unseen)
        )
    del reader, other

    def batch_of(step: int) -> list[dict[str, Any]]:
        return [_words(tokenizer, pairs[i], int(i)) for i in np.concatenate(steps[step])]

    follow = trackers(config.track, out, identity) if ranks.main else ()
    work = engine.Run(
        out, scorer, optimizer, identity, progress=progress, ranks=ranks, batch_of=batch_of, trackers=follow
    )
    began = time.monotonic()

    while work.step < len(steps):
        indices = np.concatenate(steps[work.step])
        for part in ranks.shares(indices, lengths, budget):
            batch = collate_pairs([pairs[i] for i in part.rows], pad, share=share).to(device)
            with memory.told(), parallel.quietly(voice, part):
                logps = per_owner(voice(batch), batch.owners, 2 * len(part.rows)).view(-1, 2)
                counts = torch.bincount(batch.owners, minlength=2 * len(part.rows)).view(-1, 2)
                weights = torch.tensor([pairs[i].weight for i in part.rows], device=device)
                chances = torch.tensor([pairs[i].chance for i in part.rows], device=device)
                losses, margins = objective(config, logps, reference[part.rows], counts, chances)
                ((weights * losses).sum() * (ranks.world * part.real / len(indices))).backward()
            if part.real:
                work.tally.add(
                    tokens=batch.ids.numel(),
                    **readouts(weights * losses, margins, logps, reference[part.rows], counts, anchored=anchored),
                )
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        if ranks.main:
            work.tally.add(pairs=len(indices), grad_norm=norm * len(indices))

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums, seconds = work.tally.take(), time.monotonic() - began
            count, tokens = sums.pop("pairs"), sums.pop("tokens")
            means = {name: value / count for name, value in sums.items()}
            speed = {"pairs_per_second": count / seconds, "tokens_per_second": tokens / seconds}
            work.log({"steps": len(steps), **means, "lr": rate, **speed})
            began = time.monotonic()
        if unseen and (last or (config.eval_every and work.step % config.eval_every == 0)):
            logps = score_pairs(voice, unseen, pad=pad, budget=budget, share=share, ranks=ranks).to(device)
            counts = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in unseen], device=device)
            chances = torch.tensor([pair.chance for pair in unseen], device=device)
            weights = torch.tensor([pair.weight for pair in unseen], device=device)
            losses, margins = objective(config, logps, unseen_reference, counts, chances)
            sums = readouts(weights * losses, margins, logps, unseen_reference, counts, anchored=anchored)
            means = {f"heldout_{name}": float(value) / len(unseen) for name, value in sums.items()}
            work.log({**means, "heldout_pairs": len(unseen)})
            began = time.monotonic()
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    return work.finish(model, tokenizer, dropped, base=config.model)


def _refuse_soft(config: Config, pairs: Sequence[Pair]) -> None:
    soft = sum(pair.chance != 1.0 for pair in pairs)
    if soft and config.loss != "dpo":
        raise DataError(
            f"{soft} of {len(pairs)} pairs have a `chance` below 1 (soft labels), which only loss dpo can use; use it, or "
            "train a reward model on them"
        )


def _words(tokenizer: Any, pair: Pair, row: int) -> dict[str, Any]:
    """A pair as text, for the record of a step that went wrong."""
    told = {name: tokenizer.decode(getattr(pair, name)) for name in ("prompt", "chosen", "rejected")}
    return {"row": row, **told, "weight": pair.weight}


class Losses(NamedTuple):
    """Per pair: the loss, and the margin by which the chosen reply is preferred: beta (s_w - s_l) where there is a reference."""

    losses: Tensor
    margins: Tensor


def objective(config: Config, logps: Tensor, reference: Tensor, counts: Tensor, chances: Tensor) -> Losses:
    """The loss that was asked for; shapes [pairs, 2], chosen first, and [pairs]."""
    means = objectives.per_token(logps, counts)
    if config.normalize == "tokens":
        policy, anchor = means, objectives.per_token(reference, counts)
    else:
        policy, anchor = logps, reference
    four, two = (*policy.unbind(1), *anchor.unbind(1)), means.unbind(1)
    match config.loss:
        case "dpo":
            e = config.label_smoothing
            losses = objectives.dpo(*four, beta=config.beta, label_smoothing=1 - chances - e + 2 * e * chances)
        case "rdpo":
            losses = objectives.rdpo(*four, beta=config.beta, label_smoothing=config.label_smoothing)
        case "ipo":
            losses = objectives.ipo(*four, tau=config.beta)
        case "orpo":
            losses = config.beta * objectives.orpo(*two) - two[0]
        case "simpo":
            losses = objectives.simpo(*two, beta=config.beta, gamma=config.gamma)
    if config.nll_weight:
        losses = losses - config.nll_weight * two[0]
    shifts = (policy - anchor if config.loss in ANCHORED else means).detach()
    return Losses(losses, config.beta * (shifts[:, 0] - shifts[:, 1]))


def readouts(
    losses: Tensor, margins: Tensor, logps: Tensor, reference: Tensor, counts: Tensor, *, anchored: bool
) -> dict[str, Tensor]:
    """Sums over pairs of what a run is watched by; nothing here is synchronised.

    `drift` is half the squared log-ratio per token, averaged over both replies: on replies that the policy itself had
    drawn this would estimate KL(policy | reference); on those of the data it says how far the policy has gone. The lengths
    tell whether the longer replies are the preferred ones.
    """
    found = {
        "loss": losses.sum(),
        "margin": margins.sum(),
        "accuracy": (margins > 0).sum(),
        "chosen": logps[:, 0].sum(),
        "rejected": logps[:, 1].sum(),
        "chosen_length": counts[:, 0].sum(),
        "rejected_length": counts[:, 1].sum(),
    }
    if anchored:
        shifts = logps.detach() - reference
        found["chosen_shift"] = shifts[:, 0].sum()
        found["rejected_shift"] = shifts[:, 1].sum()
        found["drift"] = (shifts / counts).square().mean(1).sum() / 2
    return found
