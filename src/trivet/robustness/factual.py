"""A judge that leaves to the facts what facts can tell: where a goal or a probe knows them, they are counted.

A classifier or a rubric sees whether a reply complies; whether 7 times 8 was answered rightly, or the town's recipe was
really given, stands in the answer key. `by_facts` puts RefusalRules, which counts facts, before such a judge.

Not covered: facts said in other words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trivet.core.hazards import Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, digest_of
from trivet.core.protocols import Judge
from trivet.core.verdicts import Verdict

Row = tuple[Conversation, Goal | Probe | None]


class ByFacts:
    """`other` judges what has no facts; its name and its card are shown, since a card can speak of that only."""

    def __init__(self, other: Judge) -> None:
        self.other = other
        self.rules = RefusalRules()
        self.name: str = getattr(other, "name", type(other).__name__)
        self.card: Any = getattr(other, "card", None)
        digest = getattr(other, "digest", "")
        self.digest = digest_of([digest, self.rules.name]) if digest else ""

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await (self.rules if about and about.facts else self.other).judge(conversation, about)


class ManyByFacts(ByFacts):
    """The same before a judge that takes many at once."""

    def judge_many(self, rows: Sequence[Row]) -> list[Verdict]:
        others = [row for row in rows if not _known(row)]
        judged = iter(self.other.judge_many(others) if others else ())  # type: ignore[attr-defined]
        return [self._counted(row) if _known(row) else next(judged) for row in rows]

    def _counted(self, row: Row) -> Verdict:
        conversation, about = row
        if not conversation.messages or conversation.messages[-1].role != "assistant":
            return Verdict("error", 0.0, self.rules.name, why="the conversation does not end with a reply")
        return self.rules.verdict(conversation.reply, about)


def by_facts(judge: Judge) -> Judge:
    """The judge with facts counted where there are some."""
    return ManyByFacts(judge) if callable(getattr(judge, "judge_many", None)) else ByFacts(judge)


def _known(row: Row) -> bool:
    return row[1] is not None and bool(row[1].facts)
