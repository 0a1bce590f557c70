"""Several processes that train one model: who there is, who takes what, and how a model is spread over them.

    torchrun --nproc-per-node 2 -m trivet.cli.main align RECIPE.yaml parallel=ddp|fsdp      (or accelerate launch)

Every process knows the whole plan and takes its share of each optimiser step. Shares are padded with fillers of weight
zero, because sharded models need every process to do the same number of passes. Gradients are averaged over processes
by the wrappers, so a share's loss is multiplied by their number: the result is that of one process to rounding.

    ddp     every process holds the model; gradients are averaged in the last micro-batch of a step
    fsdp    FSDP2 (torch's fully_shard): parameters, gradients and optimiser state are split, layer by layer

Not covered: tensor and pipeline parallelism; machines without a common file system for the run's folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from trivet.alignment.batches import split_by_tokens
from trivet.alignment.models import pick_device
from trivet.core.errors import ConfigError

How = Literal["ddp", "fsdp"]


class Share(NamedTuple):
    """One micro-batch of this process: row numbers; whether they count or only keep step; whether a step ends here."""

    rows: np.ndarray
    real: bool
    last: bool


class Ranks(NamedTuple):
    """The processes that train together: which one this is, how many there are, and where it computes."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def shares(self, indices: np.ndarray, lengths: np.ndarray, budget: int) -> Iterator[Share]:
        """This process's micro-batches of one optimiser step: at most `budget` padded tokens each, like lengths together.

        All processes get equally many; where the work does not divide, the last one is a filler.
        """
        order = indices[np.argsort(lengths[indices], kind="stable")] if self.world > 1 else indices
        parts = split_by_tokens(order, lengths, budget)
        while len(parts) < min(self.world, len(order)):  # too few for everyone: halve the fullest
            fullest = max(range(len(parts)), key=lambda at: len(parts[at]))
            parts[fullest : fullest + 1] = np.array_split(parts[fullest], 2)
        rounds = -(-len(parts) // self.world)
        for turn in range(rounds):
            at = turn * self.world + self.rank
            real = at < len(parts)
            yield Share(parts[at if real else -1], real, turn == rounds - 1)

    def totals(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Sums over all processes, name by name; every process must call it."""
        if self.world == 1:
            return dict(sums)
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, dict(sums))
        found: Counter[str] = Counter()
        for one in everyone:
            found.update(one)
        return dict(found)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, on the CPU; without gradient."""
        if self.world == 1:
            return values.detach().cpu()
        moved = values.detach().to(self.device, copy=True)
        dist.all_reduce(moved)
        return moved.cpu()

    def wait(self) -> None:
        """Until every process has come here."""
        if self.world > 1:
            dist.barrier()


def largest_share(lengths: np.ndarray, rows: int, budget: int) -> np.ndarray:
    """Row numbers of the most expensive micro-batch that a run can meet: as many as fit of the longest rows."""
    order = np.argsort(-lengths, kind="stable")
    return split_by_tokens(order[:rows] if rows else order, lengths, budget)[0]


ALONE = Ranks(0, 1, torch.device("cpu"))


def join(device: str) -> Ranks:
    """The processes of this launch: one where nobody launched more, else those of torchrun or accelerate launch."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks(0, 1, pick_device(device))
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return Ranks(state.process_index, state.num_processes, torch.device(state.device.type, state.device.index))


def spread(scorer: nn.Module, ranks: Ranks, how: How, dtype: torch.dtype | None = None) -> nn.Module:
    """The module to call in place of `scorer`: itself, in a DDP wrapper, or split over the processes where it stands.

    With fsdp every layer of the model is a unit of its own and the rest is one; `dtype` is what they compute in. A model
    that is not trained needs no wrapper under ddp.
    """
    if ranks.world == 1 or (how == "ddp" and not any(p.requires_grad for p in scorer.parameters())):
        return scorer
    if how == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        where = None if ranks.device.type == "cpu" else [ranks.device]
        return DistributedDataParallel(
            scorer,
            device_ids=where,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=False,
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32) if dtype else MixedPrecisionPolicy()
    for layer in _layers(scorer):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(scorer, mesh=mesh, mp_policy=policy)
    return scorer


def _layers(scorer: nn.Module) -> Sequence[nn.Module]:
    """The model's repeated blocks: its longest list of modules of one class."""
    lists = [
        part for part in scorer.modules() if isinstance(part, nn.ModuleList) and len({type(one) for one in part}) == 1
    ]
    if not lists:
        raise ConfigError("parallel: fsdp finds no list of layers in this model; use parallel=ddp")
    found: nn.ModuleList = max(lists, key=lambda part: sum(p.numel() for p in part.parameters()))
    return list(found)


def quietly(wrapped: nn.Module, share: Share) -> AbstractContextManager[Any]:
    """Around forward and backward of a share: DDP averages gradients only in the last one of a step."""
    return wrapped.no_sync() if hasattr(wrapped, "no_sync") and not share.last else nullcontext()


def reshard(module: nn.Module) -> None:
    """Split parameters stand split: a pass without backward leaves its weights gathered for the next one."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()


def full(value: Any) -> Any:
    """A tensor in full on the CPU, whatever it is split over; every process must call it. Anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    return (value.full_tensor() if hasattr(value, "full_tensor") else value).cpu()


def like(value: Tensor, parameter: Tensor) -> Tensor:
    """A full tensor split and placed as the parameter is."""
    if not hasattr(parameter, "full_tensor"):
        return value.to(parameter.device, parameter.dtype)
    from torch.distributed.tensor import distribute_tensor

    there = value.to(parameter.device, parameter.dtype)
    return distribute_tensor(there, parameter.device_mesh, parameter.placements)


def gather(module: nn.Module) -> None:
    """Split parameters become whole ones again, in place and on every process: to be saved, not to be trained on."""
    reshard(module)
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            if hasattr(weight, "full_tensor"):
                part._parameters[name] = nn.Parameter(weight.full_tensor().detach(), requires_grad=weight.requires_grad)
