"""Scripts: the same letters drawn otherwise. Look-alikes, styled alphabets, Braille, spelling alphabets, piled-up marks.

A reader sees the old word; a filter that compares characters does not, and a tokenizer cuts it into unusual pieces.
NFKC normalisation undoes fullwidth, circled and the mathematical alphabets, but neither look-alikes nor Braille.

Not covered: alphabets of other languages as transliteration; letters drawn of signs are in banner.py.
"""

from __future__ import annotations

import re
import string

from trivet.core.errors import ConfigError, DataError, did_you_mean
from trivet.robustness.converters.base import ASCII, LOWER, WORDS, Converter, Tunable, dice, lettered, partly, whole

_LOWER, _UPPER, _DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits


def _run(first: int, count: int) -> str:
    return "".join(map(chr, range(first, first + count)))


def _styled(name: str, upper: int, digits: int, about: str, holes: dict[str, str] | None = None) -> Converter:
    """A mathematical alphabet: capitals and small letters lie together, the digits elsewhere, some letters not at all."""
    plain, written = _UPPER + _LOWER, _run(upper, 52)
    if digits:
        plain, written = plain + _DIGITS, written + _run(digits, 10)
    for letter, other in (holes or {}).items():
        at = plain.index(letter)
        written = written[:at] + other + written[at + 1 :]
    return lettered(name, plain, written, about)


_VISIBLE = _run(0x21, 94)
_SMALL_CAPS = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘǫʀꜱᴛᴜᴠᴡxʏᴢ"
_FLIPPED = dict(zip(_LOWER + "?!.,'", "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹsʇnʌʍxʎz¿¡˙'‚", strict=True))
_FROM_FLIPPED = {new: old for old, new in _FLIPPED.items()}
_LOOKALIKES = {
    "cyrillic": ("aceopxyisjhABCEHKMOPTXSIJ", "асеорхуіѕјһАВСЕНКМОРТХЅІЈ"),
    "greek": ("aikoptuvwxyABEHIKMNOPTXYZ", "αικορτυνωχγΑΒΕΗΙΚΜΝΟΡΤΧΥΖ"),
    "armenian": ("ghnouqSULO", "ցհոօսզՏՍԼՕ"),
}


def _homoglyphs(argument: str) -> Converter:
    if argument not in _LOOKALIKES:
        known = ", ".join(_LOOKALIKES)
        near = did_you_mean(argument, _LOOKALIKES)
        raise ConfigError(f"homoglyphs({argument}): no such alphabet.{near} There are: {known}")
    return lettered(f"homoglyphs({argument})", *_LOOKALIKES[argument], f"letters that look alike, from {argument}")


def _zalgo(argument: str) -> Converter:
    marks = whole("zalgo", argument, 1, 12)

    def encode(text: str) -> str:
        chance = dice("zalgo", marks, text)
        return "".join(
            letter + "".join(chr(chance.randrange(0x300, 0x370)) for _ in range(marks)) if letter.isalnum() else letter
            for letter in text
        )

    about = f"{marks} combining marks piled on each letter"
    return partly(f"zalgo({marks})", encode, _unmarked, ASCII, about)


def _unmarked(text: str) -> str:
    """Without combining marks."""
    return re.sub("[\u0300-\u036f]", "", text)


def _struck(text: str) -> str:
    return "".join(letter + "\u0336" for letter in text)


def _upside_down(text: str) -> str:
    return "".join(_FLIPPED.get(letter, letter) for letter in reversed(text.lower()))


def _upright(text: str) -> str:
    return "".join(_FROM_FLIPPED.get(letter, letter) for letter in reversed(text))


_NATO = (
    "Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett", "Kilo", "Lima", "Mike",
    "November", "Oscar", "Papa", "Quebec", "Romeo", "Sierra", "Tango", "Uniform", "Victor", "Whiskey", "Xray", "Yankee",
    "Zulu", "Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine",
)  # fmt: skip
_SPELT = dict(zip(_LOWER + _DIGITS, _NATO, strict=True))
_FROM_SPELT = {word.lower(): letter for letter, word in _SPELT.items()}


def _to_nato(text: str) -> str:
    words = ([_SPELT[letter] for letter in word if letter in _SPELT] for word in text.lower().split())
    return " / ".join(" ".join(word) for word in words if word)


def _from_nato(text: str) -> str:
    try:
        return " ".join("".join(_FROM_SPELT[one.lower()] for one in word.split()) for word in text.split(" / "))
    except KeyError as wrong:
        raise DataError(f"not the NATO alphabet: {wrong.args[0]!r} in {text!r:.80}") from wrong


_DOTS = (
    "1", "12", "14", "145", "15", "124", "1245", "125", "24", "245", "13", "123", "134", "1345", "135", "1234", "12345",
    "1235", "234", "2345", "136", "1236", "2456", "1346", "13456", "1356",
)  # fmt: skip
_SIGNS = {".": "256", ",": "2", "?": "236", "!": "235", "'": "3", "-": "36", ";": "23", ":": "25"}


def _cell(dots: str) -> str:
    return chr(0x2800 + sum(1 << (int(dot) - 1) for dot in dots))


_BRAILLE = {letter: _cell(dots) for letter, dots in zip(_LOWER, _DOTS, strict=True)}
_BRAILLE |= {sign: _cell(dots) for sign, dots in _SIGNS.items()}
_FROM_BRAILLE = {cell: letter for letter, cell in _BRAILLE.items()}
_CAPITAL, _NUMBER, _LETTER, _BLANK = _cell("6"), _cell("3456"), _cell("56"), "\u2800"
_AS_DIGITS = dict(zip("1234567890", _LOWER, strict=False))
_FROM_DIGITS = {letter: digit for digit, letter in _AS_DIGITS.items()}


def _to_braille(text: str) -> str:
    """Grade one: a sign before capitals, one before a run of digits, one before a letter a to j that follows digits."""
    cells, number = [], False
    for letter in text:
        if letter in _AS_DIGITS:
            cells.append(("" if number else _NUMBER) + _BRAILLE[_AS_DIGITS[letter]])
            number = True
            continue
        lower = letter.lower()
        mark = _LETTER if number and letter in _FROM_DIGITS else ""
        number = False
        if letter in _UPPER:
            mark = _CAPITAL
        cells.append(mark + (_BLANK if letter == " " else _BRAILLE.get(lower, letter)))
    return "".join(cells)


def _from_braille(text: str) -> str:
    letters, number, capital = [], False, False
    for cell in text:
        if cell in (_NUMBER, _LETTER, _CAPITAL):
            number, capital = cell == _NUMBER, cell == _CAPITAL
            continue
        letter = " " if cell == _BLANK else _FROM_BRAILLE.get(cell, cell)
        number = number and letter in _FROM_DIGITS
        letters.append(_FROM_DIGITS[letter] if number else letter.upper() if capital else letter)
        capital = False
    return "".join(letters)


_SQUARED = str.maketrans(_LOWER + _UPPER, _run(0x1F130, 26) * 2)
_FROM_SQUARED = str.maketrans(_run(0x1F130, 26), _LOWER)

CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        lettered("fullwidth", " " + _VISIBLE, "\u3000" + _run(0xFF01, 94), "the wide forms of ASCII"),
        lettered("small_caps", _LOWER.replace("x", ""), _SMALL_CAPS.replace("x", ""), "small capitals"),
        _styled("bold", 0x1D400, 0x1D7CE, "mathematical bold"),
        _styled("italic", 0x1D468, 0, "mathematical bold italic"),
        _styled("cursive", 0x1D4D0, 0, "mathematical bold script"),
        _styled("fraktur", 0x1D56C, 0, "mathematical bold Fraktur"),
        _styled("sans", 0x1D5A0, 0x1D7E2, "mathematical sans-serif"),
        _styled("monospace", 0x1D670, 0x1D7F6, "mathematical monospace"),
        _styled(
            "double_struck",
            0x1D538,
            0x1D7D8,
            "mathematical double-struck",
            {"C": "ℂ", "H": "ℍ", "N": "ℕ", "P": "ℙ", "Q": "ℚ", "R": "ℝ", "Z": "ℤ"},
        ),
        lettered("circled", _UPPER + _LOWER + "123456789", _run(0x24B6, 52) + _run(0x2460, 9), "letters in circles"),
        partly(
            "squared",
            lambda text: text.translate(_SQUARED),
            lambda text: text.translate(_FROM_SQUARED),
            LOWER,
            "letters in squares; case is lost",
        ),
        partly("upside_down", _upside_down, _upright, r"[a-z?!. ]*", "turned on its head; case is lost"),
        partly("braille", _to_braille, _from_braille, r"[A-Za-z0-9 .,?!;:'-]*", "Braille, grade one"),
        partly("nato", _to_nato, _from_nato, WORDS, "the NATO spelling alphabet"),
        partly("struck", _struck, _unmarked, ASCII, "every letter struck through"),
    )
}

TUNABLES: dict[str, Tunable] = {
    one.name: one
    for one in (
        Tunable("homoglyphs", _homoglyphs, "cyrillic", "letters that look alike from another alphabet"),
        Tunable("zalgo", _zalgo, "2", "so many combining marks piled on each letter"),
    )
}
