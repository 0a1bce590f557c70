"""A model's server for tests: chat, completions, embeddings, responses and messages, whole and streamed.

`Mock(says)` answers every request with the same script: a list of (kind, deltas), where the kinds are `reasoning`, `content`,
`refusal` and `call`. Streams are sent in chunks of `cut` bytes, so that events and characters are cut in the middle. What it
was asked is in `seen`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from formats.dialects import chat_server, completions_server, messages_server, responses_server
from formats.stand_in import Script

Says = Sequence[tuple[str, Sequence[str]]]
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


class Mock:
    """An ASGI application. `routes` are those that it knows; others get 404."""

    def __init__(
        self, says: Says = (("content", ("Good ", "day.")),), *, routes: Sequence[str] = (), cut: int = 7
    ) -> None:
        self.says, self.cut = list(says), cut
        self.routes = routes or ("chat/completions", "completions", "embeddings", "responses", "messages")
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    @property
    def last(self) -> dict[str, Any]:
        return self.seen[-1][1]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        raw, more = b"", True
        while more:
            message = await receive()
            raw, more = raw + message.get("body", b""), message.get("more_body", False)
        route = scope["path"].removeprefix("/v1/")
        if route not in self.routes:
            await _answer(send, 404, {"error": {"message": "no such route", "type": "invalid_request_error"}})
            return
        body = json.loads(raw)
        self.seen.append((route, body, {name.decode(): value.decode() for name, value in scope["headers"]}))
        if body.get("stream"):
            await self._stream(send, route)
        else:
            await _answer(send, 200, getattr(self, f"_{route.replace('/', '_')}")(body))

    def _script(self, route: str) -> Script:
        """The script in the slots of an API (see dialects)."""
        if route == "completions":
            return [((0, "text"), text) for kind, texts in self.says if kind == "content" for text in texts]
        names = {
            "chat/completions": {"reasoning": "reasoning_content", "call": "tool0"},
            "messages": {"reasoning": "thinking", "content": "text", "refusal": "text", "call": "tool"},
            "responses": {"content": "text"},
        }[route]
        return [
            ((0 if route == "chat/completions" else number, names.get(kind, kind)), text)
            for number, (kind, texts) in enumerate(self.says)
            for text in texts
        ]

    async def _stream(self, send: Any, route: str) -> None:
        serve: Any = {
            "chat/completions": chat_server,
            "completions": completions_server,
            "messages": messages_server,
            "responses": responses_server,
        }[route]
        data = b"".join(serve(self._script(route)))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for start in range(0, len(data), self.cut):
            await send({"type": "http.response.body", "body": data[start : start + self.cut], "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _text(self, kind: str) -> str:
        return "".join(text for name, texts in self.says if name == kind for text in texts)

    def _chat_completions(self, body: dict[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._text("content") or None, "refusal": None}
        if text := self._text("reasoning"):
            message["reasoning_content"] = text
        if text := self._text("refusal"):
            message["refusal"] = text
        if text := self._text("call"):
            message["tool_calls"] = [
                {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": text}}
            ]
        logprobs = {"content": [{"token": "Good", "logprob": -0.5, "bytes": None, "top_logprobs": []}], "refusal": None}
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        choices = [
            {
                "index": n,
                "message": message,
                "logprobs": logprobs if body.get("logprobs") else None,
                "finish_reason": finish,
            }
            for n in range(body.get("n") or 1)
        ]
        base = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
        return {**base, "choices": choices, "usage": USAGE, "system_fingerprint": "fp_1"}

    def _completions(self, body: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "text": self._text("content"), "logprobs": None, "finish_reason": "stop"}
        base = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": body["model"]}
        return {**base, "choices": [choice], "usage": USAGE}

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        # The official client asks for base64 unless told otherwise, and takes lists of numbers all the same.
        data = [
            {"object": "embedding", "index": n, "embedding": [0.25, float(len(text))]} for n, text in enumerate(texts)
        ]
        return {
            "object": "list",
            "model": body["model"],
            "data": data,
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }

    def _responses(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._last_of(responses_server, "responses")["response"]

    def _messages(self, body: dict[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        for kind, texts in self.says:
            text = "".join(texts)
            if kind == "call":
                content.append({"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": json.loads(text)})
            elif kind == "reasoning":
                content.append({"type": "thinking", "thinking": text, "signature": "c2ln"})
            else:
                content.append({"type": "text", "text": text})
        stop = "tool_use" if self._text("call") else "end_turn"
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
        usage = {"input_tokens": 3, "output_tokens": 5}
        return {**base, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def _last_of(self, serve: Any, route: str) -> Any:
        return json.loads(list(serve(self._script(route)))[-1].split(b"data: ", 1)[1])


async def _answer(send: Any, status: int, data: Any) -> None:
    body = json.dumps(data).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
