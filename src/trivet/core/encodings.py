"""Reversible spellings of a text: what attackers wrap requests in, what guards undo, and what the town's models read.

Pure `str -> str`. ROT13, Base64 and hex have exact inverses; leetspeak and pig latin lose letter case or spelling.
"""

from __future__ import annotations

import base64 as _base64
import codecs
import re

_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_WORD = re.compile(r"[A-Za-z]+")
_ONSET = re.compile(r"^(?:[^aeiouyAEIOUY]*qu|[^aeiouAEIOU][^aeiouyAEIOUY]*)", re.IGNORECASE)


def base64(text: str) -> str:
    """RFC 4648 Base64 of the UTF-8 bytes."""
    return _base64.b64encode(text.encode()).decode()


def unbase64(text: str) -> str:
    """The inverse of `base64`. Raises ValueError when the text is not Base64 of UTF-8."""
    return _base64.b64decode(text, validate=True).decode()


def rot13(text: str) -> str:
    """Every Latin letter moved thirteen places; its own inverse."""
    return codecs.encode(text, "rot13")


def hexadecimal(text: str) -> str:
    """The UTF-8 bytes in lower-case hexadecimal digits."""
    return text.encode().hex()


def unhexadecimal(text: str) -> str:
    """The inverse of `hexadecimal`. Raises ValueError when the text is not hex of UTF-8."""
    return bytes.fromhex(text).decode()


def leetspeak(text: str) -> str:
    """a e i o s t as 4 3 1 0 5 7. Not invertible: digits of the original are indistinguishable."""
    return text.translate(_LEET)


def pig_latin(text: str) -> str:
    """The leading consonants of each word moved behind it with `ay`; words that start with a vowel get `way`."""

    def turn(found: re.Match[str]) -> str:
        word = found.group()
        onset = _ONSET.match(word)
        return word + "way" if onset is None else word[onset.end() :] + onset.group().lower() + "ay"

    return _WORD.sub(turn, text)
