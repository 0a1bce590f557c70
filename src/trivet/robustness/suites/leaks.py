"""A judge for a run in which prompts are planted: canaries tell those leaks, and the judge of the run the rest.

One judge for both makes them one campaign, with one budget and one count of what is done. Verdicts of the run's judge on
equal replies to the same request are remembered here where it says what it is (its `digest`); this judge itself has no
digest, because canaries read all of a talk and not its last reply alone (judging.py remembers by that).

Not covered: leaks of anything that was not planted; the run's judge sees those.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Collection, Sequence
from typing import Any

from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.core.protocols import Judge
from trivet.core.verdicts import Verdict
from trivet.robustness.attacks.leak import Canaries

REMEMBERED = 50_000
"""Verdicts that are kept for equal replies."""

Row = tuple[Conversation, Goal | Probe | None]


class ByCanaries:
    """`planted` are the ids of the goals whose facts are canaries; `other` judges all else."""

    def __init__(self, other: Judge, planted: Collection[str]) -> None:
        self.other = other
        self.planted = frozenset(planted)
        self.canaries = Canaries()
        self.name: str = getattr(other, "name", type(other).__name__)
        card = getattr(other, "card", None)
        self._kept = bool(getattr(other, "digest", "") or getattr(card, "digest", ""))
        self._known: dict[tuple[Goal | Probe | None, str], Verdict] = {}

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        row = (conversation, about)
        if self._is_planted(row):
            return await self.canaries.judge(conversation, about)
        found = self._remembered(row)
        return found or self._remember(row, await self.other.judge(conversation, about))

    def _is_planted(self, row: Row) -> bool:
        return row[1] is not None and row[1].id in self.planted

    def _remembered(self, row: Row) -> Verdict | None:
        return self._known.get(_key(row)) if self._kept else None

    def _remember(self, row: Row, verdict: Verdict) -> Verdict:
        if self._kept and verdict.label != "error" and len(self._known) < REMEMBERED:
            self._known[_key(row)] = verdict
        return verdict


class ManyByCanaries(ByCanaries):
    """The same before a judge that takes many at once."""

    async def judge_many(self, rows: Sequence[Row]) -> list[Verdict]:
        verdicts: dict[int, Verdict] = {}
        left: dict[Any, list[int]] = {}
        for number, row in enumerate(rows):
            if self._is_planted(row):
                verdicts[number] = await self.canaries.judge(*row)
            elif found := self._remembered(row):
                verdicts[number] = found
            else:
                left.setdefault(_key(row) if self._kept else number, []).append(number)
        if left:
            many: Any = self.other.judge_many  # type: ignore[attr-defined]
            asked = [rows[equal[0]] for equal in left.values()]
            made = await (many(asked) if inspect.iscoroutinefunction(many) else asyncio.to_thread(many, asked))
            for equal, verdict in zip(left.values(), made, strict=True):
                self._remember(rows[equal[0]], verdict)
                verdicts.update(dict.fromkeys(equal, verdict))
        return [verdicts[number] for number in range(len(rows))]


def by_canaries(judge: Judge, planted: Collection[str]) -> Judge:
    """The judge with leaks told by canaries; the judge itself where nothing is planted."""
    if not planted:
        return judge
    return (ManyByCanaries if callable(getattr(judge, "judge_many", None)) else ByCanaries)(judge, planted)


def _key(row: Row) -> tuple[Goal | Probe | None, str]:
    conversation, about = row
    ends = bool(conversation.messages) and conversation.messages[-1].role == "assistant"
    return about, conversation.reply if ends else ""
