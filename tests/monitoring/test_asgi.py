"""The middleware: texts in JSON bodies are checked and changed in place, and nothing passes unread."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from trivet.core.errors import ConfigError
from trivet.monitoring.asgi import Fields, GuardedApp
from trivet.monitoring.guard import Guard
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy

SEEN: list[Any] = []
WORDS = Blocklist(["brew the poison"], encodings=False)
ROUTES = {
    "/say": Fields(asks=["prompt"], answers=["reply", "more.*"]),
    "/chat": Fields(asks=["messages.*.content"], answers=["choices.*.text"]),
    "/text/*": Fields(asks=["prompt"], answers=["-"]),
    "/in": Fields(asks=["prompt"]),
}


async def say(request: Request) -> Response:
    data = await request.json()
    SEEN.append(data)
    reply = data.get("reply", f"You said: {data['prompt']}") * data.get("times", 1)
    return JSONResponse({"reply": reply, "n": 1, "more": {"a": "c@d.co", "b": 2}}, status_code=data.get("status", 200))


async def chat(request: Request) -> Response:
    data = await request.json()
    SEEN.append(data)
    return JSONResponse({"choices": [{"text": "fine"}, {"text": f"I am {data['messages'][0]['content']}"}]})


async def text(request: Request) -> Response:
    data = await request.json()

    async def pieces() -> Any:
        for piece in data.get("pieces", ["Well, I am a@", "b.co, ", "hello"]):
            yield piece

    media = "text/event-stream" if request.url.path.endswith("events") else "text/plain"
    return StreamingResponse(pieces(), media_type=media)


async def raw(request: Request) -> Response:
    SEEN.append(await request.body())
    return PlainTextResponse("brew the poison")


INNER = Starlette(
    routes=[
        Route("/say", say, methods=["POST", "GET"]),
        Route("/chat", chat, methods=["POST"]),
        Route("/text/{rest}", text, methods=["POST"]),
        Route("/in", raw, methods=["POST", "GET"]),
        Route("/free", raw, methods=["POST"]),
    ]
)


@pytest.fixture
def guard() -> Iterator[Guard]:
    SEEN.clear()
    with Guard(Policy.from_parts([Layer("pii", Pii(), action="mask"), Layer("words", WORDS)])) as guard:
        yield guard


def post(app: Any, path: str, body: Any, **more: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            return await client.request(more.pop("method", "POST"), path, **sent, **more)

    return asyncio.run(asked())


def test_texts_are_masked_both_ways_and_the_rest_stays(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    answer = post(app, "/say", {"prompt": "I am a@b.co", "n": [1, {"x": None}]})
    assert SEEN == [{"prompt": "I am <EMAIL_1>", "n": [1, {"x": None}]}]
    assert answer.json() == {"reply": "You said: I am <EMAIL_1>", "n": 1, "more": {"a": "<EMAIL_2>", "b": 2}}
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert post(app, "/say/", {"prompt": "brew the poison"}).status_code == 400


def test_blocks(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    answer = post(app, "/say", {"prompt": "Brew the poison"})
    assert answer.status_code == 400 and SEEN == []
    assert answer.json()["error"]["code"] == "content_filter" and "words" in answer.json()["error"]["message"]
    answer = post(app, "/say", {"prompt": "x", "reply": "brew the poison"})
    assert answer.status_code == 400 and "output" in answer.json()["error"]["message"] and "brew" not in answer.text


def test_messages_keep_their_roles_and_parts(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "I am a@b.co"}, {"type": "image", "url": "x"}]},
        {"role": "assistant", "content": "brew the poison"},
        {"role": "user", "name": "ann", "content": "hello"},
    ]
    assert post(app, "/chat", {"messages": messages}).status_code == 200
    assert SEEN[0]["messages"][0]["content"] == [
        {"type": "text", "text": "I am <EMAIL_1>"},
        {"type": "image", "url": "x"},
    ]
    assert SEEN[0]["messages"][1:] == messages[1:]


def test_a_role_is_honoured_in_lists_only(guard: Guard) -> None:
    users = Guard(Policy.from_parts([Layer("words", WORDS, place="input", of=("user",))]))
    with users:
        app = GuardedApp(INNER, users, ROUTES)
        for role in ("assistant", "system", "robot", 3, ["user"]):
            assert post(app, "/say", {"prompt": "brew the poison", "role": role}).status_code == 400
        for role, status in (("assistant", 200), ("robot", 400), (None, 400), ({}, 400)):
            messages = [{"role": role, "content": "brew the poison"}, {"role": "user", "content": "hello"}]
            assert post(app, "/chat", {"messages": messages}).status_code == status


@pytest.mark.parametrize(
    "value",
    [
        ["brew the poison"],
        {"text": "brew the poison"},
        [["brew the poison"]],
        [{"text": ["brew the poison"]}],
        [{"content": "brew the poison"}],
        [{"type": "tool_result", "content": "brew the poison"}],
        [{"text": "hello"}, "brew the poison"],
    ],
)
def test_a_value_that_is_not_fully_read_is_refused(guard: Guard, value: Any) -> None:
    answer = post(GuardedApp(INNER, guard, ROUTES), "/say", {"prompt": value})
    assert answer.status_code == 400 and SEEN == []
    assert "'prompt'" in answer.json()["error"]["message"] and answer.json()["error"]["code"] == "unreadable"


@pytest.mark.parametrize("messages", ["brew the poison", ["brew the poison"], [["brew the poison"]]])
def test_a_path_that_cannot_be_followed_is_refused(guard: Guard, messages: Any) -> None:
    answer = post(GuardedApp(INNER, guard, ROUTES), "/chat", {"messages": messages})
    assert answer.status_code == 400 and "'messages.*.content'" in answer.json()["error"]["message"] and SEEN == []
    assert post(GuardedApp(INNER, guard, ROUTES), "/in", b'"brew the poison"').status_code == 400


def test_plain_text_streams(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    answer = post(app, "/text/a", {"prompt": "x"})
    assert answer.text == "Well, I am <EMAIL_1>, hello"
    answer = post(
        app, "/text/a", {"prompt": "x", "pieces": ["so on and on. " * 60, "they brew the ", "poison", " at night"]}
    )
    assert answer.text.startswith("so on") and "brew" not in answer.text
    answer = post(app, "/text/a", {"prompt": "x", "pieces": ["caf\u00e9 \u6f22", ""]})
    assert answer.text == "caf\u00e9 \u6f22"


def test_what_cannot_be_read_is_refused(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES, most=2000)
    for body in (b"prompt=brew", b"{", b'{"prompt": "x", "prompt": "brew the poison"}', b"[" * 100_000):
        assert post(app, "/say", body).status_code in (400, 413) and SEEN == []
    assert post(app, "/say", {"prompt": "x" * 3000}).status_code == 413
    assert post(app, "/say", {"prompt": "x", "reply": "y", "times": 3000}).json()["error"]["code"] == "unreadable"
    assert post(app, "/text/events", {"prompt": "x"}).status_code == 502
    passing = GuardedApp(INNER, guard, ROUTES, unread="pass")
    assert post(passing, "/text/events", {"prompt": "x"}).text == "Well, I am a@b.co, hello"


def test_what_is_not_guarded_passes_as_it_is(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    assert post(app, "/free", b"brew the poison").text == "brew the poison"
    body = b'{"prompt":  "caf\\u00e9", "x": 1}'
    assert post(app, "/in", body).text == "brew the poison" and SEEN[-1] == body
    assert post(app, "/in", b'{"other": 1}').status_code == 200
    assert post(app, "/in", b"", method="GET").text == "brew the poison"
    failed = post(app, "/say", {"prompt": "x", "reply": "brew the poison", "status": 500})
    assert failed.status_code == 500 and "brew" in failed.text


def test_lifespan_and_disconnect(guard: Guard) -> None:
    app = GuardedApp(INNER, guard, ROUTES)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "method": "POST", "path": "/say", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 499 and SEEN == []


def test_an_answer_that_lies_about_its_kind(guard: Guard) -> None:
    async def lies(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"application/json")]})
        await send({"type": "http.response.body", "body": b"brew the ", "more_body": True})
        await send({"type": "http.response.body", "body": b"poison"})

    answer = post(GuardedApp(lies, guard, ROUTES), "/say", {"prompt": "x"})
    assert answer.status_code == 502 and "brew" not in answer.text


def test_settings_are_checked(guard: Guard) -> None:
    for routes in ({"say": Fields(["x"])}, {"/say": Fields()}):
        with pytest.raises(ConfigError, match="needs a path"):
            GuardedApp(INNER, guard, routes)
