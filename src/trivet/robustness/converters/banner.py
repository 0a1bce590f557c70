"""Banner: a text in large letters that are built of signs, three wide and five high, a word at a time.

To a tokenizer it is rows of signs; what it says is only there in two dimensions (Jiang et al. 2024, arXiv:2402.11753, hide
the words that matter so). The letters are drawn here.

Not covered: other fonts, and hiding single words of a sentence: `banner` takes all of it.
"""

from __future__ import annotations

from trivet.core.errors import DataError
from trivet.robustness.converters.base import WORDS, Converter, partly

_FONT = (
    ("abcdefghi", (
        ".#. ##. .## ##. ### ### .## #.# ###",
        "#.# #.# #.. #.# #.. #.. #.. #.# .#.",
        "### ##. #.. #.# ##. ##. #.# ### .#.",
        "#.# #.# #.. #.# #.. #.. #.# #.# .#.",
        "#.# ##. .## ##. ### #.. .## #.# ###",
    )),
    ("jklmnopqr", (
        "..# #.# #.. #.# ##. .#. ##. .#. ##.",
        "..# #.# #.. ### #.# #.# #.# #.# #.#",
        "..# ##. #.. ### #.# #.# ##. #.# ##.",
        "#.# #.# #.. #.# #.# #.# #.. ### ##.",
        ".#. #.# ### #.# #.# .#. #.. .## #.#",
    )),
    ("stuvwxyz0", (
        ".## ### #.# #.# #.# #.# #.# ### ###",
        "#.. .#. #.# #.# #.# #.# #.# ..# #.#",
        ".#. .#. #.# #.# ### .#. .#. .#. #.#",
        "..# .#. #.# #.# ### #.# .#. #.. #.#",
        "##. .#. ### .#. #.# #.# .#. ### ###",
    )),
    ("123456789", (
        ".#. ##. ##. #.# ### .## ### ### ###",
        "##. ..# ..# #.# #.. #.. ..# #.# #.#",
        ".#. .#. .#. ### ##. ### .#. ### ###",
        ".#. #.. ..# ..# ..# #.# .#. #.# ..#",
        "### ### ##. ..# ##. ### .#. ### ##.",
    )),
)  # fmt: skip
"""Nine letters side by side, a dot where nothing is."""
_WIDE = 4
_LETTERS = {
    letter: tuple(row[_WIDE * at : _WIDE * at + 3].replace(".", " ") for row in rows)
    for letters, rows in _FONT
    for at, letter in enumerate(letters)
}
_READ = {drawn: letter for letter, drawn in _LETTERS.items()}


def _drawn(text: str) -> str:
    """One block of five rows for each word; what the font lacks is left out."""
    words = ([_LETTERS[letter] for letter in word if letter in _LETTERS] for word in text.lower().split())
    return "\n\n".join("\n".join(" ".join(row) for row in zip(*word, strict=True)) for word in words if word)


def _read(text: str) -> str:
    words = []
    for block in text.split("\n\n"):
        rows = block.split("\n")
        starts = range(0, max(map(len, rows)), _WIDE)
        letters = [tuple(row[at : at + 3].ljust(3) for row in rows) for at in starts]
        unknown = [letter for letter in letters if letter not in _READ]
        if unknown:
            raise DataError("not a banner of the letters of this font:\n" + "\n".join(unknown[0]))
        words.append("".join(_READ[letter] for letter in letters))
    return " ".join(words)


CONVERTERS: dict[str, Converter] = {
    "banner": partly("banner", _drawn, _read, WORDS, "large letters built of signs"),
}
