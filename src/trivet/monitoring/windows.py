"""The machine under streams: judges a growing text in windows, and releases what no later text can change.

The text is cut into segments (segments.py). A segment is judged together with as much of its neighbours as the guards'
`reach` asks for. A finding counts for the segments that it touches; a mask that reaches beyond its segment goes out
whole, and where it runs against the end of the window the window is widened until it does not. Later layers see masks of
earlier ones by kind (`<EMAIL_0>`). Every choice here depends on the text alone, so it does not matter whether it comes
letter by letter or at once.

Cost: each character is scanned about (segment + 2 * reach) / segment times, with segments that grow to 256 characters.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from trivet.core.messages import Message, Role
from trivet.core.verdicts import Action, Span, Verdict
from trivet.monitoring.guards.vault import WORDS, Placeholders
from trivet.monitoring.layers import ALLOW, RANK, Seat
from trivet.monitoring.segments import HARD, Cutter, Text, ahead, back

WIDEST = 8192
"""A finding that runs against the end of its window (a private key, line after line) is followed this far."""

BATCH = 16
"""Segments judged together: guards that take many texts for less need no more, and a cut-off finding wastes no more."""

_NO_WORD = re.compile(r"\W+")


def _stand_in(label: str) -> str:
    """What a later layer sees in place of a mask: like a name of Placeholders, with no number yet."""
    return f"<{WORDS.get(label) or _NO_WORD.sub('_', label).upper()}_0>"


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


class _Mask(NamedTuple):
    """A stretch of the whole text to be masked, and the number of the layer that says so."""

    span: Span
    by: int


@dataclass(slots=True)
class _Segment:
    """A stretch `start:end` of the text and the window around it, with what is masked in that window. `widened` is how
    often the window was doubled because a finding ran against its end; `high` None: the text is not there yet."""

    start: int
    end: int
    low: int
    high: int | None = None
    widened: int = 0
    masks: list[_Mask] = field(default_factory=list)

    def view(self, text: Text, low: int, high: int, layer: int) -> _Window:
        """A stretch around the segment as the layers before `layer` left it. A mask stands there by its kind: its name,
        which counts the values of a kind, is given when it goes out."""
        masks = self.masked(layer)
        if not masks:
            return _Window(text[low:high], low, [])
        out, holes, at, length = [], list[_Hole](), low, 0
        for span in masks:
            if span.end <= low or span.start >= high:
                continue
            start, end = max(span.start, low), min(span.end, high)
            name = _stand_in(span.label)
            holes.append(_Hole(length + start - at, len(name), span.start, span.end))
            out += [text[at:start], name]
            length += start - at + len(name)
            at = end
        return _Window("".join([*out, text[at:high]]), low, holes)

    def masked(self, layer: int) -> list[Span]:
        """What the layers before `layer` mask, in order. Where two overlap, one mask covers both."""
        kept: list[Span] = []
        before = sorted(
            {mask for mask in self.masks if mask.by < layer}, key=lambda m: (m.span.start, -m.span.end, m.by)
        )
        for span, _ in before:
            if kept and span.start < kept[-1].end:
                kept[-1] = Span(kept[-1].start, max(kept[-1].end, span.end), kept[-1].label)
            else:
                kept.append(span)
        return kept

    def owns(self, span: Span) -> bool:
        return span.start < self.end and span.end > self.start

    def covered(self, layer: int) -> bool:
        """Whether a mask that began before the segment, by this layer or one before it, covers all of it: then it holds
        nothing more to judge."""
        return any(
            mask.by <= layer and mask.span.start < self.start and mask.span.end >= self.end for mask in self.masks
        )


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
        self._seen: int | None = 0
        self.found: dict[str, Finding] = {}
        self.spans: dict[str, set[Span]] = {seat.name: set() for seat in seats}
        self.masks: list[tuple[Span, int]] = []
        self.took = {seat.name: 0 for seat in seats}
        self._text = Text()
        self._cutter = Cutter(sentences=any(seat.lookahead == 0 for seat in seats))
        self._back = max((seat.reach or 0 for seat in seats), default=0)
        self._ahead = max((seat.lookahead for seat in seats), default=0)
        self._pending: list[_Segment] = []
        self._carried: list[_Mask] = []
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
        out = []
        while segments := self._ready():
            settled = await self._judge(segments)
            out += [self._release(segment) for segment in segments[:settled]]
            if self.stopped:
                self._seen = segments[settled].high
                break
            self._pending = segments[settled:] + self._pending
        first = self._pending[0].start if self._pending else self._cutter.start
        self._text.forget(first - self._back - HARD)
        return "".join(out)

    def _ready(self) -> list[_Segment]:
        """The segments that can be judged now: their end is known, and all that they are to be judged with is there."""
        text, found = self._text, []
        while self._pending or self._cut():
            segment = self._pending[0]
            if segment.high is None:
                segment.high = ahead(text, segment.end, self._ahead << segment.widened)
            if segment.high is None:
                break
            segment.masks = [mask for mask in self._carried if mask.span.end > segment.low]
            # One that had to be widened goes by itself: where it must be widened again, nothing else is judged in vain.
            if segment.widened and found:
                break
            found.append(self._pending.pop(0))
            if segment.widened or len(found) >= BATCH:
                break
        return found

    def _cut(self) -> bool:
        """Cut one segment more, where that can be done."""
        end = self._cutter.next(self._text)
        if end is None:
            return False
        start = self._cutter.start
        self._pending.append(_Segment(start, end, back(self._text, start, self._back)))
        self._cutter.advance(end)
        return True

    async def _judge(self, segments: list[_Segment]) -> int:
        """Layer after layer over all segments; how many of them are settled. The one after those was blocked, or needs
        more of the text to be judged."""
        until, stopped = len(segments), None
        said: list[dict[int, Finding | None]] = []
        for number, seat in enumerate(self.seats):
            row: dict[int, Finding | None] = {}
            said.append(row)
            if seat.name in self.cleared:
                continue
            begun = time.perf_counter_ns()
            places = [place for place in range(until) if not segments[place].covered(number)]
            windows = [self._window(number, segments[place]) for place in places]
            verdicts = await seat.judge_all([window.text for window in windows], self.before, self.role)
            for place, verdict, window in zip(places, verdicts, windows, strict=True):
                finding = self._placed(number, segments, place, verdict, window)
                if finding == "cut off":
                    until, stopped = place, None
                    break
                row[place] = finding
                if finding and finding.outcome[0] == "block":
                    until, stopped = place, seat
                    break
            self.took[seat.name] += time.perf_counter_ns() - begun
        self.stopped = stopped
        for number, row in enumerate(said):
            for place, finding in row.items():
                if finding and place < until + (stopped is not None):
                    self._fold(number, finding)
        if stopped is None and until < len(segments):
            segments[until].widened += 1
            segments[until].high = None
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

    def _window(self, number: int, segment: _Segment) -> _Window:
        """What a layer sees of a segment. One that only scores sees the segment and what came before, no more."""
        seat = self.seats[number]
        assert segment.high is not None
        low, high = segment.low, segment.high
        if seat.lookahead == 0:
            low, high = back(self._text, segment.start, seat.reach or 0), segment.end
        return segment.view(self._text, low, high, number)

    def _placed(
        self, number: int, segments: list[_Segment], place: int, verdict: Verdict, window: _Window
    ) -> Finding | Literal["cut off"] | None:
        """The finding as far as it is this segment's: one that names spans counts where they lie."""
        seat, segment = self.seats[number], segments[place]
        outcome = seat.outcome(verdict)
        if segment.covered(number):
            return None  # by a segment of the same batch, just now
        if outcome is ALLOW or not verdict.spans:
            return Finding(outcome, _with(verdict, ()))
        spans = [window.original(span) for span in verdict.spans]
        own = tuple(span for span in spans if segment.owns(span))
        if outcome[0] == "mask":
            if any(self._cut_off(segment, span) for span in own):
                return "cut off"
            segment.masks += [_Mask(span, number) for span in spans]
            reaching = [_Mask(span, number) for span in own if span.end > segment.end]
            for later in segments[place + 1 :]:
                found = [mask for mask in reaching if mask.span.end > later.low]
                if not found:
                    break
                later.masks += found
        return Finding(outcome, _with(verdict, own)) if own else None

    def _cut_off(self, segment: _Segment, span: Span) -> bool:
        """Whether a finding may go on beyond the window: it ends with it, and the text does not."""
        high = segment.high or 0
        if self._text.ended and high >= self._text.length:
            return False
        wider = self._ahead << (segment.widened + 1)
        return span.end > segment.end and wider <= WIDEST and not self._text[min(span.end, high) : high].strip()

    def _fold(self, number: int, finding: Finding) -> None:
        name = self.seats[number].name
        held = self.found.get(name)
        if held is None or _weight(finding) > _weight(held):
            self.found[name] = finding
        self.spans[name].update(finding.verdict.spans)
        if finding.outcome[0] == "mask" and self.stopped is None:
            self.masks += [(span, number) for span in finding.verdict.spans]

    def _release(self, segment: _Segment) -> str:
        """The segment's text, masked; a mask that reaches beyond it goes out with it, whole."""
        reaching = {mask for mask in segment.masks if segment.owns(mask.span) and mask.span.end > segment.end}
        near = segment.end - self._back - HARD
        self._carried = [mask for mask in {*self._carried, *reaching} if mask.span.end > near]
        spans = [span for span in segment.masked(len(self.seats)) if segment.owns(span) and span.end > self._released]
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
