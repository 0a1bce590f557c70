"""The machine under streams: judges a growing text in windows, and releases what no later text can change.

The text is cut into segments (segments.py). A segment is judged together with as much of its neighbours as the guards'
`reach` asks for. A finding counts for the segments that it touches; a mask that reaches beyond its segment goes out
whole. Later layers see masks of earlier ones by kind (`<EMAIL>`). Every choice here depends on the text alone, so it does
not matter whether it comes letter by letter or at once.

Cost: each character is scanned about (segment + 2 * reach) / segment times, with segments that grow to 256 characters.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trivet.core.messages import Message, Role
from trivet.core.verdicts import Action, Span, Verdict
from trivet.monitoring.guards.pii import Placeholders
from trivet.monitoring.layers import ALLOW, RANK, Seat
from trivet.monitoring.segments import HARD, Cutter, Text, ahead, back

_NO_WORD = re.compile(r"\W+")


class _Hole(NamedTuple):
    """A mask in a window: where it stands there and how wide, and what of the whole text it covers."""

    at: int
    width: int
    start: int
    end: int


class _Window(NamedTuple):
    """What a layer sees, where in the whole text it begins, and the masks in it."""

    text: str
    low: int
    holes: list[_Hole]

    def original(self, span: Span) -> Span:
        """A span of the window as a span of the whole text; one that touches a mask covers all that was masked."""
        return Span(self._offset(span.start, last=False), self._offset(span.end, last=True), span.label)

    def _offset(self, place: int, *, last: bool) -> int:
        shift = self.low
        for hole in self.holes:
            if place < hole.at + last:
                break
            if place < hole.at + hole.width + last:
                return hole.end if last else hole.start
            shift = hole.end - hole.at - hole.width
        return place + shift


@dataclass(slots=True)
class _Segment:
    """A stretch `start:end` of the text, the window around it, and what was found to mask in the window."""

    start: int
    end: int
    low: int
    high: int
    masks: list[Span] = field(default_factory=list)

    def view(self, text: Text, low: int, high: int) -> _Window:
        """A stretch around the segment as earlier layers left it. A mask stands there by its kind: its name, which
        counts the values of a kind, is given when it goes out."""
        out, holes, at, length = [], list[_Hole](), low, 0
        for span in self.masks:
            if span.end <= low or span.start >= high:
                continue
            start, end = max(span.start, low), min(span.end, high)
            name = f"<{_NO_WORD.sub('_', span.label).upper()}>"
            holes.append(_Hole(length + start - at, len(name), span.start, span.end))
            out += [text[at:start], name]
            length += start - at + len(name)
            at = end
        return _Window("".join([*out, text[at:high]]) if holes else text[low:high], low, holes)

    def owns(self, span: Span) -> bool:
        return span.start < self.end and span.end > self.start

    def mask(self, spans: Sequence[Span]) -> None:
        """Remember what to mask. Where it overlaps what is masked already, one mask covers both."""
        kept: list[Span] = []
        for span in sorted([*self.masks, *spans], key=lambda s: (s.start, -s.end)):
            if kept and span.start < kept[-1].end:
                kept[-1] = Span(kept[-1].start, max(kept[-1].end, span.end), kept[-1].label)
            else:
                kept.append(span)
        self.masks = kept


class Finding(NamedTuple):
    """What one layer said about one segment, in offsets of the whole text."""

    outcome: tuple[Action, str]
    verdict: Verdict


class Machine:
    """Judges a growing text segment by segment, with layers that have a reach. `push` releases what is settled."""

    def __init__(
        self, seats: Sequence[Seat], names: Placeholders, before: tuple[Message, ...] = (), role: Role = "assistant"
    ) -> None:
        self.seats, self.names, self.before, self.role = seats, names, before, role
        self.cleared: dict[str, Finding] = {}
        self.stopped: Seat | None = None
        self._seen = 0
        self.found: dict[str, Finding] = {}
        self.spans: dict[str, set[Span]] = {seat.name: set() for seat in seats}
        self.masks: list[tuple[Span, int]] = []
        self.took = {seat.name: 0 for seat in seats}
        self._text = Text()
        self._cutter = Cutter(sentences=any(seat.lookahead == 0 for seat in seats))
        self._back = max((seat.reach or 0 for seat in seats), default=0)
        self._ahead = max((seat.lookahead for seat in seats), default=0)
        self._end: int | None = None
        self._released = 0

    @property
    def seen(self) -> int | None:
        """How much of the text the verdict rests on; None: all of it."""
        return self._seen if self.stopped else None

    async def push(self, delta: str, *, final: bool = False) -> str:
        if final and len(self.cleared) == len(self.seats):
            return delta
        self._text.tail += delta
        self._text.ended = final
        segments = self._ready()
        if not segments:
            return ""
        blocked = await self._judge(segments)
        out = "".join([self._release(segment) for segment in segments[:blocked]])
        if blocked < len(segments):
            self._seen = segments[blocked].high
        self._text.forget(self._cutter.start - self._back - HARD)
        return out

    def _ready(self) -> list[_Segment]:
        """The segments that can be judged now: their end is known, and all that they are to be judged with is there."""
        text, found = self._text, []
        while (end := self._end or self._cutter.next(text)) is not None:
            self._end = end
            high = ahead(text, end, self._ahead)
            if high is None:
                break
            start = self._cutter.start
            found.append(_Segment(start, end, back(text, start, self._back), high))
            self._cutter.advance(end)
            self._end = None
        return found

    async def _judge(self, segments: list[_Segment]) -> int:
        """Layer after layer over all segments; the number of those before the first one that a layer blocks."""
        until = len(segments)
        said: list[list[Finding | None]] = []
        for seat in self.seats:
            begun = time.perf_counter_ns()
            if seat.name in self.cleared:
                said.append([])
                continue
            windows = [self._window(seat, segment) for segment in segments[:until]]
            verdicts = await seat.judge_all([window.text for window in windows], self.before, self.role)
            row: list[Finding | None] = []
            for place, (verdict, window) in enumerate(zip(verdicts, windows, strict=True)):
                finding = self._placed(seat, segments[place], verdict, window)
                row.append(finding)
                if finding and finding.outcome[0] == "block":
                    until, self.stopped = place, seat
                    break
            said.append(row)
            self.took[seat.name] += time.perf_counter_ns() - begun
        for seat, row in zip(self.seats, said, strict=True):
            for place, finding in enumerate(row[: until + 1]):
                if finding:
                    self._fold(seat, segments[place], finding)
        return until

    async def clear(self, text: str) -> None:
        """Before a whole text is pushed: note the layers that find nothing in it at all, which need no windows.

        Only guards with lookahead, and only as long as the text is what the layer would see: no layer before may mask.
        """
        for seat in self.seats:
            if seat.lookahead > 0:
                begun = time.perf_counter_ns()
                (verdict,) = await seat.judge_all([text], self.before, self.role)
                self.took[seat.name] += time.perf_counter_ns() - begun
                outcome = seat.outcome(verdict)
                if outcome is ALLOW and not verdict.spans:
                    self.cleared[seat.name] = Finding(outcome, verdict)
                    continue
                if outcome[0] == "block":
                    return
            if seat.layer.action == "mask":
                return

    def _window(self, seat: Seat, segment: _Segment) -> _Window:
        """What a layer sees of a segment. One that only scores sees the segment and what came before, no more."""
        low, high = segment.low, segment.high
        if seat.lookahead == 0:
            low, high = back(self._text, segment.start, seat.reach or 0), segment.end
        return segment.view(self._text, low, high)

    def _placed(self, seat: Seat, segment: _Segment, verdict: Verdict, window: _Window) -> Finding | None:
        """The finding as far as it is this segment's: one that names spans counts where they lie."""
        outcome = seat.outcome(verdict)
        if outcome is ALLOW or not verdict.spans:
            return Finding(outcome, _with(verdict, ()))
        spans = [window.original(span) for span in verdict.spans]
        if outcome[0] == "mask":
            segment.mask(spans)
        own = tuple(span for span in spans if segment.owns(span))
        return Finding(outcome, _with(verdict, own)) if own else None

    def _fold(self, seat: Seat, segment: _Segment, finding: Finding) -> None:
        held = self.found.get(seat.name)
        if held is None or _weight(finding) > _weight(held):
            self.found[seat.name] = finding
        self.spans[seat.name].update(finding.verdict.spans)
        if finding.outcome[0] == "mask" and self.stopped is None:
            place = self.seats.index(seat)
            self.masks += [(span, place) for span in finding.verdict.spans]

    def _release(self, segment: _Segment) -> str:
        """The segment's text, masked; a mask that reaches beyond it goes out with it, whole."""
        spans = [span for span in segment.masks if segment.owns(span) and span.end > self._released]
        start, end = self._released, max([segment.end, *(span.end for span in spans)])
        self._released = max(start, end)
        if start >= end:
            return ""
        inside = [Span(max(span.start, start) - start, span.end - start, span.label) for span in spans]
        return self.names.mask(self._text[start:end], inside) if inside else self._text[start:end]

    def finding(self, seat: Seat) -> Finding:
        """What a layer came to over the whole text: its strongest finding, with every span it named."""
        if seat.name in self.cleared:
            return self.cleared[seat.name]
        outcome, verdict = self.found.get(seat.name) or Finding(ALLOW, Verdict("safe", 0.0, seat.name))
        spans = tuple(sorted(self.spans[seat.name], key=lambda s: (s.start, s.end, s.label)))
        return Finding(outcome, _with(verdict, spans))


def _with(verdict: Verdict, spans: tuple[Span, ...]) -> Verdict:
    return Verdict(verdict.label, verdict.score, verdict.judge, verdict.category, verdict.why, spans)


def _weight(finding: Finding) -> tuple[int, float]:
    return RANK[finding.outcome[0]], finding.verdict.score
