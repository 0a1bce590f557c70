"""Many conversations to one model: all replies, in order, whatever kind of model it is.

A model that can batch (`replies`, see local.py) is given large slices of the work, because it sorts by length and fills
its own batches; any other is called `concurrency` times at once. A TargetError takes the place of the reply it prevented,
so that one bad answer among thousands loses nothing; every other exception ends the whole.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY, Model

SLICE = 512
"""Conversations per call of `replies`: large enough to sort well by length, small enough that Ctrl-C is soon heard."""


async def reply_all(
    model: Model, conversations: Sequence[Conversation], sampling: Sampling = GREEDY, *, concurrency: int = 32
) -> list[Message | TargetError]:
    """The reply to each conversation, or the TargetError that came instead, in the order given."""
    if callable(getattr(model, "replies", None)):
        return await _in_slices(model, conversations, sampling, SLICE)
    return await _at_once(model, conversations, sampling, concurrency)


async def _in_slices(
    model: Any, conversations: Sequence[Conversation], sampling: Sampling, size: int
) -> list[Message | TargetError]:
    results: list[Message | TargetError] = []
    for start in range(0, len(conversations), size):
        part = conversations[start : start + size]
        try:
            if inspect.iscoroutinefunction(model.replies):
                results += await model.replies(part, sampling)
            else:
                results += await asyncio.to_thread(model.replies, part, sampling)
        except TargetError as failure:  # of one conversation that is too long, perhaps: halves find it
            smaller = len(part) > 1
            results += await _in_slices(model, part, sampling, (len(part) + 1) // 2) if smaller else [failure]
    return results


async def _at_once(
    model: Model, conversations: Sequence[Conversation], sampling: Sampling, concurrency: int
) -> list[Message | TargetError]:
    results: dict[int, Message | TargetError] = {}
    numbers = iter(range(len(conversations)))

    async def worker() -> None:
        for number in numbers:
            try:
                results[number] = await model.reply(conversations[number], sampling)
            except TargetError as failure:
                results[number] = failure

    tasks = [asyncio.create_task(worker()) for _ in range(min(concurrency, len(conversations)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [results[number] for number in range(len(conversations))]
