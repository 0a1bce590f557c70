"""The sampling loop: a batch of prompts in, one continuation each, with a key-value cache.

Prompts stand to the right of their padding. Rows that have ended leave the batch once they are a quarter of it. Every
row draws from its own random numbers, so a neighbour cannot change what it says.

A batch does change the last bits of a number with its composition. Where the two likeliest tokens are so level that this
could decide, the draft is marked `level`, and whoever wants the same words in any company asks again for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from trivet.core.messages import Sampling

LEVEL = 1e-3
"""Logits this close may change places between batches: in float32 they move by 1e-5 or so. Coarser arithmetic would need
so wide a margin that hardly a reply were clear, so there nothing is marked."""


@dataclass(eq=False)
class Draft:
    """One continuation in the making. `heard` is called after each token and answers whether to go on."""

    prompt: list[int]
    sampling: Sampling
    dice: np.random.Generator
    ids: list[int] = field(default_factory=list)
    heard: Callable[[], bool] | None = None
    told: int = 0  # characters that a listener has had
    level: bool = False  # greedy, and at some step the neighbours may have decided
    end: int | None = None  # the token that ended it; None where it was cut

    def take(self, token: int, ends: frozenset[int], context: int) -> bool:
        """Add a token; False when it was the last."""
        if token in ends:
            self.end = token
            return False
        self.ids.append(token)
        full = len(self.ids) >= self.sampling.max_tokens or len(self.prompt) + len(self.ids) >= context
        return (self.heard is None or self.heard()) and not full


@torch.inference_mode()
def generate(model: Any, drafts: Sequence[Draft], *, ends: frozenset[int], pad: int, context: int) -> None:
    """Fill in `ids` of every draft, without the end token."""
    rows = [draft for draft in drafts if draft.sampling.max_tokens > 0]
    if not rows:
        return
    ids, mask = _left_padded([row.prompt for row in rows], pad, model.device)
    cache = DynamicCache(config=model.config)
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    live = np.ones(len(rows), dtype=bool)
    while True:
        answer = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = answer.logits[:, -1]
        if len(drafts) > 1 and logits.dtype == torch.float32:
            first, second = logits.topk(2).values.unbind(-1)
            for at in np.flatnonzero(live & (first - second < LEVEL).cpu().numpy()):
                rows[at].level = rows[at].sampling.temperature == 0
        tokens = pick(logits, [row.sampling for row in rows], [row.dice for row in rows])
        for at in np.flatnonzero(live):
            live[at] = rows[at].take(tokens[at], ends, context)
        if not live.any():
            return
        ids = torch.as_tensor(tokens, device=model.device)[:, None]
        places = places[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        if live.mean() <= 0.75:
            keep = np.flatnonzero(live)
            rows, live = [rows[at] for at in keep], live[keep]
            index = torch.as_tensor(keep, device=model.device)
            cache.batch_select_indices(index)
            ids, places, mask = ids[index], places[index], mask[index]


def _left_padded(prompts: Sequence[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), width), pad, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def pick(logits: Tensor, samplings: Sequence[Sampling], dice: Sequence[np.random.Generator]) -> list[int]:
    """The next token of each row: the likeliest at temperature 0, else by inverting the cumulative distribution.

    With top_p < 1 only the likeliest tokens count that together reach it (nucleus sampling, arXiv:1904.09751).
    """
    best = logits.argmax(-1)
    drawn = [at for at, sampling in enumerate(samplings) if sampling.temperature > 0]
    if drawn:
        heat = torch.tensor([samplings[at].temperature for at in drawn], device=logits.device)
        chances = (logits[drawn].float() / heat[:, None]).softmax(-1)
        nucleus = torch.tensor([samplings[at].top_p for at in drawn], device=logits.device)
        chances, names = chances.sort(dim=-1, descending=True) if bool((nucleus < 1).any()) else (chances, None)
        sums = chances.double().cumsum(-1)
        if names is not None:
            within = (sums - chances) < nucleus[:, None]
            sums = (chances.double() * within).cumsum(-1)
        throws = torch.tensor([dice[at].random() for at in drawn], dtype=torch.float64, device=logits.device)
        found = torch.searchsorted(sums, (throws * sums[:, -1])[:, None], right=True).clamp(max=sums.shape[1] - 1)
        best[drawn] = (found if names is None else names.gather(1, found)).squeeze(1)
    return best.tolist()
