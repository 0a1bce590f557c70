"""What a policy gradient is made of: advantages, KL estimates and masked statistics, as pure functions in float32.

Shapes: [B, T] for replies padded on the right, with a mask [B, T] that is true where a token is real; [P, K] for K replies
to each of P prompts. A masked place never enters a sum: where the mask is false the value may be anything, even NaN.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

KLKind = Literal["k1", "k2", "k3"]


class Advantages(NamedTuple):
    """How much better each token was than expected, and what the value function should have said."""

    advantages: Tensor
    returns: Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float = 1.0, lam: float = 0.95) -> Advantages:
    """Generalised advantage estimation, Schulman et al. 2015 (arXiv:1506.02438), equation 16; [B, T] -> [B, T] twice.

        delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   G_t = A_t + V_t

    Replies end: beyond the last real token V and A are 0. Padding comes back as 0. Returns are those before whitening.
    By hand: r = (0, 1), V = (0.5, 0.5), gamma = 1, lam = 0.5: delta = (0, 0.5), A = (0.25, 0.5), G = (0.75, 1).
    """
    mask = mask.bool()
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    found = torch.zeros_like(values)
    following = advantage = torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = (delta + gamma * lam * advantage) * mask[:, t]
        found[:, t] = advantage
        following = values[:, t]
    return Advantages(found, (found + values) * mask)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over real places, a scalar; raises ValueError where there is none."""
    mask = mask.bool()
    if not bool(mask.any()):
        raise ValueError("a mean over nothing: the mask has no true place")
    return values.masked_fill(~mask, 0.0).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Values with variance 1 over real places, and with mean 0 unless `shift_mean` is false; padding comes back as 0.

    The variance is the unbiased one, as in the reference implementations; a single real place is only centred.
    By hand: (1, 3) has mean 2 and variance 2, so it becomes (-0.7071, 0.7071), and (1.2929, 2.7071) with its mean kept.
    """
    mask = mask.bool()
    mean = masked_mean(values, mask)
    centred = (values - mean).masked_fill(~mask, 0.0)
    count = mask.sum()
    variance = centred.square().sum() / (count - 1).clamp(min=1)
    scaled = centred * torch.rsqrt(variance + 1e-8)
    return scaled if shift_mean else (scaled + mean).masked_fill(~mask, 0.0)


def kl_estimate(logps: Tensor, ref_logps: Tensor, kind: KLKind = "k1") -> Tensor:
    """KL(policy | reference) at each token that the policy drew, Schulman 2020 (joschu.net/blog/kl-approx); any shape.

        d = logp - logp_ref;   k1 = d,   k2 = d^2 / 2,   k3 = exp(-d) - 1 + d

    k1 is unbiased and may be negative, k2 is biased and small in variance, k3 is unbiased and never negative. As a loss to
    be differentiated k2 has the right gradient in expectation, k1 has none. d is held within +-20 before exp.
    By hand: d = ln 2: k1 = 0.6931, k2 = 0.2402, k3 = 1/2 - 1 + 0.6931 = 0.1931.
    """
    shift = logps - ref_logps
    match kind:
        case "k1":
            return shift
        case "k2":
            return 0.5 * shift.square()
        case "k3":
            held = shift.clamp(-20.0, 20.0)
            return torch.expm1(-held) + held
    raise ValueError(f'kind is "{kind}"; the estimates are k1, k2 and k3')


def rloo_advantages(rewards: Tensor) -> Tensor:
    """REINFORCE with a leave-one-out baseline, Ahmadian et al. 2024 (arXiv:2402.14740); [P, K] -> [P, K].

        A_i = r_i - mean of the other K - 1 rewards to the same prompt

    Raises ValueError for K < 2. By hand: (1, 2, 6) gives (-3, -1.5, 4.5).
    """
    replies = _group(rewards)
    return (rewards * replies - rewards.sum(1, keepdim=True)) / (replies - 1)


def grpo_advantages(rewards: Tensor, *, scale: Literal["std", "none"] = "std") -> Tensor:
    """Group-relative advantages, Shao et al. 2024 (arXiv:2402.03300); [P, K] -> [P, K].

        A_i = (r_i - mean) / (std + 1e-4) over the replies to one prompt

    `scale` none leaves the division out, which favours prompts of little spread no more (Dr. GRPO, arXiv:2503.20783).
    Raises ValueError for K < 2. By hand: (1, 3) gives (-1, 1) without scale and, std being 1.4142, (-0.7071, 0.7071) with.
    """
    _group(rewards)
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred if scale == "none" else centred / (rewards.std(1, keepdim=True) + 1e-4)


def _group(rewards: Tensor) -> int:
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ValueError(
            f"rewards have the shape {tuple(rewards.shape)}; wanted [prompts, replies] with 2 replies or more"
        )
    return rewards.shape[1]


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(G - V) / Var(G) over real places: 1 is a perfect critic, 0 one that knows the mean only; NaN without variance."""
    mask = mask.bool()
    truth, error = returns[mask], (returns - values)[mask]
    return 1 - error.var(unbiased=False) / truth.var(unbiased=False)
