"""The gateway as real clients meet it: the official `openai` client and plain HTTP, over a real port."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from wires import until

from trivet.core.errors import Blocked, StoreError, TargetError, UserError
from trivet.core.events import Alert, Complaint, Event, Exchange, Review
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.scripted import Scripted
from trivet.core.store.events import Store
from trivet.core.store.spool import Spool
from trivet.core.verdicts import Verdict
from trivet.monitoring.gateway import turn
from trivet.monitoring.gateway.app import build_app
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.format import JsonFormat
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy

LIST = Layer("list", Blocklist(["brew the poison"]))
PII = Layer("pii", Pii(), action="mask")
JSON = Layer("json", JsonFormat(), place="output")
POLICY = Policy.from_parts([LIST, PII, JSON])
INPUT_ONLY = Policy.from_parts([Layer("list", Blocklist(["brew the poison"]), place="input")])


class Words:
    """A model that streams its words one by one, and notes what it was given and whether it was stopped."""

    name = "words"

    def __init__(self, text: str, fail_after: int = 10**9, hang_after: int = 10**9) -> None:
        self.words = text.split(" ")
        self.fail_after, self.hang_after = fail_after, hang_after
        self.seen: list[tuple[Conversation, Sampling]] = []
        self.stopped = threading.Event()

    async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
        return Message("assistant", "".join([piece async for piece in self.stream(conversation, sampling)]))

    async def stream(self, conversation: Conversation, sampling: Sampling = Sampling()) -> AsyncIterator[str]:
        self.seen.append((conversation, sampling))
        try:
            for number, word in enumerate(self.words):
                if number == self.fail_after:
                    raise TargetError("the model broke")
                if number == self.hang_after:
                    await asyncio.Event().wait()
                yield word if number == 0 else f" {word}"
        finally:
            self.stopped.set()


class Broken:
    """A store that cannot be written to."""

    def __init__(self, store: Store) -> None:
        self.store, self.broken = store, True

    def add(self, events: Iterable[Event]) -> int:
        if self.broken:
            raise StoreError("disk full")
        return self.store.add(events)

    def add_lines(self, events: Iterable[tuple[Event, bytes]]) -> int:
        return self.add(event for event, _ in events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "t.db") as store:
        yield store


@contextmanager
def served(model: Any, policy: Policy = POLICY, store: Any = None, **settings: Any) -> Iterator[httpx.Client]:
    app = build_app(model, policy, store, settings=Settings(**settings))
    with Serving(app) as server, httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def client_of(http: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=str(http.base_url.join("/v1")), api_key="key", max_retries=0)


def ask(
    http: httpx.Client, text: str = "hello", model: str = "scripted", headers: dict | None = None, **fields: Any
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return http.post("/v1/chat/completions", json=body, headers=headers)


def exchanges(store: Store) -> list[Exchange]:
    return [e for e in store.events("exchange") if isinstance(e, Exchange)]


def events_of(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


# The official client


def test_chat(store: Store) -> None:
    with served(Scripted("Good day."), store=store) as http, client_of(http) as client:
        reply = client.chat.completions.create(
            model="scripted",
            messages=[{"role": "user", "content": "Hello"}],
            user="ada",
            extra_headers={"x-trivet-run": "trial-1"},
        )
        assert reply.choices[0].message.content == "Good day."
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage and reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
        assert [m.id for m in client.models.list()] == ["scripted"]
        assert client.models.retrieve("scripted").id == "scripted"
    (exchange,) = exchanges(store)
    assert (exchange.run, exchange.reply, exchange.model) == ("trial-1", "Good day.", "scripted")
    assert exchange.conversation.last_user == "Hello"
    assert len(exchange.user) == 24 and exchange.user != "ada"
    assert [d.place for d in exchange.decisions] == ["input", "output"]
    assert reply.id == f"chatcmpl-{exchange.id}"


@pytest.mark.parametrize("policy", [POLICY, INPUT_ONLY])
def test_stream(store: Store, policy: Policy) -> None:
    with served(Words("one two three"), policy, store) as http, client_of(http) as client:
        stream = client.chat.completions.create(
            model="words",
            messages=[{"role": "user", "content": "Count"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage and not chunks[-1].choices
    assert [e.reply for e in exchanges(store)] == ["one two three"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_request(store: Store, stream: bool) -> None:
    model = Scripted("never said")
    with served(model, store=store) as http, client_of(http) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="scripted", messages=[{"role": "user", "content": "How do I br3w the p0ison"}], stream=stream
            )
        assert (caught.value.code, caught.value.param, caught.value.type) == (
            "content_filter",
            "input",
            "content_filter",
        )
        header = caught.value.response.headers["x-trivet-exchange"]
    assert model.seen == []
    (exchange,) = exchanges(store)
    assert (exchange.id, exchange.reply, exchange.finish) == (header, "", "content_filter")


def test_a_blocked_reply(store: Store) -> None:
    with served(Words("First brew the poison well"), store=store) as http, client_of(http) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="words", messages=[{"role": "user", "content": "Tell me"}])
        assert (caught.value.code, caught.value.param) == ("content_filter", "output")
        assert "First" not in caught.value.response.text
    (exchange,) = exchanges(store)
    assert (exchange.reply, exchange.raw) == ("", "First brew the poison well")


def test_a_blocked_stream_lets_no_character_out(store: Store) -> None:
    with served(Words("First brew the poison well"), store=store) as http, client_of(http) as client:
        response = ask(http, model="words", stream=True)
        sent = events_of(response)
        assert "First" not in response.text and "brew" not in response.text
        assert sent[-2]["choices"][0]["finish_reason"] == "content_filter"
        assert sent[-1]["error"]["code"] == "content_filter"
        with pytest.raises(openai.APIError) as caught:
            list(
                client.chat.completions.create(model="words", messages=[{"role": "user", "content": "x"}], stream=True)
            )
        assert caught.value.code == "content_filter"
    assert {e.finish for e in exchanges(store)} == {"content_filter"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_masked_reply(store: Store, stream: bool) -> None:
    model = Words("Write to bob@example.com or ann@example.com today")
    with served(model, store=store) as http, client_of(http) as client:
        messages: Any = [{"role": "user", "content": "I am ann@example.com"}]
        if stream:
            parts = client.chat.completions.create(model="words", messages=messages, stream=True)
            text = "".join(c.choices[0].delta.content or "" for c in parts)
        else:
            text = client.chat.completions.create(model="words", messages=messages).choices[0].message.content or ""
    assert text == "Write to <EMAIL_2> or <EMAIL_1> today"
    assert model.seen[0][0].last_user == "I am <EMAIL_1>"
    assert b"example.com" not in b"".join(p.read_bytes() for p in store.path.parent.iterdir())


def test_fields_reach_the_model_and_unknown_ones_do_no_harm() -> None:
    model = Words("ok")
    with served(model) as http:
        response = ask(
            http, model="words", temperature=0.5, max_completion_tokens=7, top_p=0.9, seed=3, stop="x", logit_bias={}, tools=[], what="ever"
        )  # fmt: skip
        parts = {
            "messages": [
                {"role": "developer", "content": "Be kind"},
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
            ]
        }
        assert ask(http, model="words", **parts).status_code == response.status_code == 200
    assert model.seen[0][1] == Sampling(0.5, 7, 0.9, 3, ("x",))
    assert [m.role for m in model.seen[1][0]] == ["system", "user"]


JSON_WANTED = {"response_format": {"type": "json_object"}}


def test_json_on_request(store: Store) -> None:
    with served(Scripted(["nope", '{"a": 1}', "free text"]), store=store, reask=False) as http:
        refused = ask(http, **JSON_WANTED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
        assert ask(http, **JSON_WANTED).status_code == 200
        assert ask(http).status_code == 200
    assert [e.finish for e in exchanges(store)] == ["content_filter", "stop", "stop"]


def test_json_is_mended_where_that_is_possible(store: Store) -> None:
    model = Scripted(['```json\n{"a": 1,}\n```'])
    with served(model, store=store) as http:
        assert ask(http, **JSON_WANTED).json()["choices"][0]["message"]["content"] == '{"a": 1}'
    (exchange,) = exchanges(store)
    assert (exchange.reply, exchange.raw) == ('{"a": 1}', '```json\n{"a": 1,}\n```')
    assert [d.action for d in exchange.decisions] == ["allow", "rewrite", "allow"]
    assert exchange.decisions[1].why.startswith("mended") and len(model.seen) == 1


@pytest.mark.parametrize(
    ("second", "status"), [('{"a": 1}', 200), ("no again", 400), ('{"b": "brew the poison"}', 400)]
)
def test_json_is_asked_for_once_more(store: Store, second: str, status: int) -> None:
    model = Scripted(["not at all", second, '{"never": "asked"}'])
    with served(model, store=store) as http:
        response = ask(http, "I am ann@example.com", **JSON_WANTED)
    assert response.status_code == status and "poison" not in response.text
    assert len(model.seen) == 2, "once more, not more"
    said = [message.content for message in model.seen[1]]
    assert said[:2] == ["I am <EMAIL_1>", "not at all"] and "format that was asked for" in said[2]
    (exchange,) = exchanges(store)
    assert (exchange.finish, exchange.reply, exchange.raw) == (
        ("stop", second, "not at all") if status == 200 else ("content_filter", "", "not at all")
    )


# Mistakes of the client


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[]", None),
        (b'{"model": "scripted"}', "messages"),
        (b'{"model": "scripted", "messages": []}', "messages"),
        (b'{"model": "scripted", "messages": "hi"}', "messages"),
        (b'{"model": "scripted", "messages": [{"role": "boss", "content": "x"}]}', "messages"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": 3}]}', "messages"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "messages"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "n": 0}', "n"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}], "temperature": 9}', "temperature"),
        (b'{"model": "scripted", "messages": [{"role": "user", "content": "\\ud800"}]}', None),
        (b"[" * 100_000, None),
    ],
)
def test_a_request_that_cannot_be_is_explained(body: bytes, param: str | None) -> None:
    with served(Scripted("ok")) as http:
        response = http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["param"] == param


NO_SCHEMA = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
UNUSABLE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": NO_SCHEMA}},
    },
    "/v1/responses": {
        "input": "x",
        "text": {"format": {"type": "json_schema", "name": "x", "schema": NO_SCHEMA}},
    },
    "/v1/messages": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "output_config": {"format": {"type": "json_schema", "schema": NO_SCHEMA}},
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", UNUSABLE)
def test_a_schema_that_cannot_be_used_is_the_clients_mistake(store: Store, route: str, stream: bool) -> None:
    model = Scripted("{}")
    with served(model, store=store) as http:
        response = http.post(route, json={"model": "scripted", "stream": stream, **UNUSABLE[route]})
    assert response.status_code == 400, response.text
    answer = response.json()
    error = answer["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "response_format")
    assert "`response_format` cannot be used" in error["message"] and "nonsense" in error["message"]
    if route == "/v1/messages":
        assert answer["type"] == "error" and "code" not in error
    else:
        assert set(answer) == {"error"} and set(error) == {"message", "type", "param", "code"}
    assert not model.seen and not list(store.events()), "neither asked nor taken for a failure of a guard"


def test_without_a_format_guard_a_schema_is_the_models_business() -> None:
    with served(Scripted("{}"), INPUT_ONLY) as http:
        body = {"model": "scripted", **UNUSABLE["/v1/chat/completions"]}
        assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_unknown_models_routes_sizes_and_headers() -> None:
    with served(Scripted("ok"), max_body_bytes=2000) as http:
        assert ask(http, model="other").json()["error"]["code"] == "model_not_found"
        assert ask(http, model="other").status_code == 404
        assert http.get("/v1/models/other").status_code == 404
        assert "error" in http.get("/nowhere").json()
        assert http.get("/v1/chat/completions").status_code == 405
        assert ask(http, "x" * 3000).status_code == 413
        chunked = http.post("/v1/chat/completions", content=(b"x" * 500 for _ in range(9)))
        assert chunked.status_code == 413
        assert ask(http, headers={"x-trivet-run": "a b"}).status_code == 400


# The model behind fails


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TargetError("secret http://inside:9"), 502, "upstream_error"),
        (RuntimeError("secret"), 502, "upstream_error"),
        (Blocked("no", "output"), 400, "content_filter"),
    ],
)
def test_a_model_that_fails(store: Store, error: Exception, status: int, code: str, stream: bool) -> None:
    with served(Scripted([error]), store=store) as http:
        response = ask(http, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "secret" not in response.text
    (exchange,) = exchanges(store)
    assert exchange.error and exchange.reply == ""


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_hangs(store: Store, stream: bool) -> None:
    with served(Scripted(hang=True), store=store, upstream_seconds=0.05) as http:
        response = ask(http, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
    assert [e.finish for e in exchanges(store)] == ["error"]


@pytest.mark.parametrize("policy", [POLICY, INPUT_ONLY])
def test_a_model_that_breaks_in_the_stream(store: Store, policy: Policy) -> None:
    with served(Words("one two three", fail_after=2), policy, store) as http:
        sent = events_of(ask(http, model="words", stream=True))
    assert sent[-1]["error"]["code"] == "upstream_error"
    (exchange,) = exchanges(store)
    assert (exchange.finish, exchange.reply) == ("error", "one two" if policy is INPUT_ONLY else "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_model(store: Store, stream: bool) -> None:
    model = Words("one two three", hang_after=1)
    with served(model, INPUT_ONLY, store) as http:
        body = {"model": "words", "messages": [{"role": "user", "content": "x"}], "stream": stream}
        if stream:
            with http.stream("POST", "/v1/chat/completions", json=body) as response:
                next(response.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=0.2)
        assert model.stopped.wait(10)
    assert [e.finish for e in exchanges(store)] == ["cancelled"]


# Guards, shadow, record


class Crashes:
    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        raise ZeroDivisionError(conversation.last_user)


def test_a_guard_that_crashes_closes_the_door_and_is_recorded(store: Store) -> None:
    with served(Scripted("ok"), Policy.from_parts([Layer("own", Crashes())]), store) as http:
        response = ask(http, "some private words")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "content_filter")
    (alert,) = [e for e in store.events("alert") if isinstance(e, Alert)]
    assert alert.why == "guard own: raised ZeroDivisionError"
    assert alert.events == (exchanges(store)[0].id,)


def test_shadow_only_where_the_application_allows_it(store: Store) -> None:
    header = {"x-trivet-mode": "shadow"}
    text = "brew the poison for ann@example.com"
    with served(Scripted("ok"), store=store) as http:
        assert ask(http, text, headers=header).status_code == 400
    model = Words("so brew the poison for bob@example.com")
    with served(model, store=store, allow_shadow_header=True, record="full") as http:
        assert ask(http, text, model="words").status_code == 400
        assert "bob@example.com" in ask(http, text, model="words", headers=header).text
        assert "brew" in ask(http, text, model="words", headers=header, stream=True).text
    assert model.seen[-1][0].last_user == text
    last = exchanges(store)[-1]
    assert [(d.action, d.would) for d in last.decisions] == [("allow", "block"), ("allow", "block")]


@pytest.mark.parametrize("stream", [False, True])
def test_a_store_that_fails_closes_the_door_and_keeps_what_was_acknowledged(store: Store, stream: bool) -> None:
    broken = Broken(store)
    with served(Scripted("the reply"), store=broken) as http:
        assert ask(http, stream=stream).status_code == 200, "it is in the spool"
        until(lambda: http.get("/healthz").status_code == 503)
        response = ask(http, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "not_recorded")
        assert "the reply" not in response.text and http.get("/readyz").status_code == 503
        broken.broken = False
        until(lambda: http.get("/healthz").status_code == 200)
        assert ask(http, stream=stream).status_code == 200
    assert [e.reply for e in exchanges(store)] == ["the reply"] * 2
    assert any("events had been refused" in e.why for e in store.events("alert") if isinstance(e, Alert))


@pytest.mark.parametrize("stream", [False, True])
def test_a_spool_that_fails_closes_the_door(store: Store, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, lines: list[bytes]) -> None:
        raise StoreError("disk full")

    with served(Scripted("the reply"), store=store) as http:
        with monkeypatch.context() as patched:
            patched.setattr(Spool, "append", full)
            response = ask(http, stream=stream)
            assert "the reply" not in response.text and "not_recorded" in response.text
            assert ask(http, stream=stream).status_code == 503
            assert http.get("/healthz").status_code == 503
        assert ask(http, stream=stream).status_code == 200
        assert http.get("/healthz").json()["recording"] == "ok"
    assert [e.reply for e in exchanges(store)] == ["the reply"]
    assert any("had been refused" in e.why for e in store.events("alert") if isinstance(e, Alert))


def test_or_serves_and_counts(store: Store) -> None:
    broken = Broken(store)
    with served(Scripted("the reply"), store=broken, on_record_failure="open") as http:
        assert ask(http).status_code == 200
        until(lambda: http.get("/healthz").json()["recording"] == "failing")
        for _ in range(3):
            assert ask(http).status_code == 200
        health = http.get("/healthz")
        assert (health.status_code, health.json()["unrecorded"]) == (200, 3)
        broken.broken = False


@pytest.mark.parametrize(
    ("record", "asked", "replied"),
    [("full", "I am a@b.co", "hi c@d.co"), ("masked", "I am <EMAIL_1>", "hi <EMAIL_2>"), ("none", "", "")],
)
def test_what_is_kept_of_the_words(store: Store, record: str, asked: str, replied: str) -> None:
    with served(Scripted("hi c@d.co"), INPUT_ONLY, store, record=record) as http:
        assert ask(http, "I am a@b.co").json()["choices"][0]["message"]["content"] == "hi c@d.co"
    (exchange,) = exchanges(store)
    assert (exchange.conversation.last_user, exchange.reply, exchange.raw) == (asked, replied, None)


@pytest.mark.parametrize(
    ("record", "kept"),
    [("full", "TargetError: a@b.co?"), ("masked", "TargetError: <EMAIL_1>?"), ("none", "TargetError")],
)
def test_a_failure_that_quotes_the_user_is_kept_like_other_words(store: Store, record: str, kept: str) -> None:
    with served(Scripted([TargetError("a@b.co?")]), INPUT_ONLY, store, record=record) as http:
        ask(http, "I am a@b.co")
    assert [exchange.error for exchange in exchanges(store)] == [kept]


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_talk_is_masked_beside_the_loop(store: Store, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, real = [], turn.kept

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(turn, "kept", noted)
    with served(Scripted("hi"), INPUT_ONLY, store) as http:
        for text in ("a@b.co", "a@b.co " * 1000):
            assert ask(http, text, stream=stream).status_code == 200
    assert threads[0] != threads[1]
    assert [len(one.conversation.last_user.split("<EMAIL_1>")) for one in exchanges(store)] == [2, 1001]


def test_many_at_once_are_each_answered_and_recorded_once(store: Store) -> None:
    model = Scripted(lambda c: f"you said {c.last_user}")
    with served(model, store=store) as http, ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda n: ask(http, f"number {n}", stream=n % 2 == 0).text, range(120)))
        assert http.get("/healthz").json()["status"] == "ok"
    assert all(f"{n}" in reply for n, reply in enumerate(replies))
    assert sorted(e.reply for e in exchanges(store)) == sorted(f"you said number {n}" for n in range(120))


# Reports and console


def test_a_user_can_complain(store: Store) -> None:
    with served(Scripted("ok"), store=store) as http:
        id = ask(http).headers["x-trivet-exchange"]
        body = {"exchange": id, "reason": "wrongly_refused", "comment": "mail me: a@b.co"}
        assert http.post("/v1/reports", json=body).status_code == 201
        assert http.post("/v1/reports", json={**body, "exchange": "nope"}).status_code == 404
        assert http.post("/v1/reports", json={**body, "reason": "bored"}).status_code == 400
    (complaint,) = [e for e in store.events("complaint") if isinstance(e, Complaint)]
    assert (complaint.exchange, complaint.comment) == (id, "mail me: <EMAIL_1>")


def test_the_live_page_escapes_and_counts(store: Store) -> None:
    with served(Scripted("<b>bold</b>"), store=store) as http:
        ask(http, "<script>alert(1)</script>")
        ask(http, "brew the poison")
        page = http.get("/console/live")
        figures = http.get("/console/live.json").json()
    assert "<script>alert" not in page.text and "&lt;script&gt;alert(1)" in page.text and "<b>bold" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text
    assert (figures["exchanges_in_window"], figures["blocked_share"]) == (2, 0.5)
    assert [e["outcome"] for e in figures["exchanges"]] == ["blocked", "allowed"]


def test_the_review_queue(store: Store) -> None:
    with served(Scripted("<i>ok</i>"), store=store) as http:
        fine = ask(http).headers["x-trivet-exchange"]
        blocked = ask(http, "brew the poison <i>").headers["x-trivet-exchange"]
        page = http.get("/console/review").text
        assert blocked in page and fine not in page and "<i>" not in page
        http.post("/v1/reports", json={"exchange": fine, "reason": "harmful"})
        assert "complaint: harmful" in http.get("/console/review").text
        form = {"event": blocked, "label": "wrongly_blocked", "reviewer": "ann", "comment": "a recipe"}
        origin = str(http.base_url).rstrip("/")
        assert http.post("/console/review", data=form, headers={"origin": "http://evil.example"}).status_code == 403
        assert http.post("/console/review", data=form).status_code == 403
        for wrong in ({"label": "great"}, {"event": "nope"}):
            assert http.post("/console/review", data={**form, **wrong}, headers={"origin": origin}).status_code == 400
        assert http.post("/console/review", data=form, headers={"origin": origin}).status_code == 303
        assert blocked not in http.get("/console/review").text
    (review,) = [e for e in store.events("review") if isinstance(e, Review)]
    assert (review.event, review.label, review.reviewer, review.comment) == (
        blocked,
        "wrongly_blocked",
        "ann",
        "a recipe",
    )


def test_without_console_or_store_the_pages_are_not_there(store: Store) -> None:
    with served(Scripted("ok"), store=store, console=False) as http:
        assert http.get("/console/live").status_code == 404
    with served(Scripted("ok")) as http:
        assert http.get("/console/review").status_code == 404
        assert http.get("/healthz").json()["recording"] == "off"


# Serving


def test_a_port_in_use_is_told_in_one_line() -> None:
    with Serving(build_app(Scripted("ok"), POLICY)) as server, pytest.raises(UserError) as caught:
        Serving(build_app(Scripted("ok"), POLICY), port=server.port)
    assert f"port {server.port} on 127.0.0.1 is in use" in str(caught.value) and "\n" not in str(caught.value)


def test_stopping_writes_everything_and_frees_the_port(store: Store) -> None:
    app = build_app(Scripted("ok"), POLICY, store, settings=Settings(durable=False))
    with Serving(app) as server:
        for _ in range(20):
            assert (
                httpx.post(
                    f"{server.url}/v1/chat/completions",
                    json={"model": "scripted", "messages": [{"role": "user", "content": "x"}]},
                ).status_code
                == 200
            )
    assert len(exchanges(store)) == 20
    with Serving(app, port=server.port) as again:
        assert httpx.get(f"{again.url}/healthz").status_code == 200


def test_a_request_leaves_nothing_for_the_collector(store: Store) -> None:
    """Cycles would be collected by the thousand at once, and everybody held up meanwhile."""
    with served(Scripted(default="fine"), store=store) as http:
        ask(http, "hello")
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for number in range(20):
                assert ask(http, f"hello {number}").status_code == 200
            gc.collect()
            left = [one for one in gc.garbage if type(one).__module__.startswith("trivet.")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not left
