"""Phrases and patterns that no text may hold, matched on every view of it (see `text.py`).

Phrases match whole words, whatever stands between them (`ignore, all  previous-instructions` is `ignore all previous instructions`), in
one pass however many there are (phrases.py). Phrases in scripts without spaces match as plain substrings. `allow` names phrases that
excuse a hit inside them (`kill the process`). Patterns are regular expressions of RE2, so in linear time, on the lower-case views (patterns.py).

Findings may come from encoded text (Base64, ciphers ...), which only the whole text tells, so such a list has no `reach` and holds a
stream back until its end. With `encodings=False` it looks at the views that a window of the text shows as well (plain, look-alikes,
zero-width, leetspeak, spacing), drops what spans more than `reach` characters of the original, and can be used on streams.

Not covered: paraphrases, inflections, other languages than those of the list, and what text.py does not undo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.patterns import Found, Patterns
from trivet.monitoring.guards.phrases import Phrases
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.text import View, read

LEAST_REACH = 256


class Blocklist:
    """A guard that finds listed phrases and patterns. `Blocklist(phrases=["do anything now"])`."""

    threshold = 0.5
    cheap = True

    def __init__(
        self,
        phrases: Iterable[str] = (),
        patterns: Iterable[str] = (),
        allow: Iterable[str] = (),
        file: str | Path | None = None,
        category: str = "",
        encodings: bool = True,
    ) -> None:
        self.phrases = (*phrases, *(_lines(Path(file)) if file else ()))
        self.patterns = tuple(patterns)
        self.allow = tuple(allow)
        self.category = category
        self.encodings = encodings
        self._phrases = Phrases(self.phrases)
        self._excuses = Phrases(self.allow, "blocklist's `allow`")
        self._patterns = Patterns(self.patterns, "blocklist")
        self.reach = self._reach()

    def _reach(self) -> int | None:
        """Four times the longest rule: letters spaced apart and a few characters that show nothing fit in."""
        if self.encodings or self._patterns.widest is None:
            return None
        return max(LEAST_REACH, 4 * max(self._phrases.longest, self._excuses.longest, self._patterns.widest))

    @cached_property
    def digest(self) -> str:
        return digest_of(["blocklist-2", self.phrases, self.patterns, self.allow, self.category, self.encodings])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        """What the list finds in a text. `why` names the rule, never the text."""
        reading = read(text)
        views, glued = (reading, reading.glued) if self.encodings else (reading.near, reading.near_glued)
        hits = {hit for view in views for hit in self._hits(view)}
        hits |= {hit for view in glued for hit in self._spans(view, self._phrases.find_glued(view.text), "phrase")}
        if hits and self.allow:
            excused = {hit[:2] for view in views for hit in self._spans(view, self._excuses.find(view.text), "")}
            hits = {h for h in hits if h[2][:6] != "phrase" or not any(a <= h[0] and h[1] <= b for a, b in excused)}
        if not hits:
            return Verdict("safe", 0.0, "blocklist")
        spans = tuple(Span(*hit) for hit in sorted(hits))
        return Verdict("listed", 1.0, "blocklist", self.category, f"matches {spans[0].label}", spans)

    def _hits(self, view: View) -> Iterator[tuple[int, int, str]]:
        """(start, end, rule) of the original; of phrases the longest at each place."""
        best: dict[int, tuple[int, tuple[int, int, str]]] = {}
        for found in self._phrases.find(view.text):
            if found.start not in best or found.end > best[found.start][0]:
                best.update((found.start, (found.end, hit)) for hit in self._spans(view, [found], "phrase"))
        yield from (hit for _, hit in best.values())
        find = self._patterns.find if self.reach is None else self._patterns.find_from_everywhere
        yield from self._spans(view, find(view.text), "pattern")

    def _spans(self, view: View, found: Iterable[Found], rule: str) -> Iterator[tuple[int, int, str]]:
        """Findings in a view as stretches of the original; without those beyond the reach."""
        for start, end, number in found:
            first, last = view.origin(start, end)
            if self.reach is None or last - first <= self.reach:
                yield first, last, f"{rule} {number + 1}"


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(
            f"the phrase list {path} cannot be read ({error.strerror}); give one phrase a line"
        ) from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
