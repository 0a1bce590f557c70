"""The APIs as a server speaks them and as a client reads them, for scripts of (text, delta)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from formats.stand_in import Client, Dialect, Script, Slot, events, sse
from trivet.monitoring.gateway.formats.chat import CHAT
from trivet.monitoring.gateway.formats.completions import COMPLETIONS
from trivet.monitoring.gateway.formats.messages import MESSAGES
from trivet.monitoring.gateway.formats.responses import RESPONSES

# Chat completions: several choices, each with content, reasoning, a refusal and two tool calls


def _chunk(number: int, delta: dict[str, Any], finish: str | None = None, tokens: list[str] | None = None) -> bytes:
    logprobs = {"content": [{"token": t, "logprob": -0.5} for t in tokens], "refusal": None} if tokens else None
    choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
    return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], "x": 1})


def chat_server(script: Script, *, logprobs: bool = False) -> Iterator[bytes]:
    begun: set[Any] = set()
    numbers = sorted({slot[0] for slot, _ in script}) or [0]
    for number in numbers:
        yield _chunk(number, {"role": "assistant", "content": ""})
    for slot, text in script:
        number, name = slot
        if name.startswith("tool"):
            call: dict[str, Any] = {"index": int(name[-1]), "function": {"arguments": text}}
            if slot not in begun:
                call |= {"id": f"call_{name}", "type": "function"}
                call["function"]["name"] = "look_up"
            begun.add(slot)
            yield _chunk(number, {"tool_calls": [call]})
        else:
            yield _chunk(number, {name: text}, tokens=[text] if logprobs and name == "content" else None)
    for number in numbers:
        yield _chunk(number, {}, "stop")
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    yield sse(
        {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    )
    yield sse("[DONE]")


def chat_client(raw: bytes) -> Client:
    seen = Client()
    for data in events(raw):
        assert not seen.done
        if data == "[DONE]":
            seen.done = True
            continue
        if "error" in data:
            seen.errors.append(data["error"])
            continue
        seen.final = data.get("usage") or seen.final
        for choice in data["choices"]:
            number, delta = choice["index"], choice["delta"]
            assert number not in seen.ended
            for name in ("content", "reasoning_content", "refusal"):
                seen.texts[number, name] += delta.get(name) or ""
            for call in delta.get("tool_calls") or ():
                seen.texts[number, f"tool{call['index']}"] += call["function"].get("arguments") or ""
            for entry in (choice["logprobs"] or {}).get("content") or ():
                seen.tokens[number, "content"] += entry["token"]
                assert seen.texts[number, "content"].startswith(seen.tokens[number, "content"])
            if choice["finish_reason"]:
                seen.ended[number] = choice["finish_reason"]
    return seen


# Completions


def completions_server(script: Script) -> Iterator[bytes]:
    numbers = sorted({slot[0] for slot, _ in script}) or [0]

    def chunk(number: int, text: str, finish: str | None) -> bytes:
        choice = {"index": number, "text": text, "logprobs": None, "finish_reason": finish}
        return sse({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})

    for (number, _), text in script:
        yield chunk(number, text, None)
    for number in numbers:
        yield chunk(number, "", "stop")
    yield sse("[DONE]")


def completions_client(raw: bytes) -> Client:
    seen = Client()
    for data in events(raw):
        assert not seen.done
        if data == "[DONE]":
            seen.done = True
        elif "error" in data:
            seen.errors.append(data["error"])
        else:
            for choice in data["choices"]:
                assert choice["index"] not in seen.ended
                seen.texts[choice["index"], "text"] += choice["text"]
                if choice["finish_reason"]:
                    seen.ended[choice["index"]] = choice["finish_reason"]
    return seen


# Messages: blocks of text, thinking and tool use, one after the other

_BLOCKS = {
    "text": ({"type": "text", "text": ""}, "text_delta", "text"),
    "thinking": ({"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"),
    "tool": ({"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {}}, "input_json_delta", "partial_json"),
}


def _in_order(script: Script) -> dict[Slot, list[str]]:
    texts: dict[Slot, list[str]] = defaultdict(list)
    for slot, text in script:
        texts[slot].append(text)
    return dict(sorted(texts.items()))


def messages_server(script: Script) -> Iterator[bytes]:
    def made(kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)

    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
    yield made(
        "message_start", message={**message, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    )
    yield made("ping")
    for (index, name), texts in _in_order(script).items():
        block, kind, field = _BLOCKS[name]
        yield made("content_block_start", index=index, content_block=block)
        for text in texts:
            yield made("content_block_delta", index=index, delta={"type": kind, field: text})
        if name == "thinking":
            yield made("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "c2ln"})
        yield made("content_block_stop", index=index)
    yield made("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5})
    yield made("message_stop")


def messages_client(raw: bytes) -> Client:
    seen, open = Client(), {}
    for data in events(raw):
        kind = data["type"]
        assert not seen.done
        if kind == "error":
            seen.errors.append(data["error"])
        elif kind == "content_block_start":
            open[data["index"]] = {"tool_use": "tool"}.get(data["content_block"]["type"], data["content_block"]["type"])
        elif kind == "content_block_delta" and data["delta"]["type"] != "signature_delta":
            name = open[data["index"]]
            seen.texts[data["index"], name] += data["delta"][_BLOCKS[name][2]]
        elif kind == "content_block_stop":
            open.pop(data["index"])
        elif kind == "message_delta":
            assert not open
            seen.ended[0], seen.final = data["delta"]["stop_reason"], data["usage"]
        elif kind == "message_stop":
            seen.done = True
    return seen


# Responses: items of reasoning, messages and function calls, one after the other, everything said four times over


def _parts(name: str, index: int, text: str | None) -> Any:
    """An item: as it is announced, or with its text."""
    status = "in_progress" if text is None else "completed"
    if name == "reasoning":
        summary = [] if text is None else [{"type": "summary_text", "text": text}]
        return {"id": f"rs_{index}", "type": "reasoning", "summary": summary}
    if name == "call":
        call = {"id": f"fc_{index}", "type": "function_call", "call_id": f"call_{index}", "name": "look_up"}
        return {**call, "arguments": text or "", "status": status}
    content = [] if text is None else [_part(name, text)]
    return {"id": f"msg_{index}", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(name: str, text: str) -> Any:
    if name == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def responses_server(script: Script) -> Iterator[bytes]:
    number = -1

    def made(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return sse({"type": kind, **fields, "sequence_number": number}, kind)

    base = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "error": None,
        "incomplete_details": None,
    }
    base |= {"instructions": "be kind", "parallel_tool_calls": True, "tools": [], "tool_choice": "auto", "metadata": {}}
    yield made("response.created", response={**base, "status": "in_progress", "output": []})
    yield made("response.in_progress", response={**base, "status": "in_progress", "output": []})
    items = []
    for (index, name), texts in _in_order(script).items():
        item = {"item_id": _parts(name, index, None)["id"], "output_index": index}
        whole = "".join(texts)
        yield made("response.output_item.added", output_index=index, item=_parts(name, index, None))
        if name == "call":
            for text in texts:
                yield made("response.function_call_arguments.delta", **item, delta=text)
            yield made("response.function_call_arguments.done", **item, arguments=whole)
        elif name == "reasoning":
            item["summary_index"] = 0
            part = {"type": "summary_text", "text": ""}
            yield made("response.reasoning_summary_part.added", **item, part=part)
            for text in texts:
                yield made("response.reasoning_summary_text.delta", **item, delta=text)
            yield made("response.reasoning_summary_text.done", **item, text=whole)
            yield made("response.reasoning_summary_part.done", **item, part={**part, "text": whole})
        else:
            item["content_index"] = 0
            kind = "response.refusal" if name == "refusal" else "response.output_text"
            field = "refusal" if name == "refusal" else "text"
            extra = {} if name == "refusal" else {"logprobs": []}
            yield made("response.content_part.added", **item, part=_part(name, ""))
            for text in texts:
                yield made(f"{kind}.delta", **item, delta=text, **extra)
            yield made(f"{kind}.done", **item, **{field: whole}, **extra)
            yield made("response.content_part.done", **item, part=_part(name, whole))
        items.append(_parts(name, index, whole))
        yield made("response.output_item.done", output_index=index, item=items[-1])
    usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    yield made("response.completed", response={**base, "status": "completed", "output": items, "usage": usage})


def _texts_of(item: Any) -> tuple[str, str]:
    if item["type"] == "reasoning":
        return "reasoning", "".join(part["text"] for part in item["summary"])
    if item["type"] == "function_call":
        return "call", item["arguments"]
    kinds = [part["type"] for part in item["content"]]
    name = "refusal" if "refusal" in kinds else "text"
    return name, "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])


def responses_client(raw: bytes) -> Client:
    seen = Client()
    last = {"text": "text", "refusal": "refusal", "arguments": "arguments"}
    for number, data in enumerate(events(raw)):
        kind = data["type"]
        assert not seen.done
        if kind == "error":
            seen.errors.append(data)
            continue
        assert data["sequence_number"] == number
        if kind.endswith(".delta"):
            names = {"output_text": "text", "refusal": "refusal", "function_call_arguments": "call"}
            name = names.get(kind.split(".")[1], "reasoning")
            seen.texts[data["output_index"], name] += data["delta"]
        elif kind.endswith(".done") and (field := next((f for f in last if f in data), None)):
            assert data[field] in seen.texts.values()
        elif kind == "response.output_item.done":
            name, text = _texts_of(data["item"])
            assert seen.texts[data["output_index"], name] == text
            seen.ended[data["output_index"]] = data["item"].get("status", "completed")
        elif kind in ("response.completed", "response.incomplete"):
            seen.done, seen.final = True, data["response"]
            for index, item in enumerate(data["response"]["output"]):
                assert (seen.texts[index, _texts_of(item)[0]]) == _texts_of(item)[1]
            if kind == "response.incomplete":
                seen.errors.append(data["response"]["incomplete_details"])
    return seen


_CHAT_NAMES = ("content", "reasoning_content", "refusal", "tool0", "tool1")
DIALECTS = {
    "chat": Dialect(CHAT, chat_server, chat_client, tuple((n, name) for n in (0, 1) for name in _CHAT_NAMES)),
    "completions": Dialect(COMPLETIONS, completions_server, completions_client, ((0, "text"), (1, "text"))),
    "messages": Dialect(
        MESSAGES, messages_server, messages_client, ((0, "thinking"), (1, "text"), (2, "tool"), (3, "text"))
    ),
    "responses": Dialect(
        RESPONSES, responses_server, responses_client, ((0, "reasoning"), (1, "text"), (2, "call"), (3, "refusal"))
    ),
}


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
