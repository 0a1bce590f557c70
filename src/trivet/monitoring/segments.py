"""Where a growing text is cut, and how much around a cut must be seen: by the text alone, never by how it arrives.

A stream is checked in segments. If the cuts followed the pieces in which a text happens to come, the same reply could
pass in one cutting and be stopped in another. So every rule here looks only at the characters before the place that it
decides on, and answers None until those are there.

A cut stands after white space (or after a character of a script written without spaces), never inside a run of other
characters, because an address, a number or a Base64 payload is such a run; only a run longer than HARD is cut all the
same. Segments are short at first, for an early first word, and grow with the text, so that the work stays linear with
a small factor. With `sentences`, cuts stand at the ends of sentences or lines, for guards that judge meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HARD = 2048
"""A run without a break is followed this far and no farther."""

_SLACK = 240
"""A sentence that does not end within this many characters more is cut at the next break."""

BREAK = re.compile(
    r"[\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\U00020000-\U0003ffff]"
)
_SENTENCE = re.compile(r"[.!?\u2026][\"'\u2019\u201d)\]]{0,3}\s|[\n\u3002\uff01\uff1f]")
_TAIL = 6


@dataclass(slots=True)
class Text:
    """The end of a growing text, as much of it as may still be looked at. All offsets are those of the whole text."""

    tail: str = ""
    base: int = 0
    ended: bool = False

    @property
    def length(self) -> int:
        return self.base + len(self.tail)

    def __getitem__(self, stretch: slice) -> str:
        return self.tail[stretch.start - self.base : stretch.stop - self.base]

    def forget(self, before: int) -> None:
        """Drop what lies before an offset, once it is worth the copying."""
        if before - self.base > 2 * HARD:
            self.tail, self.base = self.tail[before - self.base :], before


class Cutter:
    """Finds the cuts of a text one after the other. `next(text)` is where the segment that starts at `start` ends."""

    __slots__ = ("_no_break", "_no_end", "sentences", "start")

    def __init__(self, *, sentences: bool) -> None:
        self.sentences = sentences
        self.start = 0
        # How far has been looked already, so that a text that comes letter by letter is looked at once.
        self._no_end = self._no_break = 0

    def least(self) -> int:
        """The shortest a segment may be: by where it starts, so that long texts are cut into fewer pieces."""
        if self.sentences:
            return min(240, max(20, self.start // 2))
        return min(256, max(24, self.start // 6))

    def next(self, text: Text) -> int | None:
        """The end of the segment at `start`, or None while that cannot be known; does not move on (see `advance`)."""
        if self.start >= text.length:
            return None
        first = self.start + self.least()
        if self.sentences:
            last = first + _SLACK
            if end := self._sentence(text, first, last):
                return end
            first = last
        return self._break(text, first)

    def advance(self, end: int) -> None:
        self.start, self._no_end, self._no_break = end, 0, 0

    def _sentence(self, text: Text, first: int, last: int) -> int | None:
        at = max(first - _TAIL, self._no_end, self.start)
        while match := _SENTENCE.search(text.tail, at - text.base, min(last, text.length) - text.base):
            end = match.end() + text.base
            if end >= first:
                return end
            at = match.start() + text.base + 1
        self._no_end = max(self.start, min(last, text.length) - _TAIL)
        return None

    def _break(self, text: Text, first: int) -> int | None:
        limit = first + HARD
        at = max(first - 1, self._no_break)
        match = BREAK.search(text.tail, at - text.base, min(limit, text.length) - text.base)
        if match:
            return match.end() + text.base
        if text.length >= limit:
            return limit
        self._no_break = max(at, text.length)
        return text.length if text.ended else None


def back(text: Text, start: int, reach: int) -> int:
    """Where to start looking for what may reach a segment: at least `reach` before it, at the start of a run."""
    edge = start - reach
    if edge <= 0:
        return 0
    low = max(0, edge - HARD)
    match = BREAK.search(text[low:edge][::-1])
    return edge - match.start() if match else low


def ahead(text: Text, end: int, reach: int) -> int | None:
    """How far to look for what a segment may reach: at least `reach` beyond it, to the end of a run; None: not there yet."""
    if reach == 0:
        return end
    edge = end + reach
    if match := BREAK.search(
        text.tail, min(edge - 1, text.length) - text.base, min(edge + HARD, text.length) - text.base
    ):
        return match.end() + text.base
    if text.length >= edge + HARD:
        return edge + HARD
    return text.length if text.ended else None
