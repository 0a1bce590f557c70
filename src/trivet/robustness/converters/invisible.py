"""Invisible: characters that no screen shows, put between the letters, or carrying the whole text.

Put between letters they break the words that a filter looks for; as a carrier they say nothing to a person and may be
read by a model that sees their code points (tag characters are ASCII moved by a constant). A target that strips them
sees the plain text, or nothing at all.

Not covered: the instruction that there is something to read, which is the attack's; control characters of terminals.
"""

from __future__ import annotations

import re

from trivet.core.errors import DataError
from trivet.robustness.converters.base import ASCII, Converter, partly

_CARRIER = "🙂"
_RLO, _PDF = "\u202e", "\u202c"


def _between(name: str, mark: str, about: str) -> Converter:
    return partly(name, lambda text: mark.join(text), lambda text: text.replace(mark, ""), ASCII, about)


def _bits(name: str, zero: str, one: str, about: str) -> Converter:
    """The bits of the UTF-8 bytes as two characters that are not seen."""

    def encode(text: str) -> str:
        return "".join(one if bit == "1" else zero for byte in text.encode() for bit in f"{byte:08b}")

    def decode(text: str) -> str:
        digits = "".join("1" if letter == one else "0" for letter in text if letter in (zero, one))
        try:
            return bytes(int(digits[at : at + 8], 2) for at in range(0, len(digits), 8)).decode()
        except UnicodeDecodeError as wrong:
            raise DataError(f"not UTF-8 in invisible bits: {text!r:.80} ({wrong})") from wrong

    return Converter(name, encode, decode, True, about)


_TO_TAGS = {code: code + 0xE0000 for code in range(0x20, 0x7F)}
_FROM_TAGS = {tag: code for code, tag in _TO_TAGS.items()}


def _to_selectors(text: str) -> str:
    """One variation selector for each byte, behind a character that is seen."""
    return _CARRIER + "".join(chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in text.encode())


def _from_selectors(text: str) -> str:
    codes = [ord(letter) for letter in re.findall("[\ufe00-\ufe0f\U000e0100-\U000e01ef]", text)]
    try:
        return bytes(code - 0xFE00 if code < 0xFE10 else code - 0xE0100 + 16 for code in codes).decode()
    except UnicodeDecodeError as wrong:
        raise DataError(f"not UTF-8 in variation selectors: {text!r:.80} ({wrong})") from wrong


def _to_bidi(text: str) -> str:
    """Stored backwards and shown forwards."""
    return _RLO + text[::-1] + _PDF


def _from_bidi(text: str) -> str:
    if not (text.startswith(_RLO) and text.endswith(_PDF)):
        raise DataError(f"not a text between RIGHT-TO-LEFT OVERRIDE and its end: {text!r:.80}")
    return text[1:-1][::-1]


CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        _between("zero_width", "\u200b", "zero-width spaces between all letters"),
        _between("soft_hyphens", "\u00ad", "soft hyphens between all letters"),
        _between("word_joiners", "\u2060", "word joiners between all letters"),
        _between("bidi_marks", "\u200e", "left-to-right marks between all letters"),
        partly(
            "tags",
            lambda text: text.translate(_TO_TAGS),
            lambda text: text.translate(_FROM_TAGS),
            ASCII,
            "tag characters: ASCII that no screen shows",
        ),
        Converter(
            "variation_selectors",
            _to_selectors,
            _from_selectors,
            True,
            "bytes as variation selectors behind an emoji",
        ),
        _bits("zero_width_bits", "\u200b", "\u200c", "bits as two zero-width characters"),
        _bits("operator_bits", "\u2062", "\u2064", "bits as invisible times and invisible plus"),
        Converter("bidi", _to_bidi, _from_bidi, True, "stored backwards, shown forwards by an override"),
    )
}
