"""Whatever fails, nobody is answered unguarded, nothing is recorded twice, and what was acknowledged is in the store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gateway_kill
import httpx
import pytest
from wires import CLOSE, HANG, RESET, Line, Wire, free_port, ok, status, until, wired

from trivet.core.events import Alert, Exchange
from trivet.core.messages import Conversation
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.monitoring.gateway import keys as keys_module
from trivet.monitoring.gateway.app import App, build_app
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.connection import Patience
from trivet.monitoring.gateway.keys import Keyring
from trivet.monitoring.gateway.pool import Waits
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.upstream import HttpUpstream
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.live import Policies
from trivet.monitoring.policy import Layer, Policy

POLICY = Policy.from_parts([Layer("list", Blocklist(["brew the poison"]))])
INPUT_ONLY = Policy.from_parts([Layer("list", Blocklist(["brew the poison"]), place="input")])
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ENOUGH = 64 << 10


def completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    body = {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return json.dumps(body).encode()


def piece(text: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    data = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return chunked(b"data: " + json.dumps(data).encode() + b"\n\n")


def chunked(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


END = [piece(finish="stop"), chunked(b"data: [DONE]\n\n"), b"0\r\n\r\n"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "t.db") as store:
        yield store


@contextmanager
def gated(
    *lines: Line | Callable[[bytes], Line], store: Store | None = None, policy: Any = POLICY, **settings: Any
) -> Iterator[tuple[httpx.Client, Wire, App]]:
    """A gateway in front of a server that says these lines."""
    waits = Waits(connect_seconds=2, first_byte_seconds=settings.pop("patient", 20.0), silent_seconds=0.3)
    keyring = settings.pop("keyring", None)
    with wired(*lines) as wire:
        upstream = HttpUpstream(wire.url, name="m", retries=0, waits=waits)
        app = build_app(upstream, policy, store, settings=Settings(**settings), keyring=keyring)
        with Serving(app) as server, httpx.Client(base_url=server.url, timeout=20) as http:
            yield http, wire, app


def ask(http: httpx.Client, text: str = "hello", **fields: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return http.post("/v1/chat/completions", json=body)


def exchanges(store: Store) -> list[Exchange]:
    return [event for event in store.events("exchange") if isinstance(event, Exchange)]


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


# The upstream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ([HANG], (504, "timeout")),
        ([RESET], (502, "upstream_error")),
        ([CLOSE], (502, "upstream_error")),
        ([status(500, b'{"error": {"message": "secret"}}')], (502, "upstream_error")),
        ([status(401, b'{"error": {"message": "secret"}}')], (502, "upstream_error")),
        ([status(429, extra="retry-after: 7\r\n")], (429, "upstream_overloaded")),
        ([b"rubbish\r\n\r\n"], (502, "upstream_error")),
        ([ok(b"rubbish")], (502, "upstream_error")),
        ([ok(b"[1]")], (502, "upstream_error")),
        ([ok(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')], (502, "upstream_error")),
        ([ok(b"[" * 100_000)], (502, "upstream_error")),
    ],
)
def test_an_upstream_that_fails_is_an_error_recorded_once(
    store: Store, line: list[bytes], told: tuple[int, str], stream: bool
) -> None:
    with gated(line, store=store, patient=0.2) as (http, _, _):
        response = ask(http, stream=stream)
    assert code_of(response) == told and "secret" not in response.text
    if told[0] == 429:
        assert response.headers["retry-after"] == "7"
    (exchange,) = exchanges(store)
    assert (exchange.finish, exchange.reply) == ("error", "") and exchange.error


def test_nobody_listens(store: Store) -> None:
    app = build_app(HttpUpstream(f"http://127.0.0.1:{free_port()}/v1", name="m", retries=0), POLICY, store)
    with Serving(app) as server, httpx.Client(base_url=server.url) as http:
        assert code_of(ask(http)) == (502, "upstream_error")
        for _ in range(5):
            ask(http)
        assert http.get("/readyz").status_code == 503, "the breaker is open"
        assert http.get("/healthz").status_code == 200, "but the process is well"


@pytest.mark.parametrize(
    "rest",
    [
        [RESET],
        [CLOSE],
        [HANG],
        [chunked(b"data: rubbish\n\n")],
        [chunked(b"data: \xff\xfe\n\n")],
        [chunked(b'data: {"error": {"message": "it broke"}}\n\n')],
        [b"0\r\n\r\n"],
    ],
)
def test_a_stream_that_breaks_says_so_and_is_recorded_once(store: Store, rest: list[bytes]) -> None:
    with gated([STREAM, piece("The door "), *rest], store=store) as (http, _, _):
        response = ask(http, stream=True)
    assert "upstream_error" in response.text or '"timeout"' in response.text
    assert response.status_code == 200 or "The door" not in response.text
    (exchange,) = exchanges(store)
    assert exchange.finish == "error" and exchange.raw in (None, "The door ")


def test_a_line_of_ten_megabytes_is_no_memory_of_ours(store: Store) -> None:
    flood = [chunked(b"data: " + b"x" * (1 << 20))] + [chunked(b"x" * (1 << 20))] * 9
    with gated([STREAM, piece("Hi"), *flood, *END], store=store) as (http, _, _):
        assert "upstream_error" in ask(http, stream=True).text
    assert [e.finish for e in exchanges(store)] == ["error"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_upstream(store: Store, stream: bool) -> None:
    lines = [STREAM, piece("Hi "), HANG] if stream else [HANG]
    with gated(lines, store=store, policy=INPUT_ONLY, patient=30.0) as (http, wire, app):
        left = socket.create_connection((http.base_url.host, int(http.base_url.port or 0)))
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream}).encode()
        left.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        if stream:
            assert left.recv(ENOUGH)
        else:
            assert wire.asked.wait(10)
        left.close()
        assert wire.left.wait(10)
    assert [e.finish for e in exchanges(store)] == ["cancelled"]
    assert app.gateway.flying == 0


def test_what_the_model_gets_is_what_was_checked(store: Store) -> None:
    """Two parsers may read doubled keys differently; ours decides for both."""
    twice = b'{"model": "m", "messages": [{"role": "user", "content": "brew the poison"}], "messages": [{"role": "user", "content": "hi"}]}'
    with gated([ok(completion("ok"))], store=store) as (http, wire, _):
        assert http.post("/v1/chat/completions", content=twice).status_code == 200
        assert b"poison" not in wire.seen[0]


def test_an_error_of_the_upstream_is_checked_like_a_reply() -> None:
    lines = [
        [status(400, json.dumps({"error": {"message": text}}).encode())]
        for text in ("no such field", "so brew the poison")
    ]
    with gated(*lines) as (http, _, _):
        told = ask(http)
        assert (told.status_code, told.json()["error"]["message"]) == (400, "no such field")
        assert "poison" not in ask(http).text


# Guards


class Failing:
    """A guard that raises, or never comes to a verdict."""

    threshold, digest, cheap, reach = 0.5, "failing", False, None

    def __init__(self, hang: bool) -> None:
        self.hang = hang

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        if self.hang:
            await asyncio.Event().wait()
        raise ZeroDivisionError("secret")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("place", ["input", "output"])
@pytest.mark.parametrize("hang", [False, True])
def test_a_guard_that_fails_closes_the_door(store: Store, hang: bool, place: Any, stream: bool) -> None:
    policy = Policy.from_parts([Layer("own", Failing(hang), place=place, deadline_ms=20)])
    lines = [STREAM, piece("the reply"), *END] if stream else [ok(completion("the reply"))]
    with gated(lines, store=store, policy=policy) as (http, wire, _):
        response = ask(http, stream=stream)
        assert len(wire.seen) == (0 if place == "input" else 1)
    assert "the reply" not in response.text and "content_filter" in response.text and "secret" not in response.text
    (exchange,) = exchanges(store)
    assert (exchange.finish, exchange.reply) == ("content_filter", "")
    assert [e.detector for e in store.events("alert") if isinstance(e, Alert)] == ["guard_failure"]


def test_half_a_policy_file_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK_SECONDS", 0.0)
    whole = "name: mine\nlayers:\n  - {name: list, guard: blocklist, settings: {phrases: [brew the poison]}}\n"
    file = tmp_path / "policy.yaml"
    file.write_text(whole)
    ring = Keyring(tmp_path / "keys.json")
    token, _ = ring.create("op", scopes=["chat", "admin"])
    with gated([ok(completion("ok"))], policy=Policies.load(file), keyring=ring) as (http, _, _):
        http.headers["authorization"] = f"Bearer {token}"
        for half in ("", "layers: [", whole[:40], whole.replace("blocklist", "blokclist")):
            file.write_text(half)
            assert code_of(http.post("/admin/policy/reload")) == (409, "policy_not_valid")
            assert code_of(ask(http, "brew the poison")) == (400, "content_filter")
        file.write_text(whole.replace("brew the poison", "stir the tea"))
        assert http.post("/admin/policy/reload").json()["reloaded"] is True
        assert ask(http, "brew the poison").status_code == 200
        assert code_of(ask(http, "stir the tea")) == (400, "content_filter")
        assert http.get("/admin/status").json()["policies"]["ok"] is True


# Beside the upstream call


class Slow:
    """A guard that waits for a sign before it blocks."""

    threshold, digest, cheap, reach = 0.5, "slow", False, None

    def __init__(self) -> None:
        self.go = threading.Event()

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        await asyncio.to_thread(self.go.wait, 10)
        return Verdict("bad", float("bad" in conversation.last_user), "slow")


def test_beside_the_check_the_model_is_asked_and_nothing_comes_through_before_the_verdict(store: Store) -> None:
    guard = Slow()
    policy = Policy.from_parts([Layer("slow", guard, place="input", deadline_ms=10_000)])
    with gated([ok(completion("the reply"))], store=store, policy=policy, parallel_input=True) as (http, wire, _):
        for text, expected in (("bad", 400), ("good", 200)):
            wire.asked.clear()
            guard.go.clear()
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(ask, http, text)
                assert wire.asked.wait(10)
                assert not answer.done(), "the model has been asked, and the client waits for the verdict"
                guard.go.set()
                assert answer.result(10).status_code == expected
    assert [(e.finish, e.reply) for e in exchanges(store)] == [("content_filter", ""), ("stop", "the reply")]


def test_a_block_cancels_the_call_that_was_begun(store: Store) -> None:
    with gated([HANG], store=store, parallel_input=True, patient=30.0) as (http, wire, _):
        assert code_of(ask(http, "brew the poison")) == (400, "content_filter")
        assert not wire.seen or wire.left.wait(10)
    assert len(exchanges(store)) == 1


# Clients


def raw(http: httpx.Client) -> socket.socket:
    return socket.create_connection((http.base_url.host, int(http.base_url.port or 0)), timeout=20)


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /v1/ch", b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99\r\n\r\n{"],
)
def test_two_hundred_clients_that_do_not_go_on(start: bytes) -> None:
    with gated([ok(completion("ok"))], patience=Patience(read_seconds=1.0)) as (http, _, app), ExitStack() as open_:
        idle = [open_.enter_context(raw(http)) for _ in range(200)]
        for one in idle:
            one.sendall(start)
        assert ask(http).status_code == 200, "others are served meanwhile"
        for one in idle:
            said = one.recv(ENOUGH)
            assert said == b"" or said.startswith(b"HTTP/1.1 408")
        assert ask(http).status_code == 200
    assert app.gateway.flying == 0


def test_a_client_that_does_not_read_is_dropped() -> None:
    big = ok(completion("x" * (4 << 20)))
    settings: Any = {"patience": Patience(write_seconds=0.2), "policy": Policy()}
    with gated([big], **settings) as (http, wire, app), socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((http.base_url.host, int(http.base_url.port or 0)))
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        deaf.sendall((head + body) * 2)
        assert wire.asked.wait(10)
        until(lambda: not app.gateway.flying)
        got = 0
        with contextlib.suppress(ConnectionError):
            while data := deaf.recv(ENOUGH):
                got += len(data)
        assert got < len(big) and len(wire.seen) == 1
        assert ask(http).status_code == 200


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", b"431"),
        (b"GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n", b"421"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
            b"400",
        ),
        (b"GET /healthz HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n", b"200"),
        (b"GET http://127.0.0.1/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", b"200"),
    ],
)
def test_heads_that_are_odd(sent: bytes, answer: bytes) -> None:
    with gated([ok(b"{}")]) as (http, _, _), raw(http) as client:
        client.sendall(sent)
        assert client.recv(ENOUGH).split(b" ")[1] == answer


def test_requests_sent_ahead_are_answered_in_order() -> None:
    with gated([ok(completion("ok"))]) as (http, _, _), raw(http) as client:
        paths = [b"/healthz", b"/nowhere", b"/v1/models", b"/readyz"]
        client.sendall(b"".join(b"GET %s HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % path for path in paths))
        got = b""
        while got.count(b"HTTP/1.1") < 4 or not got.endswith(b"}"):
            got += client.recv(ENOUGH)
    assert [part.split(b" ")[1] for part in got.split(b"HTTP/1.1")[1:]] == [b"200", b"404", b"200", b"200"]


def test_a_body_that_waits_to_be_asked_for() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    with gated([ok(completion("ok"))]) as (http, _, _), raw(http) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        )
        assert client.recv(ENOUGH) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(ENOUGH).startswith(b"HTTP/1.1 200")


# Too much


def test_one_too_many_is_told_to_come_again(store: Store) -> None:
    with gated([HANG], store=store, max_in_flight=1, patient=30.0) as (http, wire, _), raw(http) as first:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
        first.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert wire.asked.wait(10)
        response = ask(http)
        assert code_of(response) == (503, "overloaded") and response.headers["retry-after"] == "1"
        assert http.get("/readyz").json()["status"] == "full"


def test_a_store_that_is_too_slow_is_told_before_memory_fills(store: Store) -> None:
    with gated([ok(completion("ok"))], store=store, max_waiting_events=0) as (http, _, _):
        response = ask(http)
        assert code_of(response) == (503, "overloaded") and "retry-after" in response.headers
    assert exchanges(store) == []


# Keys


def test_keys_say_who_may_do_what(tmp_path: Path, store: Store) -> None:
    ring = Keyring(tmp_path / "keys.json")
    chat, kept = ring.create("app", scopes=["chat"], requests_per_minute=2)
    other, _ = ring.create("other", models=["another"])
    with gated([ok(completion("ok"))], store=store, keyring=ring) as (http, _, _):
        for header in ({}, {"authorization": "Bearer nope"}, {"authorization": chat}):
            refused = http.post("/v1/chat/completions", json={}, headers=header)
            assert code_of(refused) == (401, "invalid_api_key"), header
        assert http.get("/v1/models").status_code == 401
        assert http.get("/console/live").status_code == 401 and http.get("/metrics").status_code == 401
        http.headers["authorization"] = f"Bearer {other}"
        assert code_of(ask(http)) == (404, "model_not_found")
        assert http.get("/v1/models").json()["data"] == []
        http.headers["authorization"] = f"Bearer {chat}"
        assert ask(http).headers["x-ratelimit-remaining-requests"] == "1"
        assert code_of(http.post("/v1/embeddings", json={})) == (403, "scope_missing")
        assert code_of(http.get("/admin/status")) == (403, "scope_missing")
        assert ask(http).status_code == 200
        limited = ask(http)
        assert code_of(limited) == (429, "rate_limit_exceeded") and int(limited.headers["retry-after"]) >= 1
        del http.headers["authorization"]
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
    (first, *_) = exchanges(store)
    assert first.user and kept.id not in first.user


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": "9"}, {"input_tokens": "1", "output_tokens": [2]}])
@pytest.mark.parametrize("how", ["ended", "cut", "whole"])
def test_tokens_that_nobody_counted_are_charged(tmp_path: Path, usage: Any, how: str) -> None:
    ring = Keyring(tmp_path / "keys.json")
    token, _ = ring.create("app", tokens_per_minute=1000)
    more = {} if usage is None else {"usage": usage}
    if how == "whole":
        line = [ok(json.dumps({**json.loads(completion("word " * 800)), **more}).encode())]
    else:
        report = json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [], **more}).encode()
        line = [STREAM, piece("word " * 800)]
        line += [CLOSE] if how == "cut" else [END[0], chunked(b"data: " + report + b"\n\n"), *END[1:]]
    with gated(line, keyring=ring, policy=Policy()) as (http, _, _):
        http.headers["authorization"] = f"Bearer {token}"
        first = ask(http, stream=how != "whole")
        assert first.status_code == 200 and "word word" in first.text
        left = ask(http, "hello")
        assert code_of(left) == (429, "rate_limit_exceeded") or int(left.headers["x-ratelimit-remaining-tokens"]) < 10


def test_without_keys_nobody_is_an_operator() -> None:
    with gated([ok(completion("ok"))]) as (http, _, _):
        assert code_of(http.post("/admin/policy/reload")) == (403, "no_admin_key")


# kill -9


def test_killed_under_load_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    told = gateway_kill.tried(tmp_path, rounds=2, clients=8, after=60)
    assert told["acknowledged"] >= 2 * 60
    assert (told["lost"], told["twice"], told["unguarded"], told["wrong"]) == (0, 0, 0, 0)


def test_a_body_may_be_left_out_of_the_message() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}  # ASGI lets a server leave out an empty body

    call = Call({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, None)
    assert asyncio.run(call.body(10)) == b""
