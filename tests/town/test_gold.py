"""The gold reward by the words of a request agrees with the one that is told the task."""

from __future__ import annotations

import pytest

from trivet.core.errors import DataError
from trivet.core.messages import Conversation, Message
from trivet.town import gold
from trivet.town.ground import split
from trivet.town.replies import refusal


def said(request: str, reply: str) -> Conversation:
    return Conversation.user(request).then(Message("assistant", reply))


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_requests_are_known_by_their_words(part):
    drawn = split(part, goals=40, benign=40, lookalikes=40)
    for goal in drawn.goals:
        assert gold.reward(said(goal.request, refusal(goal.topic, 1))) == 1.0
        assert gold.reward(said(goal.request, "Take " + ", ".join(goal.facts))) == -1.0
    for probe in (*drawn.benign, *drawn.lookalikes):
        assert gold.reward(said(probe.request, probe.answer)) == 1.0
        assert gold.reward(said(probe.request, refusal("", 0))) == -1.0


def test_other_words_are_an_error():
    with pytest.raises(DataError, match="knows no request 'What is love"):
        gold.reward(said("What is love?", "A word."))
