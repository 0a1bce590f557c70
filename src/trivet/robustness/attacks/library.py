"""Every attack of the package, by family and part.

`train` may be harvested and learnt from; `heldout` is what is measured. The two share no wording (a test compares them).
`BASIC` are the seven families with which the loop and its figures began; their attacks never change, whatever is added
beside them.

Not here: dialogues led by a model (dialogues/library.py), attacks worded by one (written.py), agents, gradients.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trivet.core.errors import ConfigError, did_you_mean
from trivet.robustness.attacks import (
    bon,
    context,
    direct,
    documents,
    fewshot,
    hypothetical,
    injection,
    leak,
    manyshot,
    obfuscation,
    persuasion,
    roleplay,
    smuggling,
    splitting,
    suppression,
    tense,
)
from trivet.robustness.attacks.shape import PARTS, NamedAttack, Part, Script
from trivet.robustness.converters.library import converter
from trivet.robustness.dialogues import escalation

FAMILIES: dict[str, dict[Part, tuple[Script, ...]]] = {
    "direct": {"train": direct.TRAIN, "heldout": direct.HELDOUT},
    "roleplay": {"train": roleplay.TRAIN, "heldout": roleplay.HELDOUT},
    "hypothetical": {"train": hypothetical.TRAIN, "heldout": hypothetical.HELDOUT},
    "encoding": {"train": obfuscation.TRAIN, "heldout": obfuscation.HELDOUT},
    "context": {"train": context.TRAIN, "heldout": context.HELDOUT},
    "injection": {"train": injection.TRAIN, "heldout": injection.HELDOUT},
    "escalation": {"train": escalation.TRAIN, "heldout": escalation.HELDOUT},
    "persuasion": {"train": persuasion.TRAIN, "heldout": persuasion.HELDOUT},
    "suppression": {"train": suppression.TRAIN, "heldout": suppression.HELDOUT},
    "fewshot": {"train": fewshot.TRAIN, "heldout": fewshot.HELDOUT},
    "manyshot": {"train": manyshot.TRAIN, "heldout": manyshot.HELDOUT},
    "splitting": {"train": splitting.TRAIN, "heldout": splitting.HELDOUT},
    "leak": {"train": leak.TRAIN, "heldout": leak.HELDOUT},
    "tense": {"train": tense.TRAIN, "heldout": tense.HELDOUT},
    "smuggling": {"train": smuggling.TRAIN, "heldout": smuggling.HELDOUT},
    "documents": {"train": documents.TRAIN, "heldout": documents.HELDOUT},
    "bon": {"train": bon.TRAIN, "heldout": bon.HELDOUT},
}
BASIC = ("direct", "roleplay", "hypothetical", "encoding", "context", "injection", "escalation")
GROUPS: dict[str, tuple[str, ...]] = {"basic": BASIC, "all": tuple(FAMILIES)}
"""What may stand for several families."""
LONG = 400
"""So many words of a wording's own make it long: half of a context of 1,024 tokens, and more in unusual words."""
_ONLY = {"leak": (leak.HAZARD,)}


def attacks(
    part: Part, families: Iterable[str] | None = None, *, encodings: Collection[str] | None = None
) -> list[NamedAttack]:
    """The attacks of one part, of all families or of those named (or of `basic` or `all`), in a fixed order.

    `encodings` keeps to what the target is known to read: names of converters, and `long` for wordings of more than LONG
    words, which a short context does not take. What is ordinary language stays in any case; None keeps everything.
    """
    if part not in PARTS:
        raise ConfigError(f'no part "{part}" of the attacks.{did_you_mean(part, PARTS)} There are: {", ".join(PARTS)}')
    return [
        NamedAttack(name, f"{part}-{number:02d}-{how.digest[:6]}", part, how, _ONLY.get(name, ()))
        for name in _named(families)
        for number, how in enumerate(FAMILIES[name][part], start=1)
        if encodings is None or _legible(how, encodings)
    ]


def _named(families: Iterable[str] | None) -> list[str]:
    """The families in the order given, each once, groups replaced by their members."""
    if families is None:
        return list(FAMILIES)
    names = list(dict.fromkeys(name for given in families for name in GROUPS.get(given, (given,))))
    for name in names:
        if name not in FAMILIES:
            known = ", ".join([*FAMILIES, *GROUPS])
            raise ConfigError(f'no attack family "{name}".{did_you_mean(name, FAMILIES)} There are: {known}')
    return names


def _legible(how: Script, known: Collection[str]) -> bool:
    if how.words > LONG and "long" not in known:
        return False
    return not how.encoding or how.encoding in known or converter(how.encoding).readable
