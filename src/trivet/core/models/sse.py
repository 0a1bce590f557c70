"""Server-sent events from bytes that may be cut anywhere: within a character, a line ending or a field.

Follows the parsing rules of the WHATWG HTML standard, section 9.2.6; `id` and `retry` are left away, nobody here reconnects.
Departures: an event whose closing blank line never came is still handed out at the end, because some servers leave it
away; a comment is handed out too, because it is how servers keep a connection alive; an event may not be longer than
`limit` bytes, because whoever sends an endless line must not be given endless memory.
"""

from __future__ import annotations

from typing import NamedTuple

from trivet.core.errors import TargetError

LIMIT = 16 << 20
"""Bytes that one event may hold: far above any reply, far below what would hurt."""

COMMENT = ":"


class Frame(NamedTuple):
    """One event. `event` is the name it was sent under, or COMMENT for what is only there to keep a connection alive."""

    event: str
    data: str


class Frames:
    """Feed it bytes, get the events that are complete. Every way to cut the same bytes gives the same events."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # of the line under way; joined once, so that a long line costs linear time
        self._begun = self._size = 0  # bytes of the line under way, and of the event's lines before it
        self._after_cr = False
        self._first = True
        self._event = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """Raises TargetError where an event grows longer than allowed."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the second half of a line ending that was cut in two
            self._after_cr = False
        frames: list[Frame] = []
        if b"\n" not in chunk and b"\r" not in chunk:
            self._parts.append(chunk)
            self._begun += len(chunk)
            self._bounded(self._begun)
            return frames
        lines = b"".join((*self._parts, chunk)).splitlines(keepends=True)
        self._after_cr = lines[-1].endswith(b"\r")
        self._parts = [] if lines[-1].endswith((b"\n", b"\r")) else [lines.pop()]
        for line in lines:
            self._line(line.rstrip(b"\r\n"), frames)
        self._begun = sum(map(len, self._parts))
        self._bounded(self._begun)
        return frames

    def end(self) -> list[Frame]:
        """What was left when the bytes ended."""
        frames: list[Frame] = []
        if rest := b"".join(self._parts):
            self._line(rest, frames)
        self._line(b"", frames)
        self._parts = []
        return frames

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            if self._data:
                frames.append(Frame(_text(self._event), _text(b"\n".join(self._data))))
            self._event, self._data, self._size = b"", [], 0
            return
        self._bounded(len(line))
        self._size += len(line)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif not name:
            frames.append(Frame(COMMENT, _text(value)))

    def _bounded(self, line: int) -> None:
        if self._size + line > self._limit:
            raise TargetError(f"an event of the stream is longer than the {self._limit} bytes allowed")


class EventStream:
    """The data of the events alone, for those who need no more."""

    def __init__(self) -> None:
        self._frames = Frames()

    def feed(self, chunk: bytes) -> list[str]:
        return [frame.data for frame in self._frames.feed(chunk) if frame.event != COMMENT]

    def end(self) -> list[str]:
        return [frame.data for frame in self._frames.end() if frame.event != COMMENT]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
