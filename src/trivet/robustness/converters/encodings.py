"""Reversible rewritings of a text: pure `str -> str`, deterministic, composable by name.

A converter is not an attack: it hides words from filters that read the surface, and succeeds only when the target can
read the result. `decode` is the inverse where one exists, and gives back every character where `exact` is true; else
it gives back the words, without what the encoding drops (case, punctuation, digits that stand for letters).

Not covered: ciphers with a secret key, invisible characters and look-alike letters, anything that needs a model.
"""

from __future__ import annotations

import base64
import binascii
import string
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from trivet.core import encodings
from trivet.core.errors import ConfigError, DataError, did_you_mean

_FROM_LEET = str.maketrans("431057", "aeiost")
_ATBASH = str.maketrans(
    string.ascii_lowercase + string.ascii_uppercase, string.ascii_lowercase[::-1] + string.ascii_uppercase[::-1]
)
_CODES = (
    ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---",
    ".--.", "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----", ".----", "..---",
    "...--", "....-", ".....", "-....", "--...", "---..", "----.",
)  # fmt: skip
_MORSE = dict(zip(string.ascii_lowercase + string.digits, _CODES, strict=True))
_FROM_MORSE = {code: letter for letter, code in _MORSE.items()}


@dataclass(frozen=True, slots=True)
class Converter:
    """One rewriting. Where `exact`, `decode(encode(text)) == text` for every text."""

    name: str
    encode: Callable[[str], str]
    decode: Callable[[str], str] | None
    exact: bool = True


def _from_base64(text: str) -> str:
    try:
        return encodings.unbase64(text)
    except ValueError as wrong:
        raise DataError(f"not Base64 of UTF-8 text: {text!r:.80} ({wrong})") from wrong


def _to_base32(text: str) -> str:
    return base64.b32encode(text.encode()).decode()


def _from_base32(text: str) -> str:
    try:
        return base64.b32decode(text).decode()
    except (binascii.Error, UnicodeDecodeError) as wrong:
        raise DataError(f"not Base32 of UTF-8 text: {text!r:.80} ({wrong})") from wrong


def _from_hex(text: str) -> str:
    try:
        return encodings.unhexadecimal(text)
    except ValueError as wrong:
        raise DataError(f"not hexadecimal UTF-8 text: {text!r:.80} ({wrong})") from wrong


def _to_binary(text: str) -> str:
    return " ".join(f"{byte:08b}" for byte in text.encode())


def _from_binary(text: str) -> str:
    try:
        return bytes(int(byte, 2) for byte in text.split()).decode()
    except ValueError as wrong:
        raise DataError(f"not groups of eight binary digits: {text!r:.80} ({wrong})") from wrong


def _atbash(text: str) -> str:
    return text.translate(_ATBASH)


def _unleet(text: str) -> str:
    return text.translate(_FROM_LEET)


def _reversed(text: str) -> str:
    return text[::-1]


def _reversed_words(text: str) -> str:
    return " ".join(reversed(text.split(" ")))


def _spaced(text: str) -> str:
    return "  ".join(" ".join(word) for word in text.split(" "))


def _unspaced(text: str) -> str:
    return " ".join(word.replace(" ", "") for word in text.split("  "))


def _to_morse(text: str) -> str:
    words = ([_MORSE[letter] for letter in word if letter in _MORSE] for word in text.lower().split())
    return " / ".join(" ".join(word) for word in words if word)


def _from_morse(text: str) -> str:
    try:
        return " ".join("".join(_FROM_MORSE[code] for code in word.split()) for word in text.split(" / "))
    except KeyError as wrong:
        raise DataError(f"not Morse code: {wrong.args[0]!r} in {text!r:.80}") from wrong


CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        Converter("base64", encodings.base64, _from_base64),
        Converter("base32", _to_base32, _from_base32),
        Converter("hex", encodings.hexadecimal, _from_hex),
        Converter("binary", _to_binary, _from_binary),
        Converter("url", lambda text: quote(text, safe=""), unquote),
        Converter("rot13", encodings.rot13, encodings.rot13),
        Converter("atbash", _atbash, _atbash),
        Converter("reversed", _reversed, _reversed),
        Converter("reversed_words", _reversed_words, _reversed_words),
        Converter("spaced", _spaced, _unspaced, False),
        Converter("leetspeak", encodings.leetspeak, _unleet, False),
        Converter("morse", _to_morse, _from_morse, False),
        Converter("pig_latin", encodings.pig_latin, None, False),
    )
}


def converter(name: str) -> Converter:
    """The converter of that name, or of a chain like `rot13+base64` (left to right; the inverse runs right to left)."""
    parts = [_known(part) for part in name.split("+")]
    inverses = [part.decode for part in reversed(parts) if part.decode is not None]
    decode = _chain(inverses) if len(inverses) == len(parts) else None
    return Converter(name, _chain([part.encode for part in parts]), decode, all(part.exact for part in parts))


def _known(name: str) -> Converter:
    try:
        return CONVERTERS[name]
    except KeyError:
        known = ", ".join(CONVERTERS)
        raise ConfigError(f'no converter "{name}".{did_you_mean(name, CONVERTERS)} There are: {known}') from None


def _chain(steps: list[Callable[[str], str]]) -> Callable[[str], str]:
    def run(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return run
