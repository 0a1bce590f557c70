"""The baseline: a bandit over the library's train templates, which learns which of them works on this target.

Thompson sampling on Beta(1 + hits, 1 + misses): each query draws a chance for every template and plays the likeliest. It
sees what the attacker's training sees (the production eye and the goal's words) and is given as many queries to learn from
as the trained attacker; then it plays on against the held-out goals, still learning.

It is a strong baseline: its templates were written by people, encodings among them, and it needs no model. What it cannot
do is say anything that is not in the library.

Not covered: dialogues (their turns are several queries each).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message
from trivet.robustness.attacks.library import attacks
from trivet.robustness.attacks.shape import NamedAttack, Script

FAMILIES = ("direct", "roleplay", "hypothetical", "context", "injection", "encoding")


def arms(encodings: Collection[str] | None = None, families: Sequence[str] = FAMILIES) -> list[NamedAttack]:
    """The train templates that take one query."""
    return [
        one
        for one in attacks("train", families, encodings=encodings)
        if isinstance(one.how, Script) and len(one.how.turns) == 1
    ]


@dataclass
class Bandit:
    """Which template to play next, by what became of it before."""

    arms: Sequence[NamedAttack]
    seed: int = 0
    hits: list[int] = field(default_factory=list)
    misses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hits = self.hits or [0] * len(self.arms)
        self.misses = self.misses or [0] * len(self.arms)
        self._dice = random.Random(f"bandit {self.seed}")

    def choose(self) -> int:
        """The number of the template that looks best by one draw from what is believed of each."""
        draws = [self._dice.betavariate(1 + hit, 1 + miss) for hit, miss in zip(self.hits, self.misses, strict=True)]
        return max(range(len(draws)), key=draws.__getitem__)

    def learn(self, arm: int, hit: bool) -> None:
        (self.hits if hit else self.misses)[arm] += 1

    def play(self, arm: int, goal: Goal) -> Conversation:
        """The conversation that the target is asked to continue."""
        how = self.arms[arm].how
        assert isinstance(how, Script)
        return how.opening().then(Message("user", how.wordings(goal)[0]))

    def manner(self, arm: int, goal: Goal) -> str:
        """What is said, out of cipher and with the invented turns: what diversity is taken of.

        In cipher every goal would look like another attack.
        """
        how = self.arms[arm].how
        assert isinstance(how, Script)
        plain = replace(how, encoding="")
        return "\n".join([how.encoding, *(m.content for m in plain.opening()), *plain.wordings(goal)]).strip()
