"""Teacher-forced scoring with a shared prompt: how likely is each of several continuations?

The prompt is read once into a cache, which is then handed to each of its continuations. Prompts stand to the right of
their padding, continuations to the left of theirs, so no row sees another's padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from trivet.core.models.decode import _left_padded


@torch.inference_mode()
def tail_logprobs(
    model: Any, prompts: Sequence[list[int]], tails: Sequence[Sequence[list[int]]], pad: int
) -> list[list[float]]:
    """Sum of log p over the tokens of each tail after its prompt; `tails[i]` are those of `prompts[i]`, none empty."""
    ids, mask = _left_padded(prompts, pad, model.device)
    cache = DynamicCache(config=model.config)
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    first = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=places,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits
    owners = torch.tensor([at for at, group in enumerate(tails) for _ in group], device=model.device)
    flat = [tail for group in tails for tail in group]
    width = max(map(len, flat))
    rows = torch.tensor([tail + [pad] * (width - len(tail)) for tail in flat], device=model.device)
    real = torch.tensor([[at < len(tail) for at in range(width)] for tail in flat], device=model.device)
    found = _of(first[owners], rows[:, :1])
    if width > 1:
        cache.batch_select_indices(owners)
        rest = model(
            input_ids=rows[:, :-1],
            attention_mask=torch.cat([mask[owners], mask.new_ones(len(flat), width - 1)], dim=1),
            position_ids=places[owners, -1:] + torch.arange(1, width, device=model.device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        found = torch.cat([found, _of(rest, rows[:, 1:])], dim=1)
    sums = iter((found * real).sum(1).tolist())
    return [[next(sums) for _ in group] for group in tails]


def _of(logits: Tensor, tokens: Tensor) -> Tensor:
    """log p of the tokens [B, T] under logits [B, T, V], in float32."""
    return logits.float().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
