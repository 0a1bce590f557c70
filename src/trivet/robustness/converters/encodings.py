"""Encodings: a text as the codes of its bytes or letters, and the oldest tricks of writing.

Not covered: ciphers (ciphers.py), invisible characters (invisible.py), look-alike letters (scripts.py), anything that
needs a model (written.py). `converter` finds the converters of every room; it stands here too because here it began.
"""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
import string
from collections.abc import Callable
from urllib.parse import quote, unquote

from trivet.core import encodings
from trivet.core.errors import DataError
from trivet.robustness.converters.base import ASCII, LOWER, WORDS, Converter, partly

__all__ = ["CONVERTERS", "Converter", "converter"]

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


def _decoder(what: str, back: Callable[[str], str]) -> Callable[[str], str]:
    """`back`, with a DataError that says what the text is not where it fails."""

    def decode(text: str) -> str:
        try:
            return back(text)
        except (ValueError, binascii.Error) as wrong:  # UnicodeDecodeError is a ValueError
            raise DataError(f"not {what}: {text!r:.80} ({wrong})") from wrong

    return decode


def _numbers(base: int, form: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """The bytes as numbers of that base with spaces between, and back."""

    def back(text: str) -> str:
        return bytes(int(number, base) for number in text.split()).decode()

    return lambda text: " ".join(format(byte, form) for byte in text.encode()), back


_to_binary, _from_binary = _numbers(2, "08b")
_to_decimal, _from_decimal = _numbers(10, "d")
_to_octal, _from_octal = _numbers(8, "o")


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


def _to_escapes(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _from_escapes(text: str) -> str:
    if not re.fullmatch(r"(?:\\u[0-9a-fA-F]{4})*", text):
        raise ValueError("something stands outside of \\uXXXX")
    return bytes.fromhex(text.replace("\\u", "")).decode("utf-16-be")


def _to_entities(text: str) -> str:
    return "".join(f"&#{ord(letter)};" for letter in text)


def _to_quoted(text: str) -> str:
    """Every byte written out, soft line breaks left out: one line stays one line."""
    return "".join(f"={byte:02X}" for byte in text.encode())


CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        Converter("base64", encodings.base64, _decoder("Base64 of UTF-8 text", encodings.unbase64), True, "Base64"),
        Converter(
            "base32",
            lambda text: base64.b32encode(text.encode()).decode(),
            _decoder("Base32 of UTF-8 text", lambda text: base64.b32decode(text).decode()),
            True,
            "Base32",
        ),
        Converter(
            "hex",
            encodings.hexadecimal,
            _decoder("hexadecimal UTF-8 text", encodings.unhexadecimal),
            True,
            "bytes as hexadecimal digits",
        ),
        Converter(
            "binary",
            _to_binary,
            _decoder("groups of eight binary digits", _from_binary),
            True,
            "bytes as groups of eight binary digits",
        ),
        Converter("url", lambda text: quote(text, safe=""), unquote, True, "percent encoding of URLs"),
        Converter("rot13", encodings.rot13, encodings.rot13, True, "letters moved by thirteen places"),
        Converter("atbash", _atbash, _atbash, True, "the alphabet turned round: a is z"),
        Converter("reversed", _reversed, _reversed, True, "the letters from last to first"),
        Converter("reversed_words", _reversed_words, _reversed_words, True, "the words from last to first"),
        partly("spaced", _spaced, _unspaced, r"\S+( \S+)*", "a space between all letters"),
        partly("leetspeak", encodings.leetspeak, _unleet, LOWER, "digits for vowels, s and t"),
        partly("morse", _to_morse, _from_morse, WORDS, "Morse code"),
        partly("pig_latin", encodings.pig_latin, None, "", "first consonants moved behind the word, with `ay`"),
        Converter(
            "base16",
            lambda text: text.encode().hex().upper(),
            _decoder("Base16 of UTF-8 text", lambda text: base64.b16decode(text).decode()),
            True,
            "Base16: hexadecimal in capitals",
        ),
        Converter(
            "base64url",
            lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
            _decoder("URL-safe Base64 of UTF-8 text", lambda text: base64.urlsafe_b64decode(text).decode()),
            True,
            "Base64 with the alphabet that is safe in URLs",
        ),
        Converter(
            "base85",
            lambda text: base64.b85encode(text.encode()).decode(),
            _decoder("Base85 of UTF-8 text", lambda text: base64.b85decode(text).decode()),
            True,
            "Base85",
        ),
        Converter("decimal", _to_decimal, _decoder("decimal bytes", _from_decimal), True, "bytes as decimal numbers"),
        Converter("octal", _to_octal, _decoder("octal bytes", _from_octal), True, "bytes as octal numbers"),
        Converter(
            "unicode", _to_escapes, _decoder("\\uXXXX escapes", _from_escapes), True, "\\uXXXX escapes, as in JSON"
        ),
        partly("html", _to_entities, html.unescape, ASCII, "numeric HTML entities"),
        Converter(
            "quoted_printable",
            _to_quoted,
            _decoder("quoted-printable UTF-8 text", lambda text: quopri.decodestring(text.encode()).decode()),
            True,
            "quoted-printable, every byte written out",
        ),
    )
}
"""The converters of this room by name."""


def converter(name: str) -> Converter:
    """The converter of that name in any room: see library.converter."""
    from trivet.robustness.converters import library  # it imports this file

    return library.converter(name)
