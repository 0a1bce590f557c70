"""Anthropic's Messages: `POST /v1/messages`.

A reply is a list of content blocks, and each block is a text of its own: text, thinking, the input of a tool as the JSON text
that the model wrote. Results of tools on Anthropic's side stand in blocks that come whole. A block by a policy is what
Anthropic calls a refusal: `stop_reason: refusal`, in band. Thinking that was changed keeps its signature, which the model's
server will then not accept back; send the turn without it.

Not covered: redacted thinking and other encrypted content, which nobody between the model's server and itself can read;
definitions of tools and of MCP servers. Names of tools are held to the characters of a name, not judged.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from trivet.core.errors import TargetError
from trivet.core.messages import Role
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.blocks import MessageReader, refusal
from trivet.monitoring.gateway.formats.escapes import unescaped
from trivet.monitoring.gateway.formats.shape import Ask, Closing, Field, Open, Path, Piece, Told
from trivet.monitoring.gateway.formats.streaming import carried, encode, event, is_name
from trivet.monitoring.gateway.formats.texts import as_json, converted, leaves, readings, replaced
from trivet.monitoring.gateway.wire import Refused

_CALL = frozenset({"type", "name", "input", "cache_control", "caller"})
_RESULT = frozenset({"type", "content", "cache_control", "caller"})
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessageParam(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class MessageRequest(msgspec.Struct):
    """The fields of a message request that are looked at; others are kept and passed on."""

    model: str
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
    messages: Annotated[list[MessageParam], msgspec.Meta(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = False
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


_KNOWN = frozenset(MessageRequest.__struct_fields__) | {"mcp_servers", "betas", "container"}


class Messages:
    route = "/v1/messages"
    rewritten = staticmethod(replaced)

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        form = converted(body, MessageRequest)
        pieces = list(openai.option_pieces(body, _KNOWN, unchecked=unchecked))
        pieces += openai.content_pieces(form.system, ("system",), "system", unchecked=unchecked)
        for number, message in enumerate(body["messages"]):
            if len(message) > 2:
                place, role = ("messages", number), message["role"]
                pieces += openai.unknown_pieces(message, ("role", "content"), place, role, unchecked=unchecked)
            pieces += _content(message["content"], ("messages", number, "content"), message["role"], unchecked)
        asked = {"response_format": _format(form), "tools": _tools(form), "tool_choice": form.tool_choice}
        user = (form.metadata or {}).get("user_id")
        return Ask(body, form.model, bool(form.stream), tuple(pieces), asked, user if isinstance(user, str) else "")

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        blocks = reply.get("content")
        if not isinstance(blocks, list) or not all(isinstance(one, dict) for one in blocks):
            raise TargetError("the model's server sent no content, which is not the messages format")
        pieces: list[Piece] = []
        for number, block in enumerate(blocks):
            pieces += block_pieces(block, ("content", number))
        return tuple(pieces)

    def rewritten_reply(self, reply: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        """`rewritten`, and without the citations that would tell what has been replaced."""
        new = replaced(reply, as_json(changes, "input"))
        for number in {path[1] for path in changes if path[-1] == "text"}:
            if new["content"][number].get("citations"):
                new["content"][number] = {**new["content"][number], "citations": None}
        return dict(new)

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        kept = {name: reply[name] for name in ("id", "type", "role", "model", "usage") if name in reply}
        return {**kept, "content": [], **refusal(refused)}

    def error(self, refused: Refused) -> bytes:
        return encode(error_body(refused))

    def failure(self, refused: Refused) -> bytes:
        return event(error_body(refused), "error")

    def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        return carried(frames, MessageReader(open_stream, told), told, closing)


def error_body(refused: Refused) -> dict[str, Any]:
    """An error in Anthropic's words. OpenAI's `code` is kept beside them, because it tells blocks from mistakes."""
    given = refused.body["error"]
    error = {"type": _KINDS.get(refused.status, "api_error"), "message": given["message"]}
    for name in ("code", "param"):
        if given[name]:
            error[name] = given[name]
    return {"type": "error", "error": error, "request_id": None}


def block_pieces(block: dict[str, Any], path: Path) -> Iterator[Piece]:
    """The texts of a block of a reply."""
    kind = block.get("type")
    if kind in ("tool_use", "server_tool_use") and not is_name(block.get("name")):
        raise TargetError("the model called a tool by a name that is none")
    field: Field = "reasoning" if kind == "thinking" else "content"
    for name, value in block.items():
        if name == "input" and value:
            yield Piece(unescaped(encode(value).decode()), "assistant", (*path, name), "assistant", field="arguments")
        else:
            yield from (
                Piece(text, "assistant", at, "assistant", field=field) for at, text in leaves({name: value}, path)
            )


def _content(content: Any, path: Path, role: Role, unchecked: bool) -> Iterator[Piece]:
    """A message's content: what stands in blocks of its own kind, and the rest as everywhere."""
    if isinstance(content, str):
        yield from openai.content_pieces(content, path, role, unchecked=unchecked)
        return
    plain: list[Any] = list(content)
    for number, block in enumerate(content):
        here, kind = (*path, number), str(block.get("type"))
        if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            openai.hold_name(block.get("name"), "messages")
            yield from openai.unknown_pieces(block, _CALL, here, role, unchecked=unchecked)
            if block.get("input"):
                yield Piece(encode(block["input"]).decode(), role, (*here, "input"), role, field="arguments")
        elif kind == "tool_result" or kind.endswith("_tool_result"):
            yield from openai.unknown_pieces(block, _RESULT, here, "tool", unchecked=unchecked)
            yield from _result(block.get("content"), (*here, "content"), unchecked)
        elif kind == "redacted_thinking":
            yield from openai.unknown_pieces(block, ("type", "data"), here, role, unchecked=unchecked)
        else:
            continue
        plain[number] = {"type": "text", "text": ""}
    yield from openai.content_pieces(plain, path, role, unchecked=unchecked)


def _result(content: Any, path: Path, unchecked: bool) -> Iterator[Piece]:
    """What a tool brought back."""
    parts = content if isinstance(content, list) else None
    if parts is not None and all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
        yield from readings(parts, path, "tool", "tool")
    else:
        for piece in openai.document_pieces(content, path, unchecked=unchecked):
            yield Piece(piece.text, "tool", piece.path, "tool")


def _format(form: MessageRequest) -> dict[str, Any] | None:
    """`output_config.format` in the words of chat completions."""
    given = (form.output_config or {}).get("format")
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        return None
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": given.get("schema"), "strict": True}}


def _tools(form: MessageRequest) -> list[dict[str, Any]] | None:
    """Tools in the words of chat completions."""
    if form.tools is None:
        return None
    return [chat_tool(tool) for tool in form.tools]


def chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {
        "name": tool.get("name"),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
    }
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


MESSAGES = Messages()
