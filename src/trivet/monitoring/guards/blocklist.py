"""Phrases and patterns that no text may hold, matched on every view of it (see `text.py`).

Phrases match whole words, whatever stands between them (`ignore, all  previous-instructions` is `ignore all previous
instructions`), by one walk over the words of a view through a tree of all phrases: the time does not depend on how
many phrases there are. Phrases in scripts without spaces match as plain substrings. `allow` names phrases that excuse
a hit inside them (`kill the process`). Patterns are regular expressions on the lower-case views; whoever writes the
policy must keep them free of nested repeats, since Python's engine backtracks.

Not covered: paraphrases, inflections, other languages than those of the list, words split by letters in between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.text import View, read

_WORD = re.compile(r"\w+")
_END = ""
Tree = dict[str, Any]


class Blocklist:
    """A guard that finds listed phrases and patterns. `Blocklist(phrases=["do anything now"])`."""

    threshold = 0.5

    def __init__(
        self,
        phrases: Iterable[str] = (),
        patterns: Iterable[str] = (),
        allow: Iterable[str] = (),
        file: str | Path | None = None,
        category: str = "",
    ) -> None:
        self.phrases = (*phrases, *(_lines(Path(file)) if file else ()))
        self.patterns = tuple(_compiled(pattern) for pattern in patterns)
        self.allow = tuple(allow)
        self.category = category
        self._tree, self._substrings = _grown(self.phrases)
        self._excuses, _ = _grown(self.allow)

    @cached_property
    def digest(self) -> str:
        patterns = [pattern.pattern for pattern in self.patterns]
        return digest_of(["blocklist", self.phrases, patterns, self.allow, self.category])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        """What the list finds in a text. `why` names the rule, never the text."""
        hits = {(*view.origin(start, end), rule) for view in read(text) for start, end, rule in self._hits(view)}
        spans = tuple(Span(*hit) for hit in sorted(hits))
        if not spans:
            return Verdict("safe", 0.0, "blocklist")
        return Verdict("listed", 1.0, "blocklist", self.category, f"matches {spans[0].label}", spans)

    def _hits(self, view: View) -> Iterator[tuple[int, int, str]]:
        words = [match.span() for match in _WORD.finditer(view.text)]
        excused = [(start, end) for start, end, _ in _walk(self._excuses, view.text, words)] if self.allow else []
        for start, end, phrase in _walk(self._tree, view.text, words):
            if not any(a <= start and end <= b for a, b in excused):
                yield start, end, f"phrase {phrase}"
        for number, folded in self._substrings.items():
            for match in re.finditer(re.escape(folded), view.text):
                yield *match.span(), f"phrase {number}"
        for number, pattern in enumerate(self.patterns, start=1):
            for match in pattern.finditer(view.text):
                if match.group():
                    yield *match.span(), f"pattern {number}"


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(
            f"the phrase list {path} cannot be read ({error.strerror}); give one phrase a line"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ConfigError(f"the blocklist pattern {pattern!r} is not a regular expression: {error}") from error


def _grown(phrases: Iterable[str]) -> tuple[Tree, dict[int, str]]:
    """The phrases as a tree of words, and those of scripts without spaces as substrings by their number."""
    tree: Tree = {}
    substrings: dict[int, str] = {}
    for number, phrase in enumerate(phrases, start=1):
        folded = read(phrase).folded.text
        words = _WORD.findall(folded)
        if not words:
            raise ConfigError(f"phrase {number} of the blocklist, {phrase!r}, holds no word")
        if any("\u0e00" <= c <= "\u0eff" or "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" for c in folded):
            substrings[number] = folded
            continue
        branch = tree
        for word in words:
            branch = branch.setdefault(word, {})
        branch.setdefault(_END, number)
    return tree, substrings


def _walk(tree: Tree, text: str, words: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """The longest phrase that starts at each word, as (start, end, number of the phrase)."""
    for first, (start, end) in enumerate(words):
        branch, best, at = tree.get(text[start:end]), None, first
        while branch is not None:
            if _END in branch:
                best = (start, words[at][1], branch[_END])
            at += 1
            branch = branch.get(text[slice(*words[at])]) if at < len(words) else None
        if best:
            yield best
