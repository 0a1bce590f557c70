"""What unlearning needs besides the losses of objectives.py: RMU's distance, KL to the start, hidden states of a layer.

The start of a run is the reference of all of it, and it is never a second model: `Start` keeps copies of the weights
that are trained, and of no others, and lends them to a pass. With LoRA those are adapters that change nothing yet, with
RMU three layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from trivet.alignment.batches import Batch, Row, collate, rows_digest, split_by_tokens
from trivet.alignment.files import write_file
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.core.errors import ConfigError
from trivet.core.messages import digest_of

# ----------------------------------------------------------------------------------------------- pure functions


def rmu(states: Tensor, target: Tensor) -> Tensor:
    """Squared distance per token, of which both halves of RMU are made, Li et al. 2024 (arXiv:2403.03218), section 4.

        L = mean over forget tokens of ||h(x_f) - c u||^2  +  alpha mean over retain tokens of ||h(x_r) - h_0(x_r)||^2

    Shapes: `states` [N, H], the hidden states of real tokens only; `target` [H] for the first half (c u, one direction for
    the whole run) or [N, H] for the second (the states before training). Out: [N]; raises ValueError for other shapes.
    By hand: h = (1, 2), c u = (4, 6) costs 9 + 16 = 25; at the start the second half is 0.
    """
    if states.dim() != 2 or target.shape not in (states.shape, states.shape[1:]):
        raise ValueError(
            f"states must be [tokens, width] and target [width] or the same shape, have {tuple(states.shape)} and {tuple(target.shape)}"
        )
    return (states.float() - target.float()).square().sum(-1)


def kl(reference: Tensor, policy: Tensor) -> Tensor:
    """KL(reference | policy) of next-token distributions: [N, V] log-probabilities each -> [N], one number a token.

        sum_v p_ref(v) (log p_ref(v) - log p(v))

    By hand: p_ref = (1/2, 1/2), p = (1/4, 3/4): (ln 2 + ln 2/3) / 2 = 0.1438. Equal distributions cost 0, with gradient 0.
    """
    if reference.shape != policy.shape:
        raise ValueError(f"both must be [tokens, vocabulary], have {tuple(reference.shape)} and {tuple(policy.shape)}")
    return (reference.exp() * (reference - policy)).sum(-1)


def direction(width: int, length: float, seed: int) -> Tensor:
    """c u [width]: u a random unit vector with independent coordinates from [0, 1), as in the paper."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return length * drawn / drawn.norm()


# ------------------------------------------------------------------------------------------- the model at the start


class Start:
    """The trained weights of a module as they are when this is made; `run` lends them to a pass without gradient."""

    def __init__(self, module: nn.Module) -> None:
        self.kept = {id(p): p.detach().clone() for p in module.parameters() if p.requires_grad}

    @torch.no_grad()
    def run(self, module: nn.Module, *inputs: Any) -> Any:
        """`module(*inputs)` with the weights of the start, for the module itself or any part of it."""
        lent = {name: self.kept[id(p)] for name, p in module.named_parameters() if id(p) in self.kept}
        return functional_call(module, lent, inputs)


class States(nn.Module):
    """Hidden states of the positions whose next token is learnt: batch -> [N, H].

    Without `layer` those that the head reads; with it, the output of that layer, and the layers above are not computed.
    Padding is never among them, nor are the prompt's tokens before the last: what two conversations begin with alike has
    the same states in both, and could not be pulled away in one and held in the other.
    """

    def __init__(self, scorer: Scorer, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.scorer = scorer
        self.layer = (layer,)  # in a tuple it is not a part of this module a second time

    def forward(self, batch: Batch) -> Tensor:
        (layer,) = self.layer
        if layer is None:
            return self.scorer.hidden(batch).flatten(0, 1)[batch.positions]
        watch = layer.register_forward_hook(_stop)
        try:
            self.scorer.hidden(batch)
        except _Reached as reached:
            return reached.states.flatten(0, 1)[batch.positions]
        finally:
            watch.remove()
        raise ConfigError("this model never calls the layer that RMU steers; use another loss for it")


class _Reached(Exception):  # noqa: N818
    """Not an error: the way out of a backbone from its middle, with what was found there."""

    def __init__(self, states: Tensor) -> None:
        self.states = states


def _stop(layer: nn.Module, inputs: Any, output: Any) -> None:
    raise _Reached(output[0] if isinstance(output, tuple) else output)


def blocks(model: nn.Module) -> Sequence[nn.Module]:
    """The layers of a transformer from the bottom up: its longest list of modules of one class."""
    lists = [
        part for part in model.modules() if isinstance(part, nn.ModuleList) and len({type(one) for one in part}) == 1
    ]
    if not lists:
        raise ConfigError("no list of layers is to be found in this model; use another loss than rmu")
    return list(max(lists, key=len))


def steered_layers(model: nn.Module, layer: int) -> list[nn.Module]:
    """Layers l-2..l, the last of which is steered; everything else in the model is frozen. Layers count from 0."""
    found = blocks(model)
    if not 0 <= layer < len(found):
        raise ConfigError(
            f"layer is {layer} and this model has the layers 0 to {len(found) - 1}; RMU's paper takes 7 of 32"
        )
    chosen = list(found[max(0, layer - 2) : layer + 1])
    free = {id(p) for part in chosen for p in part.parameters()}
    for weight in model.parameters():
        weight.requires_grad_(weight.requires_grad and id(weight) in free)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError("none of the layers that RMU trains has an adapter; change lora_targets, or set lora to 0")
    return chosen


# ------------------------------------------------------------------------------------------------- over many rows


def kl_to_start(scorer: Scorer, start: Start, now: Tensor, before: Tensor) -> Tensor:
    """KL(start | policy) for each learnt token, from the states [N, H] that the head reads, today's and the start's.

    In tiles whose logits are made again for the gradient: a [B, L, V] tensor is never built, and a tile's is not kept.
    """
    size = max(1, scorer.tile // scorer.inner.config.get_text_config().vocab_size)

    def spread(found: Tensor) -> Tensor:
        return scorer.shaped(found).log_softmax(-1)

    def tile(one: Tensor, other: Tensor) -> Tensor:
        with torch.autocast(one.device.type, dtype=scorer.autocast, enabled=scorer.autocast is not None):
            policy, reference = scorer.head(one), start.run(scorer.head, other)
        return kl(spread(reference), spread(policy))

    parts = zip(now.split(size), before.split(size), strict=True)
    return torch.cat([checkpoint(tile, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


@torch.no_grad()
def row_logps(scorer: nn.Module, rows: Sequence[Row], *, pad: int, budget: int) -> Tensor:
    """Summed log-probability of each row's learnt tokens: [rows] on the CPU, in batches of like length."""
    logps = torch.zeros(len(rows))
    if not rows:
        return logps
    lengths = np.asarray([len(row) for row in rows])
    device = next(scorer.parameters()).device
    for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, budget):
        batch = collate([rows[i] for i in part], pad).to(device)
        logps[torch.from_numpy(part)] = per_owner(scorer(batch), batch.owners, len(part)).cpu()
    return logps


def cached_logps(scorer: Scorer, rows: Sequence[Row], *, weights: str, folder: Path, pad: int, budget: int) -> Tensor:
    """The same, computed once per content (weights, tokens, arithmetic) and kept in `folder`."""
    place = folder / f"{digest_of([weights, rows_digest(rows), str(scorer.autocast)])}.npy"
    if place.exists():
        return torch.from_numpy(np.load(place))
    logps = row_logps(scorer, rows, pad=pad, budget=budget)

    def fill(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, logps.numpy())

    write_file(place, fill)
    return logps
