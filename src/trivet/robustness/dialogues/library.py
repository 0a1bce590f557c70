"""The dialogues as a campaign takes them: named attacks of the families `crescendo`, `pair`, `tap` and `goat`.

The attacker is any model, the judge is the one that steers the search; let the campaign report by another one. A name ends
in a hash of everything that decides what is said, so another attacker, judge or setting is another template.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.messages import digest_of
from trivet.core.protocols import Judge, Model
from trivet.robustness.attacks.shape import PARTS, NamedAttack, Part
from trivet.robustness.dialogues.attacker import Attacker
from trivet.robustness.dialogues.crescendo import Crescendo
from trivet.robustness.dialogues.goat import Goat
from trivet.robustness.dialogues.pair import Pair
from trivet.robustness.dialogues.search import QUERIES
from trivet.robustness.dialogues.tap import Tap

Method = Crescendo | Pair | Tap | Goat

METHODS: dict[str, type[Crescendo] | type[Pair] | type[Tap] | type[Goat]] = {
    "crescendo": Crescendo,
    "pair": Pair,
    "tap": Tap,
    "goat": Goat,
}


def dialogues(
    part: Part,
    attacker: Model | Attacker,
    judge: Judge,
    families: Iterable[str] | None = None,
    *,
    queries: int = QUERIES,
) -> list[NamedAttack]:
    """One attack of each family, each with the same budget of queries per goal, sharing one attacker and its tally."""
    if part not in PARTS:
        raise ConfigError(f'no part "{part}" of the attacks.{did_you_mean(part, PARTS)} There are: {", ".join(PARTS)}')
    player = attacker if isinstance(attacker, Attacker) else Attacker(attacker)
    own = getattr(player.model, "part", part)
    if own != part:
        raise ConfigError(f"the attacker speaks with the templates of the part {own!r}, and {part!r} was asked for")
    found = []
    for family in METHODS if families is None else dict.fromkeys(families):
        if family not in METHODS:
            known = ", ".join(METHODS)
            raise ConfigError(f'no dialogue "{family}".{did_you_mean(family, METHODS)} There are: {known}')
        found.append(named(family, METHODS[family](player, judge, part, queries)))
    return found


def named(family: str, how: Method) -> NamedAttack:
    """The attack under a name that holds its budget and a hash of its settings, wordings, attacker and judge."""
    settings = {
        one.name: getattr(how, one.name) for one in fields(how) if one.name not in ("attacker", "judge", "on_topic")
    }
    judge = getattr(how.judge, "digest", "") or getattr(how.judge, "name", "") or type(how.judge).__name__
    sampling = how.attacker.sampling
    voice = [how.attacker.name, sampling.temperature, sampling.max_tokens, sampling.top_p]
    hashed = digest_of([family, settings, how.texts, voice, judge])[:6]
    return NamedAttack(family, f"{how.part}-{how.queries}q-{hashed}", how.part, how)
