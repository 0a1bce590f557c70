"""OpenAI's chat API in bytes: what a request may hold, what a reply, a chunk and an error look like.

Unknown fields are tolerated and ignored. What the guards could not read (images, audio, files) is refused, not skipped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import JSONResponse

from trivet.core.messages import Conversation, Message, Role, Sampling

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None


class ChatRequest(msgspec.Struct):
    """The fields of a chat request that we use."""

    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None

    def conversation(self) -> Conversation:
        return Conversation(tuple(Message(_ROLES[m.role], _text(m.content)) for m in self.messages))

    def sampling(self, default: Sampling) -> Sampling:
        def or_default(value: Any, fallback: Any) -> Any:
            return fallback if value is None else value

        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or default.stop)
        return Sampling(
            temperature=or_default(self.temperature, default.temperature),
            max_tokens=self.max_completion_tokens or self.max_tokens or default.max_tokens,
            top_p=or_default(self.top_p, default.top_p),
            seed=or_default(self.seed, default.seed),
            stop=stop,
        )


class ReportRequest(msgspec.Struct):
    """A user's complaint about an exchange."""

    exchange: str
    reason: Literal["harmful", "wrongly_refused", "private_data", "inaccurate", "other"]
    comment: Annotated[str, msgspec.Meta(max_length=4000)] = ""


class Refused(Exception):  # noqa: N818
    """A request that is answered with an OpenAI error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers)


def filtered(place: str, layer: str) -> Refused:
    """The block: HTTP 400, code `content_filter`, the place as `param`."""
    message = f"The {place} was blocked by the safety policy (layer {layer!r})."
    return Refused(400, message, kind="content_filter", param=place, code="content_filter")


def parsed(body: bytes, form: type[Any]) -> Any:
    """The request in a body; raises Refused that says where it is wrong."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        field = str(error).partition("`$.")[2].partition("`")[0].partition("[")[0].partition(".")[0]
        raise Refused(400, f"The request is not valid: {error}", param=field or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The body is not valid JSON: {error}", code="invalid_json") from error


def _text(content: str | list[_Part] | None) -> str:
    if not isinstance(content, list):
        return content or ""
    for part in content:
        if part.type not in ("text", "input_text", "refusal"):
            message = (
                f"Content parts of the type {part.type!r} cannot be checked and are not supported; send text parts."
            )
            raise Refused(400, message, param="messages")
    return "".join(part.text for part in content)


def usage(conversation: Conversation, reply: str) -> dict[str, int]:
    """Token counts, estimated at four bytes a token: the gateway does not know the model's tokenizer."""
    prompt = sum(4 + math.ceil(len(m.content.encode()) / 4) for m in conversation)
    completion = math.ceil(len(reply.encode()) / 4)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(id: str, model: str, reply: str, conversation: Conversation) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage(conversation, reply),
    }


def chunk(id: str, model: str, delta: Mapping[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event({**_frame(id, model), "choices": [choice]})


def usage_chunk(id: str, model: str, counts: Mapping[str, int]) -> bytes:
    return event({**_frame(id, model), "choices": [], "usage": counts})


def _frame(id: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{id}", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
