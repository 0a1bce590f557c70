"""A stream that guards by the simplest rule there is, and each API's streams as a server would write them.

`secret` becomes `<S>` and `poison` stops; what could still become one of the two is held back.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.formats.shape import Ask, Format, Told

WORDS = ("secret", "poison")
Slot = tuple[int, str]  # choice or block, and the name of its text
Script = list[tuple[Slot, str]]


class Step(NamedTuple):
    release: str
    stopped: bool


def expected(text: str) -> str:
    """What may leave of a text in the end."""
    return text.partition("poison")[0].replace("secret", "<S>")


class StandIn:
    """`whole` holds everything to the end; `open` lets everything pass and says so."""

    def __init__(self, choice: int = 0, field: str = "content", *, whole: bool = False, open: bool = False) -> None:
        self.choice, self.field = choice, field
        self.passthrough, self._whole = open, whole
        self.text, self._held, self.stopped, self.finished = "", "", False, False
        self.decision = Decision("allow", "output")

    async def feed(self, delta: str) -> Step:
        assert not self.finished and not self.stopped
        self._held += delta
        return self._release(last=False)

    async def finish(self) -> Step:
        assert not self.finished and not self.stopped
        self.finished = True
        return self._release(last=True)

    def _release(self, *, last: bool) -> Step:
        if self.passthrough:
            return self._step(len(self._held))
        if self._whole and not last:
            return Step("", False)
        if (at := self._held.find("poison")) >= 0:
            self.decision = Decision("block", "output", "list")
            self.stopped = True
            return self._step(at, mask=True)
        hold = (
            0
            if last
            else next(
                n
                for n in range(min(5, len(self._held)), -1, -1)
                if n == 0 or any(w.startswith(self._held[-n:]) for w in WORDS)
            )
        )
        return self._step(len(self._held) - hold, mask=True)

    def _step(self, end: int, *, mask: bool = False) -> Step:
        out, self._held = self._held[:end], self._held[end:]
        out = out.replace("secret", "<S>") if mask else out
        self.text += out
        return Step(out, self.stopped)


@dataclass
class Client:
    """What a client makes of a stream."""

    texts: dict[Slot, str] = field(default_factory=lambda: defaultdict(str))
    ended: dict[int, str] = field(default_factory=dict)  # choice or block: how it ended
    errors: list[Any] = field(default_factory=list)
    final: Any = None
    done: bool = False
    tokens: dict[Slot, str] = field(default_factory=lambda: defaultdict(str))


class Dialect(NamedTuple):
    """One API: the format under test, a server's bytes for a script, and a client that reads bytes."""

    format: Format
    serve: Callable[[Script], Iterator[bytes]]
    read: Callable[[bytes], Client]
    slots: tuple[Slot, ...]


def sse(data: Any, name: str = "") -> bytes:
    body = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {body}\n\n".encode()


def events(raw: bytes) -> list[Any]:
    """A client's own reading, which shares no code with what it tests."""
    out = []
    for block in raw.decode().split("\n\n"):
        data = [line.removeprefix("data: ") for line in block.split("\n") if line.startswith("data: ")]
        if data:
            out.append("[DONE]" if data == ["[DONE]"] else json.loads("\n".join(data)))
    return out


async def cut(raw: bytes, places: list[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    for start, end in pairwise(edges):
        yield raw[start:end]


class Run(NamedTuple):
    raw: bytes
    told: Told
    streams: list[StandIn]
    closings: int
    late: bytes  # what went out after the exchange was recorded


def run(
    format: Format,
    raw: bytes,
    places: list[int],
    *,
    n: int = 1,
    whole: bool = False,
    open: bool = False,
    body: Any = None,
) -> Run:
    """A server's bytes through the format and the stand-in."""
    told, streams, marks = Told(), list[StandIn](), list[int]()

    def open_stream(choice: int, field: str) -> StandIn:
        streams.append(StandIn(choice, field, whole=whole, open=open))
        return streams[-1]

    async def main() -> bytes:
        out = b""

        async def closing(_: Told) -> None:
            marks.append(len(out))

        ask = Ask(body or {"n": n}, "m", True, (), {})
        async for data in format.guarded(cut(raw, places), open_stream, ask, told, closing):
            out += data
        return out

    out = asyncio.run(main())
    return Run(out, told, streams, len(marks), out[marks[0] :] if marks else b"")
