"""Many regular expressions as one linear-time automaton, checked when they are given and not when they are needed.

RE2 matches in time linear in the text whatever the pattern, so no text can hang a guard; the price is that it has no look-around and
no back-references. A Set tells in one pass which patterns occur at all (nearly always none); only those are then searched for their
places. Texts are matched as UTF-8 and places given in characters.

Not covered: `\\w`, `\\d`, `\\s` and `\\b` know ASCII only (write `\\pL`, `\\p{Cyrillic}`); a Set whose states outgrow MEMORY
would find nothing, so patterns that come near it are refused when given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import re2

from trivet.core.errors import ConfigError

MEMORY = 64 << 20
_TOKEN = re.compile(
    r"\\(?:x\{[^}]*\}|x..|[pP](?:\{[^}]*\}|.)|Q.*?(?:\\E|$)|.)|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\((?:\?P?<\w+>|\?[-\w]*[:)])?"
    r"|\)|\||[*+?]\??|\{\d+(?:,\d*)?\}\??|.",
    re.DOTALL,
)


class Found(NamedTuple):
    """Pattern `number` (from 0) matches `text[start:end]`."""

    start: int
    end: int
    number: int


class Patterns:
    """Patterns to look for in one pass. `widest` is the longest text one can match, None where there is no limit."""

    def __init__(self, patterns: Iterable[str], whose: str, *, ignore_case: bool = True) -> None:
        self.patterns = tuple(patterns)
        self._options = re2.Options()
        self._options.max_mem = MEMORY
        self._options.log_errors = False
        self._options.case_sensitive = not ignore_case
        self._set = re2.Set.SearchSet(self._options)
        self._each = [_compiled(pattern, whose, self._options) for pattern in self.patterns]
        for pattern in self.patterns:
            self._set.Add(pattern)
        if self.patterns:
            try:
                self._set.Compile()
            except re2.error as error:
                raise ConfigError(
                    f"the {whose} patterns are too large together; write shorter repeats, or fewer of them"
                ) from error
        widths = [width(pattern) for pattern in self.patterns]
        self.widest = max((w for w in widths if w is not None), default=0) if None not in widths else None

    def present(self, data: bytes) -> Sequence[int]:
        """The numbers of the patterns that occur in a text given as UTF-8."""
        return sorted(self._set.Match(data) or ()) if self.patterns else ()

    def find(self, text: str, *, inner: bool = False) -> Iterator[Found]:
        """Every match, pattern by pattern, none overlapping another of the same pattern. `inner`: the first group that matched, where
        a pattern has groups."""
        data = text.encode("utf-8", "replace")
        for number in self.present(data):
            matches = (match for match in self._each[number].finditer(data) if match.end() > match.start())
            spans = [match.span(match.lastindex or 0 if inner else 0) for match in matches]
            yield from (Found(*span, number) for span in in_characters(text, data, spans))

    def find_from_everywhere(self, text: str) -> Iterator[Found]:
        """The union of the matches that begin at each place: unlike `find`, never dependent on far text (see `reach`)."""
        data = text.encode("utf-8", "replace")
        for number in self.present(data):
            spans: list[tuple[int, int]] = []
            at = 0
            while match := self._each[number].search(data, at):
                start, end = match.span()
                if spans and start < spans[-1][1]:
                    spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
                elif end > start:
                    spans.append((start, end))
                at = start + 1
            yield from (Found(*span, number) for span in in_characters(text, data, spans))


def in_characters(text: str, data: bytes, spans: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Places in UTF-8 as places in the text; a place within a character counts as before it."""
    if not spans or len(data) == len(text):
        return spans
    heads = np.flatnonzero((np.frombuffer(data, np.uint8) & 0xC0) != 0x80)
    places = np.searchsorted(heads, np.array(spans).ravel()).tolist()
    return list(zip(places[::2], places[1::2], strict=True))


def _compiled(pattern: str, whose: str, options: re2.Options) -> re2._Regexp:
    if not pattern.isascii() and re.search(r"(?<!\\)(?:\\\\)*\\[bB]", pattern):
        raise ConfigError(
            f"the {whose} pattern {pattern!r} holds \\b beside letters that are not ASCII, where it never matches; "
            r"write (?:^|[^\pL]) before the word and (?:[^\pL]|$) after it"
        )
    try:
        found = re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ConfigError(
            f"the {whose} pattern {pattern!r} is not a regular expression of RE2: {told}. It has no look-around and no "
            "back-references, so that no text can make it slow; say what stands around with ordinary groups"
        ) from error
    if found.match(b""):
        raise ConfigError(
            f"the {whose} pattern {pattern!r} matches the empty text, so every text; make a part of it obligatory"
        )
    return found


def width(pattern: str) -> int | None:
    """The most characters that a pattern can match; None where there is no limit. Never less than the truth."""
    tokens = [match.group() for match in _TOKEN.finditer(pattern)]
    branches: list[list[float]] = [[0.0]]
    widths: list[float] = [0.0]  # of the last piece, for a quantifier after it

    def add(piece: float) -> None:
        branches[-1][-1] += piece
        widths[-1] = piece

    for token in tokens:
        if token.startswith("(") and not token.endswith(")"):
            branches.append([0.0])
            widths.append(0.0)
        elif token == ")" and len(branches) > 1:
            piece = max(branches.pop())
            widths.pop()
            add(piece)
        elif token == "|":
            branches[-1].append(0.0)
            widths[-1] = 0.0
        elif token[0] in "*+" or (
            token[0] == "{" and len(token) > 1 and "," in token and token.rstrip("?}")[-1] == ","
        ):
            if widths[-1]:
                return None
        elif token[0] == "{" and len(token) > 1:
            times = int(re.findall(r"\d+", token)[-1])
            branches[-1][-1] += widths[-1] * (times - 1) if times else 0.0
        elif (
            token[0] not in "?^$"
            and token not in ("\\b", "\\B", "\\A", "\\z")
            and not (token[0] == "(" and token[-1] == ")")
        ):
            add(len(token) - 2 if token.startswith("\\Q") else 1.0)
    return int(max(branches[0]))
