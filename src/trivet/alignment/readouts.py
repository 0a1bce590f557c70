"""What a policy gradient measures: figures of a round, and of replies to prompts that it does not learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trivet.alignment import rollouts
from trivet.alignment.advantages import masked_mean
from trivet.alignment.rollouts import Asked, Rollout
from trivet.alignment.value import Cast
from trivet.core.protocols import Reward


def of_round(scores: Tensor, rollout: Rollout, entropies: Tensor, kl: float) -> dict[str, float]:
    """What a round is watched by: means over replies; `kl` in nats a reply, `entropy` in nats a token."""
    lengths = rollout.lengths.float()
    spread = scores.std() * lengths.std()
    together = (
        ((scores - scores.mean()) * (lengths - lengths.mean())).sum() / (len(scores) - 1) if len(scores) > 1 else 0.0
    )
    return {
        "reward": float(scores.mean()),
        "reward_std": float(scores.std()) if len(scores) > 1 else 0.0,
        "kl": kl,
        "entropy": float(masked_mean(entropies.cpu(), rollout.mask)),
        "length": float(lengths.mean()),
        "length_correlation": float(together / spread) if len(scores) > 1 and spread > 0 else 0.0,
        "ended": float(rollout.ended.float().mean()),
    }


def finite(**figures: float) -> dict[str, float]:
    """The figures that are numbers: a variance explained is none where nothing varies."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def of_heldout(
    config: Any, cast: Cast, tokenizer: Any, unseen: Sequence[Asked], paying: Mapping[str, Reward]
) -> dict[str, float]:
    """Rewards, KL and length of one drawn reply to each held-out prompt, always with the same random numbers."""
    rollout = rollouts.roll(
        cast.policy,
        tokenizer,
        unseen,
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        seed=(config.seed, 0, 2),
        together=config.together,
    )
    kl = [
        rollouts.rectangle(
            read, rollout.rows, pad=tokenizer.pad_token_id, budget=config.batch_tokens, device=cast.policy.device
        ).sum(1)
        for read in (cast.logps, cast.reference)
    ]
    return {
        **{f"heldout_{name}": float(rollouts.scores(one, rollout.talks).mean()) for name, one in paying.items()},
        "heldout_kl": float((kl[0] - kl[1]).mean()),
        "heldout_length": float(rollout.lengths.float().mean()),
        "heldout_ended": float(rollout.ended.float().mean()),
        "heldout_prompts": len(unseen),
    }
