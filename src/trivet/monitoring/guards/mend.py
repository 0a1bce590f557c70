"""Broken JSON, read the way it was meant, in one pass.

Takes text or a code fence around the JSON, single or curly quotes, bare keys, commas too many or too few, comments,
Python's literals, raw line breaks and quotes inside strings, and an end that was cut off. Every character is looked at a
bounded number of times: the package json-repair knows more mistakes, and takes 18 seconds for 15 KB of `{a:`.

Not covered: what cannot be told, such as a quote in a string that is followed by a comma; nesting beyond DEPTH.
"""

from __future__ import annotations

import re
from typing import Any

DEPTH = 100
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_SPACE = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_BARE = re.compile(r"[^\s,:{}\[\]\"]+(?: +[^\s,:{}\[\]\"]+)*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_QUOTES = {'"': '"', "'": "'", "“": "”", "”": "”", "‘": "’", "`": "`"}
_LITERALS = {"true": True, "false": False, "null": None, "none": None, "nan": None, "undefined": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
NOTHING = object()


def mend(text: str, opening: str = "{[") -> Any:
    """The value that a text holds, from the first of the opening brackets on; NOTHING where there is none."""
    fenced = _FENCE.search(text)
    for part in (fenced.group(1), text) if fenced else (text,):
        at = min((found for bracket in opening if (found := part.find(bracket)) >= 0), default=-1)
        if at >= 0:
            return _Reader(part, at).value(0)
    return NOTHING


class _Reader:
    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at

    def skip(self) -> str:
        """Past white space and comments; the character there, or nothing at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        if depth > DEPTH:
            raise RecursionError
        char = self.skip()
        if char == "{":
            return self.object(depth)
        if char == "[":
            return self.array(depth)
        if char in _QUOTES:
            return self.string(key=False)
        return self.bare()

    def object(self, depth: int) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while (char := self.skip()) and char != "}":
            if char in ",:":
                self.at += 1
            elif char == "]":  # closes an array further out, or nothing
                return found
            elif char in "{[":  # a value without a key
                self.value(depth + 1)
            else:
                key = self.string(key=True) if char in _QUOTES else str(self.word())
                if self.skip() == ":":
                    self.at += 1
                    found[key] = None if self.skip() in ("", ",", "}") else self.value(depth + 1)
                elif self.text[self.at : self.at + 1] in _QUOTES:
                    found[key] = self.value(depth + 1)
        self.at += 1
        return found

    def array(self, depth: int) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while (char := self.skip()) and char != "]":
            if char in ",:":
                self.at += 1
            elif char == "}":
                return found
            else:
                found.append(self.value(depth + 1))
        self.at += 1
        return found

    def word(self) -> str:
        """What stands without quotes; at least one character is taken."""
        match = _BARE.match(self.text, self.at)
        self.at = match.end() if match else self.at + 1
        return match.group() if match else ""

    def bare(self) -> Any:
        number = _NUMBER.match(self.text, self.at)
        if number and not (self.text[number.end() : number.end() + 1].strip(" ,:{}[]\n\r\t/#")):
            self.at = number.end()
            return float(number.group()) if re.search(r"[.eE]", number.group()) else _whole(number.group())
        word = self.word()
        return _LITERALS.get(word.lower(), word)

    def string(self, key: bool) -> str:
        """Up to the quote that ends it: one with a sign behind it that can follow a string, not any quote."""
        close = _QUOTES[self.text[self.at]]
        start = self.at = self.at + 1
        pieces: list[str] = []
        stops = re.compile(r"[\\" + re.escape(close) + "]")
        while stop := stops.search(self.text, self.at):
            pieces.append(self.text[self.at : stop.start()])
            self.at = stop.end()
            if stop.group() == "\\":
                pieces.append(self.escape())
            elif self.ends(key):
                return "".join(pieces)
            else:
                pieces.append(close)
        pieces.append(self.text[max(start, self.at) :])
        self.at = len(self.text)
        return "".join(pieces).rstrip() if not key else "".join(pieces)

    def ends(self, key: bool) -> bool:
        """Whether the quote just passed ends its string."""
        text, at = self.text, self.at
        while at < len(text) and text[at].isspace():
            at += 1
        follows = text[at : at + 1]
        if key or not follows or follows in ",}]:":
            return True
        return (follows in _QUOTES and at > self.at) or (follows in "/#" and at > self.at)

    def escape(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if char == "u" and re.fullmatch(r"[0-9A-Fa-f]{4}", digits := self.text[self.at : self.at + 4]):
            self.at += 4
            code = int(digits, 16)
            low = re.match(r"\\u(d[c-f][0-9a-f]{2})", self.text[self.at : self.at + 6], re.IGNORECASE)
            if 0xD800 <= code < 0xDC00 and low:
                self.at += 6
                return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00)
            return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
        return _ESCAPES.get(char, char)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)
