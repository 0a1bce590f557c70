"""Learning a reward from comparisons: Bradley and Terry's model on a language model with one number on top.

The loss is -log sigmoid(r_w - r_l) where nothing else is asked for: pairs may want a distance (`margin`) or be right with
a chance only (`chance`, label_smoothing), and `centering` pulls the free offset to zero. Losses are averaged over the pairs
of the optimiser batch by their weights, so that ranked lists, whose C(K, 2) pairs weigh 1 / C(K, 2), count once per prompt
(Ouyang et al. 2022, arXiv:2203.02155, equation 1); all pairs of a prompt go into one step. Dropout is off.

Comparisons fix a reward up to a constant. Afterwards the mean over chosen replies of some training pairs is measured and
written into the model's config.json as `reward_mean`, with `reward_std` over both replies: rewards.py sets it to 0.
The head starts small but not at zero, so the first loss is near ln 2 and not equal to it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import engine, memory, models, objectives, parallel, reward_model, reward_report, settings
from trivet.alignment.batches import plan
from trivet.alignment.pairs import Pair, collate_pairs, encode_preferences, pairs_digest
from trivet.alignment.reward_model import RewardScorer, reads_pairs, score_pairs
from trivet.alignment.trackers import trackers
from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.lessons import Preference


@dataclass(frozen=True)
class Config:
    """Settings of a run of reward modelling."""

    model: str = option("", "folder or hub name of the model to start from; a reward model keeps its head")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    members: int = option(1, "reward models to train, with other heads and data orders, into OUT/member-0 and so on")
    label_smoothing: float = option(0.0, "chance that a label is wrong, between 0 and 0.5")
    centering: float = option(0.0, "weight of (r_w + r_l)^2, which pulls rewards to a mean of zero; 0.01 is usual")
    group_prompts: bool = option(True, "all pairs of one prompt go into the same step")
    offset_pairs: int = option(128, "training pairs on whose chosen replies the mean reward is set to 0; 0 for all")
    epochs: float = option(1.0, "passes over the data, fractions allowed")
    max_steps: int = option(0, "optimiser steps; above 0 it decides instead of epochs")
    lr: float = option(1e-5, "highest learning rate; about 1e-4 with LoRA, 3e-4 for models of a few million parameters")
    warmup: float = option(0.05, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("linear", "how it falls afterwards")
    weight_decay: float = option(0.0, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_size: int = option(32, "pairs per optimiser step, on average where prompts have several")
    batch_tokens: int = option(
        0, "padded tokens per micro-batch; changes speed and memory, not the result; 0: 2048 on a CPU, 16384 on a GPU"
    )
    max_length: int = option(
        1024, "longest prompt with reply in tokens, at most the model's context; longer pairs are dropped and counted"
    )
    share_prefix: bool = option(True, "read the prompt once per pair where the model allows it")
    seed: int = option(0, "of the head, the data order and fresh adapters")
    lora: int = option(0, "rank of the adapters; 0 trains all weights")
    lora_alpha: float = option(16.0, "scale of the adapters: they count alpha / rank times")
    lora_targets: str = option("all-linear", "which modules get adapters: all-linear, or names with commas between")
    dtype: Literal["fp32", "bf16"] = option(
        "fp32", "arithmetic; trained weights stay in fp32, frozen ones under LoRA follow it"
    )
    checkpointing: Literal["auto", "on", "off"] = option(
        "auto", "compute activations twice to save memory; auto: on a GPU, where they do not fit"
    )
    device: str = option("auto", "auto, cpu, cuda")
    parallel: Literal["ddp", "fsdp"] = option("ddp", "with several processes: whole copies, or split (FSDP2)")
    track: str = option("", "also write figures to tensorboard, wandb, mlflow (commas between)")
    save_every: int = option(100, "steps between checkpoints; 0 for none")
    log_every: int = option(10, "steps between rows of metrics.jsonl")
    eval_every: int = option(0, "steps between passes over the held-out part; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing <= 0.5:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; it is a chance between 0 and 0.5")
        if self.members < 1 or self.batch_size < 1:
            raise ConfigError(f"members is {self.members} and batch_size {self.batch_size}; both are at least 1")


def run(
    config: Config,
    lessons: Sequence[Preference],
    *,
    heldout: Sequence[Preference] = (),
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train, resuming where an earlier run of the same command stopped; a finished run returns at once."""
    if config.members > 1:
        return run_members(config, lessons, heldout=heldout, progress=progress)
    settings.check(asdict(config))
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    ranks = parallel.join(config.device)
    budget = memory.micro_tokens(config.batch_tokens, ranks.device)
    torch.manual_seed(config.seed)
    kept = models.weights_dtype(config.dtype, config.lora)
    model, tokenizer = reward_model.start(config.model, seed=config.seed, device=ranks.device, dtype=kept)
    longest = models.longest(config.max_length, model)
    pairs, dropped = encode_preferences(tokenizer, lessons, longest)
    unseen, _ = encode_preferences(tokenizer, heldout, longest)
    identity = engine.identity_of(
        asdict(config), weights=models.weights_digest(model), data=pairs_digest(pairs), heldout=pairs_digest(unseen)
    )
    done = engine.finished(out, identity)
    if done:
        return done

    steps = plan_pairs(config, pairs)
    if config.lora:
        model = reward_model.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
    pad, device = tokenizer.pad_token_id, ranks.device
    scorer = RewardScorer(model, autocast=engine.DTYPES[config.dtype])
    share = config.share_prefix and reads_pairs(scorer, 2 * longest)
    lengths = np.asarray([len(pair) for pair in pairs])

    def largest() -> Tensor:
        rows = parallel.largest_share(lengths, 0 if config.group_prompts else config.batch_size, budget)
        return scorer(collate_pairs([pairs[i] for i in rows], pad, share=share).to(device)).sum()

    with memory.told():
        checkpointing = memory.checkpointed(config.checkpointing, model, largest, ranks)
        models.still(model, checkpointing=checkpointing)  # gradients flow all the same; dropout does not
        voice = parallel.spread(scorer, ranks, config.parallel, engine.DTYPES[config.dtype])
    optimizer = engine.adamw(scorer, betas=config.betas, weight_decay=config.weight_decay)

    def batch_of(step: int) -> list[dict[str, Any]]:
        return [_words(tokenizer, pairs[i], int(i)) for i in steps[step]]

    def rewards_of(some: Sequence[Pair]) -> Tensor:
        return score_pairs(voice, some, pad=pad, budget=budget, share=share, ranks=ranks)

    follow = trackers(config.track, out, identity) if ranks.main else ()
    work = engine.Run(
        out, scorer, optimizer, identity, progress=progress, ranks=ranks, batch_of=batch_of, trackers=follow
    )
    unseen_rewards = torch.zeros(0, 2)
    began = time.monotonic()

    while work.step < len(steps):
        indices = steps[work.step]
        total = sum(pairs[i].weight for i in indices) or 1.0
        for part in ranks.shares(indices, lengths, budget):
            batch = collate_pairs([pairs[i] for i in part.rows], pad, share=share).to(device)
            with memory.told(), parallel.quietly(voice, part):
                rewards = voice(batch).view(-1, 2)
                weights = torch.tensor([pairs[i].weight for i in part.rows], device=device)
                losses = objective(config, rewards, [pairs[i] for i in part.rows])
                ((weights * losses).sum() * (ranks.world * part.real / total)).backward()
            if part.real:
                work.tally.add(tokens=batch.ids.numel(), **readouts(weights * losses, rewards))
        rate = engine.learning_rate(work.step, len(steps), config.lr, warmup=config.warmup, schedule=config.schedule)
        norm = work.descend(rate, config.clip)
        if ranks.main:
            work.tally.add(steps=1, pairs=len(indices), weight=total, grad_norm=norm)

        last = work.step == len(steps)
        if last or work.step % config.log_every == 0:
            sums, seconds = work.tally.take(), time.monotonic() - began
            count, tokens = sums.pop("pairs"), sums.pop("tokens")
            means = {
                "loss": sums.pop("loss") / sums.pop("weight"),
                "grad_norm": sums.pop("grad_norm") / sums.pop("steps"),
            }
            means |= {name: value / count for name, value in sums.items()}
            speed = {"pairs_per_second": count / seconds, "tokens_per_second": tokens / seconds}
            work.log({"steps": len(steps), **means, "lr": rate, **speed})
            began = time.monotonic()
        if unseen and (last or (config.eval_every and work.step % config.eval_every == 0)):
            unseen_rewards = rewards_of(unseen)
            work.log(heldout_figures(config, unseen_rewards, unseen))
            began = time.monotonic()
        if config.save_every and work.step % config.save_every == 0 and not last:
            work.save()

    anchors = np.random.default_rng(config.seed).permutation(len(pairs))[: config.offset_pairs or None]
    rewards = rewards_of([pairs[i] for i in anchors])
    offset = reward_model.Offset(float(rewards[:, 0].mean()), float(rewards.std()) or 1.0)
    reward_model.fix(model, offset)
    if unseen and ranks.main:
        reward_report.write(out, unseen_rewards.numpy() - offset.mean, unseen)
    work.log({"reward_mean": offset.mean, "reward_std": offset.std})
    return work.finish(model, tokenizer, dropped)


def _words(tokenizer: Any, pair: Pair, row: int) -> dict[str, Any]:
    """A pair as text, for the record of a step that went wrong."""
    told = {name: tokenizer.decode(getattr(pair, name)) for name in ("prompt", "chosen", "rejected")}
    return {"row": row, **told, "weight": pair.weight}


def plan_pairs(config: Config, pairs: Sequence[Pair]) -> list[np.ndarray]:
    """The pairs of each optimiser step; with `group_prompts` all pairs of a prompt stand in one.

    Whole prompts are dealt out, so many a step that `batch_size` pairs are met on average: exactly in every step where
    each prompt has one pair.
    """
    prompts: dict[bytes, list[int]] = {}
    for at, pair in enumerate(pairs):
        prompts.setdefault(pair.prompt.tobytes() if config.group_prompts else at.to_bytes(8), []).append(at)
    groups = list(prompts.values())
    steps = plan(
        [max(len(pairs[i]) for i in group) for group in groups],
        batch_size=max(1, round(config.batch_size * len(groups) / max(1, len(pairs)))),
        epochs=config.epochs,
        max_steps=config.max_steps,
        seed=config.seed,
    )
    return [np.concatenate([groups[at] for at in np.concatenate(step)]) for step in steps]


def objective(config: Config, rewards: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """The loss of each pair from its two rewards [pairs, 2], chosen first."""
    return objectives.bradley_terry(
        *rewards.unbind(1),
        margin=torch.tensor([pair.margin for pair in pairs], device=rewards.device),
        soft=torch.tensor([pair.chance for pair in pairs], device=rewards.device),
        label_smoothing=config.label_smoothing,
        centering=config.centering,
    )


def readouts(losses: Tensor, rewards: Tensor) -> dict[str, Tensor]:
    """Sums over pairs of what a run is watched by; nothing here is synchronised."""
    rewards = rewards.detach()
    gaps = rewards[:, 0] - rewards[:, 1]
    return {
        "loss": losses.sum(),
        "margin": gaps.sum(),
        "accuracy": (gaps > 0).sum(),
        "chosen_reward": rewards[:, 0].sum(),
        "rejected_reward": rewards[:, 1].sum(),
    }


def heldout_figures(config: Config, rewards: Tensor, pairs: Sequence[Pair]) -> dict[str, float]:
    """The same over pairs that were not trained on."""
    weights = torch.tensor([pair.weight for pair in pairs])
    sums = readouts(weights * objective(config, rewards, pairs), rewards)
    loss = float(sums.pop("loss")) / (float(weights.sum()) or 1.0)
    means = {f"heldout_{name}": float(value) / len(pairs) for name, value in sums.items()}
    return {"heldout_loss": loss, **means, "heldout_pairs": len(pairs)}


def run_members(
    config: Config, lessons: Sequence[Preference], *, heldout: Sequence[Preference], progress: engine.Progress | None
) -> engine.Result:
    """One run for each member of an ensemble, each resumable by itself; then a report on the mean of their rewards.

    The final figures are the members' means, but for accuracy: `heldout_accuracy` is that of the joined members, and
    `member_accuracy` the mean of their own.
    """
    out = Path(config.out).expanduser()
    results = []
    for number in range(config.members):
        member = replace(config, members=1, seed=config.seed + number, out=str(out / f"member-{number}"))
        results.append(run(member, lessons, heldout=heldout, progress=progress))
    final = {name: sum(one.final[name] for one in results) / len(results) for name in results[0].final}
    if "heldout_accuracy" in final and parallel.join(config.device).main:
        joined, unseen = joined_rewards(config, [one.folder for one in results], heldout)
        found = reward_report.write(out, joined, unseen)
        final |= {"member_accuracy": final["heldout_accuracy"], "heldout_accuracy": found["accuracy"]["rate"]}
    return engine.Result(out, results[0].steps, results[0].metrics, final, results[0].dropped)


def joined_rewards(
    config: Config, folders: Sequence[Path], heldout: Sequence[Preference]
) -> tuple[np.ndarray, list[Pair]]:
    """The mean of several models' rewards [pairs, 2], each with its own mean taken off, and the pairs."""
    sums, pairs = np.zeros((0, 2)), []
    for folder in folders:
        model, tokenizer = reward_model.load(folder, device=config.device)
        pairs, _ = encode_preferences(tokenizer, heldout, models.longest(config.max_length, model))
        scorer, pad = RewardScorer(model.eval()), tokenizer.pad_token_id
        budget = memory.micro_tokens(config.batch_tokens, model.device)
        found = score_pairs(scorer, pairs, pad=pad, budget=budget, share=False).numpy()
        sums = found - reward_model.offset_of(model).mean + (sums if len(sums) else 0)
    return sums / len(folders), pairs
