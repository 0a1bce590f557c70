"""OpenAI's chat completions: `POST /v1/chat/completions`.

What is asked is read wherever a server's template may find it: fields that nobody here knows too, as the words of whoever speaks
the message, or of the user. What is said, whole or streamed, is read in every choice: content, refusal, reasoning, arguments of tools, and texts in fields
that nobody here knows. The streams are in `choices`.

Not covered: names, of tools and of speakers, are held to the characters of a name, not judged; the same goes for short
identifiers in fields of a request that nobody here knows. Options that constrain a reply (DEVELOPERS) are the developer's words.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, Literal, cast

import msgspec

from trivet.core.errors import TargetError
from trivet.core.messages import Role, Sampling
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.choices import CHUNK, TEXT_FIELDS, ChatReader, field_of, without_tokens
from trivet.monitoring.gateway.formats.escapes import unescaped
from trivet.monitoring.gateway.formats.shape import Ask, Closing, Open, Path, Piece, Told
from trivet.monitoring.gateway.formats.streaming import carried, is_name
from trivet.monitoring.gateway.formats.texts import as_json, converted, leaves, replaced
from trivet.monitoring.gateway.wire import Refused

Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Heat = Annotated[float, msgspec.Meta(ge=0, le=2)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
Seed = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class CalledFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class CustomCall(msgspec.Struct):
    name: str
    input: str = ""


class ToolCall(msgspec.Struct):
    id: str
    type: str = "function"
    function: CalledFunction | None = None
    custom: CustomCall | None = None


class ChatMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    tool_call_id: str | None = None
    name: str | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a chat request that are looked at; others are kept and passed on."""

    model: str
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    n: Choices | None = None
    temperature: Heat | None = None
    top_p: Fraction | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[dict[str, Any]] | None = None
    documents: list[str | dict[str, Any]] | None = None
    prediction: dict[str, Any] | None = None
    modalities: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None

    def sampling(self, default: Sampling) -> Sampling:
        def known(value: Any, fallback: Any) -> Any:
            return fallback if value is None else value

        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or default.stop)
        return Sampling(
            temperature=known(self.temperature, default.temperature),
            max_tokens=self.max_completion_tokens or self.max_tokens or default.max_tokens,
            top_p=known(self.top_p, default.top_p),
            seed=known(self.seed, default.seed),
            stop=stop,
        )


DEVELOPERS = frozenset(
    ["response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"]
)
OPTIONS = DEVELOPERS | {"metadata", "logit_bias", "prompt_cache_key"}
"""Options that no server shows to the model."""
_KNOWN = frozenset(ChatRequest.__struct_fields__) | OPTIONS | {"audio"}
_SAID = frozenset(ChatMessage.__struct_fields__) - {"tool_call_id"} | {"audio"}


class Chat:
    route = "/v1/chat/completions"
    error = staticmethod(openai.error)
    failure = staticmethod(openai.failure)
    rewritten = staticmethod(replaced)

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        form = converted(body, ChatRequest)
        if not unchecked and ("audio" in (form.modalities or ()) or body.get("audio") is not None):
            raise Refused(
                400, "Spoken replies cannot be checked and are not supported; ask for text.", param="modalities"
            )
        pieces = list(openai.option_pieces(body, _KNOWN, unchecked=unchecked))
        for number, document in enumerate(form.documents or ()):
            pieces += openai.document_pieces(document, ("documents", number), unchecked=unchecked)
        if form.prediction is not None:
            content, place = form.prediction.get("content"), ("prediction", "content")
            pieces += openai.unknown_pieces(
                form.prediction, ("type", "content"), place[:1], "assistant", unchecked=unchecked
            )
            pieces += _content(content, place, "assistant", unchecked)
        for number, message in enumerate(body["messages"]):
            content = message.get("content")
            if len(message) == 2 and isinstance(content, str):  # nearly all are like this
                if content:
                    role = openai.ROLES[message["role"]]
                    pieces.append(Piece(content, role, ("messages", number, "content"), role))
            else:
                pieces += _message_pieces(message, ("messages", number), unchecked)
        asked = {name: body.get(name) for name in ("response_format", "tools", "tool_choice", "functions")}
        return Ask(body, form.model, bool(form.stream), tuple(pieces), asked, openai.user_of(body))

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        choices = reply.get("choices")
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise TargetError("the model's server sent no choices, which is not the chat completions format")
        pieces: list[Piece] = []
        for number, choice in enumerate(choices):
            message = choice.get("message")
            if not isinstance(message, dict):
                raise TargetError("the model's server sent a choice without a message")
            _names(message)
            for path, text in leaves(without_tokens(choice), ("choices", number)):
                text = unescaped(text) if path[-1] == "arguments" else text
                pieces.append(Piece(text, "assistant", path, "assistant", number, field_of(path[3:])))
        rest = {name: value for name, value in reply.items() if name not in CHUNK}
        pieces += (Piece(text, "assistant", path, "assistant") for path, text in leaves(rest))
        return tuple(pieces)

    def rewritten_reply(self, reply: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        """`rewritten`, and without the log-probabilities that would tell what has been replaced."""
        new = cast("dict[str, Any]", replaced(reply, as_json(changes)))
        for number in {path[1] for path in changes if path[0] == "choices"}:
            if new["choices"][number].get("logprobs"):
                new["choices"][number] = {**new["choices"][number], "logprobs": None}
        return new

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        """The reply without its words: every choice ended by `content_filter`."""
        message = {"role": "assistant", "content": None, "refusal": None}
        choices = [
            {"index": number, "message": message, "logprobs": None, "finish_reason": "content_filter"}
            for number in range(len(reply.get("choices") or [0]))
        ]
        return {name: value for name, value in reply.items() if name in CHUNK} | {"choices": choices}

    def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        return carried(frames, ChatReader(open_stream, told, ask.body.get("n") or 1), told, closing)


def _content(content: Any, path: Path, role: Any, unchecked: bool) -> Iterator[Piece]:
    if content is not None and not isinstance(content, (str, list)):
        raise Refused(400, "The content is neither a text nor a list of parts.", param=str(path[0]))
    return openai.content_pieces(content, path, role, unchecked=unchecked)


def _message_pieces(message: dict[str, Any], path: Path, unchecked: bool) -> Iterator[Piece]:
    role = openai.ROLES[message["role"]]
    openai.hold_name(message.get("name"), "messages")
    yield from openai.unknown_pieces(message, _SAID, path, role, unchecked=unchecked)
    for name in ("reasoning_content", "reasoning", "refusal"):
        if message.get(name):
            yield Piece(message[name], role, (*path, name), role, field=TEXT_FIELDS[name])
    yield from openai.content_pieces(message.get("content"), (*path, "content"), role, unchecked=unchecked)
    if message.get("audio") is not None and not unchecked:
        raise openai.unreadable("audio", "messages")
    for number, call in enumerate(message.get("tool_calls") or ()):
        place = (*path, "tool_calls", number)
        yield from openai.unknown_pieces(call, ("type", "function", "custom"), place, role, unchecked=unchecked)
        for kind, name in (("function", "arguments"), ("custom", "input")):
            yield from _called(call.get(kind), name, (*place, kind), role, unchecked)
    yield from _called(message.get("function_call"), "arguments", (*path, "function_call"), role, unchecked)


def _called(called: dict[str, Any] | None, name: str, path: Path, role: Role, unchecked: bool) -> Iterator[Piece]:
    """What a tool was called with; `name` is where it stands."""
    if called:
        openai.hold_name(called["name"], "messages")
        yield from openai.unknown_pieces(called, ("name", name), path, role, unchecked=unchecked)
        if text := called.get(name):
            yield Piece(text, role, (*path, name), role, field="arguments")


def _names(message: Mapping[str, Any]) -> None:
    """Raises TargetError for a call whose name is none: a name is not judged, so it must not be prose."""
    for call in (*(message.get("tool_calls") or ()), {"function": message.get("function_call")}):
        for kind in ("function", "custom"):
            called = call.get(kind) if isinstance(call, dict) else None
            if isinstance(called, dict) and called.get("name") and not is_name(called["name"]):
                raise TargetError("the model called a tool by a name that is none")


CHAT = Chat()
