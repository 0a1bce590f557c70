"""OpenAI's Responses: `POST /v1/responses`.

A request is a list of items: messages, calls of tools and what came of them, reasoning. What tools brought in is read as
role tool, whatever the kind of the tool. A block by a policy is an `incomplete` response with the reason `content_filter`.

Not covered: `previous_response_id`, `conversation` and item references name texts that lie with the model's server, and stored
prompts name templates there; they are passed on unread. So are log-probabilities of texts that are sent back. `background` is
refused, because its reply would be fetched past the gateway, and so are tools that answer with images.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Annotated, Any

import msgspec

from trivet.core.errors import TargetError
from trivet.core.messages import TEXTS
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.chat import OPTIONS
from trivet.monitoring.gateway.formats.escapes import unescaped
from trivet.monitoring.gateway.formats.items import RESPONSE, ResponseReader, forget_tokens, item_leaves
from trivet.monitoring.gateway.formats.shape import Ask, Closing, Open, Path, Piece, Told
from trivet.monitoring.gateway.formats.streaming import carried, event, is_name
from trivet.monitoring.gateway.formats.texts import OPAQUE, as_json, converted, leaves, readings, replaced
from trivet.monitoring.gateway.wire import Refused

_IMAGING = ("image_generation", "computer_use_preview", "computer")


class ResponseRequest(msgspec.Struct):
    """The fields of a response request that are looked at; others are kept and passed on."""

    model: str
    input: str | list[dict[str, Any]] | None = None
    instructions: str | list[dict[str, Any]] | None = None
    stream: bool | None = False
    background: bool | None = None
    prompt: dict[str, Any] | None = None
    previous_response_id: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None


_KNOWN = frozenset(ResponseRequest.__struct_fields__) - {"reasoning"} | OPTIONS | {"conversation", "include"}


class Responses:
    route = "/v1/responses"
    error = staticmethod(openai.error)
    rewritten = staticmethod(replaced)

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        form = converted(body, ResponseRequest)
        if form.background:
            raise Refused(400, "Replies in the background cannot be checked and are not supported.", param="background")
        for tool in form.tools or ():
            if tool.get("type") in _IMAGING and not unchecked:
                message = f"What the tool {tool['type']!r} shows cannot be checked and is not supported."
                raise Refused(400, message, param="tools", code="unsupported_content")
        pieces = list(openai.option_pieces(body, _KNOWN, unchecked=unchecked))
        pieces += _items(form.instructions, ("instructions",), "system", unchecked)
        pieces += openai.unknown_pieces(
            form.prompt or {}, ("id", "version", "variables"), ("prompt",), "user", unchecked=unchecked
        )
        variables = (form.prompt or {}).get("variables")
        for piece in openai.document_pieces(variables, ("prompt", "variables"), unchecked=unchecked):
            pieces.append(Piece(piece.text, "user", piece.path, "user"))
        pieces += _items(form.input, ("input",), "user", unchecked)
        asked = {"response_format": _format(form), "tools": _tools(form), "tool_choice": form.tool_choice}
        return Ask(body, form.model, bool(form.stream), tuple(pieces), asked, openai.user_of(body))

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        items = reply.get("output")
        if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
            raise TargetError("the model's server sent no output, which is not the responses format")
        pieces: list[Piece] = []
        for number, item in enumerate(items):
            if "call" in str(item.get("type")) and item.get("name") and not is_name(item["name"]):
                raise TargetError("the model called a tool by a name that is none")
            for path, text, field in item_leaves(item):
                text = unescaped(text) if path[-1] == "arguments" else text
                pieces.append(Piece(text, "assistant", ("output", number, *path), "assistant", field=field))
        rest = {name: value for name, value in reply.items() if name not in RESPONSE}
        pieces += (Piece(text, "assistant", path, "assistant") for path, text in leaves(rest))
        return tuple(pieces)

    def rewritten_reply(self, reply: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        """`rewritten`, and without the log-probabilities that would tell what has been replaced."""
        new = replaced(reply, as_json(changes))
        for path in changes:
            forget_tokens(new, path)
        return dict(new)

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        kept = {name: value for name, value in reply.items() if name in RESPONSE}
        return {**kept, "output": [], "status": "incomplete", "incomplete_details": {"reason": "content_filter"}}

    def failure(self, refused: Refused) -> bytes:
        error = refused.body["error"]
        fields = {name: error[name] for name in ("code", "message", "param")}
        return event({"type": "error", **fields, "sequence_number": 0}, "error")

    def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        return carried(frames, ResponseReader(open_stream, told), told, closing)


def _items(given: str | list[dict[str, Any]] | None, path: Path, role: Any, unchecked: bool) -> Iterator[Piece]:
    if isinstance(given, str):
        yield from openai.content_pieces(given, path, role, unchecked=unchecked)
        return
    for number, item in enumerate(given or ()):
        yield from _item(item, (*path, number), unchecked)


def _item(item: dict[str, Any], path: Path, unchecked: bool) -> Iterator[Piece]:
    kind = item.get("type") or ("message" if "role" in item else "")
    if kind == "message":
        role, content = openai.ROLES.get(str(item.get("role"))), item.get("content")
        if role is None or not isinstance(content, (str, list)):
            raise Refused(400, "A message of the input needs `role` and `content`.", param=str(path[0]))
        yield from openai.unknown_pieces(item, ("type", "role", "content"), path, role, unchecked=unchecked)
        yield from openai.content_pieces(content, (*path, "content"), role, unchecked=unchecked)
    elif kind in ("item_reference", "compaction"):
        yield from openai.unknown_pieces(item, ("type", "id"), path, "user", unchecked=unchecked)
    elif not isinstance(kind, str) or not kind:
        raise Refused(400, "An item of the input has no type.", param=str(path[0]))
    elif kind.endswith("_output"):
        yield from _output(item, path, unchecked)
    else:
        # Calls of tools and reasoning: the assistant's own words of an earlier turn.
        openai.hold_name(item.get("name"), str(path[0]))
        for piece in openai.document_pieces(item, path, unchecked=unchecked):
            name = piece.path[len(path)]
            field = "reasoning" if kind == "reasoning" else "arguments" if name in ("arguments", "input") else "content"
            if name != "name" and not (name in openai.IDS and is_name(piece.text)):
                yield Piece(piece.text, "assistant", piece.path, "assistant", field=field)


def _output(item: dict[str, Any], path: Path, unchecked: bool) -> Iterator[Piece]:
    """What a tool brought back: a text, a list of parts, or whatever its kind has."""
    parts = item.get("output")
    if isinstance(parts, list) and all(isinstance(one, dict) and one.get("type") in TEXTS for one in parts):
        yield from readings(parts, (*path, "output"), "tool", "tool")
        item = {name: value for name, value in item.items() if name != "output"}
    list(openai.document_pieces(item, path, unchecked=unchecked))  # refuses what cannot be read
    for place, text in leaves(item, path, OPAQUE | {"id", "call_id", "status"}, given=True):
        yield Piece(text, "tool", place, "tool")


def _format(form: ResponseRequest) -> dict[str, Any] | None:
    """`text.format` in the words of chat completions."""
    given = (form.text or {}).get("format")
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        return given if isinstance(given, dict) else None
    return {"type": "json_schema", "json_schema": {name: given[name] for name in given if name != "type"}}


def _tools(form: ResponseRequest) -> list[dict[str, Any]] | None:
    """Tools in the words of chat completions; those of the server's own stay as they are."""
    if form.tools is None:
        return None
    return [chat_tool(tool) if tool.get("type") == "function" else tool for tool in form.tools]


def chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {name: tool[name] for name in tool if name != "type" and tool[name] is not None},
    }


RESPONSES = Responses()
