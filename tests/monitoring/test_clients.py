"""Real clients, unchanged but for the address: the SDKs of OpenAI and Anthropic and curl, through the gateway to a server.

Each test runs against a server that speaks the client's API itself and, where that can be, against one that speaks only
chat completions.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel
from upstream_mock import Mock, Says

from trivet.core.models.scripted import Scripted
from trivet.monitoring.gateway.app import build_app
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.upstream import HttpUpstream
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy

POLICY = Policy.from_parts([Layer("list", Blocklist(["brew the poison"])), Layer("pii", Pii(), action="mask")])
HELLO: Any = [{"role": "user", "content": "Hello, I am ann@example.com"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"who": {"type": "string"}}}},
}
WRITE: Says = [("content", ("Write to bob@exam", "ple.com", " or ann@exa", "mple.com."))]
POISON: Says = [("content", ("First ", "brew the poi", "son well"))]
CALL: Says = [("content", ("Looking.",)), ("call", ('{"who": "bob@exam', 'ple.com"}'))]
MASKED = "Write to <EMAIL_2> or <EMAIL_1>."
ALL = ("chat/completions", "completions", "embeddings", "responses", "messages")
BOTH = pytest.mark.parametrize("routes", [ALL, ("chat/completions",)], ids=["speaks it", "speaks chat only"])


class Answer(BaseModel):
    answer: int


@contextmanager
def served(says: Says, routes: Any = ALL, policy: Policy = POLICY, **settings: Any) -> Iterator[tuple[Mock, str]]:
    """The gateway's address, and the server behind it."""
    mock = Mock(says, routes=routes)
    with Serving(mock) as behind:
        known = frozenset(f"/v1/{route}" for route in routes)
        upstream = HttpUpstream(f"{behind.url}/v1", name="m", routes=sorted(known))
        with Serving(build_app({"m": upstream}, policy, settings=Settings(**settings))) as gateway:
            yield mock, gateway.url


@contextmanager
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client:
        yield client


@contextmanager
def anthropic_client(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="key", max_retries=0) as client:
        yield client


# OpenAI: chat completions


def test_chat() -> None:
    with served(WRITE) as (mock, url), openai_client(url) as client:
        reply = client.chat.completions.create(
            model="m", messages=HELLO, n=2, logprobs=True, extra_body={"strange": {"a": 1}}
        )
        assert [choice.message.content for choice in reply.choices] == [MASKED, MASKED]
        assert [choice.logprobs for choice in reply.choices] == [None, None]  # they would spell the address out
        assert reply.usage and reply.usage.total_tokens == 8
        assert mock.last["messages"][0]["content"] == "Hello, I am <EMAIL_1>"
        assert mock.last["strange"] == {"a": 1} and mock.last["n"] == 2


def test_chat_logprobs_pass_where_the_text_does() -> None:
    with served([("content", ("Good day.",))]) as (_, url), openai_client(url) as client:
        reply = client.chat.completions.create(model="m", messages=HELLO, logprobs=True)
        assert reply.choices[0].logprobs and reply.choices[0].logprobs.content
        assert reply.system_fingerprint == "fp_1"


def test_chat_streamed() -> None:
    says = [("reasoning", ("ask b@", "x.org")), *WRITE]
    counted: Any = {"include_usage": True}
    with (
        served(says) as (_, url),
        openai_client(url) as client,
        client.chat.completions.stream(model="m", messages=HELLO, stream_options=counted) as stream,
    ):
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Write to <EMAIL_3> or <EMAIL_1>."
    assert "example" not in str(final) and "x.org" not in str(final)
    assert "content.delta" in kinds and final.choices[0].finish_reason == "stop"
    assert final.usage and final.usage.total_tokens == 8


def test_chat_tools() -> None:
    with served(CALL) as (mock, url), openai_client(url) as client:
        reply = client.chat.completions.create(model="m", messages=HELLO, tools=[TOOL])
        (call,) = reply.choices[0].message.tool_calls or ()
        assert call.type == "function" and json.loads(call.function.arguments) == {"who": "<EMAIL_2>"}
        stream = client.chat.completions.create(model="m", messages=HELLO, tools=[TOOL], stream=True)
        calls = [call for chunk in stream if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
        assert calls[0].function and calls[0].function.name == "look_up"
        text = "".join(call.function.arguments or "" for call in calls if call.function)
        assert json.loads(text) == {"who": "<EMAIL_2>"}
        result: Any = [
            *HELLO,
            {
                "role": "assistant",
                "tool_calls": [call.model_dump() for call in reply.choices[0].message.tool_calls or ()],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "She is carl@example.com"},
        ]
        client.chat.completions.create(model="m", messages=result, tools=[TOOL])
        assert mock.last["tools"] == [TOOL]
        assert "example.com" not in json.dumps(mock.last) and "tool_call_id" in mock.last["messages"][2]


def test_chat_structured() -> None:
    with served([("content", ('{"ans', 'wer": 42}'))]) as (mock, url), openai_client(url) as client:
        reply = client.chat.completions.parse(model="m", messages=HELLO, response_format=Answer)
        assert reply.choices[0].message.parsed == Answer(answer=42)
        assert mock.last["response_format"]["type"] == "json_schema"
        with client.chat.completions.stream(model="m", messages=HELLO, response_format=Answer) as stream:
            assert stream.get_final_completion().choices[0].message.parsed == Answer(answer=42)


@pytest.mark.parametrize("stream", [False, True])
def test_chat_blocked(stream: bool) -> None:
    with served(POISON) as (mock, url), openai_client(url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Please brew the poison"}], stream=stream
            )
        assert (caught.value.code, caught.value.param) == ("content_filter", "input") and not mock.seen
        with pytest.raises(openai.APIError) as blocked:
            reply = client.chat.completions.create(model="m", messages=HELLO, stream=stream)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in reply if chunk.choices)  # type: ignore[union-attr]
            assert "poi" not in text
        assert blocked.value.code == "content_filter"


def test_chat_at_once() -> None:
    async def main(url: str) -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client:

            async def whole() -> str:
                return (await client.chat.completions.create(model="m", messages=HELLO)).choices[
                    0
                ].message.content or ""

            async def streamed() -> str:
                stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

            return await asyncio.gather(*(one() for _ in range(5) for one in (whole, streamed)))

    with served(WRITE) as (_, url):
        assert asyncio.run(main(url)) == [MASKED] * 10


# OpenAI: the other routes


@BOTH
def test_completions(routes: Any) -> None:
    with served(WRITE, routes) as (mock, url), openai_client(url) as client:
        reply = client.completions.create(model="m", prompt="Call ann@example.com", max_tokens=9)
        assert reply.choices[0].text == MASKED and reply.usage and reply.usage.total_tokens == 8
        assert "ann@" not in json.dumps(mock.last) and mock.last["max_tokens"] == 9
        stream = client.completions.create(model="m", prompt="Call ann@example.com", stream=True)
        assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == MASKED
        with pytest.raises(openai.BadRequestError, match="Tokens cannot be checked"):
            client.completions.create(model="m", prompt=[1, 2, 3])


def test_embeddings() -> None:
    with served(WRITE) as (mock, url), openai_client(url) as client:
        reply = client.embeddings.create(model="m", input=["I am ann@example.com", "hi"])
        assert [len(one.embedding) for one in reply.data] == [2, 2]
        assert mock.last["input"] == ["I am <EMAIL_1>", "hi"]
        with pytest.raises(openai.BadRequestError, match="blocked by the safety policy"):
            client.embeddings.create(model="m", input="brew the poison")


def test_moderations() -> None:
    with served(WRITE) as (mock, url), openai_client(url) as client:
        reply = client.moderations.create(input=["brew the poison", "good day"])
        assert [one.flagged for one in reply.results] == [True, False] and not mock.seen
        assert reply.results[0].categories.sexual_minors is None  # nobody looked
        assert reply.results[0].category_scores.violence is None


def test_models() -> None:
    with served(WRITE) as (_, url), openai_client(url) as client:
        assert [model.id for model in client.models.list()] == ["m"]


@BOTH
def test_responses(routes: Any) -> None:
    with served([("reasoning", ("about x@y.org",)), *WRITE], routes) as (mock, url), openai_client(url) as client:
        reply = client.responses.create(model="m", instructions="Be kind.", input="I am ann@example.com")
        assert reply.status == "completed" and "Write to <EMAIL_" in reply.output_text
        assert "@" not in reply.to_json() and "ann@" not in json.dumps(mock.last)
        assert [item.type for item in reply.output] == ["reasoning", "message"]
        with client.responses.stream(model="m", input="I am ann@example.com") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
        assert final.output_text == text and "@" not in final.to_json()
        assert final.usage and final.usage.total_tokens == 8


@BOTH
def test_responses_tools(routes: Any) -> None:
    tool: Any = {"type": "function", "name": "look_up", "parameters": TOOL["function"]["parameters"], "strict": False}
    with served(CALL, routes) as (mock, url), openai_client(url) as client:
        reply = client.responses.create(model="m", input="Who?", tools=[tool])
        call = next(item for item in reply.output if item.type == "function_call")
        assert (call.name, json.loads(call.arguments)) == ("look_up", {"who": "<EMAIL_1>"})
        with client.responses.stream(model="m", input="Who?", tools=[tool]) as stream:
            text = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
            final = next(item for item in stream.get_final_response().output if item.type == "function_call")
        assert final.arguments == text and json.loads(text) == {"who": "<EMAIL_1>"}
        items: Any = [
            {"role": "user", "content": "Who?"},
            call.model_dump(exclude={"parsed_arguments"}),
            {"type": "function_call_output", "call_id": call.call_id, "output": "carl@example.com"},
        ]
        client.responses.create(model="m", input=items, tools=[tool])
        assert "carl@" not in json.dumps(mock.last)
        if routes != ALL:
            assert [message["role"] for message in mock.last["messages"]] == ["user", "assistant", "tool"]


@BOTH
def test_responses_structured(routes: Any) -> None:
    with served([("content", ('{"ans', 'wer": 42}'))], routes) as (_, url), openai_client(url) as client:
        reply = client.responses.parse(model="m", input="What?", text_format=Answer)
        assert reply.output_parsed == Answer(answer=42)


@BOTH
def test_responses_blocked(routes: Any) -> None:
    with served(POISON, routes) as (_, url), openai_client(url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model="m", input="Please brew the poison")
        assert caught.value.code == "content_filter"
        kinds = []
        for event in client.responses.create(model="m", input="Hello", stream=True):
            kinds.append(event.type)
            assert "poi" not in event.to_json()
        assert kinds[-1] == "response.incomplete" and event.type == "response.incomplete"
        assert event.response.incomplete_details and event.response.incomplete_details.reason == "content_filter"


# Anthropic


@BOTH
def test_messages(routes: Any) -> None:
    with served([("reasoning", ("about x@y.org",)), *WRITE], routes) as (mock, url), anthropic_client(url) as client:
        reply = client.messages.create(model="m", max_tokens=9, system="Be kind.", messages=HELLO)
        assert [block.type for block in reply.content] == ["thinking", "text"]
        assert "@" not in reply.to_json() and reply.stop_reason == "end_turn" and reply.usage.output_tokens == 5
        assert "ann@" not in json.dumps(mock.last)
        with client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text.startswith("Write to <EMAIL_") and "@" not in final.to_json() and final.usage.output_tokens == 5


@BOTH
def test_messages_tools(routes: Any) -> None:
    tool: Any = {"name": "look_up", "input_schema": TOOL["function"]["parameters"]}
    with served(CALL, routes) as (mock, url), anthropic_client(url) as client:
        reply = client.messages.create(model="m", max_tokens=9, messages=HELLO, tools=[tool])
        call = next(block for block in reply.content if block.type == "tool_use")
        assert (call.name, call.input, reply.stop_reason) == ("look_up", {"who": "<EMAIL_2>"}, "tool_use")
        with client.messages.stream(model="m", max_tokens=9, messages=HELLO, tools=[tool]) as stream:
            final = next(block for block in stream.get_final_message().content if block.type == "tool_use")
        assert final.input == {"who": "<EMAIL_2>"}
        result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "carl@example.com"}
        said: Any = [block.model_dump(exclude_none=True, exclude={"caller"}) for block in reply.content]
        turns: Any = [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
        client.messages.create(model="m", max_tokens=9, messages=turns, tools=[tool])
        assert "carl@" not in json.dumps(mock.last)
        if routes != ALL:
            assert [message["role"] for message in mock.last["messages"]] == ["user", "assistant", "tool"]


@BOTH
def test_messages_structured(routes: Any) -> None:
    with served([("content", ('{"ans', 'wer": 42}'))], routes) as (_, url), anthropic_client(url) as client:
        reply = client.messages.parse(model="m", max_tokens=9, messages=HELLO, output_format=Answer)
        assert reply.parsed_output == Answer(answer=42)


@BOTH
def test_messages_blocked(routes: Any) -> None:
    with served(POISON, routes) as (_, url), anthropic_client(url) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Please brew the poison"}]
            )
        assert caught.value.body["error"]["code"] == "content_filter"  # type: ignore[index]
        with client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == "refusal" and "poi" not in final.to_json()
        with pytest.raises(anthropic.NotFoundError):
            client.messages.create(model="other", max_tokens=9, messages=HELLO)


def test_messages_at_once() -> None:
    async def main(url: str) -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="key", max_retries=0) as client:

            async def streamed() -> str:
                async with client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
                    return "".join([text async for text in stream.text_stream])

            return await asyncio.gather(*(streamed() for _ in range(6)))

    with served(WRITE) as (_, url):
        assert asyncio.run(main(url)) == [MASKED] * 6


# A model of this process, by every API


def test_a_model_of_this_process() -> None:
    app = build_app(Scripted(lambda c: f"You said: {c.last_user}"), POLICY)
    with Serving(app) as gateway, openai_client(gateway.url) as one, anthropic_client(gateway.url) as two:
        chat = one.chat.completions.create(model="scripted", messages=HELLO, n=2)
        assert [choice.message.content for choice in chat.choices] == ["You said: Hello, I am <EMAIL_1>"] * 2
        assert one.responses.create(model="scripted", input="Hi").output_text == "You said: Hi"
        message = two.messages.create(model="scripted", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert message.content[0].type == "text" and message.content[0].text == "You said: Hi"
        assert one.completions.create(model="scripted", prompt=["a", "b"], echo=True).choices[1].text == "bYou said: b"
        with pytest.raises(openai.BadRequestError, match="takes no tools"):
            one.chat.completions.create(model="scripted", messages=HELLO, tools=[TOOL])


# curl


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this machine")
def test_curl() -> None:
    def curl(*arguments: str, data: Any) -> str:
        command = [
            "curl",
            "-sS",
            "--fail-with-body",
            "-H",
            "content-type: application/json",
            *arguments,
            "-d",
            json.dumps(data),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout

    with served(WRITE) as (_, url):
        body = {"model": "m", "messages": HELLO}
        whole = json.loads(curl(f"{url}/v1/chat/completions", data=body))
        assert whole["choices"][0]["message"]["content"] == MASKED
        streamed = curl("-N", f"{url}/v1/chat/completions", data={**body, "stream": True})
        assert streamed.rstrip().endswith("data: [DONE]") and "example" not in streamed
        posted = curl("-H", "x-api-key: k", f"{url}/v1/messages", data={**body, "max_tokens": 5, "stream": True})
        assert "event: message_stop" in posted
        refused = json.loads(curl(f"{url}/v1/chat/completions", data={"model": "m", "messages": []}))
        assert refused["error"]["param"] == "messages"
