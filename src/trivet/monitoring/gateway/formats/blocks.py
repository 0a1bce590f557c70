"""Streams made of content blocks: Anthropic's Messages.

A block's texts are released while it is open; what is still held goes out as one more delta before the block closes. The
end of the message is kept until the exchange is recorded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trivet.core.errors import TargetError
from trivet.core.models.sse import Frame
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.formats.shape import Field, Open, Told
from trivet.monitoring.gateway.formats.streaming import (
    FAREWELL_EVENTS,
    Texts,
    as_sent,
    encode,
    event,
    failed,
    is_name,
    parsed,
)
from trivet.monitoring.gateway.formats.texts import leaves, replaced
from trivet.monitoring.gateway.wire import Refused


class _Delta(NamedTuple):
    """A kind of delta: the name of its text, and as what that is guarded."""

    name: str
    field: Field


_DELTAS = {
    "text_delta": _Delta("text", "content"),
    "thinking_delta": _Delta("thinking", "reasoning"),
    "input_json_delta": _Delta("partial_json", "arguments"),
}
_STREAMED = {"text": "text_delta", "thinking": "thinking_delta"}
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
_HANDLED = {
    "message_start": ("message",),
    "content_block_start": ("content_block",),
    "content_block_delta": ("delta",),
    "message_delta": ("delta",),
}


def refusal(refused: Refused) -> dict[str, Any]:
    """How a message ends that a policy has stopped."""
    details = {"type": "refusal", "category": None, "explanation": refused.body["error"]["message"]}
    return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}


class MessageReader:
    """One streamed message."""

    def __init__(self, open_stream: Open, told: Told) -> None:
        self.over = False
        self.texts = Texts(open_stream, told)
        self._told = told
        self._open: dict[int, str] = {}  # block under way: the kind of its deltas
        self._kept: list[bytes] = []
        self._begun = False

    async def take(self, frame: Frame) -> bytes:
        data = parsed(frame)
        kind = data.get("type")
        if kind == "error" or frame.event == "error":
            raise failed(data.get("error") or data)
        if kind != "message_start" and kind != "ping" and not self._begun:
            raise TargetError("the model's server sent a stream that is not of the messages format")
        given, data = data, self.texts.plain(data, *_HANDLED.get(str(kind), ()))
        out = await self._event(str(kind), data, as_sent(frame) if data is given else event(data, frame.event))
        if self.texts.stopped:
            self.over = True
        elif self.over or self._kept or kind == "message_delta":
            self._kept.append(out)
            if len(self._kept) > FAREWELL_EVENTS:
                raise TargetError("the model's server does not end a stream whose reply has ended")
            return b""
        return out

    def end(self) -> None:
        if not self._kept or self._open:
            raise TargetError("the model's server ended its stream in the middle of a message")

    def farewell(self) -> bytes:
        if (slot := self._told.blocked) is None:
            return b"".join(self._kept)
        refused = wire.filtered("output", slot.stream.decision.layer)
        usage = {"output_tokens": (self._told.usage or {}).get("output_tokens", 0)}
        stops = [_made("content_block_stop", index=index) for index in self._open]
        return b"".join((*stops, _made("message_delta", delta=refusal(refused), usage=usage), _made("message_stop")))

    async def _event(self, kind: str, data: dict[str, Any], raw: bytes) -> bytes:
        if kind == "message_start":
            return self._start(data, raw)
        if kind == "content_block_start":
            return await self._block(_index(data), data, raw)
        if kind == "content_block_delta":
            return await self._delta(_index(data), data, raw)
        if kind == "content_block_stop":
            index = _index(data)
            tail = await self._rest(index)
            if self.texts.stopped:
                return tail
            self._open.pop(index, None)
            return tail + raw
        if kind == "message_delta":
            self._note(data.get("usage"))
            given = data.get("delta")
            if not isinstance(given, dict):
                raise TargetError("the model's server ended a message without saying how")
            delta = self.texts.plain(given, "stop_sequence")
            self._told.finish = str(delta.get("stop_reason") or "end_turn")
            if delta is not given:
                return event({**data, "delta": delta}, kind)
        self.over = kind == "message_stop"
        return raw

    def _start(self, data: dict[str, Any], raw: bytes) -> bytes:
        message = data.get("message")
        if not isinstance(message, dict) or message.get("content"):
            raise TargetError("the model's server began a message with content, which is not the messages format")
        self._begun = True
        self._note(message.get("usage"))
        plain = self.texts.plain(message)
        return raw if plain is message else event({**data, "message": plain}, "message_start")

    def _note(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._told.usage = {**(self._told.usage or {}), **usage}

    async def _block(self, index: int, data: dict[str, Any], raw: bytes) -> bytes:
        """The start of a block, which some servers fill with what others send as deltas."""
        block = data.get("content_block")
        if not isinstance(block, dict) or index in self._open:
            raise TargetError("the model's server began a content block that is none")
        kind = str(block.get("type"))
        self._open[index] = _STREAMED.get(kind, "input_json_delta" if kind in _CALLS else "")
        if kind in _CALLS:
            return await self._call(index, data, block, raw)
        if kind in _STREAMED:
            text = await self.texts.feed(
                (index, _STREAMED[kind]), block.get(kind) or "", field=_DELTAS[_STREAMED[kind]].field
            )
            if text == (block.get(kind) or "") and (self.texts.free or not any(leaves({**block, kind: ""}))):
                return raw
            return event({**data, "content_block": {"type": kind, **_signed(block), kind: text}}, "content_block_start")
        changes = {}
        for path, text in [] if self.texts.free else list(leaves(block)):
            whole = await self.texts.whole((index, "block", path), text)
            if not whole.clean:
                changes[path] = whole.text
        return raw if not changes else event({**data, "content_block": replaced(block, changes)}, "content_block_start")

    async def _call(self, index: int, data: dict[str, Any], block: dict[str, Any], raw: bytes) -> bytes:
        if not is_name(block.get("name")):
            raise TargetError("the model called a tool by a name that is none")
        plain = self.texts.plain(block, "input")
        if not block.get("input"):
            return raw if plain is block else event({**data, "content_block": plain}, "content_block_start")
        start = event({**data, "content_block": {**plain, "input": {}}}, "content_block_start")
        text = encode(block["input"]).decode()
        released = await self.texts.feed((index, "input_json_delta"), text, field="arguments", json=True)
        return start + self._made_delta(index, released)

    async def _delta(self, index: int, data: dict[str, Any], raw: bytes) -> bytes:
        delta = data.get("delta")
        if not isinstance(delta, dict) or index not in self._open:
            raise TargetError("the model's server sent a delta of no content block")
        kind = str(delta.get("type"))
        if kind in _DELTAS:
            name, field = _DELTAS[kind]
            given = delta.get(name) or ""
            if not isinstance(given, str) or kind != self._open[index]:
                raise TargetError(f"the model's server sent a {kind} in a block of another kind")
            text = await self.texts.feed((index, kind), given, field=field, json=kind == "input_json_delta")
            if text == given:
                plain = self.texts.plain(delta, name)
                return raw if plain is delta else event({**data, "delta": plain}, "content_block_delta")
            return self._made_delta(index, text)
        if kind == "signature_delta" or self.texts.free or not any(leaves(delta)):
            return raw
        # Citations repeat the document, and the text around them if it was masked: they are worth less than the mask.
        changes = {}
        for number, (path, text) in enumerate(leaves(delta)):
            whole = await self.texts.whole((index, kind, path, len(self.texts.known()), number), text)
            changes |= {} if whole.clean else {path: whole.text}
        return b"" if changes else raw

    async def _rest(self, index: int) -> bytes:
        kind = self._open.get(index)
        return self._made_delta(index, await self.texts.finish((index, kind))) if kind else b""

    def _made_delta(self, index: int, text: str) -> bytes:
        if not text:
            return b""
        kind = self._open[index]
        return _made("content_block_delta", index=index, delta={"type": kind, _DELTAS[kind].name: text})


def _made(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


def _signed(block: dict[str, Any]) -> dict[str, Any]:
    """What belongs to a text or thinking block beside its text."""
    return {name: block[name] for name in ("signature", "citations") if name in block and not any(leaves(block[name]))}


def _index(data: dict[str, Any]) -> int:
    index = data.get("index")
    if not isinstance(index, int) or not 0 <= index < 100_000:
        raise TargetError("the model's server sent an event of no content block")
    return index
