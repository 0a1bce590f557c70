"""Learning from preferences without a reward model: DPO with its smoothed and anchored forms, and IPO.

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
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import engine, objectives
from trivet.alignment.batches import plan, split_by_tokens
from trivet.alignment.logprobs import per_owner
from trivet.alignment.pairs import can_share, collate_pairs, encode_preferences, pairs_digest
from trivet.alignment.refcache import reference_logps, score_pairs
from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.lessons import Preference


@dataclass(frozen=True)
class Config:
    """Settings of a run of preference optimisation."""

    model: str = option("", "folder or hub name of the model to start from")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    reference: str = option("", "folder or hub name of the reference; empty for the start model")
    loss: Literal["dpo", "ipo"] = option("dpo", "the objective")
    beta: float = option(0.1, "how strongly the reference holds (IPO: tau)")
    label_smoothing: float = option(0.0, "chance that a label is wrong (cDPO); only with loss dpo")
    normalize: Literal["none", "tokens"] = option("none", "log-probabilities summed, or averaged over a reply's tokens")
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
    batch_tokens: int = option(8192, "padded tokens per micro-batch; changes speed and memory, not the result")
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
    device: str = option("auto", "auto, cpu, cuda")
    save_every: int = option(100, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.label_smoothing and self.loss != "dpo":
            raise ConfigError(f"label_smoothing works with loss dpo only, not with {self.loss}; set it to 0")
        if not 0 <= self.label_smoothing <= 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it is a chance between 0 and 0.5")


def run(
    config: Config,
    lessons: Sequence[Preference],
    *,
    heldout: Sequence[Preference] = (),
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
    pairs, dropped = encode_preferences(tokenizer, lessons, longest)
    unseen, _ = encode_preferences(tokenizer, heldout, longest)
    start, other = engine.weights_digest(model), None
    if config.reference:
        other, _ = engine.load(config.reference, device=config.device, dtype=kept)
        if other.config.get_text_config().vocab_size != model.config.get_text_config().vocab_size:
            raise ConfigError(f"the reference {config.reference} has another vocabulary than {config.model}")
    anchor = engine.weights_digest(other) if config.reference else start
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
    pad, device = tokenizer.pad_token_id, model.device
    reader = engine.scorer(other or model, config.dtype)
    share = config.share_prefix and can_share(reader, 2 * longest)
    cache = Path(config.cache).expanduser() if config.cache else out / "reference"
    reference, unseen_reference = (
        reference_logps(
            reader, part, weights=anchor, folder=cache, pad=pad, budget=config.batch_tokens, share=share
        ).to(device)
        for part in (pairs, unseen)
    )
    del reader, other

    if config.lora:
        model = engine.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    optimizer = engine.adamw(model, betas=config.betas, weight_decay=config.weight_decay)
    scorer = engine.scorer(model, config.dtype)
    work = engine.Run(out, model, optimizer, identity, progress=progress)
    model.eval()  # gradients flow all the same; dropout does not
    lengths = np.asarray([len(pair) for pair in pairs])
    began = time.monotonic()

    while work.step < len(steps):
        indices = np.concatenate(steps[work.step])
        for part in split_by_tokens(indices, lengths, config.batch_tokens):
            batch = collate_pairs([pairs[i] for i in part], pad, share=share).to(device)
            logps = per_owner(scorer(batch), batch.owners, 2 * len(part)).view(-1, 2)
            counts = torch.bincount(batch.owners, minlength=2 * len(part)).view(-1, 2)
            weights = torch.tensor([pairs[i].weight for i in part], device=device)
            losses, margins = objective(config, logps, reference[part], counts)
            ((weights * losses).sum() / len(indices)).backward()
            work.tally.add(
                tokens=batch.ids.numel(), **readouts(weights * losses, margins, logps, reference[part], counts)
            )
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
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
            logps = score_pairs(scorer, unseen, pad=pad, budget=config.batch_tokens, share=share).to(device)
            counts = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in unseen], device=device)
            sums = readouts(*objective(config, logps, unseen_reference, counts), logps, unseen_reference, counts)
            means = {f"heldout_{name}": float(value) / len(unseen) for name, value in sums.items()}
            work.log({**means, "heldout_pairs": len(unseen)})
            began = time.monotonic()
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()
    return work.finish(tokenizer, dropped)


class Losses(NamedTuple):
    """Per pair: the loss, and the margin beta (s_w - s_l) by which the chosen reply is preferred."""

    losses: Tensor
    margins: Tensor


def objective(config: Config, logps: Tensor, reference: Tensor, counts: Tensor) -> Losses:
    """The loss that was asked for; shapes [pairs, 2], chosen first."""
    if config.normalize == "tokens":
        policy, anchor = objectives.per_token(logps, counts), objectives.per_token(reference, counts)
    else:
        policy, anchor = logps, reference
    four = (*policy.unbind(1), *anchor.unbind(1))
    match config.loss:
        case "dpo":
            losses = objectives.dpo(*four, beta=config.beta, label_smoothing=config.label_smoothing)
        case "ipo":
            losses = objectives.ipo(*four, tau=config.beta)
    if config.nll_weight:
        losses = losses - config.nll_weight * objectives.per_token(logps, counts)[:, 0]
    shifts = (policy - anchor).detach()
    return Losses(losses, config.beta * (shifts[:, 0] - shifts[:, 1]))


def readouts(losses: Tensor, margins: Tensor, logps: Tensor, reference: Tensor, counts: Tensor) -> dict[str, Tensor]:
    """Sums over pairs of what a run is watched by; nothing here is synchronised.

    `drift` is half the squared log-ratio per token, averaged over both replies: on replies that the policy itself had
    drawn this would estimate KL(policy | reference); on those of the data it says how far the policy has gone.
    """
    shifts = logps.detach() - reference
    return {
        "loss": losses.sum(),
        "margin": margins.sum(),
        "accuracy": (margins > 0).sum(),
        "chosen": logps[:, 0].sum(),
        "rejected": logps[:, 1].sum(),
        "chosen_shift": shifts[:, 0].sum(),
        "rejected_shift": shifts[:, 1].sum(),
        "drift": (shifts / counts).square().mean(1).sum() / 2,
    }
