"""Completions, Responses and Messages over an upstream that speaks only chat completions.

Requests are put in chat's words, replies and streams back into the API's own. What chat cannot say is refused with 400 and
named, never left away in silence.

Not covered: thinking of earlier turns and the budget for thinking, which chat has no words for, are left away; token counts
are the upstream's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from trivet.core.errors import TargetError
from trivet.core.events import new_id
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.chat import CHAT
from trivet.monitoring.gateway.formats.completions import COMPLETIONS
from trivet.monitoring.gateway.formats.deltas import Finish, Usage, Words, said_streamed, said_whole
from trivet.monitoring.gateway.formats.messages import MESSAGES
from trivet.monitoring.gateway.formats.responses import RESPONSES
from trivet.monitoring.gateway.formats.shape import Answer, Upstream
from trivet.monitoring.gateway.formats.streaming import encode, event
from trivet.monitoring.gateway.formats.to_messages import message_of, message_stream, messages_asked
from trivet.monitoring.gateway.formats.to_responses import response_of, response_stream, responses_asked
from trivet.monitoring.gateway.wire import Refused

_MOST_PROMPTS = 128
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream"}


class _Way(NamedTuple):
    """How one API is put in chat's words and back."""

    asked: Callable[[dict[str, Any]], dict[str, Any]]
    whole: Callable[[dict[str, Any], bytes, str], dict[str, Any]]
    stream: Callable[[dict[str, Any], AsyncIterator[bytes], str], AsyncGenerator[bytes]]


_WAYS = {
    RESPONSES.route: _Way(responses_asked, response_of, response_stream),
    MESSAGES.route: _Way(messages_asked, message_of, message_stream),
}


class Translated:
    """An upstream that speaks chat, made to speak the other APIs too."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream

    @property
    def name(self) -> str:
        return self.upstream.name

    def routes(self) -> frozenset[str]:
        return self.upstream.routes() | {COMPLETIONS.route, *_WAYS}

    def __getattr__(self, name: str) -> Any:
        """What else the upstream can do (closing, health) is still its own."""
        return getattr(self.upstream, name)

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        if route in self.upstream.routes() or route not in self.routes():
            return await self.upstream.send(route, body, stream=stream, headers=headers)
        given: dict[str, Any] = msgspec.json.decode(body)
        id = headers.get("x-request-id") or new_id()
        try:
            if route == COMPLETIONS.route:
                return await self._completions(given, stream, headers, id)
            way = _WAYS[route]
            asked = way.asked(given)
        except Refused as refusal:
            return Answer(refusal.status, _JSON, openai.error(refusal))
        answer = await self._chat(asked, stream, headers)
        if answer.status >= 400:
            return answer
        if isinstance(answer.body, bytes):
            return Answer(200, _JSON, encode(way.whole(given, answer.body, id)))
        return Answer(200, _EVENTS, way.stream(given, answer.body, id))

    async def _chat(self, asked: dict[str, Any], stream: bool, headers: Mapping[str, str]) -> Answer:
        if stream:
            asked = {**asked, "stream": True, "stream_options": {"include_usage": True}}
        answer = await self.upstream.send(CHAT.route, encode(asked), stream=stream, headers=headers)
        if stream and answer.status < 400 and isinstance(answer.body, bytes):
            raise TargetError("the upstream did not stream")
        return answer

    # Completions: each prompt is a conversation of its own

    async def _completions(self, given: dict[str, Any], stream: bool, headers: Mapping[str, str], id: str) -> Answer:
        asked = _completions_asked(given)
        if stream:
            first = await self._chat(asked[0], stream, headers)
            if first.status >= 400:
                return first
            return Answer(200, _EVENTS, self._completions_stream(given, asked, first, headers, id))
        choices: list[dict[str, Any]] = []
        usage: dict[str, int] = {}
        for prompt, one in zip(_prompts(given), asked, strict=True):
            answer = await self._chat(one, stream, headers)
            if answer.status >= 400:
                return answer
            if not isinstance(answer.body, bytes):
                raise TargetError("the upstream streamed what was to be whole")
            data, said = said_whole(answer.body)
            _add(usage, data.get("usage"))
            for parts in said:
                text = "".join(part.text for part in parts if isinstance(part, Words) and part.kind != "reasoning")
                reason = next(part.reason for part in parts if isinstance(part, Finish))
                text = prompt + text if given.get("echo") else text
                choices.append({"index": len(choices), "text": text, "logprobs": None, "finish_reason": reason})
        return Answer(200, _JSON, encode({**_base(given, id), "choices": choices, "usage": usage or None}))

    async def _completions_stream(
        self, given: dict[str, Any], asked: list[dict[str, Any]], first: Answer, headers: Mapping[str, str], id: str
    ) -> AsyncGenerator[bytes]:
        usage: dict[str, int] = {}
        n = given.get("n") or 1

        def chunk(number: int, text: str, finish: str | None = None) -> bytes:
            choice = {"index": number, "text": text, "logprobs": None, "finish_reason": finish}
            return event({**_base(given, id), "choices": [choice]})

        for place, (prompt, one) in enumerate(zip(_prompts(given), asked, strict=True)):
            answer = first if place == 0 else await self._chat(one, True, headers)
            if answer.status >= 400 or isinstance(answer.body, bytes):
                raise TargetError(f"the upstream answered {answer.status} to a later prompt")
            if given.get("echo"):
                for number in range(n):
                    yield chunk(place * n + number, prompt)
            said = said_streamed(answer.body)
            try:
                async for number, part in said:
                    if isinstance(part, Words) and part.kind != "reasoning":
                        yield chunk(place * n + number, part.text)
                    elif isinstance(part, Finish):
                        yield chunk(place * n + number, "", part.reason)
                    elif isinstance(part, Usage):
                        _add(usage, part.counts)
            finally:
                await said.aclose()
        if usage and (given.get("stream_options") or {}).get("include_usage"):
            yield event({**_base(given, id), "choices": [], "usage": usage})
        yield openai.DONE


def _completions_asked(given: dict[str, Any]) -> list[dict[str, Any]]:
    for name in ("suffix", "logprobs"):
        if given.get(name) is not None:
            raise Refused(400, f"The model behind this gateway takes no {name} here.", param=name, code="unsupported")
    if (given.get("best_of") or 1) > (given.get("n") or 1):
        raise Refused(400, "best_of above n is not supported by the model behind.", param="best_of", code="unsupported")
    prompts = _prompts(given)
    if not prompts or len(prompts) > _MOST_PROMPTS:
        message = f"1 to {_MOST_PROMPTS} prompts can be answered at once, was given {len(prompts)}."
        raise Refused(400, message, param="prompt")
    gone = ("prompt", "echo", "suffix", "best_of", "logprobs", "stream", "stream_options")
    kept = {name: value for name, value in given.items() if name not in gone}
    return [{**kept, "messages": [{"role": "user", "content": prompt}]} for prompt in prompts]


def _prompts(given: dict[str, Any]) -> list[str]:
    prompt = given.get("prompt")
    return prompt if isinstance(prompt, list) else [prompt or ""]


def _base(given: dict[str, Any], id: str) -> dict[str, Any]:
    return {"id": f"cmpl-{id}", "object": "text_completion", "created": int(time.time()), "model": given["model"]}


def _add(usage: dict[str, int], more: Any) -> None:
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        if isinstance(more, dict) and isinstance(more.get(name), int):
            usage[name] = usage.get(name, 0) + more[name]
