"""Any judge against labelled replies: what `trivet judge eval` prints, and what goes on a judge's card."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trivet.core.errors import TargetError
from trivet.core.hazards import Goal
from trivet.core.judges.cards import Agreement, How, agreement
from trivet.core.judges.classifier import ReplyClassifier
from trivet.core.judges.training import Reply
from trivet.core.messages import Conversation, Message
from trivet.core.protocols import Judge
from trivet.core.verdicts import Verdict

AT_ONCE = 16
SEEN = 0.05
"""The share of known rows from which figures are those of training data."""


async def measured(judge: Judge, rows: Sequence[Reply]) -> tuple[Agreement, int]:
    """The judge's agreement with the rows' labels, and how many got no verdict (they count nowhere)."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: Reply) -> Verdict | None:
        conversation = Conversation((Message("user", row.request or ""), Message("assistant", row.reply)))
        async with gate:
            try:
                return await judge.judge(conversation, Goal(row.request) if row.request else None)
            except TargetError:
                return None

    verdicts = await asyncio.gather(*(one(row) for row in rows))
    known = [(r, v) for r, v in zip(rows, verdicts, strict=True) if v is not None and v.label != "error"]
    found = agreement(
        ", ".join(dict.fromkeys(row.source for row in rows)),
        _how(judge, rows),
        [bool(row.complied) for row, _ in known],
        [verdict.score for _, verdict in known],
        [verdict.label in ("complied", "partial", "answered") for _, verdict in known],
        str(getattr(judge, "name", type(judge).__name__)),
    )
    return found, len(rows) - len(known)


def _how(judge: Judge, rows: Sequence[Reply]) -> How:
    """A judge that knows what it was trained on says whether these rows were among it."""
    if not isinstance(judge, ReplyClassifier):
        return "measured"
    return "trained on" if judge.saw([(row.request, row.reply) for row in rows]) > SEEN else "unseen"
