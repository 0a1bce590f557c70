"""The attacker before it has attacked anything: a small model that has learnt what an attack is and how examples are read.

Its lessons are the library's wordings of the train part around goals of the train part, one message each; half of them are
two wordings of which one is put into the other, so that there is more to say than the library says. In a share of the
lessons examples are shown, attacks on other goals, and the answer is in the manner of one of them: that is how a small
model comes to follow examples at all. No target has been asked yet and nothing here knows what works.

Not covered: wordings of several messages, written transcripts and invented turns before the request, encodings; an
attacker writes one short message in plain words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal
from trivet.core.lessons import Demonstration, Origin
from trivet.robustness.attacks.library import attacks
from trivet.robustness.attacks.shape import NamedAttack, Script
from trivet.robustness.learned import Success, asking

FAMILIES = ("direct", "roleplay", "hypothetical", "injection")
"""The families whose wordings are one plain message of a few dozen words."""

SLOT = "\x00request\x00"


def plain_wordings(families: Sequence[str] = FAMILIES) -> list[NamedAttack]:
    """The train part's wordings that are one message in plain words."""
    return [
        one
        for one in attacks("train", families)
        if isinstance(one.how, Script) and len(one.how.turns) == 1 and not one.how.shots and not one.how.encoding
    ]


def lessons(
    goals: Sequence[Goal],
    count: int,
    *,
    with_examples: float = 0.5,
    composed: float = 0.4,
    examples: int = 3,
    seed: int = 0,
    families: Sequence[str] = FAMILIES,
) -> list[Demonstration]:
    """`count` demonstrations of writing an attack for a goal, from the train part alone."""
    wordings = plain_wordings(families)
    if len(goals) <= examples or not wordings:
        raise ConfigError(
            f"an attacker is taught on more goals than it is shown examples ({examples}), and on wordings; "
            f"there are {len(goals)} goals and {len(wordings)} wordings"
        )
    dice = random.Random(f"attacker {seed}")
    taught = []
    for _ in range(count):
        manner = _manner(wordings, composed, dice)
        goal, *others = dice.sample(goals, examples + 1)
        shown = []
        if dice.random() < with_examples:
            alike = dice.randrange(examples)
            shown = [
                _said(other, manner if at == alike else _manner(wordings, composed, dice))
                for at, other in enumerate(others)
            ]
        taught.append(Demonstration(asking(goal, shown), _said(goal, manner).text, Origin("attacker:seed")))
    return taught


def _manner(wordings: Sequence[NamedAttack], composed: float, dice: random.Random) -> tuple[Script, ...]:
    """One wording, or two of which the second is put around the first."""
    return tuple(one.how for one in dice.sample(list(wordings), 1 + (dice.random() < composed)))  # type: ignore[misc]


def _said(goal: Goal, manner: Sequence[Script]) -> Success:
    text = goal.request
    for script in manner:
        slot = Goal(
            SLOT, goal.hazard, goal.topic
        )  # slots are filled by the goal, so the same for all that is put inside
        text = script.wordings(slot)[0].replace(SLOT, text)
    return Success(goal, text, 1.0)
