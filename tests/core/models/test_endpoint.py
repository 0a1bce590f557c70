"""The endpoint against a real server on this machine: every way of failing is one clear line, and none hangs."""

from __future__ import annotations

import asyncio
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from core.models.wire import answer, delta, events, half, hang_up, said, serving, silence
from trivet.core.errors import Blocked, ModelNotFound, TargetError, UserError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.endpoint import Endpoint
from trivet.core.models.traffic import retry_after

HELLO = Conversation.user("Hello?")


def ask(url: str, **settings: Any) -> str:
    endpoint = Endpoint(url, "m", **{"backoff": 0.001, **settings})
    return asyncio.run(endpoint.reply(HELLO)).content


def failure(url: str, **settings: Any) -> TargetError:
    with pytest.raises(TargetError) as caught:
        ask(url, **settings)
    text = str(caught.value)
    assert url in text and "\n" not in text
    return caught.value


async def collect(endpoint: Endpoint) -> list[str]:
    return [piece async for piece in endpoint.stream(HELLO)]


def streamed(url: str, **settings: Any) -> list[str]:
    return asyncio.run(collect(Endpoint(url, "m", **{"backoff": 0.001, **settings})))


def test_a_reply_and_what_was_asked() -> None:
    sampling = Sampling(temperature=0.5, max_tokens=7, top_p=0.9, seed=3, stop=("END",))
    with serving(said("Good day."), said("Again.")) as wire:
        endpoint = Endpoint(wire.url + "/", "m")
        assert asyncio.run(endpoint.reply(HELLO, sampling)) == Message("assistant", "Good day.")
        assert asyncio.run(endpoint.reply(HELLO)).content == "Again."  # another loop, other connections
    assert wire.asked[0] == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello?"}],
        "temperature": 0.5,
        "max_tokens": 7,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
    }
    assert set(wire.asked[1]) == {"model", "messages", "temperature", "max_tokens"}


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with serving(answer(status, "busy"), hang_up, said("At last.")) as wire:
        assert ask(wire.url) == "At last."
        assert len(wire.asked) == 3


@pytest.mark.parametrize(("status", "hint"), [(400, ""), (401, "; check its key"), (404, "; check the URL"), (302, "")])
def test_what_will_not_pass_is_not_tried_again(status: int, hint: str) -> None:
    with serving(answer(status, {"error": {"message": "not\nlike this"}}, location="http://127.0.0.1:9/")) as wire:
        text = str(failure(wire.url))
    assert f"answered {status}{hint}" in text and text.endswith("not like this")
    assert len(wire.asked) == 1


def test_retries_come_to_an_end() -> None:
    with serving(*[answer(500, "")] * 3) as wire:
        assert str(failure(wire.url, retries=2)).endswith("answered 500: nothing more")
    with serving(hang_up, hang_up) as wire:
        assert "could not be reached" in str(failure(wire.url, retries=1))
    assert "could not be reached" in str(failure(wire.url, retries=1)), "the server is gone by now"


def test_retry_after_is_honoured() -> None:
    with serving(answer(429, "", retry_after="0.02"), said("ok")) as wire:
        assert ask(wire.url) == "ok"
    with serving(answer(429, "", retry_after="3600")) as wire:
        assert "asked to be left alone for 3600 s" in str(failure(wire.url))


def test_retry_after_as_a_date() -> None:
    import httpx

    def seconds(**headers: str) -> float:
        return retry_after(httpx.Headers({name.replace("_", "-"): v for name, v in headers.items()}))

    noon = "Wed, 21 Oct 2015 12:00:00 GMT"
    assert seconds(retry_after="Wed, 21 Oct 2015 12:00:07 GMT", date=noon) == 7.0
    assert seconds(retry_after=noon, date="Wed, 21 Oct 2015 12:00:07 GMT") == 0.0
    assert seconds(retry_after="soon", date=noon) == seconds(retry_after=noon) == seconds() == 0.0
    assert seconds(retry_after="-3") == 0.0


def test_an_answer_that_cannot_be_unpacked() -> None:
    with serving(answer(200, b"no gzip", content_encoding="gzip")) as wire:
        assert "broke off its answer" in str(failure(wire.url))


def test_silence_ends() -> None:
    with serving(silence) as wire:
        assert "did not answer within 0.2 s" in str(failure(wire.url, timeout=0.2))
    with serving(half) as wire:
        assert "broke off its answer" in str(failure(wire.url, timeout=5))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<html>hello</html>", "sent no choices, which is not the chat completions format: <html>hello</html>"),
        (b"\xff\xfe", "sent no choices"),
        ({"choices": []}, "sent no choices"),
        ({"choices": ["x"]}, "sent no choices"),
        ({"choices": None}, "sent no choices"),
        ("[1]", "sent no choices"),
        ({"choices": [{"text": "old format"}]}, "sent a choice without a message"),
        ({"error": "out of memory"}, "answered with an error: out of memory"),
        ({"error": {"code": 500, "message": "broken"}}, "answered with an error: broken"),
    ],
)
def test_garbage(body: Any, told: str) -> None:
    with serving(answer(200, body)) as wire:
        assert told in str(failure(wire.url))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", ""),
        ([{"type": "text", "text": ""}], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
    ],
)
def test_contents(content: Any, text: str) -> None:
    with serving(said(content)) as wire:
        assert ask(wire.url) == text


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "null"),
        (5, "5"),
        ({"text": "a"}, '{"text": "a"}'),
        ([], "[]"),
        (["x"], '["x"]'),
        ([{"type": "image_url"}], '[{"type": "image_url"}]'),
        ([{"type": "text", "text": 5}], '[{"type": "text", "text": 5}]'),
    ],
)
def test_what_is_no_text_is_no_reply(content: Any, shown: str) -> None:
    """And not an empty one: a broken server would look like a model that never gives in."""
    with serving(said(content)) as wire:
        assert f"sent a message without a text: its content is {shown}" in str(failure(wire.url))


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"content": None, "refusal": ""},
    ],
)
def test_calls_of_tools_need_no_words(message: dict[str, Any]) -> None:
    with serving(answer(200, {"choices": [{"message": message}]})) as wire:
        assert ask(wire.url) == ""


def test_a_refusal_field_is_a_reply() -> None:
    with serving(answer(200, {"choices": [{"message": {"content": None, "refusal": "I can't."}}]})) as wire:
        assert ask(wire.url) == "I can't."


@pytest.mark.parametrize(
    ("error", "place"),
    [
        ({"code": "content_filter", "message": "no", "param": "input"}, "input"),
        ({"code": "content_filter", "message": "no", "param": "output"}, "output"),
        ({"code": "content_filter", "message": "The reply was withheld.", "param": None}, "output"),
        ({"code": "content_filter", "message": "The prompt was stopped."}, "input"),
    ],
)
def test_blocked(error: dict[str, Any], place: str) -> None:
    with serving(answer(400, {"error": error})) as wire:
        found = failure(wire.url)
    assert isinstance(found, Blocked) and found.place == place
    assert len(wire.asked) == 1


def test_withheld_by_finish_reason() -> None:
    with serving(said("", "content_filter"), said("half of it", "content_filter")) as wire:
        assert isinstance(failure(wire.url), Blocked)
        assert ask(wire.url) == "half of it", "what was delivered was delivered"


def test_stream() -> None:
    usage = 'data: {"choices": [], "usage": {}}\n\n'
    frames = [": keep-alive\n\n", delta(""), delta("Hé"), delta("llo"), delta(None, "stop"), usage, "data: [DONE]\n\n"]
    cut_short = delta("y", "stop").rstrip("\n")
    with serving(events(*frames), events(delta("x", "stop")), events(cut_short)) as wire:
        assert streamed(wire.url) == ["Hé", "llo"]
        assert streamed(wire.url) == ["x"], "a finish reason is an end too"
        assert streamed(wire.url) == ["y"], "and so is a last event without its blank line"
    assert wire.asked[0]["stream"] is True


def test_stream_that_is_none() -> None:
    with serving(answer(500, ""), said("All at once.")) as wire:
        assert streamed(wire.url) == ["All at once."]


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (events(delta("a")), "ended its stream in the middle of a reply"),
        (events(delta("a"), then=silence), "sent nothing for 0.3 s"),
        (events(delta("a"), "data: {oops\n\n"), "sent no choices"),
        (events(delta("a"), 'data: {"error": {"message": "gpu lost"}}\n\n'), "broke off with an error: gpu lost"),
        (events(delta("a"), 'data: {"error": {"code": "content_filter"}}\n\n'), "blocked this"),
        (events(delta("a", "content_filter")), "cut its reply off"),
        (events('data: {"choices": [{"delta": null}]}\n\n'), "in the middle"),
        (
            events('data: {"choices": [{"delta": {"content": 5}}]}\n\n'),
            "streamed a piece without a text: its content is 5",
        ),
        (half, "broke off its answer"),
    ],
)
def test_stream_that_fails(stream: Any, told: str) -> None:
    with serving(stream) as wire, pytest.raises(TargetError, match=told):
        streamed(wire.url, timeout=0.3)


def test_stream_left_early() -> None:
    async def first(endpoint: Endpoint) -> str:
        pieces = endpoint.stream(HELLO)
        piece = await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        return piece

    with serving(events(delta("a"), delta("b"), then=silence), said("free")) as wire:
        endpoint = Endpoint(wire.url, "m", concurrency=1)

        async def both() -> tuple[str, str]:
            return await first(endpoint), (await endpoint.reply(HELLO)).content

        assert asyncio.run(both()) == ("a", "free"), "the slot was given back"


def test_concurrency_is_used_and_bounded() -> None:
    pair, running, most = threading.Barrier(2), [0], [0]

    def slow(handler: BaseHTTPRequestHandler) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        pair.wait(timeout=10)  # answers only when two are asking at once
        running[0] -= 1
        pair.wait(timeout=10)
        said("x")(handler)

    async def many(endpoint: Endpoint) -> list[Message]:
        return await asyncio.gather(*(endpoint.reply(HELLO) for _ in range(8)))

    with serving(*[slow] * 8) as wire:
        assert len(asyncio.run(many(Endpoint(wire.url, "m", concurrency=2)))) == 8
    assert most[0] == 2


def test_aclose() -> None:
    async def twice(endpoint: Endpoint) -> str:
        await endpoint.aclose()  # nothing open yet
        await endpoint.reply(HELLO)
        await endpoint.aclose()
        return (await endpoint.reply(HELLO)).content

    with serving(said("a"), said("b")) as wire:
        assert asyncio.run(twice(Endpoint(wire.url, "m"))) == "b"


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with serving(*[said("x")] * 4) as wire:
        ask(wire.url)
        ask(wire.url, key="given")
        monkeypatch.setenv("TRIVET_API_KEY", "ours")
        ask(wire.url)
        ask(wire.url, headers={"Authorization": "Basic x"})
    assert [headers.get("authorization") for headers in wire.headers] == [
        None,
        "Bearer given",
        "Bearer ours",
        "Basic x",
    ]
    monkeypatch.delenv("TRIVET_API_KEY")
    official = Endpoint("https://api.openai.com/v1", "m")
    assert official._headers == {"Authorization": "Bearer sk-openai"}
    assert "sk-openai" not in f"{official} {official!r}"


def test_a_key_that_cannot_be_sent_is_not_shown() -> None:
    assert Endpoint("http://127.0.0.1:1", "m", key=" good\n")._headers == {"Authorization": "Bearer good"}
    for key in ("se\ncret", "secrét"):
        with pytest.raises(UserError, match="the API key holds characters") as caught:
            Endpoint("http://127.0.0.1:1", "m", key=key)
        assert key not in str(caught.value)


def test_password_and_query_are_not_shown() -> None:
    endpoint = Endpoint("http://me:secret@127.0.0.1:1/v1/chat/completions", "m")
    assert endpoint.url == "http://127.0.0.1:1/v1/chat/completions"
    assert repr(endpoint) == "Endpoint('http://127.0.0.1:1/v1/chat/completions', 'm')"


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://x/v1", "http://", "http://[::1", "file:///v1"])
def test_no_url(url: str) -> None:
    with pytest.raises(ModelNotFound, match="give one like http://127"):
        Endpoint(url, "m")
