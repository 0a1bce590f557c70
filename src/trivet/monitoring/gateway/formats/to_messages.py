"""Anthropic's Messages in the words of chat completions, and chat's replies and streams as messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import msgspec

from trivet.core.errors import TargetError
from trivet.monitoring.gateway.formats.deltas import Call, Finish, Usage, Words, said_streamed, said_whole
from trivet.monitoring.gateway.formats.messages import MESSAGES, chat_tool
from trivet.monitoring.gateway.formats.streaming import encode, event
from trivet.monitoring.gateway.formats.texts import OPAQUE, leaves
from trivet.monitoring.gateway.wire import Refused

_STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_SAME = ("model", "max_tokens", "temperature", "top_p", "top_k", "service_tier")


def messages_asked(given: dict[str, Any]) -> dict[str, Any]:
    """The request for chat. Raises Refused for what chat cannot say."""
    ask = MESSAGES.read(given, unchecked=True)
    messages: list[dict[str, Any]] = []
    if system := _joined(given.get("system")):
        messages.append({"role": "system", "content": system})
    for message in given["messages"]:
        messages += _messages(message)
    asked: dict[str, Any] = {"messages": messages} | {
        name: given[name] for name in _SAME if given.get(name) is not None
    }
    if given.get("stop_sequences"):
        asked["stop"] = given["stop_sequences"]
    if ask.user:
        asked["user"] = ask.user
    if ask.request["response_format"]:
        asked["response_format"] = ask.request["response_format"]
    for tool in given.get("tools") or ():
        if tool.get("type") not in (None, "custom"):
            message = f"The model behind this gateway has no tool of the type {tool['type']!r}."
            raise Refused(400, message, param="tools", code="unsupported")
        asked.setdefault("tools", []).append(chat_tool(tool))
    if choice := given.get("tool_choice"):
        kind = choice.get("type")
        named = {"type": "function", "function": {"name": choice.get("name")}}
        asked["tool_choice"] = named if kind == "tool" else _CHOICES.get(kind, "auto")
        if choice.get("disable_parallel_tool_use"):
            asked["parallel_tool_calls"] = False
    return asked


def _messages(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One message of Anthropic's as chat has it: results of tools are messages of their own, before what is said."""
    content, role = message["content"], message["role"]
    if isinstance(content, str):
        yield {"role": role, "content": content}
        return
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for block in content:
        kind = block.get("type")
        if kind == "tool_result":
            text = _joined(block.get("content"))
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": encode(block.get("input") or {}).decode()}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "image":
            parts.append({"type": "image_url", "image_url": {"url": _url(block.get("source") or {})}})
        elif kind not in ("thinking", "redacted_thinking"):
            parts.append({"type": "text", "text": _text(block)})
    said: Any = parts
    if all(part["type"] == "text" for part in parts):
        said = "".join(part["text"] for part in parts)
    if said or calls:
        yield {"role": role, "content": said or None} | ({"tool_calls": calls} if calls else {})


def _text(block: dict[str, Any]) -> str:
    """The words of a block: of a text, or of a document with its title."""
    if block.get("type") == "text":
        return str(block.get("text") or "")
    if block.get("type") not in ("document", "search_result"):
        message = f"The model behind this gateway cannot be sent blocks of the type {block.get('type')!r}."
        raise Refused(400, message, param="messages", code="unsupported")
    gone = OPAQUE | {"media_type", "citations"}
    return "\n".join(text for _, text in leaves({k: v for k, v in block.items() if k not in gone}, (), gone)) + "\n"


def _joined(content: Any) -> str:
    if isinstance(content, list):
        return "".join(_text(block) for block in content)
    return content or ""


def _url(source: dict[str, Any]) -> str:
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return str(source.get("url"))


def _usage(counts: Any) -> dict[str, Any]:
    counts = counts if isinstance(counts, dict) else {}
    return {
        "input_tokens": counts.get("prompt_tokens") or 0,
        "output_tokens": counts.get("completion_tokens") or 0,
        "cache_read_input_tokens": (counts.get("prompt_tokens_details") or {}).get("cached_tokens"),
        "cache_creation_input_tokens": None,
    }


def _base(given: dict[str, Any], id: str) -> dict[str, Any]:
    return {"id": f"msg_{id}", "type": "message", "role": "assistant", "model": given["model"]}


def _stop(reason: str) -> dict[str, Any]:
    return {"stop_reason": _STOPS.get(reason, "end_turn"), "stop_sequence": None}


def _begun(said: Words | Call) -> dict[str, Any]:
    """A block as it is announced."""
    if isinstance(said, Call):
        return {"type": "tool_use", "id": said.id or f"toolu_{said.index}", "name": said.name, "input": {}}
    if said.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def message_of(given: dict[str, Any], reply: bytes, id: str) -> dict[str, Any]:
    data, choices = said_whole(reply)
    if not choices:
        raise TargetError("the model's server sent no choices")
    content: list[dict[str, Any]] = []
    stop = "stop"
    for said in choices[0]:
        if isinstance(said, Finish):
            stop = said.reason
        elif isinstance(said, Call):
            content.append({**_begun(said), "input": _arguments(said.arguments)})
        elif isinstance(said, Words):
            name = "thinking" if said.kind == "reasoning" else "text"
            content.append({**_begun(said), name: said.text})
    return {**_base(given, id), "content": content, **_stop(stop), "usage": _usage(data.get("usage"))}


def _arguments(text: str) -> Any:
    try:
        found = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError as error:
        raise TargetError("the model called a tool with arguments that are no JSON") from error
    if not isinstance(found, dict):
        raise TargetError("the model called a tool with arguments that are no object")
    return found


async def message_stream(given: dict[str, Any], body: AsyncIterator[bytes], id: str) -> AsyncGenerator[bytes]:
    def made(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    message = {**_base(given, id), "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(None)}
    index, under_way, reason, counts = -1, "", "stop", {}
    stream = said_streamed(body)
    try:
        yield made("message_start", message=message)
        async for number, said in stream:
            if isinstance(said, Usage):
                counts = said.counts
            elif number == 0 and isinstance(said, Finish):
                reason = said.reason
            elif number == 0 and isinstance(said, (Words, Call)):
                key = f"call {said.index}" if isinstance(said, Call) else said.kind.replace("refusal", "content")
                if key != under_way:
                    if index >= 0:
                        yield made("content_block_stop", index=index)
                    index, under_way = index + 1, key
                    yield made("content_block_start", index=index, content_block=_begun(said))
                if delta := _delta(said):
                    yield made("content_block_delta", index=index, delta=delta)
        if index >= 0:
            yield made("content_block_stop", index=index)
        yield made("message_delta", delta=_stop(reason), usage=_usage(counts))
        yield made("message_stop")
    finally:
        await stream.aclose()


def _delta(said: Words | Call) -> dict[str, Any] | None:
    if isinstance(said, Call):
        return {"type": "input_json_delta", "partial_json": said.arguments} if said.arguments else None
    if said.kind == "reasoning":
        return {"type": "thinking_delta", "thinking": said.text}
    return {"type": "text_delta", "text": said.text}
