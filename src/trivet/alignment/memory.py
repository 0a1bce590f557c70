"""What fits: the size of a micro-batch, whether activations are kept, and what to do when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trivet.alignment import parallel
from trivet.core.errors import TrivetError


def micro_tokens(setting: int, device: torch.device) -> int:
    """Padded tokens of a micro-batch: as set, or by where it is computed.

    On a CPU larger rectangles are no faster, because their temporaries leave the caches, and take gigabytes; a GPU wants
    to be filled.
    """
    return setting or (2048 if device.type == "cpu" else 16384)


@contextmanager
def told() -> Iterator[None]:
    """Out of memory as one line that says which knob to turn."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as why:
        if isinstance(why, RuntimeError) and not isinstance(why, torch.OutOfMemoryError) and "allocate" not in str(why):
            raise
        raise TrivetError(
            f"out of memory ({str(why).splitlines()[0][:120]}). Lower batch_tokens first (in sft together with a higher "
            "accumulate, so that a step learns from as much), then set checkpointing=on, dtype=bf16, lora=16 or "
            "parallel=fsdp; max_length bounds the longest row. Other settings want another out folder."
        ) from why


def checkpointed(
    setting: str, model: Any, largest: Callable[[], Tensor], ranks: parallel.Ranks = parallel.ALONE
) -> bool:
    """Whether to compute activations twice: as `setting` says, and for auto only where they do not fit.

    What fits is tried, on a GPU: `largest` runs the largest micro-batch and gives a number to differentiate. Besides what
    that takes there must be room for the optimiser's two moments. What one of several processes needs, all do.
    """
    if setting != "auto":
        return setting == "on"
    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    moments = 8 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        largest().backward()
        room = torch.cuda.get_device_properties(device).total_memory - torch.cuda.max_memory_allocated(device)
    except torch.OutOfMemoryError:
        room = 0
    model.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    return ranks.totals({"too small": float(room < 1.05 * moments)})["too small"] > 0
