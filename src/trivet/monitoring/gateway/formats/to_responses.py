"""OpenAI's Responses in the words of chat completions, and chat's replies and streams as responses."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from trivet.core.errors import TargetError
from trivet.core.messages import TEXTS
from trivet.monitoring.gateway.formats.deltas import Call, Finish, Usage, Words, said_streamed, said_whole
from trivet.monitoring.gateway.formats.responses import RESPONSES
from trivet.monitoring.gateway.formats.streaming import event
from trivet.monitoring.gateway.wire import Refused

_UNSAID = ("previous_response_id", "conversation", "prompt", "top_logprobs")
_SAME = (
    "model",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "service_tier",
    "seed",
    "stop",
)
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "reasoning",
    "text",
    "user",
    "safety_identifier",
)


def responses_asked(given: dict[str, Any]) -> dict[str, Any]:
    """The request for chat. Raises Refused for what chat cannot say."""
    ask = RESPONSES.read(given, unchecked=True)
    for name in _UNSAID:
        if given.get(name):
            message = f"The model behind this gateway knows no {name}; send the whole input."
            raise Refused(400, message, param=name, code="unsupported")
    messages: list[dict[str, Any]] = []
    for name, role in (("instructions", "system"), ("input", "user")):
        items = given.get(name) or []
        for item in [{"role": role, "content": items}] if isinstance(items, str) else items:
            _add(messages, item, name)
    if not messages:
        raise Refused(400, "There is no input.", param="input")
    asked: dict[str, Any] = {"messages": messages} | {
        name: given[name] for name in _SAME if given.get(name) is not None
    }
    if given.get("max_output_tokens"):
        asked["max_tokens"] = given["max_output_tokens"]
    if effort := (given.get("reasoning") or {}).get("effort"):
        asked["reasoning_effort"] = effort
    if (ask.request["response_format"] or {}).get("type") not in (None, "text"):
        asked["response_format"] = ask.request["response_format"]
    if given.get("tools"):
        asked["tools"] = [_tool(tool) for tool in ask.request["tools"]]
    if choice := given.get("tool_choice"):
        asked["tool_choice"] = choice if isinstance(choice, str) else _choice(choice)
    return asked


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "function" in tool:
        return tool
    if tool.get("type") == "custom":
        return {"type": "custom", "custom": {name: tool[name] for name in tool if name != "type"}}
    message = f"The model behind this gateway has no tool of the type {tool.get('type')!r}."
    raise Refused(400, message, param="tools", code="unsupported")


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    kind = choice.get("type")
    if kind not in ("function", "custom"):
        raise Refused(
            400, f"A tool_choice of the type {kind!r} is not supported.", param="tool_choice", code="unsupported"
        )
    return {"type": kind, kind: {"name": choice.get("name")}}


def _add(messages: list[dict[str, Any]], item: dict[str, Any], param: str) -> None:
    """One item of the input as chat has it; calls of one turn are one message."""
    kind = item.get("type") or "message"
    if kind == "message":
        messages.append({"role": _role(item["role"]), "content": _content(item["content"], param)})
    elif kind in ("function_call", "custom_tool_call"):
        name, text = ("function", "arguments") if kind == "function_call" else ("custom", "input")
        call = {"id": item.get("call_id"), "type": name, name: {"name": item.get("name"), text: item.get(text) or ""}}
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(call)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = item.get("output")
        text = output if isinstance(output, str) else _content(output or [], param)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
    elif kind != "reasoning":
        message = f"The model behind this gateway cannot be sent items of the type {kind!r}."
        raise Refused(400, message, param=param, code="unsupported")


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _content(content: str | list[dict[str, Any]], param: str) -> Any:
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type")
        if kind in TEXTS or kind == "refusal":  # of each the field that was read, and no other
            parts.append({"type": "text", "text": part.get("refusal" if kind == "refusal" else "text") or ""})
        elif kind == "input_image" and part.get("image_url"):
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            message = f"The model behind this gateway cannot be sent parts of the type {kind!r}."
            raise Refused(400, message, param=param, code="unsupported")
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _base(given: dict[str, Any], id: str) -> dict[str, Any]:
    echoed = {name: given.get(name) for name in _ECHOED}
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": given["model"],
        "output": [],
        "parallel_tool_calls": given.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "tool_choice": given.get("tool_choice") or "auto",
        "tools": given.get("tools") or [],
        "truncation": given.get("truncation") or "disabled",
        "metadata": given.get("metadata") or {},
        "usage": None,
        **echoed,
    }


def _ended(base: dict[str, Any], reason: str, items: list[dict[str, Any]], counts: Any) -> dict[str, Any]:
    why = _REASONS.get(reason)
    status = {"status": "incomplete", "incomplete_details": {"reason": why}} if why else {"status": "completed"}
    return {**base, **status, "output": items, "usage": _usage(counts)}


def _usage(counts: Any) -> dict[str, Any] | None:
    if not isinstance(counts, dict) or not counts:
        return None
    given, written = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (counts.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": given + written,
    }


class _Item:
    """An item of the output as it grows."""

    def __init__(self, said: Words | Call, index: int, id: str) -> None:
        self.index, self.text = index, ""
        self.key = key_of(said)
        self.kind = "message"
        if isinstance(said, Call):
            self.kind = "custom_tool_call" if said.custom else "function_call"
            self.called = {"call_id": said.id or f"call_{id}_{said.index}", "name": said.name}
        elif said.kind == "reasoning":
            self.kind = "reasoning"
        self.refusal = isinstance(said, Words) and said.kind == "refusal"
        prefix = {"message": "msg", "reasoning": "rs"}.get(self.kind, "fc")
        self.id = f"{prefix}_{id}_{index}"

    def part(self, text: str) -> dict[str, Any]:
        if self.kind == "reasoning":
            return {"type": "summary_text", "text": text}
        if self.refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def whole(self, *, begun: bool = False) -> dict[str, Any]:
        """The item: as it is announced, or as it has become."""
        status = "in_progress" if begun else "completed"
        base = {"id": self.id, "type": self.kind}
        if self.kind == "reasoning":
            return {**base, "summary": [] if begun else [self.part(self.text)]}
        if self.kind == "message":
            return {**base, "role": "assistant", "status": status, "content": [] if begun else [self.part(self.text)]}
        text = {"input" if self.kind == "custom_tool_call" else "arguments": self.text}
        return {**base, **self.called, **text, "status": status}


def key_of(said: Words | Call) -> str:
    return f"call {said.index}" if isinstance(said, Call) else said.kind


def response_of(given: dict[str, Any], reply: bytes, id: str) -> dict[str, Any]:
    data, choices = said_whole(reply)
    if not choices:
        raise TargetError("the model's server sent no choices")
    items: list[dict[str, Any]] = []
    reason = "stop"
    for said in choices[0]:
        if isinstance(said, Finish):
            reason = said.reason
        elif isinstance(said, (Words, Call)):
            item = _Item(said, len(items), id)
            item.text = said.arguments if isinstance(said, Call) else said.text
            items.append(item.whole())
    return _ended(_base(given, id), reason, items, data.get("usage"))


class _Events:
    """The events of one streamed response, numbered."""

    def __init__(self) -> None:
        self.number = -1

    def made(self, kind: str, **fields: Any) -> bytes:
        self.number += 1
        return event({"type": kind, **fields, "sequence_number": self.number}, kind)

    def begun(self, item: _Item) -> bytes:
        out = self.made("response.output_item.added", output_index=item.index, item=item.whole(begun=True))
        if base := _part_of(item):
            out += self.made(f"{base}.added", **_place(item), part=item.part(""))
        return out

    def delta(self, item: _Item, text: str) -> bytes:
        item.text += text
        kind, _ = _text_of(item)
        logprobs = {"logprobs": []} if kind == "response.output_text" else {}
        return self.made(f"{kind}.delta", **_place(item), delta=text, **logprobs)

    def ended(self, item: _Item) -> bytes:
        kind, name = _text_of(item)
        logprobs = {"logprobs": []} if kind == "response.output_text" else {}
        out = self.made(f"{kind}.done", **_place(item), **{name: item.text}, **logprobs)
        if base := _part_of(item):
            out += self.made(f"{base}.done", **_place(item), part=item.part(item.text))
        return out + self.made("response.output_item.done", output_index=item.index, item=item.whole())


def _place(item: _Item) -> dict[str, Any]:
    index = {"reasoning": "summary_index", "message": "content_index"}.get(item.kind)
    return {"item_id": item.id, "output_index": item.index} | ({index: 0} if index else {})


def _part_of(item: _Item) -> str:
    return {"reasoning": "response.reasoning_summary_part", "message": "response.content_part"}.get(item.kind, "")


def _text_of(item: _Item) -> tuple[str, str]:
    """The kind of the events that carry the item's text, and its name in the one that ends it."""
    if item.kind == "message":
        return ("response.refusal", "refusal") if item.refusal else ("response.output_text", "text")
    return {
        "reasoning": ("response.reasoning_summary_text", "text"),
        "function_call": ("response.function_call_arguments", "arguments"),
        "custom_tool_call": ("response.custom_tool_call_input", "input"),
    }[item.kind]


async def response_stream(given: dict[str, Any], body: AsyncIterator[bytes], id: str) -> AsyncGenerator[bytes]:
    base, events = _base(given, id), _Events()
    items: list[dict[str, Any]] = []
    item: _Item | None = None
    reason, counts = "stop", dict[str, Any]()
    stream = said_streamed(body)
    try:
        yield events.made("response.created", response=base)
        yield events.made("response.in_progress", response=base)
        async for number, said in stream:
            if isinstance(said, Usage):
                counts = said.counts
            elif number == 0 and isinstance(said, Finish):
                reason = said.reason
            elif number == 0 and isinstance(said, (Words, Call)):
                if item is None or item.key != key_of(said):
                    if item is not None:
                        items.append(item.whole())
                        yield events.ended(item)
                    item = _Item(said, len(items), id)
                    yield events.begun(item)
                if text := said.arguments if isinstance(said, Call) else said.text:
                    yield events.delta(item, text)
        if item is not None:
            items.append(item.whole())
            yield events.ended(item)
        whole = _ended(base, reason, items, counts)
        yield events.made(f"response.{whole['status']}", response=whole)
    finally:
        await stream.aclose()
