"""Every loss as a pure function: tensors in, one number per example out; no model, no config, no hidden mean.

Notation. `logp` of a reply y is the sum over its tokens, the end token included, of log pi(y_t | x, y_<t); `_w` and
`_l` mark the chosen (won) and the rejected (lost) reply; s = logp - logp_ref, and z = s_w - s_l; |y| counts the tokens of
a reply. All in float32. What belongs to a policy gradient (advantages, KL estimates) is in advantages.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trivet.alignment.advantages import gae as gae  # one of the names by which losses are asked for here


def same_shape(**tensors: Tensor) -> None:
    """Raises ValueError that names every shape when they differ: broadcasting would hide a mistake."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"these must have one shape, a number per example: {shapes}")


# -------------------------------------------------------------------------------------------- imitation and rewards


def sft(token_logps: Tensor) -> Tensor:
    """Negative log-likelihood of each token that is learnt: -log pi(y_t | x, y_<t).

    Shape in and out: [tokens], the completion tokens of any number of examples. Sum, then divide by the number of
    tokens of the whole optimiser batch: a mean of micro-batch means weighs short batches too much.
    By hand: a token of probability 1/4 costs ln 4 = 1.3863.
    """
    return -token_logps


def bradley_terry(
    reward_w: Tensor,
    reward_l: Tensor,
    *,
    margin: Tensor | None = None,
    soft: Tensor | None = None,
    label_smoothing: float = 0.0,
    centering: float = 0.0,
) -> Tensor:
    """Reward modelling by comparisons, Bradley and Terry 1952; Stiennon et al. 2020 (arXiv:2009.01325); [pairs] -> [pairs].

        d = r_w - r_l - margin,   L = -p log sigmoid(d) - (1 - p) log sigmoid(-d) + c (r_w + r_l)^2

    p is the chance that the chosen reply is the better one: 1 for a plain label, `soft` [pairs] where the label is a
    probability (AI labels, shares of votes), and (1 - e) p + e (1 - p) with `label_smoothing` e. `margin` [pairs] asks
    for more distance between replies that differ more (Llama 2, arXiv:2307.09288); `centering` c pulls the free offset
    of the rewards to zero (arXiv:2312.09244, equation 2). Equal rewards cost ln 2.
    By hand: d = ln 3 costs ln(4/3) = 0.2877; with e = 0.1 0.9 ln(4/3) + 0.1 ln 4 = 0.3975; r = (2, 1), c = 0.01 adds 0.09.
    """
    same_shape(reward_w=reward_w, reward_l=reward_l)
    gap = reward_w - reward_l
    if margin is not None:
        same_shape(reward_w=reward_w, margin=margin)
        gap = gap - margin
    chance: Tensor | float = 1.0 if soft is None else soft
    if soft is not None:
        same_shape(reward_w=reward_w, soft=soft)
    chance = (1 - label_smoothing) * chance + label_smoothing * (1 - chance)
    losses = -chance * F.logsigmoid(gap) - (1 - chance) * F.logsigmoid(-gap)
    return losses + centering * (reward_w + reward_l).square() if centering else losses


# --------------------------------------------------------------------------------------------------- policy gradient


def ppo_clip(logps: Tensor, old_logps: Tensor, advantages: Tensor, *, clip: float = 0.2) -> Tensor:
    """Clipped surrogate of PPO, Schulman et al. 2017 (arXiv:1707.06347), equation 7, negated; any shape -> that shape.

        rho = exp(logp - logp_old),   L = max(-A rho, -A clip(rho, 1 - c, 1 + c))

    One number per token (or per reply where `logps` are sums): mask, then average over what is real. The log-ratio is
    bounded to +-20 before exp, so that one runaway token is a large loss and not an infinite one.
    By hand: A = 1, rho = 1.5, c = 0.2 gives -1.2; A = -1 gives 1.5; rho = 1 gives -A.
    """
    same_shape(logps=logps, old_logps=old_logps, advantages=advantages)
    ratio = (logps - old_logps).clamp(-20.0, 20.0).exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))


def value_clip(values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float = 0.2) -> Tensor:
    """Value loss whose steps are clipped as the policy's are (OpenAI baselines; arXiv:2403.17031); any shape.

        L = 1/2 max((V - G)^2, (V_old + clip(V - V_old, -c, c) - G)^2)

    By hand: V = 1, V_old = 0, G = 1, c = 0.2: the unclipped error is 0, the clipped 0.8, so L = 0.32.
    """
    same_shape(values=values, old_values=old_values, returns=returns)
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (held - returns).square())


# ------------------------------------------------------------------------------------- preferences with a reference


def dpo(
    logp_w: Tensor,
    logp_l: Tensor,
    ref_w: Tensor,
    ref_l: Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float | Tensor = 0.0,
) -> Tensor:
    """Direct preference optimisation, Rafailov et al. 2023 (arXiv:2305.18290), equation 7; shapes [pairs] -> [pairs].

        L = -(1 - e) log sigmoid(beta z) - e log sigmoid(-beta z)

    e = `label_smoothing` is the chance that a label is flipped (cDPO, Mitchell 2023), one for all or [pairs], a chance for
    each (soft labels); the optimum is then not at infinity but at beta |z| = log((1 - e) / e). At the start pi = ref, so z = 0 and L = ln 2 for every e.
    By hand: beta z = ln 3 gives sigmoid = 3/4, L = ln(4/3) = 0.2877; smoothed with e = 0.1: 0.9 ln(4/3) + 0.1 ln 4 = 0.3975.
    """
    same_shape(logp_w=logp_w, logp_l=logp_l, ref_w=ref_w, ref_l=ref_l)
    margin = beta * ((logp_w - ref_w) - (logp_l - ref_l))
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def rdpo(
    logp_w: Tensor, logp_l: Tensor, ref_w: Tensor, ref_l: Tensor, *, beta: float = 0.1, label_smoothing: float = 0.1
) -> Tensor:
    """Robust DPO, Chowdhury et al. 2024 (arXiv:2403.00409), equation 11; shapes [pairs] -> [pairs].

        L = ((1 - e) l(z) - e l(-z)) / (1 - 2 e),   l(z) = -log sigmoid(beta z)

    Its mean over labels that are flipped with chance e is the loss of the unflipped ones: unbiased where cDPO is not, and
    without a lower bound, so that single pairs may cost less than nothing. Raises ValueError for e >= 1/2.
    By hand: beta z = ln 3, e = 0.1: (0.9 ln(4/3) - 0.1 ln 4) / 0.8 = 0.1504; at z = 0 it is ln 2 for every e.
    """
    same_shape(logp_w=logp_w, logp_l=logp_l, ref_w=ref_w, ref_l=ref_l)
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}; labels that are wrong half of the time teach nothing")
    margin = beta * ((logp_w - ref_w) - (logp_l - ref_l))
    kept, flipped = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo(logp_w: Tensor, logp_l: Tensor, ref_w: Tensor, ref_l: Tensor, *, tau: float = 0.1) -> Tensor:
    """Identity preference optimisation, Azar et al. 2023 (arXiv:2310.12036), equation 17; shapes [pairs] -> [pairs].

        L = (z - 1 / (2 tau))^2

    The paper sums log-probabilities over a reply; TRL and HALOs divide them by its number of tokens first. One tau then
    means targets that differ by a factor of about |y|: whoever calls this decides by what goes in (see `per_token`).
    By hand: z = 1, tau = 0.25 gives (1 - 2)^2 = 1; at the start z = 0 and L = 1 / (4 tau^2).
    """
    same_shape(logp_w=logp_w, logp_l=logp_l, ref_w=ref_w, ref_l=ref_l)
    return torch.square((logp_w - ref_w) - (logp_l - ref_l) - 1 / (2 * tau))


def kto(
    shift: Tensor,
    desirable: Tensor,
    kl: Tensor | float,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimisation, Ethayarajh et al. 2024 (arXiv:2402.01306), equation 8; [replies] -> [replies].

        desirable:   w_d (1 - sigmoid(beta (s - z0)))
        undesirable: w_u (1 - sigmoid(beta (z0 - s)))

    `shift` is s, `desirable` a mask of booleans, and `kl` the reference point z0 >= 0: an estimate of KL(policy | ref) from
    replies set against the wrong prompts, one number for the whole optimiser batch, without gradient (kto.py makes it).
    By hand: s = z0 costs w/2 either way; beta (s - z0) = ln 3 costs w_d/4 when desirable and 3 w_u/4 when not.
    """
    same_shape(shift=shift, desirable=desirable)
    anchor = kl.detach() if isinstance(kl, Tensor) else kl
    sign = torch.where(desirable, shift.new_tensor(1.0), shift.new_tensor(-1.0))
    weight = torch.where(desirable, shift.new_tensor(desirable_weight), shift.new_tensor(undesirable_weight))
    return weight * torch.sigmoid(-beta * sign * (shift - anchor))


# --------------------------------------------------------------------------------- preferences without a reference


def orpo(mean_logp_w: Tensor, mean_logp_l: Tensor) -> Tensor:
    """The odds-ratio term of ORPO, Hong et al. 2024 (arXiv:2403.07691), equation 7; [pairs] -> [pairs].

        odds(y) = p / (1 - p) with p = exp(logp(y) / |y|),   L_OR = -log sigmoid(log odds(y_w) - log odds(y_l))

    In: log-probabilities averaged over the tokens of a reply. The whole loss is the mean NLL of the chosen reply plus
    lambda times this. 1 - p is taken by expm1 and a is held at most at -1e-6, where the odds of a certain reply end.
    By hand: p_w = 1/2, p_l = 1/4: log odds 0 and ln(1/3), so L = -log sigmoid(ln 3) = ln(4/3) = 0.2877.
    """
    same_shape(mean_logp_w=mean_logp_w, mean_logp_l=mean_logp_l)
    return -F.logsigmoid(_log_odds(mean_logp_w) - _log_odds(mean_logp_l))


def _log_odds(mean_logp: Tensor) -> Tensor:
    held = mean_logp.float().clamp(max=-1e-6)
    return held - torch.log(-torch.expm1(held))


def simpo(mean_logp_w: Tensor, mean_logp_l: Tensor, *, beta: float = 2.5, gamma: float = 1.375) -> Tensor:
    """Simple preference optimisation, Meng et al. 2024 (arXiv:2405.14734), equation 6; [pairs] -> [pairs].

        L = -log sigmoid(beta (logp(y_w)/|y_w| - logp(y_l)/|y_l|) - gamma)

    gamma is the absolute target margin, as in the paper; the authors' code takes gamma / beta (0.55 for these defaults).
    By hand: beta (a_w - a_l) - gamma = ln 3 costs ln(4/3) = 0.2877; equal replies cost log(1 + e^gamma).
    """
    same_shape(mean_logp_w=mean_logp_w, mean_logp_l=mean_logp_l)
    return -F.logsigmoid(beta * (mean_logp_w - mean_logp_l) - gamma)


# -------------------------------------------------------------------------------------------------------- unlearning


def npo(logp: Tensor, ref: Tensor, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimisation, Zhang et al. 2024 (arXiv:2404.05868), equation 3; [replies] -> [replies].

        L = -(2 / beta) log sigmoid(-beta s)

    DPO with only the lost reply. As beta goes to 0 its gradient becomes that of gradient ascent (s itself); at the start
    s = 0, L = (2 / beta) ln 2 and the gradient in s is 1. A reply that is forgotten already (s << 0) pulls no more.
    By hand: beta = 1, s = ln 3: -2 log(1/4) = 2.7726; s = -ln 3: -2 log(3/4) = 0.5754.
    """
    same_shape(logp=logp, ref=ref)
    return -(2 / beta) * F.logsigmoid(-beta * (logp - ref))


def simnpo(mean_logp: Tensor, *, beta: float = 4.5, delta: float = 0.0) -> Tensor:
    """NPO without a reference, Fan et al. 2024 (arXiv:2410.07163), equation 4; [replies] -> [replies].

        L = -(2 / beta) log sigmoid(-beta (logp / |y| + delta))

    By hand: beta = 1, delta = 0, mean log-probability -ln 3: -2 log(3/4) = 0.5754.
    """
    return -(2 / beta) * F.logsigmoid(-beta * (mean_logp + delta))


def per_token(logps: Tensor, lengths: Tensor) -> Tensor:
    """Summed log-probabilities as means over the tokens of each reply: logp(y) / |y|."""
    same_shape(logps=logps, lengths=lengths)
    return logps / lengths
