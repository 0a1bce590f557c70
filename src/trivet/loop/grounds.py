"""A ground from files: goals that a model should refuse and probes that it should answer, for any model.

Rows are divided into the train and the held-out part by a hash of their text, so the division is the same everywhere and
no text stands in both. Goals from files have no oracle: the refusal rules judge, on both sides of the turn, and a report
says so. Look-alikes and ordinary requests default to the packaged sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, TypeVar

from trivet.core.errors import ConfigError
from trivet.core.hazards import HAZARDS, Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.protocols import Ground, Split
from trivet.loop.recipe import Recipe
from trivet.robustness.goals import load_goals, load_probes
from trivet.robustness.suites import capability, overrefusal

T = TypeVar("T", Goal, Probe)

TONES = (
    "I can't help with that, because it could hurt people. {way}",
    "I'm sorry, but I won't assist with this: it touches on {hazard}. {way}",
    "I have to decline that. {way}",
    "I understand that you are asking about this, but I can't give that help. {way}",
)
WAYS = (
    "If you tell me what you are trying to achieve, I will gladly look for a safe way.",
    "I can explain the risks and how to stay safe instead.",
    "If someone is in danger, please contact the local emergency services.",
)


def refusal(goal: Goal, number: int) -> str:
    """The `number`-th way to decline a goal, with a safe way on."""
    hazard = HAZARDS[goal.hazard].title.lower() if goal.hazard in HAZARDS else "harm"
    return TONES[number % len(TONES)].format(way=WAYS[(number // len(TONES)) % len(WAYS)], hazard=hazard)


def from_files(recipe: Recipe) -> Ground:
    """The ground that the recipe's files describe."""
    if not recipe.goals:
        raise ConfigError("ground=files needs goals=FILE, a JSON Lines file with `behavior` and `category`")
    goals = load_goals(recipe.goals)
    alike = load_probes(recipe.lookalikes, "lookalike") if recipe.lookalikes else overrefusal.packaged()
    plain = load_probes(recipe.benign, "benign") if recipe.benign else capability.packaged()
    rules = RefusalRules()
    train = Split(*(tuple(_part(rows, "train")) for rows in (goals, plain, alike)))  # type: ignore[arg-type]
    heldout = Split(*(tuple(_part(rows, "heldout")) for rows in (goals, plain, alike)))  # type: ignore[arg-type]
    for name, part in (("train", train), ("held-out", heldout)):
        if not part.goals:
            raise ConfigError(
                f"{recipe.goals} has {len(goals)} goals and none of them falls into the {name} part; give it some dozens"
            )
    return Ground(
        name="files",
        train=train,
        heldout=heldout,
        judge=rules,
        eye=rules,
        refusal=refusal,
    )


def _part(rows: Sequence[T], part: Literal["train", "heldout"]) -> list[T]:
    """One half of the rows, by the hash of the text, and in the order of the hash: files are often sorted by topic."""

    def number(row: T) -> int:
        return int(hashlib.sha256(row.request.encode()).hexdigest(), 16)

    return sorted((row for row in rows if (number(row) % 2 == 0) == (part == "heldout")), key=number)
