"""Panels: when the next judge is asked, how votes are counted, and what happens when judges fail."""

from __future__ import annotations

import asyncio

import pytest

from trivet.core.errors import TargetError
from trivet.core.hazards import Goal, Probe
from trivet.core.judges.panel import Cascade, Vote
from trivet.core.messages import Conversation
from trivet.core.protocols import Judge
from trivet.core.verdicts import Span, Verdict


class Says:
    """A judge that says one thing, or fails."""

    def __init__(
        self, label: str, score: float = 0.0, *, name: str = "j", raises: Exception | None = None, **more: object
    ) -> None:
        self.name, self.raises, self.asked = name, raises, 0
        self.verdict = Verdict(label, score, name, **more)  # type: ignore[arg-type]

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        self.asked += 1
        if self.raises:
            raise self.raises
        if self.verdict.label == "hangs":
            await asyncio.Event().wait()
        return self.verdict


def judged(panel: Judge) -> Verdict:
    return asyncio.run(panel.judge(Conversation.user("x")))


def test_cascade_stops_when_sure() -> None:
    first, second = Says("refused", 0.1), Says("complied", 0.9)
    assert judged(Cascade([first, second])) == first.verdict
    assert second.asked == 0


def test_cascade_asks_on_when_unsure() -> None:
    first, second = Says("partial", 0.5), Says("complied", 0.6)
    assert judged(Cascade([first, second])) == second.verdict, "the last one that answers is final"
    assert judged(Cascade([first, second], unsure=(0.6, 0.7))) == first.verdict


def test_cascade_passes_over_failures() -> None:
    down, late = Says("x", raises=TargetError("down"), name="a"), Says("hangs", name="b")
    good, mute = Says("partial", 0.5), Says("error", name="c", why="nothing to judge")
    assert judged(Cascade([down, late, good, mute], deadline=0.01)) == good.verdict
    found = judged(Cascade([down, late, mute], deadline=0.01, name="two"))
    assert (found.label, found.judge) == ("error", "two")
    assert found.why == "too few judges answered (a: down; b: took longer than 0.01 s; c: nothing to judge)"


def test_bugs_are_not_failures() -> None:
    with pytest.raises(ZeroDivisionError):
        judged(Cascade([Says("x", raises=ZeroDivisionError())]))


def test_vote() -> None:
    span = Span(0, 1, "x")
    judges = [
        Says("refused", 0.0, name="a"),
        Says("complied", 0.8, name="b", spans=(span,)),
        Says("complied", 1.0, name="c", category="privacy", spans=(span,)),
    ]
    found = judged(Vote(judges))
    assert (found.label, found.score, found.category, found.spans) == ("complied", 0.9, "privacy", (span,))
    assert found.why == "2 of 3 judges; a: refused; b: complied; c: complied"


def test_vote_of_equals_follows_the_first() -> None:
    assert judged(Vote([Says("refused"), Says("complied", 1.0)])).label == "refused"
    assert judged(Vote([Says("complied", 1.0), Says("refused")])).label == "complied"


def test_vote_needs_a_quorum() -> None:
    broken = Says("x", raises=TargetError("down"))
    assert judged(Vote([Says("refused"), Says("refused"), broken])).label == "refused"
    assert judged(Vote([Says("refused"), broken])).label == "error"
    assert judged(Vote([Says("refused"), broken], quorum=1)).label == "refused"


def test_panels_are_judges() -> None:
    assert judged(Vote([Cascade([Says("refused")]), Vote([Says("refused")])])).label == "refused"


@pytest.mark.parametrize("panel", [Cascade, Vote])
def test_an_empty_panel(panel: type[Cascade] | type[Vote]) -> None:
    with pytest.raises(ValueError, match="at least one judge"):
        panel([])
