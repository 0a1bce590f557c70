"""The attacker before it has attacked anything: a small model that has learnt what an attack is and how examples are read.

Its lessons are the library's wordings of the train part around goals of the train part, one message each; a good part of
them are two wordings of which one is put into the other, so that there is more to say than the library says. No target has
been asked yet and nothing here knows what works.

Two lessons of three show examples, attacks on other goals, and the answer is in the manner of one of them: what stands in
the prompt, and nothing else, says what comes. A model that has read enough of it continues the manner that it is shown.
Fewer lessons do not do: after 4500, half of them with examples, answers were no more like their own examples than like
somebody else's, and few-shot was zero-shot with a longer prompt.

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
    with_examples: float = 2 / 3,
    composed: float = 0.6,
    examples: int = 3,
    seed: int = 0,
    families: Sequence[str] = FAMILIES,
) -> list[Demonstration]:
    """`count` demonstrations of writing an attack for a goal, from the train part alone; 1 to `examples` are shown."""
    wordings = [one.how for one in plain_wordings(families) if isinstance(one.how, Script)]
    if len(goals) <= examples or not wordings:
        raise ConfigError(
            f"an attacker is taught on more goals than it is shown examples ({examples}), and on wordings; "
            f"there are {len(goals)} goals and {len(wordings)} wordings"
        )
    dice = random.Random(f"attacker {seed}")
    taught = []
    for _ in range(count):
        goal, *others = dice.sample(goals, examples + 1)
        count_shown = dice.randint(1, examples) if dice.random() < with_examples else 0
        manners = [_manner(wordings, composed, dice) for _ in range(max(1, count_shown))]
        shown = [_said(other, manner) for other, manner in zip(others[:count_shown], manners, strict=False)]
        said = _said(goal, dice.choice(manners)).text
        taught.append(Demonstration(asking(goal, shown), said, Origin("attacker:seed")))
    return taught


def _manner(wordings: Sequence[Script], composed: float, dice: random.Random) -> list[Script]:
    """One wording, or two of which the second is put around the first."""
    return dice.sample(wordings, min(len(wordings), 1 + (dice.random() < composed)))


def _said(goal: Goal, manner: Sequence[Script]) -> Success:
    text = goal.request
    for script in manner:
        slot = Goal(
            SLOT, goal.hazard, goal.topic
        )  # slots are filled by the goal, so the same for all that is put inside
        text = script.wordings(slot)[0].replace(SLOT, text)
    return Success(goal, text, 1.0)
