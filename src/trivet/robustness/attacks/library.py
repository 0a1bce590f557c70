"""Every attack of the package, by family and part.

`train` may be harvested and learnt from; `heldout` is what is measured. The two share no wording (a test compares them).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from trivet.core.errors import ConfigError, did_you_mean
from trivet.robustness.attacks import context, direct, hypothetical, injection, obfuscation, roleplay
from trivet.robustness.attacks.shape import PARTS, NamedAttack, Part, Script
from trivet.robustness.dialogues import escalation

FAMILIES: dict[str, dict[Part, tuple[Script, ...]]] = {
    "direct": {"train": direct.TRAIN, "heldout": direct.HELDOUT},
    "roleplay": {"train": roleplay.TRAIN, "heldout": roleplay.HELDOUT},
    "hypothetical": {"train": hypothetical.TRAIN, "heldout": hypothetical.HELDOUT},
    "encoding": {"train": obfuscation.TRAIN, "heldout": obfuscation.HELDOUT},
    "context": {"train": context.TRAIN, "heldout": context.HELDOUT},
    "injection": {"train": injection.TRAIN, "heldout": injection.HELDOUT},
    "escalation": {"train": escalation.TRAIN, "heldout": escalation.HELDOUT},
}


def attacks(
    part: Part, families: Iterable[str] | None = None, *, encodings: Collection[str] | None = None
) -> list[NamedAttack]:
    """The attacks of one part, of all families or of those named, in a fixed order.

    `encodings` keeps to the encoded wordings that the target is known to read; None keeps them all.
    """
    if part not in PARTS:
        raise ConfigError(f'no part "{part}" of the attacks.{did_you_mean(part, PARTS)} There are: {", ".join(PARTS)}')
    names = list(FAMILIES) if families is None else list(dict.fromkeys(families))
    for name in names:
        if name not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise ConfigError(f'no attack family "{name}".{did_you_mean(name, FAMILIES)} There are: {known}')
    return [
        NamedAttack(name, f"{part}-{number:02d}-{how.digest[:6]}", part, how)
        for name in names
        for number, how in enumerate(FAMILIES[name][part], start=1)
        if encodings is None or not how.encoding or how.encoding in encodings
    ]
