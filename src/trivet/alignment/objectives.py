"""Every loss as a pure function: tensors in, one number per example out; no model, no config, no hidden mean.

Notation. `logp` of a reply y is the sum over its tokens, the end token included, of log pi(y_t | x, y_<t); `_w` and
`_l` mark the chosen (won) and the rejected (lost) reply; s = logp - logp_ref, and z = s_w - s_l. All in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"these must have one shape, a number per example: {shapes}")


def sft(token_logps: Tensor) -> Tensor:
    """Negative log-likelihood of each token that is learnt: -log pi(y_t | x, y_<t).

    Shape in and out: [tokens], the completion tokens of any number of examples. Sum, then divide by the number of
    tokens of the whole optimiser batch: a mean of micro-batch means weighs short batches too much.
    By hand: a token of probability 1/4 costs ln 4 = 1.3863.
    """
    return -token_logps


def dpo(
    logp_w: Tensor, logp_l: Tensor, ref_w: Tensor, ref_l: Tensor, *, beta: float = 0.1, label_smoothing: float = 0.0
) -> Tensor:
    """Direct preference optimisation, Rafailov et al. 2023 (arXiv:2305.18290), equation 7; shapes [pairs] -> [pairs].

        L = -(1 - e) log sigmoid(beta z) - e log sigmoid(-beta z)

    e = `label_smoothing` is the chance that a label is flipped (cDPO, Mitchell 2023); its optimum is not at infinity
    but at beta |z| = log((1 - e) / e). At the start pi = ref, so z = 0 and L = ln 2 for every e.
    By hand: beta z = ln 3 gives sigmoid = 3/4, L = ln(4/3) = 0.2877; smoothed with e = 0.1: 0.9 ln(4/3) + 0.1 ln 4 = 0.3975.
    """
    _same_shape(logp_w=logp_w, logp_l=logp_l, ref_w=ref_w, ref_l=ref_l)
    margin = beta * ((logp_w - ref_w) - (logp_l - ref_l))
    return -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)


def ipo(logp_w: Tensor, logp_l: Tensor, ref_w: Tensor, ref_l: Tensor, *, tau: float = 0.1) -> Tensor:
    """Identity preference optimisation, Azar et al. 2023 (arXiv:2310.12036), equation 17; shapes [pairs] -> [pairs].

        L = (z - 1 / (2 tau))^2

    The paper sums log-probabilities over a reply; TRL and HALOs divide them by its number of tokens first. One tau then
    means targets that differ by a factor of about |y|: whoever calls this decides by what goes in (see `per_token`).
    By hand: z = 1, tau = 0.25 gives (1 - 2)^2 = 1; at the start z = 0 and L = 1 / (4 tau^2).
    """
    _same_shape(logp_w=logp_w, logp_l=logp_l, ref_w=ref_w, ref_l=ref_l)
    return torch.square((logp_w - ref_w) - (logp_l - ref_l) - 1 / (2 * tau))


def per_token(logps: Tensor, lengths: Tensor) -> Tensor:
    """Summed log-probabilities as means over the tokens of each reply: logp(y) / |y|."""
    _same_shape(logps=logps, lengths=lengths)
    return logps / lengths
