"""What carrying a stream through the guards has in common in every API: cutting events, feeding texts, ending in order.

A reader (one for each API) turns one event of the model's into the bytes of the client's. It sends every text through its
stream and puts what was released in its place. Once a stream has stopped nothing more is released: the reader goes on to its
farewell. What a client could take for the end of the reply is kept for the farewell too, which goes out only after
`closing`: by then the gateway has recorded the exchange.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from trivet.core.errors import Blocked, TargetError
from trivet.core.models.sse import COMMENT, Frame, Frames
from trivet.monitoring.gateway.formats.escapes import Unescaped
from trivet.monitoring.gateway.formats.shape import Closing, Field, Open, Slot, Told, is_free
from trivet.monitoring.gateway.formats.texts import without_prose

KEEP_ALIVE = b": keep-alive\n\n"
"""Sent for every comment of the model's server; their words are not passed on."""

FAREWELL_EVENTS = 1000
"""Events kept back after a reply has ended: more than any server sends, and an end to what is kept."""

_NAME = re.compile(r"[\w.:/-]{1,128}")
encode = msgspec.json.encode


class Reader(Protocol):
    over: bool
    """Whether the reply has ended, in its own way or by a block."""
    texts: Texts

    async def take(self, frame: Frame) -> bytes:
        """What the client gets for an event, now."""
        ...

    def end(self) -> None:
        """The model's bytes have ended; raises TargetError if the reply had not."""
        ...

    def farewell(self) -> bytes:
        """The events that end the reply."""
        ...


async def carried(
    frames: AsyncIterator[bytes], reader: Reader, told: Told, closing: Closing, *, limit: int | None = None
) -> AsyncGenerator[bytes]:
    """`Format.guarded`, for a reader."""
    cutter = Frames() if limit is None else Frames(limit)
    async for chunk in frames:
        if out := await _taken(cutter.feed(chunk), reader):
            yield out
        if reader.over:
            break
    else:
        if out := await _taken(cutter.end(), reader):
            yield out
        if not reader.over:
            reader.end()
    told.ended = True
    await closing(told)
    yield reader.farewell()


async def _taken(frames: list[Frame], reader: Reader) -> bytes:
    out = []
    for frame in frames:
        out.append(KEEP_ALIVE if frame.event == COMMENT else await reader.take(frame))
        if reader.over:
            break
    return b"".join(out)


class Whole(NamedTuple):
    """A text at its end: what was released just now, what in all, and whether that is what the model said."""

    fresh: str
    text: str
    clean: bool


class Texts:
    """The texts of one streamed reply, by keys of the reader's own."""

    def __init__(self, open_stream: Open, told: Told) -> None:
        self._open, self._told = open_stream, told
        self._slots: dict[Hashable, Slot] = {}
        self._free: bool | None = None

    @property
    def stopped(self) -> bool:
        return self._told.blocked is not None

    def slot(self, key: Hashable, choice: int = 0, field: Field = "content", *, json: bool = False) -> Slot:
        """The text's slot. `json` says that it is JSON text, to be guarded without its escapes."""
        if key not in self._slots:
            stream = self._open(choice, field)
            self._slots[key] = slot = Slot(choice, field, Unescaped(stream) if json else stream)
            self._told.slots.append(slot)
        return self._slots[key]

    def find(self, key: Hashable) -> Slot | None:
        return self._slots.get(key)

    def known(self) -> list[Any]:
        return list(self._slots)

    @property
    def free(self) -> bool:
        """Whether no layer could change or stop this reply, so that what cannot be read as text may pass too."""
        if self._free is None:
            self._free = is_free(self._open(0, "content"))
        return self._free

    def plain(self, value: dict[str, Any], *handled: str) -> dict[str, Any]:
        """The value without texts but in the fields that the reader handles; itself where there are none."""
        return value if self.free else without_prose(value, handled)

    async def feed(
        self, key: Hashable, delta: str, choice: int = 0, field: Field = "content", *, json: bool = False
    ) -> str:
        """What may leave now. Nothing, once anything has been stopped."""
        slot = self.slot(key, choice, field, json=json)
        if self.stopped or not delta:
            return ""
        if slot.done:
            raise TargetError(f"the stream went on with a {field} that it had ended")
        slot.said.append(delta)
        return self._step(slot, delta, await slot.stream.feed(delta))

    async def finish(self, key: Hashable) -> str:
        """The rest of a text."""
        slot = self._slots.get(key)
        if slot is None or slot.done or self.stopped:
            return ""
        slot.done = True
        return self._step(slot, "", await slot.stream.finish())

    async def whole(
        self, key: Hashable, text: str, choice: int = 0, field: Field = "content", *, json: bool = False
    ) -> Whole:
        """A text that comes in one piece, or is repeated at its end. Where it goes beyond what came before, the rest is
        fed now."""
        slot, fresh = self.slot(key, choice, field, json=json), ""
        if not slot.done:
            said = "".join(slot.said)
            if text.startswith(said):
                fresh = await self.feed(key, text[len(said) :], choice, field)
            fresh += await self.finish(key)
        return Whole(fresh, slot.stream.text, slot.clean)

    def _step(self, slot: Slot, delta: str, step: Any) -> str:
        slot.follow(delta, step.release)
        if step.stopped:
            self._told.blocked, self._told.finish = slot, "content_filter"
        return str(step.release)


def parsed(frame: Frame) -> dict[str, Any]:
    """The JSON object of an event; raises TargetError, or Blocked, for what is none or tells of an error."""
    try:
        data = msgspec.json.decode(frame.data)
    except (msgspec.DecodeError, RecursionError) as why:
        raise TargetError(f"the model's server sent an event that is no JSON: {why}") from why
    if not isinstance(data, dict):
        raise TargetError("the model's server sent an event that is no JSON object")
    return data


def failed(error: Any) -> TargetError:
    """The exception for an error object in a stream."""
    error = error if isinstance(error, Mapping) else {"message": error}
    if error.get("code") == "content_filter":
        return Blocked("the model's server withheld its reply (content_filter)", "output")
    said = " ".join(str(error.get("message")).split())[:300]
    return TargetError(f"the model's server broke off with an error: {said}")


def event(data: Any, name: str = "") -> bytes:
    """One server-sent event."""
    return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + encode(data) + b"\n\n"


def as_sent(frame: Frame) -> bytes:
    """An event as it came; a data of several lines stays one event."""
    data = frame.data if "\n" not in frame.data else frame.data.replace("\n", "\ndata: ")
    return (f"event: {frame.event}\n" if frame.event else "").encode() + b"data: " + data.encode() + b"\n\n"


def is_name(text: Any) -> bool:
    """Whether this can only be the name of a tool."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None
