"""Server-sent events from bytes that may be cut anywhere: within a character, a line ending or a field.

Follows the parsing rules of the WHATWG HTML standard, section 9.2.6, of which only `data` matters here. One departure:
an event whose closing blank line never came is still handed out at the end, because some servers leave it away.
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventStream:
    """Feed it bytes, get the data of the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        self._rest += chunk
        events = []
        start = 0
        for end in _LINE_END.finditer(self._rest):
            if end.group() == b"\r" and end.end() == len(self._rest):
                break  # its \n may be in the next chunk
            events += self._line(self._rest[start : end.start()])
            start = end.end()
        self._rest = self._rest[start:]
        return events

    def end(self) -> list[str]:
        """What was left when the bytes ended."""
        last = self._line(self._rest.rstrip(b"\r")) if self._rest else []
        self._rest = b""
        return last + self._line(b"")

    def _line(self, line: bytes) -> list[str]:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif not line and self._data:
            text = b"\n".join(self._data).decode("utf-8", "replace")
            self._data = []
            return [text]
        return []
