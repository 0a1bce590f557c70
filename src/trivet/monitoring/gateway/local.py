"""A model of this process as an upstream: chat completions for anything that continues a conversation.

Streams where the model can, in one piece where it cannot; the choices of one request are drawn one after the other, each
with a seed of its own where a seed was given. Token counts are estimates at four bytes a token, because nobody here knows
the tokenizer.

Not covered: tools, documents and log-probabilities. They are refused, not ignored: a client that sends tools waits for
calls that would never come.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from trivet.core.errors import TargetError
from trivet.core.events import new_id
from trivet.core.messages import Conversation, Message, Sampling, text_of
from trivet.core.protocols import Model
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.chat import CHAT, ChatRequest
from trivet.monitoring.gateway.formats.shape import Answer
from trivet.monitoring.gateway.formats.streaming import encode, event
from trivet.monitoring.gateway.formats.texts import converted
from trivet.monitoring.gateway.wire import Refused

_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}


class LocalUpstream:
    """`sampling` fills in what a request leaves out."""

    def __init__(self, model: Model, name: str, sampling: Sampling = Sampling()) -> None:
        self.model, self.name, self.sampling = model, name, sampling

    def routes(self) -> frozenset[str]:
        return frozenset({CHAT.route})

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        """Whatever the model raises goes through; a request that it cannot serve is answered with 400."""
        if route != CHAT.route:
            raise TargetError(f"{self.name} speaks {CHAT.route} only, was asked for {route}")
        try:
            ask: ChatRequest = converted(msgspec.json.decode(body), ChatRequest)
            _serves(ask)
        except Refused as refusal:
            return Answer(refusal.status, _JSON, openai.error(refusal))
        reply = _Reply(self, ask, headers.get("x-request-id") or new_id())
        if stream:
            return Answer(200, _EVENTS, reply.events())
        return Answer(200, _JSON, encode(await reply.whole()))


def _serves(ask: ChatRequest) -> None:
    tools = (ask.tools or ask.functions) and ask.tool_choice != "none"
    for name, given in (("tools", tools), ("documents", ask.documents), ("logprobs", ask.logprobs)):
        if given:
            raise Refused(400, f"The model behind this gateway takes no {name}.", param=name, code="unsupported")


def estimated(*texts: str) -> int:
    return sum(math.ceil(len(text.encode("utf-8", "replace")) / 4) for text in texts)


class _Reply:
    """One request and the choices that answer it."""

    def __init__(self, upstream: LocalUpstream, ask: ChatRequest, id: str) -> None:
        self.upstream, self.ask = upstream, ask
        self.conversation = Conversation(
            tuple(Message(openai.ROLES[message.role], text_of(message.content)) for message in ask.messages)
        )
        self.base = {"id": f"chatcmpl-{id}", "created": int(time.time()), "model": upstream.name}
        self.written: list[str] = []  # by choice

    def _samplings(self) -> list[Sampling]:
        first = self.ask.sampling(self.upstream.sampling)
        seeds = [None if first.seed is None else first.seed + number for number in range(self.ask.n or 1)]
        return [replace(first, seed=seed) for seed in seeds]

    def _usage(self) -> dict[str, int]:
        prompt = sum(4 + estimated(message.content) for message in self.conversation)
        written = estimated(*self.written)
        return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}

    async def whole(self) -> dict[str, Any]:
        choices = []
        for number, sampling in enumerate(self._samplings()):
            text = (await self.upstream.model.reply(self.conversation, sampling)).content
            self.written.append(text)
            message = {"role": "assistant", "content": text, "refusal": None}
            choices.append({"index": number, "message": message, "logprobs": None, "finish_reason": "stop"})
        return {**self.base, "object": "chat.completion", "choices": choices, "usage": self._usage()}

    async def events(self) -> AsyncGenerator[bytes]:
        counted = bool((self.ask.stream_options or {}).get("include_usage"))
        for number, sampling in enumerate(self._samplings()):
            opening: dict[str, str] = {"role": "assistant"}
            said = []
            pieces = self._pieces(sampling)
            try:
                async for piece in pieces:
                    yield self._chunk(number, {**opening, "content": piece})
                    opening = {}
                    said.append(piece)
            finally:
                await pieces.aclose()
            self.written.append("".join(said))
            yield self._chunk(number, opening, "stop")
        if counted:
            yield event({**self.base, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()})
        yield openai.DONE

    def _chunk(self, number: int, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**self.base, "object": "chat.completion.chunk", "choices": [choice]})

    async def _pieces(self, sampling: Sampling) -> AsyncGenerator[str]:
        """The reply as the model streams it, or in one piece where it cannot."""
        stream = getattr(self.upstream.model, "stream", None)
        if stream is None:
            yield (await self.upstream.model.reply(self.conversation, sampling)).content
            return
        pieces = stream(self.conversation, sampling)
        try:
            async for piece in pieces:
                if piece:
                    yield piece
        finally:
            if close := getattr(pieces, "aclose", None):
                await close()
