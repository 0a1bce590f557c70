"""A model of this process as an upstream: what it is asked, what it answers, and what it will not pretend to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from formats.dialects import chat_client

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.scripted import Scripted
from trivet.monitoring.gateway.local import LocalUpstream

CHAT = "/v1/chat/completions"


class Seeded:
    """Says its seed in two pieces; whether it was closed is in `closed`."""

    def __init__(self) -> None:
        self.seen: list[Sampling] = []
        self.closed = 0

    async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
        self.seen.append(sampling)
        return Message("assistant", f"seed {sampling.seed}")

    async def stream(self, conversation: Conversation, sampling: Sampling = Sampling()) -> AsyncIterator[str]:
        self.seen.append(sampling)
        try:
            yield "seed "
            yield str(sampling.seed)
        finally:
            self.closed += 1


class Whole:
    """Cannot stream."""

    async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
        return Message("assistant", f"{len(conversation)}: {conversation.last_user}")


def ask(model: Any, *, stream: bool = False, route: str = CHAT, **fields: Any) -> tuple[int, Any]:
    """The status, and the answer: an object, or the bytes of a stream."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream, **fields}

    async def main() -> tuple[int, Any]:
        upstream = LocalUpstream(model, "m", Sampling(max_tokens=7))
        answer = await upstream.send(route, json.dumps(body).encode(), stream=stream, headers={"x-request-id": "abc"})
        if isinstance(answer.body, bytes):
            return answer.status, json.loads(answer.body)
        return answer.status, b"".join([data async for data in answer.body])

    return asyncio.run(main())


def test_whole() -> None:
    status, reply = ask(Whole(), messages=[{"role": "developer", "content": "x"}, {"role": "user", "content": "hello"}])
    assert (status, reply["id"], reply["choices"][0]["message"]["content"]) == (200, "chatcmpl-abc", "2: hello")
    assert reply["usage"] == {"prompt_tokens": 4 + 1 + 4 + 2, "completion_tokens": 2, "total_tokens": 13}


def test_choices_have_seeds_of_their_own() -> None:
    model = Seeded()
    _, reply = ask(model, n=3, seed=5, temperature=1.0, top_p=0.5, stop="x", max_completion_tokens=9)
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["seed 5", "seed 6", "seed 7"]
    assert model.seen[0] == Sampling(1.0, 9, 0.5, 5, ("x",))
    _, raw = ask(model, n=2, seed=5, stream=True)
    seen = chat_client(raw)
    assert (seen.texts[0, "content"], seen.texts[1, "content"]) == ("seed 5", "seed 6") and seen.done
    _, reply = ask(model, n=2)
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["seed None"] * 2
    assert model.seen[-1].max_tokens == 7


def test_streams_count_as_whole_replies_do() -> None:
    _, whole = ask(Scripted("one two three"))
    _, raw = ask(Scripted("one two three"), stream=True, stream_options={"include_usage": True})
    assert chat_client(raw).final == whole["usage"]
    _, raw = ask(Whole(), stream=True)
    assert chat_client(raw).texts[0, "content"] == "1: hi" and chat_client(raw).final is None


def test_a_stream_that_is_left_stops_the_model() -> None:
    model = Seeded()

    async def main() -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
        answer = await LocalUpstream(model, "m").send(CHAT, body, stream=True)
        assert not isinstance(answer.body, bytes)
        await anext(answer.body)
        await answer.body.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert model.closed == 1


@pytest.mark.parametrize(
    "fields",
    [{"tools": [{"type": "function"}]}, {"documents": ["x"]}, {"logprobs": True}, {"functions": [{"name": "f"}]}],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    status, reply = ask(Whole(), **fields)
    assert status == 400 and reply["error"]["code"] == "unsupported"
    assert reply["error"]["param"] in (*fields, "tools")


def test_tools_that_may_not_be_called_do_no_harm() -> None:
    assert ask(Whole(), tools=[{"type": "function"}], tool_choice="none")[0] == 200
    assert ask(Whole(), tools=[])[0] == 200


def test_failures_go_through() -> None:
    with pytest.raises(TargetError, match="broke"):
        ask(Scripted(default=TargetError("it broke")))
    with pytest.raises(TargetError, match="speaks /v1/chat/completions only"):
        ask(Whole(), route="/v1/embeddings")
    assert ask(Whole(), messages=[])[0] == 400
