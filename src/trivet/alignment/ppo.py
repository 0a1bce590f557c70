"""PPO from a reward: the policy speaks, a reward scores what it said, and what scored better than expected becomes likelier.

One round, all of it in `run` below (Ouyang et al. 2022, arXiv:2203.02155; details after Huang et al. 2024,
arXiv:2403.17031):

    1. ask `batch_size` prompts, one reply each (rollouts.py)
    2. score the replies; a reply that was cut loses `missing_end`
    3. reward of token t:  r_t = -beta k_t + [t is the last] score,   k_t the estimate of KL(policy | reference)
    4. advantages and returns by GAE from the value model; advantages whitened over the round's tokens
    5. `passes` times over the replies in minibatches: the clipped surrogate for the policy, the clipped error for the
       value model, and with `ptx` the likelihood of demonstrations, so that what is not rewarded is not forgotten

All log-probabilities are taken at the temperature of the draw and by the path that is trained, so the ratio is 1 until
the first step, and KL is 0 in the first round. Dropout is off. Means are over real tokens of a whole minibatch.
Departures: the score stands at the token that ended the reply, which the value model has foretold like any other.
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
from trivet.alignment.advantages import explained_variance, gae, kl_estimate, masked_mean, whiten
from trivet.alignment.batches import collate, encode_demonstrations, rows_digest, split_by_tokens
from trivet.alignment.report import read_metrics
from trivet.alignment.trackers import trackers
from trivet.alignment.value import Cast, critic_from, drop_value, one_base, optimizer_of, separate
from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation, digest_of
from trivet.core.protocols import Reward


@dataclass(frozen=True)
class Config:
    """Settings of a run of PPO."""

    model: str = option("", "folder or hub name of the model to start from, which is also the reference")
    out: str = option("", "folder of the run: checkpoints, metrics and the result in OUT/model")
    reward: str = option(
        "", "what is paid for: a reward model's folder, several with commas between, or code:MODULE:FUNCTION"
    )
    join: Literal["mean", "worst", "uncertainty"] = option("uncertainty", "how several reward models become one")
    join_k: float = option(0.1, "with uncertainty: what a unit of their variance costs")
    watch: str = option("", "a second reward that is measured and not trained on, in the same forms")
    value: str = option(
        "", "folder that the value model starts from, a reward model or a language model; empty for model"
    )
    beta: float = option(0.05, "what a nat of KL to the reference costs")
    kl: Literal["k1", "k2", "k3"] = option("k1", "how KL is estimated in the reward")
    kl_target: float = option(0.0, "nats of KL per reply that beta is steered towards; 0 keeps beta as it is")
    kl_horizon: int = option(10000, "replies over which beta follows; smaller is quicker")
    gamma: float = option(1.0, "how much of a later reward counts now")
    lam: float = option(0.95, "GAE's lambda: 0 trusts the value model, 1 the rewards")
    ratio_clip: float = option(0.2, "how far a step may move a token's ratio from 1")
    value_clip: float = option(0.2, "how far a step may move a value")
    value_weight: float = option(0.1, "weight of the value model's loss")
    value_pace: float = option(1.0, "the value model's learning rate as a multiple of lr")
    missing_end: float = option(1.0, "what a reply loses that was cut because it did not end in max_tokens")
    score_clip: float = option(0.0, "scores are held within this distance of 0; 0 for no limit")
    whiten_rewards: bool = option(False, "scale each round's token rewards to variance 1, their mean kept")
    ptx: float = option(0.0, "weight of the demonstrations' mean negative log-likelihood per token (PPO-ptx)")
    ptx_data: str = option("", "data set of demonstrations for ptx (.jsonl, .jsonl.gz)")
    ptx_size: int = option(16, "demonstrations per optimiser step with ptx")
    temperature: float = option(1.0, "of the draw, and of every log-probability")
    max_tokens: int = option(128, "longest reply in tokens, its end included")
    epochs: float = option(1.0, "passes over the prompts, fractions allowed")
    rounds: int = option(0, "rounds of asking and learning; above 0 it decides instead of epochs")
    batch_size: int = option(64, "replies per round")
    passes: int = option(4, "passes over a round's replies")
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
        0, "rank of the adapters; 0 trains all weights; above 0 one base holds policy, value and reference"
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
        if not 1 <= self.minibatch <= self.batch_size:
            raise ConfigError(f"minibatch is {self.minibatch}; it is between 1 and batch_size ({self.batch_size})")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}; replies must be drawn, so it is above 0")
        if self.lora and self.value:
            raise ConfigError(
                "with lora the value model is an adapter on the same base; leave `value` empty or set lora=0"
            )


def run(
    config: Config,
    lessons: Sequence[Conversation],
    *,
    heldout: Sequence[Conversation] = (),
    reward: Reward | None = None,
    watch: Mapping[str, Reward] | None = None,
    demonstrations: Sequence[Demonstration] = (),
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
    taught = encode_demonstrations(tokenizer, ptx_lessons(config, demonstrations), longest).rows
    paid = reward or reward_named(config, config.reward)
    watched = {**({"watched": reward_named(config, config.watch)} if config.watch else {}), **(watch or {})}
    identity = engine.identity_of(
        asdict(config),
        weights=models.weights_digest(model),
        paying=rollouts.reward_mark(paid),
        data=digest_of([one.ids for one in asked]),
        heldout=digest_of([one.ids for one in unseen]),
        taught=rows_digest(taught),
    )
    done = engine.finished(out, identity)
    if done:
        return done

    rounds = rollouts.rounds_of(len(asked), config.batch_size, config.epochs, config.rounds)
    per_round = config.passes * -(-config.batch_size // config.minibatch)
    steps = rounds * per_round
    cast = cast_of(config, model, tokenizer)
    model = cast.policy.eval()  # gradients flow all the same; dropout does not
    optimizer = optimizer_of(cast, betas=config.betas, weight_decay=config.weight_decay, value_pace=config.value_pace)
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
    work.extra.setdefault("beta", config.beta)
    pad, device = tokenizer.pad_token_id, model.device
    heard: set[str] = set()

    def over(read: Any, rows: Sequence[Any]) -> Tensor:
        return rollouts.rectangle(read, rows, pad=pad, budget=config.batch_tokens, device=device)

    while work.step < steps:
        turn, began = work.step // per_round, time.monotonic()
        beta = work.extra["beta"]
        with memory.told():
            now = [asked[i] for i in rollouts.drawn(len(asked), config.batch_size, turn, config.seed)]
            rollout = rollouts.roll(
                model,
                tokenizer,
                now,
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
            values = over(cast.values, rows)

        kl = kl_estimate(old, reference, config.kl)
        due = held_scores(scores, rollout.ended, missing_end=config.missing_end, score_clip=config.score_clip)
        rewards = rollouts.place_scores(due.to(device), mask) - beta * kl
        if config.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        raw, returns = gae(rewards, values, mask, gamma=config.gamma, lam=config.lam)
        advantages = whiten(raw, mask)

        lengths = np.asarray([len(row) for row in rows])
        for chosen in rollouts.minibatches(len(rows), config.minibatch, config.passes, seed=(config.seed, turn, 1)):
            tokens = int(mask[torch.as_tensor(chosen, device=device)].sum())
            for part in split_by_tokens(chosen, lengths, config.batch_tokens):
                with memory.told():
                    batch = collate([rows[i] for i in part], pad).to(device)
                    at = torch.as_tensor(part, device=device)
                    before, gains, expected, aims = (
                        rollouts.flat(rect[at], mask[at]) for rect in (old, advantages, values, returns)
                    )
                    logps = cast.logps(batch)
                    surrogate = objectives.ppo_clip(logps, before, gains, clip=config.ratio_clip)
                    (surrogate.sum() / tokens).backward()
                    foretold = cast.values(batch)
                    errors = objectives.value_clip(foretold, expected, aims, clip=config.value_clip)
                    (config.value_weight * errors.sum() / tokens).backward()
                work.tally.add(
                    policy_loss=surrogate.sum() / tokens,
                    value_loss=errors.sum() / tokens,
                    clip_fraction=((logps - before).exp() - 1).abs().gt(config.ratio_clip).sum() / tokens,
                    value_clip_fraction=(foretold - expected).abs().gt(config.value_clip).sum() / tokens,
                    approx_kl=kl_estimate(before, logps.detach(), "k3").sum() / tokens,
                )
            if config.ptx:
                lessons_now = rollouts.drawn(len(taught), config.ptx_size, work.step, config.seed + 1)
                learnt = sum(len(taught[i]) - taught[i].start for i in lessons_now)
                sizes = np.asarray([len(row) for row in taught])
                for part in split_by_tokens(lessons_now, sizes, config.batch_tokens):
                    loss = objectives.sft(cast.plain(collate([taught[i] for i in part], pad).to(device))).sum() / learnt
                    (config.ptx * loss).backward()
                    work.tally.add(ptx_loss=loss)
            rate = engine.learning_rate(work.step, steps, config.lr, warmup=config.warmup, schedule=config.schedule)
            norm = work.descend(rate, config.clip)
            work.tally.add(steps=1, grad_norm=norm)

        distance = float(((old - reference) * mask).sum(1).mean())
        if config.kl_target:
            work.extra["beta"] = adapted(
                beta, distance, target=config.kl_target, replies=len(rows), horizon=config.kl_horizon
            )
        sums = work.tally.take()
        count = sums.pop("steps")
        means = {name: value / count for name, value in sums.items()}
        loss = (
            means["policy_loss"] + config.value_weight * means["value_loss"] + config.ptx * means.get("ptx_loss", 0.0)
        )
        work.log(
            {
                "steps": steps,
                "round": turn + 1,
                **readouts.of_round(scores, rollout, entropies, distance),
                **{name: float(rollouts.scores(other, rollout.talks).mean()) for name, other in watched.items()},
                "kl_k3": float((kl_estimate(old, reference, "k3") * mask).sum(1).mean()),
                "beta": beta,
                **readouts.finite(explained_variance=float(explained_variance(values, returns, mask))),
                "value": float(masked_mean(values, mask)),
                "loss": loss,
                **means,
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
    return work.finish(drop_value(model), tokenizer, {"too_long": too_long}, base=config.model)


def ptx_lessons(config: Config, given: Sequence[Demonstration]) -> list[Demonstration]:
    """The demonstrations of PPO-ptx: those given, and those of the file."""
    from trivet.alignment import sources

    found = [*given, *(sources.demonstrations(config.ptx_data).lessons if config.ptx_data else ())]
    if config.ptx and not found:
        raise ConfigError(f"ptx is {config.ptx} and there are no demonstrations; give ptx_data, or set ptx to 0")
    return found if config.ptx else []


def reward_named(config: Config, spec: str) -> Reward:
    return rollouts.reward_of(spec, join=config.join, k=config.join_k, device=config.device)


def cast_of(config: Config, model: Any, tokenizer: Any) -> Cast:
    """One base under two adapters with `lora`, else three models."""
    if config.lora:
        adapted = models.with_lora(model, config.lora, config.lora_alpha, config.lora_targets)
        return one_base(adapted, value=True, dtype=config.dtype, temperature=config.temperature)
    critic = critic_from(config.value or config.model, tokenizer, dtype=config.dtype, device=config.device)
    return separate(model, critic, dtype=config.dtype, temperature=config.temperature)


def held_scores(scores: Tensor, ended: Tensor, *, missing_end: float, score_clip: float) -> Tensor:
    """What replies are paid, [B]: their scores, bounded if asked for, and less for those that were cut."""
    held = scores.clamp(-score_clip, score_clip) if score_clip else scores
    return held - missing_end * (~ended).float()


def adapted(beta: float, kl: float, *, target: float, replies: int, horizon: int) -> float:
    """The next beta, proportional control of Ziegler et al. 2019 (arXiv:1909.08593), section 2.2, as in their code.

        beta <- beta (1 + clip(KL / target - 1, -0.2, 0.2) replies / horizon)

    By hand: KL twice the target, 64 replies, horizon 640: the error 1 is held at 0.2, so beta grows by 2 %.
    """
    return beta * (1 + min(0.2, max(-0.2, kl / target - 1)) * replies / horizon)
