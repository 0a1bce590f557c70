"""Attacks whose wording a model writes for the goal at hand: persuasion, tense, translation, paraphrase.

The request goes through a model-written converter (converters/written.py) and is sent as it comes back. A writer that
refuses or returns nothing is a TargetError: the campaign records an error and says whose.

Templates are named by what decides the text: converter, instruction, writer and sampling. A writer's name must therefore
name it for good. Not covered: several drafts for one goal, wordings that learn from the target's replies (dialogues/).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Sampling
from trivet.core.protocols import Model
from trivet.robustness.attacks.shape import PARTS, NamedAttack, Part, Script, script
from trivet.robustness.converters.written import LANGUAGES, TECHNIQUES, Written, written

FAMILIES: dict[str, dict[Part, tuple[str, ...]]] = {
    "persuasion": {part: tuple(f"persuade({name})" for name in TECHNIQUES[part]) for part in PARTS},
    "translation": {part: tuple(f"translate({name})" for name in LANGUAGES[part]) for part in PARTS},
    "tense": {"train": ("tense(future)",), "heldout": ("tense(past)",)},
    "paraphrase": {"train": (), "heldout": ("paraphrase",)},
}
"""The converters of each family by part."""


@dataclass(frozen=True, slots=True)
class WrittenAttack:
    """One goal rewritten, then put in the words of `wording`."""

    converter: Written
    wording: Script

    async def attack(self, goal: Goal, target: Model) -> Conversation:
        request = await self.converter.rewrite(goal.request)
        return await self.wording.attack(replace(goal, request=request), target)


def written_attacks(
    part: Part, writer: Model, families: Iterable[str] | None = None, *, sampling: Sampling | None = None
) -> list[NamedAttack]:
    """The attacks of one part that `writer` words, of all families here or of those named, in a fixed order."""
    if part not in PARTS:
        raise ConfigError(f'no part "{part}" of the attacks.{did_you_mean(part, PARTS)} There are: {", ".join(PARTS)}')
    names = list(FAMILIES) if families is None else list(dict.fromkeys(families))
    attacks = []
    for family in names:
        if family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ConfigError(f'no model writes "{family}".{did_you_mean(family, FAMILIES)} There are: {known}')
        for name in FAMILIES[family][part]:
            one = written(name, writer, sampling)
            how = WrittenAttack(one, script("{request}"))
            attacks.append(NamedAttack(family, f"{part}-{name}-{one.digest[:6]}", part, how))
    return attacks
