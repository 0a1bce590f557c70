"""The other APIs over chat completions: requests as chat has them, replies and streams as the SDKs' types have them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anthropic.types
import openai.types
import openai.types.responses as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from formats.dialects import chat_server, completions_client, messages_client, responses_client
from formats.stand_in import Script, cut, events, sse
from trivet.core.errors import TargetError
from trivet.monitoring.gateway.formats.shape import Answer
from trivet.monitoring.gateway.formats.translate import Translated

MESSAGES, RESPONSES, COMPLETIONS = "/v1/messages", "/v1/responses", "/v1/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"who": "Ann"}'}}
TOOL = {"name": "look_up", "description": "d", "parameters": {"type": "object"}}


class Chat:
    """An upstream that speaks chat alone, and answers with one message or stream."""

    name = "chat"

    def __init__(
        self, message: Any = None, raw: bytes = b"", places: list[int] | None = None, status: int = 200
    ) -> None:
        self.message, self.raw, self.places, self.status = message, raw, places or [], status
        self.seen: list[dict[str, Any]] = []
        self.finish = "stop"

    def routes(self) -> frozenset[str]:
        return frozenset({"/v1/chat/completions"})

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        assert route == "/v1/chat/completions"
        self.seen.append(json.loads(body))
        if self.status >= 400:
            return Answer(self.status, {}, b'{"error": {"message": "no"}}')
        if stream:
            return Answer(200, {}, cut(self.raw, self.places))
        choices = [{"index": 0, "message": self.message, "finish_reason": self.finish}]
        return Answer(200, {}, json.dumps({"id": "c", "choices": choices, "usage": USAGE}).encode())


def ask(chat: Chat, route: str, body: dict[str, Any], *, stream: bool = False) -> Any:
    async def main() -> Any:
        sent = json.dumps({"model": "m", **body}).encode()
        answer = await Translated(chat).send(route, sent, stream=stream, headers={"x-request-id": "abc"})
        if isinstance(answer.body, bytes):
            return json.loads(answer.body)
        return b"".join([data async for data in answer.body])

    return asyncio.run(main())


HELLO = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
SAYS: Script = [
    ((0, "reasoning_content"), "hm"),
    ((0, "content"), "one "),
    ((0, "content"), "two"),
    ((0, "tool0"), '{"who":'),
    ((0, "tool0"), ' "Ann"}'),
    ((0, "tool1"), "{}"),
]


def test_it_is_otherwise_the_upstream() -> None:
    translated = Translated(Chat({"role": "assistant", "content": "x"}))
    assert translated.name == "chat" and translated.finish == "stop"
    assert translated.routes() == {"/v1/chat/completions", MESSAGES, RESPONSES, COMPLETIONS}
    with pytest.raises(AttributeError):
        translated.nothing  # noqa: B018


# Messages


def test_messages_asked() -> None:
    chat = Chat({"role": "assistant", "content": "x"})
    turn = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    back = [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "found"}]},
        {"type": "text", "text": "and?"},
        {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
    ]
    body = {
        "system": [{"type": "text", "text": "be kind"}],
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": turn},
            {"role": "user", "content": back},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "ada"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "top_k": 4,
    }
    ask(chat, MESSAGES, body)
    (sent,) = chat.seen
    assert sent["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]},
        {"role": "tool", "tool_call_id": "t", "content": "found"},
        {"role": "user", "content": "and?T\nwords\n"},
    ]  # fmt: skip
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    ]
    assert (
        sent["tool_choice"] == {"type": "function", "function": {"name": "f"}} and sent["parallel_tool_calls"] is False
    )
    assert (sent["stop"], sent["user"], sent["max_tokens"], sent["top_k"]) == (["END"], "ada", 9, 4)
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"} and "stream" not in sent


@pytest.mark.parametrize(("kind", "word"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_messages_tool_choice(kind: str, word: str) -> None:
    chat = Chat({"role": "assistant", "content": "x"})
    ask(chat, MESSAGES, {**HELLO, "tool_choice": {"type": kind}})
    assert chat.seen[0]["tool_choice"] == word


def test_messages_whole() -> None:
    chat = Chat({"role": "assistant", "content": "one", "reasoning_content": "hm", "tool_calls": [CALL]})
    for finish, stop in (
        ("tool_calls", "tool_use"),
        ("length", "max_tokens"),
        ("stop", "end_turn"),
        ("content_filter", "refusal"),
    ):
        chat.finish = finish
        message = anthropic.types.Message.model_validate(ask(chat, MESSAGES, HELLO))
        assert message.stop_reason == stop
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].type == "tool_use" and message.content[2].input == {"who": "Ann"}
    assert (message.id, message.usage.input_tokens, message.usage.output_tokens) == ("msg_abc", 3, 5)


def test_messages_streamed() -> None:
    raw = ask(Chat(raw=b"".join(chat_server(SAYS)), places=[9, 99, 999]), MESSAGES, HELLO, stream=True)
    adapter: Any = TypeAdapter(anthropic.types.RawMessageStreamEvent)
    assert [adapter.validate_python(data) for data in events(raw)]
    seen = messages_client(raw)
    assert dict(seen.texts) == {
        (0, "thinking"): "hm",
        (1, "text"): "one two",
        (2, "tool"): '{"who": "Ann"}',
        (3, "tool"): "{}",
    }
    assert seen.done and seen.ended == {0: "end_turn"} and seen.final["output_tokens"] == 5


# Responses


def test_responses_asked() -> None:
    chat = Chat({"role": "assistant", "content": "x"})
    items = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "look_up", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "2", "name": "c", "input": "x"},
        {"type": "function_call_output", "call_id": "1", "output": "found"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "too"}]},
    ]
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    body = {
        "instructions": "be kind",
        "input": items,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "text": {"format": schema},
        "tools": [{"type": "function", **TOOL}, {"type": "custom", "name": "c"}],
        "tool_choice": {"type": "function", "name": "look_up"},
    }
    ask(chat, RESPONSES, body)
    (sent,) = chat.seen
    assert [message["role"] for message in sent["messages"]] == [
        "system",
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert [call["id"] for call in sent["messages"][3]["tool_calls"]] == ["1", "2"]
    assert sent["messages"][5] == {"role": "tool", "tool_call_id": "2", "content": "too"}
    assert sent["tools"] == [{"type": "function", "function": TOOL}, {"type": "custom", "custom": {"name": "c"}}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
    assert (sent["max_tokens"], sent["reasoning_effort"]) == (9, "low")
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }


def test_responses_whole() -> None:
    chat = Chat({"role": "assistant", "content": "one", "reasoning_content": "hm", "tool_calls": [CALL]})
    response = types.Response.model_validate(ask(chat, RESPONSES, {"input": "hi"}))
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.output_text == "one" and response.usage and response.usage.total_tokens == 8
    chat.finish = "length"
    cut_off = types.Response.model_validate(ask(chat, RESPONSES, {"input": "hi"}))
    assert cut_off.status == "incomplete" and cut_off.incomplete_details
    assert cut_off.incomplete_details.reason == "max_output_tokens"


def test_responses_streamed() -> None:
    script: Script = [*SAYS, ((0, "refusal"), "no")]
    raw = ask(Chat(raw=b"".join(chat_server(script)), places=[9, 99, 999]), RESPONSES, {"input": "hi"}, stream=True)
    adapter: Any = TypeAdapter(types.ResponseStreamEvent)
    assert [adapter.validate_python(data) for data in events(raw)]
    seen = responses_client(raw)
    assert seen.done and seen.final["usage"]["output_tokens"] == 5
    assert dict(seen.texts) == {
        (0, "reasoning"): "hm",
        (1, "text"): "one two",
        (2, "call"): '{"who": "Ann"}',
        (3, "call"): "{}",
        (4, "refusal"): "no",
    }


# Completions


def test_completions() -> None:
    chat = Chat({"role": "assistant", "content": "said"})
    reply = openai.types.Completion.model_validate(
        ask(chat, COMPLETIONS, {"prompt": ["a", "b"], "echo": True, "best_of": 1, "max_tokens": 3})
    )
    assert [(choice.index, choice.text) for choice in reply.choices] == [(0, "asaid"), (1, "bsaid")]
    assert reply.usage and reply.usage.total_tokens == 16
    assert chat.seen[1] == {"model": "m", "messages": [{"role": "user", "content": "b"}], "max_tokens": 3}
    script: Script = [((number, "content"), text) for number in (0, 1) for text in ("one ", "two")]
    body = {"prompt": ["a", "b"], "n": 2, "echo": True, "stream_options": {"include_usage": True}}
    chat = Chat(raw=b"".join(chat_server(script)), places=[9, 99, 999])
    raw = ask(chat, COMPLETIONS, body, stream=True)
    seen = completions_client(raw)
    assert dict(seen.texts) == {(n, "text"): f"{'aabb'[n]}one two" for n in range(4)} and seen.done
    assert b'"total_tokens":16' in raw


# What chat cannot say


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        (RESPONSES, {"input": "x", "previous_response_id": "r"}, "previous_response_id"),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        (RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}, "tools"),
        (RESPONSES, {"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice"),
        (RESPONSES, {"input": []}, "input"),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input"),
        (MESSAGES, {**HELLO, "tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools"),
        (MESSAGES, {"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "server_tool_use", "input": {}}]}]}, "messages"),
        (COMPLETIONS, {"prompt": "x", "suffix": "y"}, "suffix"),
        (COMPLETIONS, {"prompt": "x", "logprobs": 3}, "logprobs"),
        (COMPLETIONS, {"prompt": "x", "best_of": 3}, "best_of"),
        (COMPLETIONS, {"prompt": []}, "prompt"),
    ],
)  # fmt: skip
def test_what_chat_cannot_say(route: str, body: dict[str, Any], param: str) -> None:
    error = ask(Chat({"role": "assistant", "content": "x"}), route, body)["error"]
    assert error["param"] == param and error["message"]


@pytest.mark.parametrize(
    ("route", "body"), [(MESSAGES, HELLO), (RESPONSES, {"input": "x"}), (COMPLETIONS, {"prompt": "x"})]
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_upstream_go_through(route: str, body: dict[str, Any], stream: bool) -> None:
    assert ask(Chat(status=429), route, body, stream=stream) == {"error": {"message": "no"}}


@pytest.mark.parametrize(
    ("route", "body"), [(MESSAGES, HELLO), (RESPONSES, {"input": "x"}), (COMPLETIONS, {"prompt": "x"})]
)
def test_broken_replies(route: str, body: dict[str, Any]) -> None:
    for message in (None, 3, {"content": 3}, {"tool_calls": [3]}, {"tool_calls": [{"function": {"arguments": 3}}]}):
        with pytest.raises(TargetError):
            ask(Chat(message), route, body)
    frames = list(chat_server(SAYS))
    for raw in (
        b"".join(frames[:4]),
        b"".join((*frames[:4], sse("{"))),
        sse({"error": {"message": "no"}}),
        b"data: []\n\n",
    ):
        with pytest.raises(TargetError):
            ask(Chat(raw=raw), route, body, stream=True)


def test_arguments_that_are_no_json() -> None:
    call = {**CALL, "function": {"name": "f", "arguments": "{"}}
    with pytest.raises(TargetError, match="no JSON"):
        ask(Chat({"role": "assistant", "tool_calls": [call]}), MESSAGES, HELLO)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([(0, "content"), (0, "reasoning_content")]), st.sampled_from(["a", "é", "\n", "😀", '"'])), max_size=12),
    st.lists(st.integers(0, 1 << 20), max_size=20),
)  # fmt: skip
def test_streams_say_what_chat_said(script: Script, places: list[int]) -> None:
    raw = b"".join(chat_server(script))
    said = {
        name: "".join(text for slot, text in script if slot[1] == name) for name in ("content", "reasoning_content")
    }
    messages = messages_client(ask(Chat(raw=raw, places=places), MESSAGES, HELLO, stream=True))
    responses = responses_client(ask(Chat(raw=raw, places=places), RESPONSES, {"input": "x"}, stream=True))
    for seen, content, thinking in ((messages, "text", "thinking"), (responses, "text", "reasoning")):
        assert seen.done
        for name, given_ in ((content, said["content"]), (thinking, said["reasoning_content"])):
            assert "".join(text for slot, text in sorted(seen.texts.items()) if slot[1] == name) == given_
