"""The gold reward by the words of the request, for recipes that name their reward: `code:trivet.town.gold:reward`.

GoldReward (judge.py) is told what each conversation is about. Here the newest user message is looked up among all requests
that the town's grammar can write, so any of them may stand in a data set of prompts. Not covered: framed, ciphered or
otherwise reworded requests; they are an error, never a guess.
"""

from __future__ import annotations

from functools import cache

from trivet.core.errors import DataError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.town import requests
from trivet.town.ground import goal_of, probe_of
from trivet.town.judge import GoldReward
from trivet.town.requests import Part

PARTS: tuple[Part, ...] = ("train", "heldout")


@cache
def tasks() -> dict[str, Goal | Probe]:
    """What every request of the town is, by its words."""
    found: dict[str, Goal | Probe] = {}
    for part in PARTS:
        found |= {request.text: goal_of(request) for request in requests.harmful(part)}
        for request in (*requests.benign(part), *requests.lookalikes(part)):
            found[request.text] = probe_of(request)
    return found


def task_of(conversation: Conversation) -> Goal | Probe:
    """What a conversation is about; raises DataError when its newest user message is no request of the town."""
    asked = conversation.last_user
    if asked not in tasks():
        raise DataError(
            f"the town's gold reward knows no request {asked!r:.80}; give it requests as the grammar writes them"
        )
    return tasks()[asked]


def reward(conversation: Conversation) -> float:
    """The gold reward of one finished conversation, in [-1, 1]."""
    task = task_of(conversation)
    return GoldReward([task]).one(conversation, task)
