"""Every converter, room by room, by its name.

    base64            one converter
    caesar(7)         one with settings; `caesar` alone takes the usual ones
    caesar(7)+base64  a chain, left to right; its inverse runs right to left

Not covered: converters that a model writes; those are asynchronous and stand in written.py.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from trivet.core.errors import ConfigError, did_you_mean
from trivet.robustness.converters import banner, ciphers, encodings, invisible, scripts, structure, wording
from trivet.robustness.converters.base import Converter, Tunable, chained

ROOMS: dict[str, dict[str, Converter | Tunable]] = {
    "encodings": {**encodings.CONVERTERS},
    "ciphers": {**ciphers.CONVERTERS, **ciphers.TUNABLES},
    "scripts": {**scripts.CONVERTERS, **banner.CONVERTERS, **scripts.TUNABLES},
    "invisible": {**invisible.CONVERTERS},
    "structure": {**structure.CONVERTERS, **structure.TUNABLES},
    "wording": {**wording.CONVERTERS, **wording.TUNABLES},
}
_ALL = {name: one for room in ROOMS.values() for name, one in room.items()}
_LINK = re.compile(r"([^+()]+)(?:\(([^()]*)\))?")


class Listed(NamedTuple):
    """One line of the list of converters. `inverse` is `exact`, `partial` or `none`."""

    name: str
    room: str
    about: str
    inverse: str
    readable: bool


def listing() -> list[Listed]:
    """Every converter with one line on it, room by room; those with settings as they are without any given."""
    rows = []
    for room, known in ROOMS.items():
        for name, one in known.items():
            made = converter(name)
            inverse = "none" if made.decode is None else "exact" if made.exact else "partial"
            shown = f"{name}({one.default})" if isinstance(one, Tunable) else name
            rows.append(Listed(shown, room, one.about, inverse, made.readable))
    return rows


@lru_cache(maxsize=1024)
def converter(name: str) -> Converter:
    """The converter of that name, with settings in brackets where it has some, or a chain with `+` between."""
    links = [_LINK.fullmatch(link) for link in re.split(r"\+(?![^(]*\))", name)]
    if not all(links):
        raise ConfigError(f'"{name}" is no name of a converter; write for instance rot13, caesar(7) or rot13+base64')
    parts = [_known(link.group(1), link.group(2)) for link in links if link]
    if len(parts) == 1:
        return parts[0]
    inverses = [part.decode for part in reversed(parts) if part.decode is not None]
    return Converter(
        name,
        chained([part.encode for part in parts]),
        chained(inverses) if len(inverses) == len(parts) else None,
        all(part.exact for part in parts),
        ", then ".join(part.about for part in parts),
        # What the first one hands on need not lie in the domain of the second: only exact links promise anything.
        parts[0].domain if all(part.exact for part in parts[1:]) else "",
        all(part.readable for part in parts),
    )


def _known(name: str, argument: str | None) -> Converter:
    one = _ALL.get(name)
    if one is None:
        known = ", ".join(_ALL)
        raise ConfigError(f'no converter "{name}".{did_you_mean(name, _ALL)} There are: {known}')
    if isinstance(one, Tunable):
        return one.make(one.default if argument is None else argument.strip())
    if argument is not None:
        raise ConfigError(f"{name}({argument}): {name} takes nothing in brackets")
    return one
