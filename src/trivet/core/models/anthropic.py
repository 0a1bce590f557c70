"""A model behind Anthropic's Messages API, or behind a server that speaks it.

    anthropic:MODEL                   https://api.anthropic.com, with the key of ANTHROPIC_API_KEY
    anthropic:http://HOST#MODEL       another server; its key is TRIVET_API_KEY

It is an Endpoint (retries, Retry-After, time limits, one-line TargetErrors) with another body and another way to read the
answer. A `stop_reason` of `refusal` without any text is the vendor's own filter at work and counts as Blocked, as a
gateway's block does; with text, the text is judged.

Not covered: tools, images, thinking blocks (left out of the text), streaming (the whole reply comes as one piece),
log-probabilities (the API has none), a seed (it takes none).
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from trivet.core.errors import Blocked, ModelNotFound, TargetError
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.endpoint import Endpoint
from trivet.core.models.traffic import LISTENER
from trivet.core.protocols import GREEDY

HOST = "https://api.anthropic.com"
VERSION = "2023-06-01"


class Anthropic(Endpoint):
    """Continues conversations by `POST /v1/messages`."""

    def __init__(self, model: str, *, url: str = HOST, key: str | None = None, **settings: Any) -> None:
        if not model:
            raise ModelNotFound("anthropic: does not say which model; give anthropic:MODEL")
        key = key or os.environ.get("ANTHROPIC_API_KEY" if url == HOST else "TRIVET_API_KEY", "")
        if url == HOST and not key:
            raise ModelNotFound(f"anthropic:{model} needs a key; set ANTHROPIC_API_KEY")
        headers = {"anthropic-version": VERSION, "x-api-key": key.strip()} if key else {"anthropic-version": VERSION}
        super().__init__(url.rstrip("/").removesuffix("/v1") + "/v1/messages", model, headers=headers, **settings)
        self._address: httpx.URL = self._address.copy_with(path=self._address.path.removesuffix("/chat/completions"))
        self.url = str(self._address.copy_with(userinfo=b"", query=None))
        self._headers.pop("Authorization", None)  # Endpoint's own key; this API takes it under another name

    async def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> AsyncIterator[str]:
        yield (await self.reply(conversation, sampling)).content

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        raise TargetError(f"{self} sends no log-probabilities; count votes instead (labels: votes)")

    def _body(self, conversation: Conversation, sampling: Sampling, *, stream: bool) -> dict[str, Any]:
        system = "\n\n".join(message.content for message in conversation if message.role == "system")
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": sampling.max_tokens,
            "messages": [
                {"role": "assistant" if message.role == "assistant" else "user", "content": message.content}
                for message in conversation
                if message.role != "system"
            ],
            "temperature": min(1.0, sampling.temperature),
        }
        if system:
            body["system"] = system
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop_sequences"] = list(sampling.stop)
        return body

    def _content(self, raw: bytes) -> str:
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        parts = answer.get("content") if isinstance(answer, dict) else None
        if not isinstance(parts, list):
            said = " ".join(raw.decode("utf-8", "replace").split())[:200]
            raise TargetError(f"{self} sent no content, which is not the messages format: {said}")
        text = "".join(
            str(part.get("text", "")) for part in parts if isinstance(part, dict) and part.get("type") == "text"
        )
        if listener := LISTENER.get():
            listener.used(*_usage(answer))
        if answer.get("stop_reason") == "refusal" and not text.strip():
            raise Blocked(f"{self} withheld its reply (stop_reason refusal)", "output")
        return text.encode("utf-8", "replace").decode()


def _usage(answer: dict[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and reply by the server's count; 0 where it tells none."""
    usage = answer.get("usage")
    counts = [usage.get(key) if isinstance(usage, dict) else 0 for key in ("input_tokens", "output_tokens")]
    prompt, completion = (count if type(count) is int and count > 0 else 0 for count in counts)
    return prompt, completion
