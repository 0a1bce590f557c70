"""Ciphers: letters exchanged for others or moved about, by a rule that a reader can be told in a sentence.

Not covered: ciphers with a secret that the target does not know, and everything that needs a computer to undo.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

from trivet.core.errors import ConfigError, DataError
from trivet.robustness.converters.base import LOWER, WORDS, Converter, Tunable, partly, whole

_LOWER, _UPPER = string.ascii_lowercase, string.ascii_uppercase
_SQUARE = _LOWER + string.digits
"""The six-by-six square of Polybius, row by row."""
_TAPS = _LOWER.replace("k", "")
"""The five-by-five square of prisoners, in which c stands for k."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _turned(by: int) -> dict[int, int]:
    return str.maketrans(_LOWER + _UPPER, _LOWER[by:] + _LOWER[:by] + _UPPER[by:] + _UPPER[:by])


def _caesar(argument: str) -> Converter:
    by = whole("caesar", argument, 1, 25)
    there, back = _turned(by), _turned(26 - by)
    about = f"letters moved by {by} places"
    return Converter(
        f"caesar({by})", lambda text: text.translate(there), lambda text: text.translate(back), True, about
    )


def _vigenere(argument: str) -> Converter:
    if not re.fullmatch("[a-z]+", argument):
        raise ConfigError(f'vigenere({argument}): the key must be lower-case letters, as in "vigenere(lemon)"')

    def shifted(text: str, sign: int) -> str:
        at, written = 0, []
        for letter in text:
            alphabet = _LOWER if letter in _LOWER else _UPPER if letter in _UPPER else ""
            if alphabet:
                step = _LOWER.index(argument[at % len(argument)])
                letter, at = alphabet[(alphabet.index(letter) + sign * step) % 26], at + 1
            written.append(letter)
        return "".join(written)

    return Converter(
        f"vigenere({argument})",
        lambda text: shifted(text, 1),
        lambda text: shifted(text, -1),
        True,
        f"letters moved by those of the key `{argument}` in turn",
    )


_VISIBLE = "".join(map(chr, range(33, 127)))
_ROT47 = str.maketrans(_VISIBLE, _VISIBLE[47:] + _VISIBLE[:47])


def _rot47(text: str) -> str:
    return text.translate(_ROT47)


def _rails(length: int, rails: int) -> list[int]:
    """The positions in the order in which a fence of so many rails is read off."""
    period = 2 * (rails - 1)
    rail = [min(at % period, period - at % period) for at in range(length)]
    return sorted(range(length), key=lambda at: (rail[at], at))


def _columns(length: int, width: int) -> list[int]:
    """The positions in the order in which a block of that width is read off, column by column."""
    return sorted(range(length), key=lambda at: (at % width, at))


def _moved(name: str, order: Callable[[int, int], list[int]], number: int, about: str) -> Converter:
    def encode(text: str) -> str:
        return "".join(text[at] for at in order(len(text), number))

    def decode(text: str) -> str:
        written = dict(zip(order(len(text), number), text, strict=True))
        return "".join(written[at] for at in range(len(text)))

    return Converter(f"{name}({number})", encode, decode, True, about)


def _rail_fence(argument: str) -> Converter:
    rails = whole("rail_fence", argument, 2, 9)
    return _moved("rail_fence", _rails, rails, f"letters in a zigzag over {rails} rails, read rail by rail")


def _scytale(argument: str) -> Converter:
    width = whole("scytale", argument, 2, 40)
    return _moved("scytale", _columns, width, f"letters in rows of {width}, read column by column")


def _coded(text: str, codes: dict[str, str], gap: str, between: str) -> str:
    words = ([codes[letter] for letter in word if letter in codes] for word in text.lower().split())
    return between.join(gap.join(word) for word in words if word)


def _uncoded(text: str, letters: dict[str, str], gap: str, between: str, what: str) -> str:
    try:
        return " ".join("".join(letters[code] for code in word.split(gap)) for word in text.split(between))
    except KeyError as wrong:
        raise DataError(f"not {what}: {wrong.args[0]!r} in {text!r:.80}") from wrong


def _code(name: str, codes: dict[str, str], gap: str, between: str, domain: str, about: str) -> Converter:
    letters = {code: letter for letter, code in codes.items()}
    letters |= {code: letter for letter, code in codes.items() if letter != "k" or name != "tap_code"}
    return partly(
        name,
        lambda text: _coded(text, codes, gap, between),
        lambda text: _uncoded(text, letters, gap, between, about),
        domain,
        about,
    )


_A1Z26 = {letter: str(number) for number, letter in enumerate(_LOWER, start=1)}
_POLYBIUS = {letter: f"{at // 6 + 1}{at % 6 + 1}" for at, letter in enumerate(_SQUARE)}
_TAP = {letter: f"{'.' * (at // 5 + 1)} {'.' * (at % 5 + 1)}" for at, letter in enumerate(_TAPS)}
_TAP["k"] = _TAP["c"]
_BACON = {letter: f"{at:05b}".replace("0", "A").replace("1", "B") for at, letter in enumerate(_LOWER)}

_NEXT = str.maketrans(
    "".join(_ROWS) + "".join(_ROWS).upper(),
    "".join(row[1:] + row[:1] for row in _ROWS) + "".join(row[1:] + row[:1] for row in _ROWS).upper(),
)
_BEFORE = {new: old for old, new in _NEXT.items()}


def _pairs(text: str) -> str:
    """Its own inverse: the first letter of every two changes places with the second."""
    return re.sub("(?s)(.)(.)", r"\2\1", text)


CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        Converter("rot47", _rot47, _rot47, True, "every visible ASCII character moved by 47 places"),
        Converter("swapped_pairs", _pairs, _pairs, True, "every two neighbouring letters change places"),
        Converter(
            "keyboard",
            lambda text: text.translate(_NEXT),
            lambda text: text.translate(_BEFORE),
            True,
            "each letter becomes its right neighbour on the keyboard",
        ),
        _code("a1z26", _A1Z26, "-", " ", LOWER, "letters as numbers from 1 to 26"),
        _code("polybius", _POLYBIUS, " ", " / ", WORDS, "row and column in a square of six by six"),
        _code("tap_code", _TAP, "  ", " / ", r"[a-jl-z]+( [a-jl-z]+)*", "row and column as taps, c for k"),
        _code("bacon", _BACON, " ", " / ", LOWER, "Bacon's cipher: five A or B for each letter"),
    )
}

TUNABLES: dict[str, Tunable] = {
    one.name: one
    for one in (
        Tunable("caesar", _caesar, "3", "letters moved by so many places"),
        Tunable("vigenere", _vigenere, "lemon", "letters moved by those of a key in turn"),
        Tunable("rail_fence", _rail_fence, "3", "letters in a zigzag over so many rails"),
        Tunable("scytale", _scytale, "5", "letters in rows of that width, read column by column"),
    )
}
