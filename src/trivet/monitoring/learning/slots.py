"""A text with choices in it, spun into one of the many texts it stands for: what our own grammars are written in.

    spun(random.Random(0), "[[Hello|Good morning]] {name}, [[|please ]]call me.", {"name": ["Ada", "Tom"]})

`[[a|b]]` is a choice, also inside another; `{name}` is drawn from a pool of that name, anew each time it stands there.
Whatever else is in braces stays as it is, so that JSON and code can be written plainly.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

_CHOICE = re.compile(r"\[\[((?:(?!\[\[|\]\]).)*)\]\]", re.DOTALL)
_SLOT = re.compile(r"\{(\w+)\}")
Pools = Mapping[str, Sequence[str]]


def lines(block: str) -> list[str]:
    """The lines of a block, without the empty ones. A text of several lines is written with `\\n` in it."""
    return [line.strip().replace("\\n", "\n") for line in block.strip().splitlines() if line.strip()]


def spun(rng: random.Random, text: str, pools: Pools | None = None) -> str:
    """One text out of those that it stands for."""
    known = {**COMMON, **(pools or {})}
    while True:
        chosen = _CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text)
        chosen = _SLOT.sub(
            lambda match: rng.choice(known[match.group(1)]) if match.group(1) in known else match.group(), chosen
        )
        if chosen == text:
            return text
        text = chosen


def capital(text: str) -> str:
    """With a capital at its start."""
    return text[:1].upper() + text[1:]


def distinct(texts: Sequence[str]) -> list[str]:
    """Each text once, in order."""
    return list(dict.fromkeys(texts))


def _words(block: str) -> list[str]:
    return [word.strip() for word in block.replace("\n", ",").split(",") if word.strip()]


COMMON: Pools = {
    "name": _words(
        """Anna, Tom, Priya, Lukas, Mei, Omar, Sofia, Daniel, Chidi, Hannah, Pavel, Rosa, Kenji, Laila, Marek, Grace, Ivo,
        Nadia, Felix, Yusuf, Ingrid, Paul, Carmen, Theo, Amara, Jonas, Elif, Victor, Bea, Sanjay"""
    ),
    "family": _words(
        """Keller, Okafor, Lindqvist, Moreau, Tanaka, Petrov, Silva, Brandt, Haddad, Novak, Doyle, Iyer, Costa, Meyer,
        Nguyen, Fischer, Rossi, Larsen, Ahmed, Walsh"""
    ),
    "firm": _words(
        """Halden Logistics, Brightwell Foods, Corvus Labs, Nordsee Travel, Maple & Finch, Teralink, Oakridge Dental,
        Sunfold Energy, Parkway Motors, Lumen Books, Quillon Software, Riverside Clinic, Atlas Outdoor, Pinecrest Bank"""
    ),
    "thing": _words(
        """espresso machine, office chair, trail shoe, desk lamp, rain jacket, hand blender, e-bike battery, yoga mat, router,
        tent, water filter, noise-cancelling headset, standing desk, garden hose, air purifier, backpack, bread knife"""
    ),
    "city": _words(
        "Lisbon, Oslo, Lyon, Kyoto, Leeds, Graz, Austin, Porto, Tallinn, Ghent, Halifax, Verona, Pune, Bergen"
    ),
    "day": _words("Monday, Tuesday, Wednesday, Thursday, Friday, next week, tomorrow, the 14th, 3 March, 21 June"),
    "number": _words("3, 7, 12, 18, 24, 31, 45, 60, 88, 120, 250, 480, 999, 1450"),
    "host": _words(
        """cdn-mirror.example, track.example.net, files.example.org, update-center.example.com, collect.example.io,
        login-verify.example.net, rewards.example.org, backup.example.com, sync-hub.example.net"""
    ),
    "address": _words(
        """archive@example.net, audit@example.org, ops-relay@example.com, m.reyes@example.net, inbox@example.io,
        support-desk@example.org, records@example.com, j.stone@example.net"""
    ),
}
