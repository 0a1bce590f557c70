"""A chat completion as what it says, for translating it: whole or streamed, in the same few kinds.

A call of a tool is `Call`: announced once with its name, then its arguments piece by piece.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal, NamedTuple

import msgspec

from trivet.core.errors import TargetError
from trivet.core.models.sse import COMMENT, Frames
from trivet.monitoring.gateway.formats.streaming import failed, parsed


class Words(NamedTuple):
    """A piece of text."""

    kind: Literal["reasoning", "content", "refusal"]
    text: str


class Call(NamedTuple):
    """A piece of the arguments of a tool call. `id` and `name` come with the first piece."""

    index: int
    id: str
    name: str
    arguments: str
    custom: bool = False


class Finish(NamedTuple):
    reason: str


class Usage(NamedTuple):
    counts: dict[str, Any]


Said = Words | Call | Finish | Usage
_KINDS: tuple[tuple[str, Literal["reasoning", "content", "refusal"]], ...] = (
    ("reasoning_content", "reasoning"),
    ("reasoning", "reasoning"),
    ("content", "content"),
    ("refusal", "refusal"),
)


def said_in(delta: dict[str, Any]) -> list[Words | Call]:
    """What a delta, or a whole message, says."""
    found: list[Words | Call] = []
    for name, kind in _KINDS:
        text = delta.get(name)
        if text and not (name == "reasoning" and delta.get("reasoning_content")):
            if not isinstance(text, str):
                raise TargetError(f"the model's server sent a {name} that is no text and cannot be translated")
            found.append(Words(kind, text))
    for number, call in enumerate(delta.get("tool_calls") or ()):
        if not isinstance(call, dict):
            raise TargetError("the model's server sent a tool call that is none")
        custom = isinstance(call.get("custom"), dict)
        called = call["custom" if custom else "function"] if custom or isinstance(call.get("function"), dict) else {}
        text = called.get("input" if custom else "arguments") or ""
        name, id, index = called.get("name") or "", call.get("id") or "", call.get("index", number)
        if not all(isinstance(one, str) for one in (text, name, id)) or not isinstance(index, int):
            raise TargetError("the model's server sent a tool call that is none")
        found.append(Call(index, id, name, text, custom))
    return found


def said_whole(reply: bytes) -> tuple[dict[str, Any], list[list[Said]]]:
    """A whole reply, and what each of its choices says."""
    try:
        data = msgspec.json.decode(reply)
        choices = [
            [*said_in(choice["message"]), Finish(str(choice.get("finish_reason") or "stop"))]
            for choice in data["choices"]
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise TargetError(f"the model's server sent what is no chat completion: {type(error).__name__}") from error
    return data, choices  # type: ignore[return-value]


async def said_streamed(body: AsyncIterator[bytes]) -> AsyncGenerator[tuple[int, Said]]:
    """What a stream says, with the number of the choice that says it. Raises TargetError where it breaks off."""
    cutter, going = Frames(), dict[int, bool]()
    try:
        async for chunk in body:
            for frame in cutter.feed(chunk):
                if frame.event == COMMENT:
                    continue
                if frame.data.strip() == "[DONE]":
                    return
                for number, said in _said(parsed(frame)):
                    going[number] = going.get(number, True) and not isinstance(said, Finish)
                    yield number, said
        if not going or any(going.values()):
            raise TargetError("the model's server ended its stream in the middle of a reply")
    finally:
        if close := getattr(body, "aclose", None):
            await close()


def _said(chunk: dict[str, Any]) -> list[tuple[int, Said]]:
    if chunk.get("error"):
        raise failed(chunk["error"])
    found: list[tuple[int, Said]] = []
    for choice in chunk.get("choices") or ():
        if not isinstance(choice, dict) or not isinstance(choice.get("delta") or {}, dict):
            raise TargetError("the model's server sent a choice that is none")
        number = choice.get("index") or 0
        found += [(number, said) for said in said_in(choice.get("delta") or {})]
        if choice.get("finish_reason"):
            found.append((number, Finish(str(choice["finish_reason"]))))
    if isinstance(chunk.get("usage"), dict):
        found.append((0, Usage(chunk["usage"])))
    return found
