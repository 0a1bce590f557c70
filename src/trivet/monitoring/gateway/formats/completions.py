"""OpenAI's older completions: `POST /v1/completions`.

Prompts must be texts: arrays of tokens are refused, because nobody here knows the tokenizer and so nobody can read them.
With `echo` the reply repeats the prompt and is guarded as a whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import msgspec

from trivet.core.errors import TargetError
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.chat import CHAT, OPTIONS, Choices, Count, Fraction, Heat, Seed
from trivet.monitoring.gateway.formats.choices import CHUNK, CompletionReader, without_tokens
from trivet.monitoring.gateway.formats.shape import Ask, Closing, Open, Piece, Told
from trivet.monitoring.gateway.formats.streaming import carried
from trivet.monitoring.gateway.formats.texts import converted, leaves, replaced
from trivet.monitoring.gateway.wire import Refused


class CompletionRequest(msgspec.Struct):
    """The fields of a completion request that are looked at; others are kept and passed on."""

    model: str
    prompt: str | list[str] | None = None
    suffix: str | None = None
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    echo: bool | None = None
    temperature: Heat | None = None
    top_p: Fraction | None = None
    max_tokens: Count | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    logprobs: int | None = None
    user: str | None = None


_KNOWN = frozenset(CompletionRequest.__struct_fields__) | OPTIONS


def texts_only(body: Mapping[str, Any], name: str) -> None:
    """Raises Refused where a field holds tokens instead of texts."""
    value = body.get(name)
    if isinstance(value, list) and any(isinstance(one, (int, list)) for one in value):
        message = f"Tokens cannot be checked and are not supported; send {name} as text or an array of texts."
        raise Refused(400, message, param=name, code="unsupported_content")


class Completions:
    route = "/v1/completions"
    error = staticmethod(openai.error)
    failure = staticmethod(openai.failure)
    rewritten = staticmethod(replaced)
    rewritten_reply = staticmethod(CHAT.rewritten_reply)

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        texts_only(body, "prompt")
        form = converted(body, CompletionRequest)
        pieces = list(openai.option_pieces(body, _KNOWN, unchecked=unchecked))
        if form.suffix:
            pieces.append(Piece(form.suffix, "user", ("suffix",), "user"))
        pieces += (Piece(text, "user", path, "user") for path, text in leaves(body.get("prompt"), ("prompt",)))
        return Ask(body, form.model, bool(form.stream), tuple(pieces), {}, openai.user_of(body))

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        choices = reply.get("choices")
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise TargetError("the model's server sent no choices, which is not the completions format")
        pieces = [
            Piece(text, "assistant", path, "assistant", number)
            for number, choice in enumerate(choices)
            for path, text in leaves(without_tokens(choice), ("choices", number))
        ]
        rest = {name: value for name, value in reply.items() if name not in CHUNK}
        return (*pieces, *(Piece(text, "assistant", path, "assistant") for path, text in leaves(rest)))

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        choices = [
            {"index": number, "text": "", "logprobs": None, "finish_reason": "content_filter"}
            for number in range(len(reply.get("choices") or [0]))
        ]
        return {name: value for name, value in reply.items() if name in CHUNK} | {"choices": choices}

    def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        prompts = ask.body.get("prompt")
        choices = (ask.body.get("n") or 1) * (len(prompts) if isinstance(prompts, list) and prompts else 1)
        return carried(frames, CompletionReader(open_stream, told, choices), told, closing)


COMPLETIONS = Completions()
