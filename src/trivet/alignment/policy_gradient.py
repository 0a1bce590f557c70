"""Policy gradients without a value model: RLOO and GRPO, which compare several replies to one prompt with each other.

What a reply is worth is measured against its siblings, so the baseline needs no model and no training:

    rloo    A_i = R_i - mean of the other K - 1                  (Ahmadian et al. 2024, arXiv:2402.14740)
    grpo    A_i = (R_i - mean) / (std + 1e-4)                    (Shao et al. 2024, arXiv:2402.03300)
            A_i = R_i - mean, with scale none                    (Dr. GRPO, Liu et al. 2025, arXiv:2503.20783)

One round: ask `batch_size / replies` prompts, `replies` times each; score; compare; then `passes` times over the replies in
minibatches with the clipped surrogate. KL to the reference is paid for out of the reward (kl_in: reward, RLOO's way: R_i =
score - beta sum_t k_t) or added to the loss token by token (kl_in: loss, GRPO's way). The ratio is that of whole replies
(sequence) or of tokens. Replies count alike however long they are (average: reply), tokens count alike (tokens), or a
reply's sum is divided by max_tokens (constant: no reward for being long when wrong).

Rollouts, log-probabilities and readouts are those of ppo.py. Groups whose replies all score the same teach nothing; how
many do is in the log as `groups_alike`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import engine, memory, models, monitor, objectives, readouts, rollouts, settings
from trivet.alignment.advantages import grpo_advantages, kl_estimate, rloo_advantages
from trivet.alignment.batches import Batch, collate, split_by_tokens
from trivet.alignment.logprobs import per_owner
from trivet.alignment.ppo import held_scores
from trivet.alignment.report import read_metrics
from trivet.alignment.trackers import trackers
from trivet.alignment.value import one_base, optimizer_of, separate
from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation, digest_of
from trivet.core.protocols import Reward


@dataclass(frozen=True)
class Config:
    """Settings of a run of RLOO or GRPO."""

    model: str = option("", "folder or hub name of the model to start from, which is also the reference")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    reward: str = option(
        "", "what is paid for: a reward model's folder, several with commas between, or code:MODULE:FUNCTION"
    )
    join: Literal["mean", "worst", "uncertainty"] = option("uncertainty", "how several reward models become one")
    join_k: float = option(0.1, "with uncertainty: what a unit of their variance costs")
    watch: str = option("", "a second reward that is measured and not trained on, in the same forms")
    advantage: Literal["rloo", "grpo"] = option("rloo", "what a reply is measured against: its siblings, or its group")
    scale: Literal["std", "none"] = option("std", "grpo: divide by the group's standard deviation, or not (Dr. GRPO)")
    replies: int = option(4, "replies to each prompt of a round")
    beta: float = option(0.05, "what a nat of KL to the reference costs")
    kl: Literal["k1", "k2", "k3"] = option("k1", "how KL is estimated; k1 only in the reward")
    kl_in: Literal["reward", "loss"] = option("reward", "where KL is paid: out of a reply's reward, or in the loss")
    ratio: Literal["sequence", "token"] = option("sequence", "what is clipped: a reply's ratio, or each token's")
    average: Literal["reply", "tokens", "constant"] = option(
        "reply", "with ratio token: replies count alike, tokens count alike, or sums are divided by max_tokens"
    )
    ratio_clip: float = option(0.2, "how far a step may move a ratio from 1")
    missing_end: float = option(1.0, "what a reply loses that was cut because it did not end in max_tokens")
    score_clip: float = option(0.0, "scores are held within this distance of 0; 0 for no limit")
    temperature: float = option(1.0, "of the draw, and of every log-probability")
    max_tokens: int = option(128, "longest reply in tokens, its end included")
    epochs: float = option(1.0, "passes over the prompts, fractions allowed")
    rounds: int = option(0, "rounds of asking and learning; above 0 it decides instead of epochs")
    batch_size: int = option(64, "replies per round")
    passes: int = option(1, "passes over a round's replies")
    minibatch: int = option(32, "replies per optimiser step")
    lr: float = option(1e-6, "highest learning rate; about 1e-5 with LoRA, 1e-4 for models of a few million parameters")
    warmup: float = option(0.05, "fraction of the steps in which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("linear", "how it falls afterwards")
    weight_decay: float = option(0.0, "AdamW weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.95), "AdamW's two decay rates")
    clip: float = option(1.0, "largest gradient norm; 0 for no clipping")
    batch_tokens: int = option(8192, "padded tokens per micro-batch; changes speed and memory, not the result")
    together: int = option(128, "replies drawn side by side; changes speed and memory")
    max_length: int = option(
        1024, "longest prompt with reply in tokens, at most the model's context; longer prompts are dropped and counted"
    )
    seed: int = option(0, "of the prompts' order, the draws and fresh adapters")
    lora: int = option(
        0, "rank of the adapters; 0 trains all weights; above 0 the reference is the same model without them"
    )
    lora_alpha: float = option(16.0, "scale of the adapters: they count alpha / rank times")
    lora_targets: str = option("all-linear", "which modules get adapters: all-linear, or names with commas between")
    dtype: Literal["fp32", "bf16"] = option(
        "fp32", "arithmetic; trained weights stay in fp32, frozen ones under LoRA follow it"
    )
    track: str = option("", "also write figures to tensorboard, wandb, mlflow (commas between)")
    device: str = option("auto", "auto, cpu, cuda")
    save_every: int = option(10, "rounds between checkpoints; 0 for none")
    eval_every: int = option(0, "rounds between draws on the held-out prompts; 0 for one at the end")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")

    def __post_init__(self) -> None:
        if self.replies < 2 or self.batch_size % self.replies:
            raise ConfigError(
                f"replies is {self.replies} and batch_size {self.batch_size}; replies to one prompt are compared, so there are "
                "2 or more, and batch_size is a multiple of them"
            )
        if not 1 <= self.minibatch <= self.batch_size:
            raise ConfigError(f"minibatch is {self.minibatch}; it is between 1 and batch_size ({self.batch_size})")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; replies must be drawn, so it is above 0")
        if self.kl_in == "loss" and self.kl == "k1":
            raise ConfigError(
                "kl k1 has no gradient in expectation, so kl_in: loss would not hold anything; use k2 or k3"
            )


def run(
    config: Config,
    lessons: Sequence[Conversation],
    *,
    heldout: Sequence[Conversation] = (),
    reward: Reward | None = None,
    watch: Mapping[str, Reward] | None = None,
    progress: engine.Progress | None = None,
) -> engine.Result:
    """Train on prompts, resuming where an earlier run of the same command stopped; a finished run returns at once.

    `reward` decides instead of config.reward; the rewards of `watch` are measured under their names and not trained on.
    """
    rollouts.refuse_several()
    settings.check(asdict(config))
    out = Path(config.out).expanduser()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    kept = models.weights_dtype(config.dtype, config.lora)
    model, tokenizer = models.load(config.model, device=config.device, dtype=kept)
    longest = models.longest(config.max_length, model)
    room = rollouts.prompt_room(longest, config.max_tokens)
    asked, too_long = rollouts.encode_prompts(tokenizer, lessons, room)
    unseen, _ = rollouts.encode_prompts(tokenizer, heldout, room)
    paid = reward or reward_named(config, config.reward)
    watched = {**({"watched": reward_named(config, config.watch)} if config.watch else {}), **(watch or {})}
    identity = engine.identity_of(
        asdict(config),
        weights=models.weights_digest(model),
        paying=rollouts.reward_mark(paid),
        data=digest_of([one.ids for one in asked]),
        heldout=digest_of([one.ids for one in unseen]),
    )
    done = engine.finished(out, identity)
    if done:
        return done

    rounds = rollouts.rounds_of(len(asked), config.batch_size // config.replies, config.epochs, config.rounds)
    per_round = config.passes * -(-config.batch_size // config.minibatch)
    steps = rounds * per_round
    if config.lora:
        model = models.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
        cast = one_base(model, value=False, dtype=config.dtype, temperature=config.temperature)
    else:
        cast = separate(model, None, dtype=config.dtype, temperature=config.temperature)
    model = cast.policy.eval()  # gradients flow all the same; dropout does not
    optimizer = optimizer_of(cast, betas=config.betas, weight_decay=config.weight_decay)
    last_talks: list[Conversation] = []
    work = engine.Run(
        out,
        cast.trained,
        optimizer,
        identity,
        progress=progress,
        batch_of=lambda _: [{"conversation": talk.rows()} for talk in last_talks],
        trackers=trackers(config.track, out, identity),
    )
    work.watched = tuple(watched)
    pad, device = tokenizer.pad_token_id, model.device
    heard: set[str] = set()

    def over(read: Any, rows: Sequence[Any]) -> Tensor:
        return rollouts.rectangle(read, rows, pad=pad, budget=config.batch_tokens, device=device)

    while work.step < steps:
        turn, began = work.step // per_round, time.monotonic()
        with memory.told():
            prompts = rollouts.drawn(len(asked), config.batch_size // config.replies, turn, config.seed)
            rollout = rollouts.roll(
                model,
                tokenizer,
                [asked[i] for i in prompts for _ in range(config.replies)],
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                seed=(config.seed, turn, 0),
                together=config.together,
            )
            last_talks[:] = rollout.talks
            seconds = time.monotonic() - began
            rows, mask = rollout.rows, rollout.mask.to(device)
            scores = rollouts.scores(paid, rollout.talks)
            old, entropies = over(lambda batch: torch.stack(cast.scores(batch), -1), rows).unbind(-1)
            reference = over(cast.reference, rows)

        due = held_scores(scores, rollout.ended, missing_end=config.missing_end, score_clip=config.score_clip).to(
            device
        )
        if config.kl_in == "reward":
            due = due - config.beta * (kl_estimate(old, reference, config.kl) * mask).sum(1)
        advantages = compared(config, due.view(-1, config.replies)).flatten()

        lengths = np.asarray([len(row) for row in rows])
        for chosen in rollouts.minibatches(len(rows), config.minibatch, config.passes, seed=(config.seed, turn, 1)):
            tokens = int(mask[torch.as_tensor(chosen, device=device)].sum())
            for part in split_by_tokens(chosen, lengths, config.batch_tokens):
                with memory.told():
                    batch = collate([rows[i] for i in part], pad).to(device)
                    at = torch.as_tensor(part, device=device)
                    before, anchor = (rollouts.flat(rect[at], mask[at]) for rect in (old, reference))
                    logps = cast.logps(batch)
                    surrogate = surrogates(config, logps, before, advantages[at], batch)
                    loss = averaged(config, surrogate, batch, replies=len(chosen), tokens=tokens)
                    if config.kl_in == "loss":
                        penalty = kl_estimate(logps, anchor, config.kl)
                        loss = loss + config.beta * averaged(config, penalty, batch, replies=len(chosen), tokens=tokens)
                    loss.backward()
                ratio = (logps - before).detach()
                work.tally.add(
                    loss=loss,
                    clip_fraction=clipped(config, ratio, batch) / len(chosen),
                    approx_kl=kl_estimate(before, logps.detach(), "k3").sum() / tokens,
                )
            rate = engine.learning_rate(work.step, steps, config.lr, warmup=config.warmup, schedule=config.schedule)
            norm = work.descend(rate, config.clip)
            work.tally.add(steps=1, grad_norm=norm)

        distance = float(((old - reference) * mask).sum(1).mean())
        sums = work.tally.take()
        count = sums.pop("steps")
        work.log(
            {
                "steps": steps,
                "round": turn + 1,
                **readouts.of_round(scores, rollout, entropies, distance),
                **{name: float(rollouts.scores(other, rollout.talks).mean()) for name, other in watched.items()},
                "kl_k3": float((kl_estimate(old, reference, "k3") * mask).sum(1).mean()),
                "groups_alike": float((scores.view(-1, config.replies).std(1) < 1e-6).float().mean()),
                **{name: value / count for name, value in sums.items()},
                "lr": rate,
                "tokens_per_second": float(mask.sum()) / (time.monotonic() - began),
                "drawn_per_second": float(mask.sum()) / seconds,
            }
        )
        last = work.step == steps
        if unseen and (last or (config.eval_every and (turn + 1) % config.eval_every == 0)):
            work.log(readouts.of_heldout(config, cast, tokenizer, unseen, {"reward": paid, **watched}))
        monitor.tell(out, read_metrics(work.log_path), watched=[*watched], heard=heard)
        if config.save_every and (turn + 1) % config.save_every == 0 and not last:
            work.save()
    return work.finish(model, tokenizer, {"too_long": too_long}, base=config.model)


def compared(config: Config, rewards: Tensor) -> Tensor:
    """Advantages of rewards [prompts, replies], that shape."""
    return rloo_advantages(rewards) if config.advantage == "rloo" else grpo_advantages(rewards, scale=config.scale)


def surrogates(config: Config, logps: Tensor, old: Tensor, advantages: Tensor, batch: Batch) -> Tensor:
    """The clipped surrogate of each reply [B], or of each token [N]; `logps` and `old` are [N], `advantages` [B]."""
    if config.ratio == "token":
        return objectives.ppo_clip(logps, old, advantages[batch.owners], clip=config.ratio_clip)
    whole, before = (per_owner(one, batch.owners, len(advantages)) for one in (logps, old))
    return objectives.ppo_clip(whole, before, advantages, clip=config.ratio_clip)


def averaged(config: Config, values: Tensor, batch: Batch, *, replies: int, tokens: int) -> Tensor:
    """This micro-batch's share of the mean over a minibatch of `replies` replies with `tokens` tokens in all.

    `values` are one a reply [B], or one a token [N]; those of tokens are averaged as the settings say, and summed over a
    reply where the ratio is that of whole replies.
    """
    if config.ratio == "sequence":
        return values.sum() / replies
    match config.average:
        case "tokens":
            return values.sum() / tokens
        case "constant":
            return values.sum() / (replies * config.max_tokens)
    counts = torch.bincount(batch.owners)
    return (values / counts[batch.owners]).sum() / replies


def clipped(config: Config, log_ratio: Tensor, batch: Batch) -> Tensor:
    """How many replies' worth of this micro-batch have a ratio outside the clip range."""
    counts = torch.bincount(batch.owners)
    if config.ratio == "sequence":
        return (per_owner(log_ratio, batch.owners, len(counts)).exp() - 1).abs().gt(config.ratio_clip).sum()
    outside = (log_ratio.exp() - 1).abs().gt(config.ratio_clip).float()
    return (per_owner(outside, batch.owners, len(counts)) / counts).sum()


def reward_named(config: Config, spec: str) -> Reward:
    return rollouts.reward_of(spec, join=config.join, k=config.join_k, device=config.device)
