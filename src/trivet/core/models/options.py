"""How likely is each of a few fixed answers? Log-probabilities of options, from whatever model can tell them.

A model that can has `option_logprobs(conversation, options)`: for each option the log-probability that the reply begins
with it. What matters is their difference; `chances` makes them shares of one.

An endpoint shows only the likeliest tokens along the one reply that it wrote, so its numbers are those of the shortest
beginning by which an option is known: of `(A)` and `(B)` that is `(A` and `(B`. An option that is not among the tokens
shown gets the smallest number shown in that place, an upper bound. Not covered: an option whose ways to be spelt are
spread over more tokens than are shown; that mass is missing from its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from math import exp, fsum, inf, log
from typing import Any, NamedTuple, Protocol, runtime_checkable

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation
from trivet.core.models.batch import SLICE


@runtime_checkable
class TellsOptions(Protocol):
    """A model that can tell how likely it is to begin its reply with each of the options."""

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]: ...


async def option_logprobs(
    model: Any, conversations: Sequence[Conversation], options: Sequence[str], *, concurrency: int = 32
) -> list[list[float] | TargetError]:
    """For each conversation the log-probability of each option, or the TargetError that came instead.

    Batched where the model can (`all_option_logprobs`, see local.py), else `concurrency` at once. Raises TargetError for
    a model that cannot tell at all, ValueError for options that cannot be told apart.
    """
    distinct(options)
    if not isinstance(model, TellsOptions):
        name = getattr(model, "name", type(model).__name__)
        raise TargetError(f"{name} cannot tell how likely an answer is; count votes instead (labels: votes)")
    if callable(whole := getattr(model, "all_option_logprobs", None)):
        return await _in_slices(whole, conversations, options)
    slots = asyncio.Semaphore(concurrency)

    async def one(conversation: Conversation) -> list[float] | TargetError:
        async with slots:
            try:
                return await model.option_logprobs(conversation, options)
            except TargetError as failure:
                return failure

    return list(await asyncio.gather(*map(one, conversations)))


async def _in_slices(
    whole: Any, conversations: Sequence[Conversation], options: Sequence[str], size: int = SLICE
) -> list[list[float] | TargetError]:
    results: list[list[float] | TargetError] = []
    for start in range(0, len(conversations), size):
        part = conversations[start : start + size]
        try:
            results += await asyncio.to_thread(whole, part, options)
        except TargetError as failure:  # of one conversation that is too long, perhaps: halves find it
            smaller = len(part) > 1
            results += await _in_slices(whole, part, options, (len(part) + 1) // 2) if smaller else [failure]
    return results


def chances(logprobs: Sequence[float]) -> list[float]:
    """The options' probabilities given that one of them is the answer: a softmax; shape in, shape out.

    By hand: (ln 0.6, ln 0.2) become (0.75, 0.25). Raises ValueError where no option has a finite number.
    """
    highest = max(logprobs, default=-inf)
    if highest == -inf:
        raise ValueError(f"no option is possible: the log-probabilities are {list(logprobs)}")
    parts = [exp(one - highest) for one in logprobs]
    whole = fsum(parts)
    return [part / whole for part in parts]


def distinct(options: Sequence[str]) -> None:
    """Raises ValueError unless there are two options or more and none is the beginning of another."""
    for at, one in enumerate(options):
        if not one.strip() or any(one.startswith(other) for number, other in enumerate(options) if number != at):
            raise ValueError(f"options {list(options)} cannot be told apart; none may begin another or be empty")
    if len(options) < 2:
        raise ValueError(f"options are to be compared, was given {list(options)}")


class Step(NamedTuple):
    """One token of an endpoint's reply, and the likeliest tokens in its place with their log-probabilities."""

    token: str
    logprobs: Mapping[str, float]


def steps_in(choice: Mapping[str, Any]) -> list[Step]:
    """The tokens of a chat completion's choice; empty where it has no log-probabilities, none of alternatives, or
    unreadable ones."""
    try:
        rows = choice["logprobs"]["content"]
        steps = [
            Step(row["token"], {one["token"]: float(one["logprob"]) for one in (*row["top_logprobs"], row)})
            for row in rows
        ]
        return steps if all(row["top_logprobs"] for row in rows) else []
    except (KeyError, TypeError, ValueError):
        return []


def along(steps: Iterable[Step], options: Sequence[str]) -> list[float]:
    """The options' log-probabilities along a reply; raises ValueError where the reply leaves them all.

    By hand: the reply is `(`, `A` with log-probabilities -0.1 and (A: -0.2, B: -1.7): (A) gets -0.3 and (B) gets -1.8.
    """
    told, sure = "", 0.0
    for token, shown in steps:
        found: dict[str, list[float]] = {}
        for other, logprob in shown.items():
            fits = _fitting(told + other, options)
            if len(fits) == 1:
                found.setdefault(fits[0], []).append(sure + logprob)
        if found:
            least = sure + min(shown.values())
            return [_together(found[option]) if option in found else least for option in options]
        told, sure = told + token, sure + shown[token]
        if not _fitting(told, options):
            break
    raise ValueError(f"the reply {told.strip()!r:.60} begins with none of {', '.join(options)}")


def _fitting(text: str, options: Sequence[str]) -> list[str]:
    """The options that a reply beginning with this text may still be, or is."""
    text = text.lstrip()
    return [option for option in options if option.startswith(text) or text.startswith(option)]


def _together(logprobs: Sequence[float]) -> float:
    """The log of the sum of the probabilities."""
    highest = max(logprobs)
    return highest + log(fsum(exp(one - highest) for one in logprobs))
