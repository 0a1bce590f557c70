"""The client of the gateway against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from wires import CLOSE, HANG, RESET, Wire, free_port, ok, status

from trivet.core.errors import ConfigError, TargetError, UserError
from trivet.monitoring.gateway import upstream as module
from trivet.monitoring.gateway.pool import Late, Unreached, Waits
from trivet.monitoring.gateway.upstream import Breaker, Fallback, HttpUpstream, retry_after
from trivet.monitoring.gateway.upstreams import read_upstreams

T = TypeVar("T")
CHAT = "/v1/chat/completions"
QUICK = Waits(connect_seconds=2, first_byte_seconds=0.15, silent_seconds=0.15)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


def against(lines: list[Any], story: Callable[[Wire], Awaitable[T]]) -> T:
    """The story with a server that says these lines, in one loop."""

    async def told() -> T:
        wire = Wire(*lines)
        server = await wire.start()
        try:
            return await story(wire)
        finally:
            server.close()

    return asyncio.run(told())


async def ask(upstream: Any, body: bytes = b'{"model": "m"}', stream: bool = False) -> Any:
    return await upstream.send(CHAT, body, stream=stream)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, noted and not waited for."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *rest: Any) -> None:
        pauses.append(seconds)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", noted)
    return pauses


def test_connections_are_kept_and_the_key_travels() -> None:
    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url, key="sk-1", headers={"x-more": "yes"})
        for n in range(5):
            answer = await upstream.send(CHAT, b'{"model": "m"}', stream=False, headers={"x-request-id": str(n)})
            assert (answer.status, answer.body) == (200, b'{"a": 1}')
        assert wire.connections == 1
        first = wire.seen[0]
        assert first.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n") and b"authorization: Bearer sk-1" in first
        assert b"x-more: yes" in first and b"x-request-id: 0" in first and first.endswith(b'\r\n\r\n{"model": "m"}')
        await upstream.aclose()

    against([[ok(b'{"a": 1}')]], story)


def test_many_at_once_each_get_their_own_answer() -> None:
    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url, waits=Waits(max_connections=4))
        replies = await asyncio.gather(*(ask(upstream, b'{"n": %d}' % n) for n in range(60)))
        assert [json.loads(reply.body)["n"] for reply in replies] == list(range(60))
        assert wire.connections <= 4

    against([lambda request: [ok(request.partition(b"\r\n\r\n")[2])]], story)


def test_an_answer_cut_anywhere_is_the_same() -> None:
    whole = (
        STREAM[: STREAM.index(b"content-type")]
        + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    whole += chunk(b'{"a":') + chunk(b" 1}") + b"0\r\n\r\n"

    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url)
        for _ in range(3):
            assert (await ask(upstream)).body == b'{"a": 1}'

    against([[bytes([byte]) for byte in whole]], story)


def test_the_name_of_the_model_is_the_upstreams_own() -> None:
    async def story(wire: Wire) -> None:
        await ask(HttpUpstream(wire.url, name="chat", model="gpt-x"), b'{"model": "chat", "future": [1]}')
        assert json.loads(wire.seen[0].partition(b"\r\n\r\n")[2]) == {"model": "gpt-x", "future": [1]}

    against([[ok(b"{}")]], story)


def test_a_stream_comes_as_it_is_sent_and_frees_its_connection() -> None:
    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url)
        for _ in range(3):
            answer = await ask(upstream, stream=True)
            assert b"".join([piece async for piece in answer.body]) == b"data: one\n\ndata: two\n\n"
        assert wire.connections == 1

    against([[STREAM, chunk(b"data: one\n\n"), chunk(b"data: two\n\n"), b"0\r\n\r\n"]], story)


def test_a_stream_that_nobody_wants_any_more_costs_its_connection() -> None:
    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url)
        answer = await ask(upstream, stream=True)
        assert await anext(answer.body) == b"data: one\n\n"
        await answer.body.aclose()
        await asyncio.to_thread(wire.left.wait, 10)
        assert wire.left.is_set()
        with pytest.raises(StopAsyncIteration):
            await anext(answer.body)

    against([[STREAM, chunk(b"data: one\n\n"), HANG]], story)


def test_a_stream_that_is_read_slowly_stops_the_sender() -> None:
    size = 1 << 20

    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url)
        answer = await ask(upstream, stream=True)
        line = answer.body.line
        while not line.paused:
            await asyncio.to_thread(lambda: None)
        assert line.held < 4 * size
        got = 0
        async for piece in answer.body:
            got += len(piece)
        assert got == 16 * size

    against([[STREAM, *[chunk(b"x" * size)] * 16, b"0\r\n\r\n"]], story)


def test_a_body_that_ends_with_its_connection() -> None:
    async def story(wire: Wire) -> None:
        assert (await ask(HttpUpstream(wire.url))).body == b'{"a": 1}'

    against([[b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"a": 1}', CLOSE]], story)


LOOPBACK = Path(__file__).with_name("loopback.pem")
"""A key and a certificate for 127.0.0.1 that nobody but these tests trusts."""


@pytest.mark.parametrize("trusted", [True, False])
def test_the_certificate_of_a_server_is_checked(trusted: bool) -> None:
    async def story() -> None:
        wire = Wire([ok(b'{"a": 1}')])
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(LOOPBACK)
        async with await wire.start(tls):
            url = wire.url.replace("http:", "https:")
            upstream = HttpUpstream(url, ca=LOOPBACK if trusted else None, retries=0)
            if trusted:
                assert (await ask(upstream)).body == b'{"a": 1}'
            else:
                with pytest.raises(Unreached, match="certificate verify failed"):
                    await ask(upstream)
                assert wire.seen == []
            await upstream.aclose()

    asyncio.run(story())


# What goes wrong


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ([HANG], Late, "did not answer within"),
        ([STREAM.replace(b"text/event-stream", b"application/json"), chunk(b"x"), HANG], Late, "fell silent"),
        ([b"garbage\r\n\r\n"], TargetError, "did not answer in HTTP"),
        ([RESET], TargetError, "without an answer"),
        ([ok(b"12345678")[:-3], RESET], TargetError, "broke off"),
        ([ok(b"x", extra="content-encoding: gzip\r\n")], TargetError, "compressed"),
    ],
)
def test_a_server_that_misbehaves_is_a_target_error(line: list[bytes], kind: type[Exception], words: str) -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(kind, match=words):
            await ask(HttpUpstream(wire.url, waits=QUICK))
        assert len(wire.seen) == 1, "it may have been carried out, so it is not sent again"

    against([line], story)


@pytest.mark.parametrize(("line", "words"), [([HANG], "fell silent"), ([RESET], "broke off")])
def test_a_stream_that_breaks(line: list[bytes], words: str) -> None:
    async def story(wire: Wire) -> None:
        answer = await ask(HttpUpstream(wire.url, waits=QUICK), stream=True)
        with pytest.raises(TargetError, match=words):
            async for _ in answer.body:
                pass

    against([[STREAM, chunk(b"data: one\n\n"), *line]], story)


def test_an_answer_without_end_is_cut_off() -> None:
    async def story(wire: Wire) -> None:
        with pytest.raises(TargetError, match="more than 1000 bytes"):
            await ask(HttpUpstream(wire.url, waits=Waits(max_bytes=1000)))

    against([[ok(b"x" * 5000)]], story)


def test_nobody_there(no_pauses: list[float]) -> None:
    async def story() -> None:
        with pytest.raises(Unreached, match="could not be reached"):
            await ask(HttpUpstream(f"http://127.0.0.1:{free_port()}/v1", retries=2))
        assert len(no_pauses) == 2

    asyncio.run(story())


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url)
        assert (await ask(upstream)).status == 200
        assert (await ask(upstream)).status == 200
        assert len(wire.seen) == 3 and wire.connections == 2

    # The second request finds its connection closed under it and goes out again on a new one.
    against([[ok(b"{}")], [RESET], [ok(b"{}")]], story)


@pytest.mark.parametrize("code", [429, 502, 503])
def test_what_may_pass_is_asked_again(code: int, no_pauses: list[float]) -> None:
    async def story(wire: Wire) -> None:
        assert (await ask(HttpUpstream(wire.url))).status == 200
        assert len(wire.seen) == 3
        assert no_pauses[0] >= 2.0, "Retry-After is honoured"

    against([[status(code, extra="retry-after: 2\r\n")], [status(code)], [ok(b"{}")]], story)


@pytest.mark.parametrize("code", [400, 401, 404, 422, 500, 504])
def test_what_will_not_pass_is_not(code: int) -> None:
    async def story(wire: Wire) -> None:
        assert (await ask(HttpUpstream(wire.url))).status == code
        assert len(wire.seen) == 1

    against([[status(code)]], story)


def test_who_asks_for_a_long_pause_is_not_waited_for(no_pauses: list[float]) -> None:
    async def story(wire: Wire) -> None:
        assert (await ask(HttpUpstream(wire.url))).status == 429
        assert len(wire.seen) == 1 and no_pauses == []

    against([[status(429, extra="retry-after: 600\r\n")]], story)


def test_the_breaker_opens_and_tries_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    async def story(wire: Wire) -> None:
        upstream = HttpUpstream(wire.url, breaker=Breaker(breaks=2, pause=5))
        for _ in range(2):
            assert (await ask(upstream)).status == 500
        with pytest.raises(TargetError, match="left alone"):
            await ask(upstream)
        assert len(wire.seen) == 2
        now[0] = 5.1
        assert (await ask(upstream)).status == 500
        now[0] = 10.2  # the pause has doubled
        with pytest.raises(TargetError, match="left alone"):
            await ask(upstream)
        now[0] = 15.3
        assert (await ask(upstream)).status == 200
        assert not upstream.breaker.open

    against([*[[status(500)]] * 3, [ok(b"{}")]], story)


def test_only_one_tries_while_the_breaker_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 100.0)
    breaker = Breaker(breaks=1, pause=0)
    breaker.failed()
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.undecided()
    assert breaker.allows()


@pytest.mark.parametrize("first", [[[status(503)]], [[status(401)]], [[RESET]], [[HANG]]])
def test_the_next_is_asked(first: list[Any]) -> None:
    async def story(wire: Wire) -> None:
        other = Wire([ok(b'{"from": 2}')])
        server = await other.start()
        both = Fallback(
            [HttpUpstream(wire.url, waits=QUICK, retries=0, name="a"), HttpUpstream(other.url, name="b")], "chat"
        )
        assert (both.name, both.routes()) == ("chat", module.ROUTES)
        assert (await ask(both)).body == b'{"from": 2}'
        server.close()

    against(first, story)


def test_a_mistake_of_the_client_is_answered_by_the_first() -> None:
    async def story(wire: Wire) -> None:
        other = HttpUpstream(f"http://127.0.0.1:{free_port()}/v1")
        assert (await ask(Fallback([HttpUpstream(wire.url), other]))).status == 400

    against([[status(400)]], story)


def test_a_caller_that_leaves_closes_the_connection() -> None:
    async def story(wire: Wire) -> None:
        task = asyncio.ensure_future(ask(HttpUpstream(wire.url)))
        while not wire.seen:
            await asyncio.to_thread(lambda: None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wire.left.wait, 10)
        assert wire.left.is_set()

    against([[HANG]], story)


def test_addresses_and_headers_that_cannot_be() -> None:
    async def story() -> None:
        with pytest.raises(UserError, match="no http URL"):
            await ask(HttpUpstream("ftp://x/v1"))
        with pytest.raises(UserError, match="HTTP cannot carry"):
            await ask(HttpUpstream("http://127.0.0.1:1/v1", key="a\nb"))

    asyncio.run(story())
    with pytest.raises(UserError, match="PEM"):
        HttpUpstream("https://127.0.0.1/v1", ca="/nowhere.pem")


def test_retry_after_in_both_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1445412480.0)
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT"}) == 30.0
    assert retry_after({"retry-after": "soon"}) == retry_after({}) == 0.0


# The file


def test_upstreams_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_KEY", "sk-9")
    file = tmp_path / "up.yaml"
    file.write_text(
        "upstreams:\n"
        "  main: {url: http://127.0.0.1:1/v1, model: big, key_env: MAIN_KEY, retries: 0, first_byte_seconds: 9}\n"
        "  backup: {url: http://127.0.0.1:2/v1, routes: [/v1/chat/completions]}\n"
        "models: {chat: [main, backup], small: [backup]}\n"
    )
    models = read_upstreams(file)
    both = models["chat"]
    assert isinstance(both, Fallback) and both.routes() == {CHAT}
    main, backup = both.upstreams
    assert isinstance(main, HttpUpstream) and isinstance(backup, HttpUpstream)
    assert (main.name, main.model, main.retries, main.waits.first_byte_seconds) == ("chat", "big", 0, 9)
    small = models["small"]
    assert isinstance(small, HttpUpstream) and small.breaker is backup.breaker


def test_every_mistake_in_the_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "up.yaml"
    file.write_text("upstreams: {main: {url: 'http://x/v1', key_env: NOT_SET_9}}\nmodels: {chat: [mian], empty: []}\n")
    with pytest.raises(ConfigError) as caught:
        read_upstreams(file)
    for words in ("NOT_SET_9 is not set", 'Did you mean "main"?', "'empty' names no upstream"):
        assert words in str(caught.value)
    file.write_text("upstreams: {main: {url: 'http://x/v1', secret: abc}}\nmodels: {}\n")
    with pytest.raises(ConfigError, match="secret"):
        read_upstreams(file)
