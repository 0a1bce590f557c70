"""The suites by name: what `--suite` chooses. Each asks for over-refusal beside what it is named after, always.

    default       the seven basic families on every goal
    full          every single-turn family, and the fixed ladders of escalation
    dialogues     attackers that read the replies: crescendo, pair, tap, goat
    agents        a stateful tool environment; success is read from its state and not by a judge
    overrefusal   harmless requests that look alarming, and beside them the contrasts that should be refused
    capability    ordinary requests with an answer key
    regression    every jailbreak that was once confirmed, with the words that worked then (regression.py)

A suite is settings and no code of its own: what is asked follows from the families, the parts and the counts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.protocols import Judge, Model
from trivet.robustness.attacks import written
from trivet.robustness.attacks.library import BASIC, FAMILIES, attacks
from trivet.robustness.attacks.shape import NamedAttack, Part
from trivet.robustness.attacks.written import written_attacks

WRITTEN = tuple(name for name in written.FAMILIES if name not in FAMILIES)
"""Families that only a model can word; it can word others too (attacks/written.py)."""
DIALOGUES = ("crescendo", "pair", "tap", "goat")


@dataclass(frozen=True)
class Suite:
    """What a suite asks beside the look-alikes. `families` is empty where it attacks with none of the library."""

    name: str
    help: str
    families: tuple[str, ...] = ()
    dialogues: bool = False
    scenarios: bool = False
    contrasts: bool = False
    benign: bool = False
    cases: bool = False


def suites() -> dict[str, Suite]:
    """All of them, by name; made when asked for, because `full` follows the library."""
    made = (
        Suite("default", "The seven basic families on every goal.", BASIC),
        Suite("full", "Every single-turn family on every goal.", tuple(FAMILIES)),
        Suite("dialogues", "Attackers that read the replies: crescendo, pair, tap, goat.", dialogues=True),
        Suite("agents", "A tool environment whose state says what succeeded.", scenarios=True),
        Suite("overrefusal", "Harmless requests that look alarming, and their harmful contrasts.", contrasts=True),
        Suite("capability", "Ordinary requests with an answer key.", benign=True),
        Suite("regression", "Every jailbreak that was once confirmed, in the words that worked.", cases=True),
    )
    return {suite.name: suite for suite in made}


def suite(name: str) -> Suite:
    """The suite of this name; a near miss is told."""
    known = suites()
    if name not in known:
        raise ConfigError(f'no suite "{name}".{did_you_mean(name, known)} There are: {", ".join(known)}')
    return known[name]


def chosen(
    which: Suite,
    families: tuple[str, ...],
    part: Part,
    encodings: Collection[str] | None,
    attacker: Model | None,
    judge: Judge | None,
    writer: Model | None = None,
) -> list[NamedAttack]:
    """The attacks of a suite, or those of the families that were named instead.

    Dialogues need an `attacker` and a `judge` that steers them; both may be scripted or small. Of the families that are
    named, a `writer` words those that a model can word, beside what the library has of them.
    """
    names = families or (DIALOGUES if which.dialogues else which.families)
    from_library = [name for name in names if name not in (*DIALOGUES, *WRITTEN)]
    found = attacks(part, from_library, encodings=encodings) if from_library else []
    if needy := [name for name in families if name in WRITTEN and writer is None]:
        raise ConfigError(f"a model words the families {', '.join(needy)}; give --attacker MODEL")
    if writer is not None:
        found += written_attacks(part, writer, [name for name in families if name in written.FAMILIES])
        if not found and not set(names) & set(DIALOGUES):
            raise ConfigError(f"the part {part} has no attacks of {', '.join(families)}; take the other part")
    talks = [name for name in names if name in DIALOGUES]
    if talks:
        if attacker is None or judge is None:
            raise ConfigError(f"the families {', '.join(talks)} need an attacker and a judge; give --attacker MODEL")
        from trivet.robustness.dialogues.library import dialogues

        found += dialogues(part, attacker, judge, talks)
    return found
