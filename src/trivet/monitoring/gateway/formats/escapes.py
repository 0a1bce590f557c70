r"""Arguments of tools as guards should see them: JSON text without the escapes that hide words from a pattern.

A model may write `bob\u0040example.com` or `brew\nthe poison`, and whoever calls the tool reads the words. So inside
strings escapes become the characters they stand for, but for quotes and backslashes, which the JSON needs. On the way out
control characters become escapes again. White space between values becomes blanks, so that every control character on
the way out is one of a string. What is released is JSON of the same meaning, not the same bytes.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.formats.shape import Step, Stream, is_free

_INSIDE = re.compile(r'\\u[0-9a-fA-F]{4}|\\u[0-9a-fA-F]{0,3}\Z|\\\Z|\\.|"', re.DOTALL)
_OUTSIDE = re.compile(r'"|[\x00-\x1f]')
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/"}
_OUT = {code: f"\\u{code:04x}" for code in range(0x20)} | {
    ord(char): f"\\{name}" for name, char in _PLAIN.items() if char < " "
}


def escaped(text: str) -> str:
    """A text of guards as JSON again."""
    return text.translate(_OUT)


def unescaped(text: str) -> str:
    """A whole JSON text as guards should see it."""
    reader = Unescaping()
    return reader.feed(text) + reader.finish()


class Unescaping:
    """The same for a text that comes in pieces; an escape that is not all there yet is kept back."""

    def __init__(self) -> None:
        self._rest = ""
        self._inside = False

    def feed(self, text: str) -> str:
        return self._read(self._rest + text, last=False)

    def finish(self) -> str:
        return self._read(self._rest, last=True)

    def _read(self, text: str, *, last: bool) -> str:
        out, at, half = [], 0, ""  # half: the first escape of a surrogate pair, waiting for its second
        self._rest = ""
        while token := (_INSIDE if self._inside else _OUTSIDE).search(text, at):
            found, between = token.group(), text[at : token.start()]
            if half and (between or not found.startswith("\\u")) and found != "\\":
                out.append(half)
                half = ""
            out.append(between)
            at = token.end()
            if found == '"':
                self._inside = not self._inside
                out.append(found)
            elif not self._inside:
                out.append(" ")
            elif at == len(text) and not last and (found == "\\" or (found[1] == "u" and len(found) < 6)):
                self._rest, half = half + found, ""
            elif len(found) == 6:
                half = self._code(found, half, out)
            else:
                out.append(half + _PLAIN.get(found[1:], found))
                half = ""
        if half and at == len(text) and not last:
            self._rest, half = half, ""
        return "".join((*out, half, text[at:]))

    def _code(self, found: str, half: str, out: list[str]) -> str:
        r"""Put out what `\uXXXX` stands for; a first half of a pair is returned, to wait for the second."""
        code = int(found[2:], 16)
        if half and 0xDC00 <= code < 0xE000:
            out.append(chr(0x10000 + ((int(half[2:], 16) - 0xD800) << 10) + code - 0xDC00))
            return ""
        out.append(half)
        if 0xD800 <= code < 0xDC00:
            return found
        out.append(found if code in (0x22, 0x5C) or 0xDC00 <= code < 0xE000 else chr(code))
        return ""


class _Step(NamedTuple):
    release: str
    stopped: bool


class Unescaped:
    """A stream of arguments: guarded without escapes, released as JSON. Where nothing can change it, it passes as it is."""

    def __init__(self, inner: Stream) -> None:
        self._inner: Any = inner
        self._reader = Unescaping()
        self.passthrough = is_free(inner)
        self._passed: list[str] = []

    async def feed(self, delta: str) -> Step:
        self._passed.append(delta)
        step = await self._inner.feed(self._reader.feed(delta))
        return self._out(step, delta)

    async def finish(self) -> Step:
        if rest := self._reader.finish():
            step = await self._inner.feed(rest)
            if step.stopped:
                return self._out(step, "")
            end = await self._inner.finish()
            return self._out(_Step(step.release + end.release, end.stopped), "")
        return self._out(await self._inner.finish(), "")

    def _out(self, step: Step, delta: str) -> Step:
        return _Step(delta if self.passthrough else escaped(step.release), step.stopped)

    @property
    def decision(self) -> Decision:
        found: Decision = self._inner.decision
        return found

    @property
    def text(self) -> str:
        return "".join(self._passed) if self.passthrough else escaped(self._inner.text)
