"""Streams made of items: OpenAI's Responses.

The same text comes several times: in deltas, in the event that ends them, in the event that ends its part, in the one that
ends its item, and in the whole response at the end. A text is therefore known by its place in the response, and each
repetition carries what was released of it, not what it says. What is still held goes out as one more delta before the
event that ends it. Events are numbered anew, because some are left out and others are ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from trivet.core.errors import TargetError
from trivet.core.models.sse import Frame
from trivet.monitoring.gateway.formats.shape import Field, Open, Path, Told
from trivet.monitoring.gateway.formats.streaming import Texts, as_sent, event, failed, is_name, parsed
from trivet.monitoring.gateway.formats.texts import leaves, replaced

RESPONSE = frozenset(
    [
        "id",
        "object",
        "created_at",
        "completed_at",
        "status",
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "background",
        "conversation",
        "max_output_tokens",
        "max_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "text",
        "top_logprobs",
        "truncation",
        "usage",
        "user",
        "store",
        "frequency_penalty",
        "presence_penalty",
    ]
)
"""Fields of a response that hold no words of the model, or (`output`) are dealt with one by one."""


_KEPT = RESPONSE - {"id", "object", "status", "model", "usage", "service_tier", "error", "incomplete_details"}


class _Text(NamedTuple):
    """A text that is streamed: where it stands in its item, what the event that ends it calls it, and what it is."""

    place: tuple[str, ...]
    name: str
    field: Field


_TEXTS = {
    "response.output_text": _Text(("content", "content_index", "text"), "text", "content"),
    "response.refusal": _Text(("content", "content_index", "refusal"), "refusal", "refusal"),
    "response.reasoning_text": _Text(("content", "content_index", "text"), "text", "reasoning"),
    "response.reasoning_summary_text": _Text(("summary", "summary_index", "text"), "text", "reasoning"),
    "response.function_call_arguments": _Text(("arguments",), "arguments", "arguments"),
    "response.mcp_call_arguments": _Text(("arguments",), "arguments", "arguments"),
    "response.custom_tool_call_input": _Text(("input",), "input", "arguments"),
    "response.code_interpreter_call_code": _Text(("code",), "code", "arguments"),
    "response.shell_call_command": _Text(("action", "commands", "command_index"), "command", "arguments"),
}
_ANNOTATION = ("content", "content_index", "annotations", "annotation_index")
_MOST = 10_000  # items of a response, parts of an item


def field_of(kind: Any, path: Path) -> Field:
    """What a text of an item is, by the item's kind and where it stands in it."""
    if kind == "reasoning":
        return "reasoning"
    if path[-1] == "refusal":
        return "refusal"
    return "content" if kind == "message" else "arguments"


def item_leaves(item: dict[str, Any]) -> Iterator[tuple[Path, str, Field]]:
    kind = item.get("type")
    for path, text in leaves(item):
        if not (kind == "image_generation_call" and path == ("result",)):
            yield path, text, field_of(kind, path)


class ResponseReader:
    """One streamed response."""

    def __init__(self, open_stream: Open, told: Told) -> None:
        self.over = False
        self.texts = Texts(open_stream, told)
        self._told = told
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}  # as they may be seen: with texts that were released
        self._closed: set[int] = set()
        self._deltas: dict[
            tuple[int, Path], dict[str, Any]
        ] = {}  # the last delta of each text: the form for one of ours
        self._logprobs: dict[tuple[int, Path], list[Any]] = {}
        self._number = 0
        self._kept = b""

    async def take(self, frame: Frame) -> bytes:
        if frame.data.strip() == "[DONE]":  # some servers end every stream like this
            return b""
        data = parsed(frame)
        kind = str(data.get("type"))
        if kind == "error" or (kind == "response.failed" and isinstance(data.get("response"), dict)):
            raise failed((data.get("response") or {}).get("error") or data.get("error") or data)
        if not kind.startswith("response.") and (any(leaves(data)) or not self._response):
            raise TargetError("the model's server sent a stream that is not of the responses format")
        out, new = await self._event(kind, data)
        if self.texts.stopped:
            # A delta may still bring what was fit to leave; other events would repeat what the farewell says.
            self.over = True
            return out + self._numbered(new) if new and new.get("delta") and kind.endswith(".delta") else out
        if new is data and data.get("sequence_number") == self._number:
            self._number += 1
            out += as_sent(frame)
        elif new is not None:
            out += self._numbered(new)
        if kind in ("response.completed", "response.incomplete"):
            self.over, self._kept = True, out
            return b""
        return out

    def end(self) -> None:
        raise TargetError("the model's server ended its stream in the middle of a response")

    def farewell(self) -> bytes:
        if self._told.blocked is None:
            return self._kept
        items = {index: self._seen(index) for index in sorted(self._items)}
        out = [
            self._numbered({"type": "response.output_item.done", "output_index": index, "item": item})
            for index, item in items.items()
            if index not in self._closed
        ]
        response = {
            **self._response,
            "output": list(items.values()),
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
        }
        return b"".join((*out, self._numbered({"type": "response.incomplete", "response": response})))

    def _numbered(self, data: dict[str, Any]) -> bytes:
        out = event({**data, "sequence_number": self._number}, data["type"])
        self._number += 1
        return out

    async def _event(self, kind: str, data: dict[str, Any]) -> tuple[bytes, dict[str, Any] | None]:
        """What goes out before an event, and the event as it may leave: itself where nothing changed, None to drop it."""
        base, _, verb = kind.rpartition(".")
        if isinstance(data.get("response"), dict):
            return await self._whole(kind, self.texts.plain(data, "response"), data["response"])
        if base in _TEXTS:
            text = _TEXTS[base]
            name, path = "delta" if verb == "delta" else text.name, _place(text.place, data)
            data = self.texts.plain(data, name)  # but for log-probabilities that are none
            if verb == "done":
                return await self._text_done(text, path, data)
            return b"", await self._delta(name, text.field, path, data)
        for known, name, place in (
            ("response.output_item", "item", ()),
            ("response.content_part", "part", ("content", "content_index")),
            ("response.reasoning_summary_part", "part", ("summary", "summary_index")),
            ("response.output_text.annotation", "annotation", _ANNOTATION),
        ):
            if base == known and isinstance(data.get(name), dict):
                data = self.texts.plain(data, name)
                return await self._part(name, _place(place, data), data, done=verb == "done" or name == "annotation")
        if self.texts.free or not any(leaves(data)):
            return b"", data
        return b"", None  # words in a place that nobody here knows; the item that they belong to is checked at its end

    async def _delta(self, name: str, field: Field, path: Path, data: dict[str, Any]) -> dict[str, Any] | None:
        key, given = (path[0], path[1:]), data.get(name) or ""
        if not isinstance(given, str):
            raise TargetError("the model's server sent a delta that is no text")
        released = await self.texts.feed(key, given, field=field, json=_is_json(path))
        if name == "delta":
            self._deltas[key] = data
        logprobs = self._tokens(key, data.get("logprobs"))
        if released == given and logprobs == data.get("logprobs"):
            return data
        if not released and not logprobs and given:
            return None
        return {**data, name: released} | ({"logprobs": logprobs} if "logprobs" in data else {})

    def _tokens(self, key: tuple[Any, Path], logprobs: Any) -> Any:
        """The log-probabilities that may leave now: those of text that has left as it came."""
        if self.texts.free or (not logprobs and not self._logprobs.get(key)):
            return logprobs
        kept = self._logprobs.setdefault(key, [])
        kept += logprobs if isinstance(logprobs, list) else []
        slot = self.texts.find(key)
        if slot is None or slot.changed or self.texts.stopped or not slot.clean:
            if slot is None or slot.changed:
                kept.clear()
            return []
        self._logprobs[key] = []
        return kept

    async def _text_done(self, text: _Text, path: Path, data: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        given = data.get(text.name) or ""
        if not isinstance(given, str):
            raise TargetError("the model's server sent a text that is none")
        key = (path[0], path[1:])
        whole = await self.texts.whole(key, given, field=text.field, json=_is_json(path))
        tail = self._tail(key, whole.fresh)
        if whole.text == given:
            return tail, data
        return tail, {**data, text.name: whole.text} | ({"logprobs": []} if "logprobs" in data else {})

    def _tail(self, key: tuple[Any, Path], fresh: str) -> bytes:
        """What was still held of a text that came in deltas, as one more."""
        form = self._deltas.get(key)
        if not fresh or form is None:
            return b""
        logprobs = {"logprobs": self._tokens(key, None) or []} if "logprobs" in form else {}
        return self._numbered({**form, "delta": fresh, **logprobs})

    async def _part(
        self, name: str, path: Path, data: dict[str, Any], *, done: bool
    ) -> tuple[bytes, dict[str, Any] | None]:
        """An event that holds an item, a part of one or an annotation."""
        index, within = path[0], path[1:]
        if name == "item" and "call" in str(data[name].get("type")) and not is_name(data[name].get("name") or "none"):
            raise TargetError("the model called a tool by a name that is none")
        tail, new = await self._checked(index, within, data[name], done=done)
        self._put(index, within, new)
        if name == "item" and done:
            self._closed.add(index)
        return tail, data if new is data[name] else {**data, name: new}

    async def _checked(
        self, index: Any, within: Path, part: dict[str, Any], *, done: bool
    ) -> tuple[bytes, dict[str, Any]]:
        """A part of a response with what was released of its texts; itself where that is what it says."""
        tail, changes = b"", {}
        kind = self._items.get(index, part).get("type") if within else part.get("type")
        for path, text in list(leaves(part)):
            if (kind, path) == ("image_generation_call", ("result",)):
                continue
            key, field = (index, (*within, *path)), field_of(kind, (*within, *path))
            json = _is_json(key[1])
            if done:
                whole = await self.texts.whole(key, text, field=field, json=json)
                tail, released = tail + self._tail(key, whole.fresh), whole.text
            else:
                released = await self.texts.feed(key, text, field=field, json=json)
            if released != text:
                changes[path] = released
        if not changes:
            return tail, part
        new = replaced(part, changes)
        for path in changes:
            forget_tokens(new, path)
        return tail, new

    async def _whole(self, kind: str, data: dict[str, Any], given: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """An event that holds the whole response."""
        response, tail = self.texts.plain(given, *_KEPT), b""
        output = response.get("output") or []
        if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
            raise TargetError("the model's server sent a response whose output is none")
        if kind in ("response.completed", "response.incomplete"):
            items = []
            for index, item in enumerate(output):
                before, new = await self._checked(index, (), item, done=True)
                tail += before
                items.append(new)
            for key in self.texts.known():  # what the response does not repeat has an end all the same
                tail += self._tail(key, await self.texts.finish(key))
            reason = (response.get("incomplete_details") or {}).get("reason")
            self._told.finish = self._told.finish or str(reason or response.get("status") or "completed")
            if isinstance(response.get("usage"), dict):
                self._told.usage = response["usage"]
        else:
            items = []  # nothing has been said yet
        if items != output:
            response = {**response, "output": items}
        self._response = response
        return tail, data if response is given else {**data, "response": response}

    def _put(self, index: int, within: Path, part: dict[str, Any]) -> None:
        """Note an item or a part of it as it may be seen."""
        if not within:
            self._items[index] = part
        elif len(within) == 2 and index in self._items:
            parts = list(self._items[index].get(within[0]) or ())
            parts[within[1] :] = [part]
            self._items[index] = {**self._items[index], within[0]: parts}

    def _seen(self, index: int) -> dict[str, Any]:
        """An item of a response that ends early, with what was released of its texts."""
        item = self._items[index]
        for number, path in self._deltas:
            slot = self.texts.find((number, path))
            if number == index and slot and index not in self._closed:
                with contextlib.suppress(KeyError, IndexError, TypeError):  # a part that was never announced
                    item = replaced(item, {path: slot.stream.text})
        return {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item


def _is_json(path: Path) -> bool:
    return path[-1] == "arguments"


def _place(steps: tuple[str, ...], data: dict[str, Any]) -> Path:
    """The place of an event's text: its item's number, then the steps with the numbers that the event gives."""
    path = tuple(data.get(step) if step.endswith("_index") else step for step in ("output_index", *steps))
    if not all(isinstance(step, str) or (isinstance(step, int) and 0 <= step < _MOST) for step in path):
        raise TargetError("the model's server sent an event of no item")
    return path


def forget_tokens(value: Any, path: Path) -> None:
    """Empty the log-probabilities beside a text that was replaced; the way to it has been copied by `replaced`."""
    for step in path[:-1]:
        value = value[step]
    if isinstance(value, dict) and value.get("logprobs"):
        value["logprobs"] = []
