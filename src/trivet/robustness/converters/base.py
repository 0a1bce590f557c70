"""What a converter is, and the few things that all rooms share.

A converter rewrites a text: pure `str -> str`, deterministic, without I/O. It is not an attack: it hides words from
filters that read the surface, and succeeds only when the target can read the result. `decode` is the inverse where one
exists. `exact` says that it gives back every text; else `domain` is the pattern of the texts that it gives back, and
what lies outside loses what the encoding drops (case, punctuation, letters that the alphabet lacks). A converter with
settings (`caesar(7)`) is made by a Tunable from what stands in the brackets.

Not covered: text with lone surrogates, which is not text and which no encoding takes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from trivet.core.errors import ConfigError

Rewrite = Callable[[str], str]

ANY = r"(?s:.*)"
"""Every text."""
ASCII = r"[ -~]*"
"""Printable ASCII."""
LOWER = r"[a-z]+( [a-z]+)*"
"""Words of lower-case letters with single spaces between."""
WORDS = r"[a-z0-9]+( [a-z0-9]+)*"
"""The same with digits."""


@dataclass(frozen=True, slots=True)
class Converter:
    """One rewriting. `decode(encode(text)) == text` for every text where `exact`, else for those that match `domain`.

    `readable` marks rewritings that are still ordinary language, so that a target needs to know no code to read them.
    """

    name: str
    encode: Rewrite
    decode: Rewrite | None
    exact: bool = True
    about: str = ""
    domain: str = ANY
    readable: bool = False


@dataclass(frozen=True, slots=True)
class Tunable:
    """A converter with settings: `make` gets what stands in the brackets, or `default` where there are none."""

    name: str
    make: Callable[[str], Converter]
    default: str
    about: str


def partly(
    name: str, encode: Rewrite, decode: Rewrite | None, domain: str, about: str, *, readable: bool = False
) -> Converter:
    """A converter whose inverse holds on `domain` only, or that has none."""
    return Converter(name, encode, decode, False, about, domain, readable)


def lettered(name: str, plain: str, written: str, about: str, domain: str = ASCII) -> Converter:
    """Letter for letter: the n-th of `plain` becomes the n-th of `written` and back."""
    there, back = str.maketrans(plain, written), str.maketrans(written, plain)
    return partly(name, lambda text: text.translate(there), lambda text: text.translate(back), domain, about)


def whole(name: str, argument: str, least: int, most: int) -> int:
    """The number in the brackets of a converter's name."""
    try:
        number = int(argument)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ConfigError(f'{name}({argument}): give a whole number from {least} to {most}, as in "{name}({least})"')
    return number


def dice(*what: object) -> random.Random:
    """Chance that is decided by its arguments alone, the same in every process."""
    return random.Random(" ".join(map(str, what)))


def chained(steps: list[Rewrite]) -> Rewrite:
    """One rewriting after the other."""

    def run(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return run
