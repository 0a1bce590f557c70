"""Labellers with known faults: how people disagree, err and lean, in a form that can be set and then found again.

A labeller compares two replies to one task by the gold reward plus two leanings, and then errs at random:

    utility = gold + length_bias * words / 20 + refusal_bias * [declines]
    label   = the reply of higher utility, flipped with probability `error`

The flip is drawn from the content and the labeller's name, so the same labeller gives the same answer to the same
question in any order and any process. The faults are found again by alignment/agreement.py and dawid_skene.py. Not
covered: fatigue, learning, and errors that come in runs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from trivet.core.hazards import Goal, Probe
from trivet.core.lessons import Origin, Preference
from trivet.core.messages import Conversation, Message, digest_of
from trivet.town.judge import GoldReward
from trivet.town.replies import is_refusal


@dataclass(frozen=True, slots=True)
class Labeller:
    """One person. All faults at zero make an oracle."""

    name: str
    error: float = 0.0
    length_bias: float = 0.0
    refusal_bias: float = 0.0

    def utility(self, prompt: Conversation, reply: str, task: Goal | Probe) -> float:
        gold = GoldReward([task]).one(prompt.then(Message("assistant", reply)), task)
        return gold + self.length_bias * len(reply.split()) / 20 + self.refusal_bias * is_refusal(reply)

    def prefers_first(self, prompt: Conversation, first: str, second: str, task: Goal | Probe) -> bool:
        """Whether this labeller would call the first reply better. Swapping the replies swaps the answer."""
        one, two = self.utility(prompt, first, task), self.utility(prompt, second, task)
        better = one > two if one != two else first < second
        key = digest_of([self.name, prompt.rows(), *sorted((first, second))])
        return better != (random.Random(key).random() < self.error)

    def label(self, prompt: Conversation, first: str, second: str, task: Goal | Probe) -> Preference:
        chosen, rejected = (first, second) if self.prefers_first(prompt, first, second, task) else (second, first)
        return Preference(prompt, chosen, rejected, origin=Origin(f"town:labeller:{self.name}"))
