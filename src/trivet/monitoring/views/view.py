"""One way to read a text, and how its characters lead back to the original.

A view is a string made of stretches of another view: some kept as they were, some put in place of others. Only the edges of
the stretches are stored, so a view of 100 KB with one change costs three numbers, and offsets are looked up by bisection when
somebody asks. Views build on views; the original is the one without a base.

`patched` makes the view that a rare change calls for: not the whole text again but the neighbourhood of every change, so that
guards read a few hundred characters more and not everything once more. A finding that holds a change lies in its patch if it
begins and ends within CONTEXT characters of it; one that holds none was in the base already.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

CONTEXT = 160


class Change(NamedTuple):
    """`text` stands in place of what is at start:end of the base; empty where that is left out."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Edges:
    """Stretch i begins at `at[i]` of the view and came from `starts[i]:ends[i]` of the base; an end of -1: kept as it was."""

    at: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        first, last = bisect_right(self.at, start) - 1, bisect_right(self.at, end - 1) - 1
        a, a_end = self._one(first, start)
        b, b_end = self._one(last, end - 1)
        return min(a, b), max(a_end, b_end)

    def _one(self, stretch: int, place: int) -> tuple[int, int]:
        if self.ends[stretch] >= 0:
            return self.starts[stretch], self.ends[stretch]
        start = self.starts[stretch] + place - self.at[stretch]
        return start, start + 1


@dataclass(frozen=True, slots=True)
class View:
    """A name, a text, and where it came from: `edges` into `base` (no edges: character for character)."""

    name: str
    text: str
    base: View | None = None
    edges: Edges | None = None

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original behind `text[start:end]` (which must not be empty)."""
        view: View | None = self
        while view is not None:
            if view.edges is not None:
                start, end = view.edges.origin(start, end)
            view = view.base
        return start, end


class Builder:
    """Puts a view together from left to right."""

    __slots__ = ("_at", "_ends", "_parts", "_starts", "base", "length")

    def __init__(self, base: View) -> None:
        self.base = base
        self.length = 0
        self._parts: list[str] = []
        self._at: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []

    def keep(self, start: int, end: int) -> None:
        """The base's own characters."""
        if start < end:
            self._add(self.base.text[start:end], start, -1)

    def put(self, text: str, start: int, end: int) -> None:
        """Other text, that stands for the base's start:end."""
        if text:
            self._add(text, start, end)

    def _add(self, text: str, start: int, end: int) -> None:
        self._parts.append(text)
        self._at.append(self.length)
        self._starts.append(start)
        self._ends.append(end)
        self.length += len(text)

    def view(self, name: str) -> View:
        return View(
            name, "".join(self._parts), self.base, Edges(tuple(self._at), tuple(self._starts), tuple(self._ends))
        )


def replaced(base: View, name: str, changes: Iterable[Change]) -> View:
    """The whole base with changes made. They are in order and do not overlap."""
    builder, at = Builder(base), 0
    for start, end, text in changes:
        builder.keep(at, start)
        builder.put(text, start, end)
        at = end
    builder.keep(at, len(base.text))
    return builder.view(name)


def patched(base: View, name: str, changes: Iterable[Change]) -> View:
    """The neighbourhood of every change, changed; a line break (of the base's next character) between two of them."""
    builder, size = Builder(base), len(base.text)
    at = stop = 0
    for start, end, text in changes:
        if start - CONTEXT > stop:
            if builder.length:
                builder.keep(at, stop)
                builder.put("\n", stop, stop + 1)
            at = start - CONTEXT
        builder.keep(at, start)
        builder.put(text, start, end)
        at, stop = end, min(size, end + CONTEXT)
    builder.keep(at, stop)
    return builder.view(name)
