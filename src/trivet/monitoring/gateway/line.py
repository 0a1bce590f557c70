"""One HTTP/1.1 connection to an upstream: httptools for the bytes, one future for each answer.

A whole answer is one future; a streamed one is an iterator that stops reading from the socket while
nobody takes its pieces. Three clocks run on one timer of the connection: connecting, the wait for the first byte, and
the silence between bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httptools

from trivet.core.errors import TargetError

if TYPE_CHECKING:
    from trivet.monitoring.gateway.pool import Pool

_HIGH_WATER = 1 << 18


class Unreached(TargetError):  # noqa: N818
    """The request did not get there, so that sending it again is safe."""


class Late(TargetError):  # noqa: N818
    """The upstream did not answer in time."""


@dataclass(frozen=True)
class Waits:
    """The clocks and bounds of a pool."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 120.0
    silent_seconds: float = 60.0
    keep_seconds: float = 15.0
    """An idle connection is not used again after so long: many servers close theirs soon after."""
    max_bytes: int = 64 << 20
    max_connections: int = 1000


class Reply:
    """What came back: status and headers at once; the body whole, or in pieces as an async iterator."""

    __slots__ = ("body", "headers", "line", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes, line: Line | None = None) -> None:
        self.status, self.headers, self.body, self.line = status, headers, body, line

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.line.piece() if self.line else b""
        if not piece:
            self.line = None  # it may already answer somebody else
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Stop reading; an answer that has not ended costs its connection."""
        if self.line:
            self.line.abandon()
            self.line = None


class Line(asyncio.Protocol):
    """One connection to the upstream."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.loop, self.waits = pool, pool.loop, pool.waits
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.closed = False
        self.used = 0
        self.since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._clear()

    def _clear(self) -> None:
        self.answer: asyncio.Future[Reply] | None = None
        self.pieces: deque[bytes] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.fault: TargetError | None = None
        self.streams = self.streaming = self.ended = self.paused = self.began = self.keeps = False
        self.size = self.held = 0
        self.headers: dict[str, str] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, data: bytes, *, stream: bool) -> asyncio.Future[Reply]:
        """Send a request on this connection, which must be idle."""
        self._clear()
        self.parser = httptools.HttpResponseParser(self)
        self.answer = self.loop.create_future()
        self.streams = stream
        self.used += 1
        self._within(self.waits.first_byte_seconds)
        self.transport.write(data)
        return self.answer

    # What the transport tells

    def data_received(self, data: bytes) -> None:
        if self.answer is None or self.ended:
            self.close()  # nobody asked
            return
        self.began = True
        self.size += len(data)
        if self.size > self.waits.max_bytes:
            self._fail(TargetError(f"{self.pool} sent more than {self.waits.max_bytes} bytes"))
            return
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(self.fault or TargetError(f"{self.pool} did not answer in HTTP: {type(error).__name__}"))
            return
        if not self.ended:
            self._within(self.waits.silent_seconds)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer:
            self._timer.cancel()
        self.pool.gone(self)
        if self.answer is None or self.ended:
            return
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.headers and not framed and exc is None:
            self.on_message_complete()  # a body that ends with its connection
            return
        if not self.began:
            # A kept connection that closes under a request was closed before the request came: the server's idle clock.
            kind = Unreached if self.used > 1 else TargetError
            self._fail(kind(f"{self.pool} closed the connection without an answer"))
        else:
            self._fail(TargetError(f"{self.pool} broke off its answer"))

    # What the parser tells

    def on_message_begin(self) -> None:
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:
            return
        if self.headers.get("content-encoding", "identity") != "identity":
            self.fault = TargetError(f"{self.pool} sent a compressed answer though none was asked for")
            raise ValueError
        if self.streams and self.headers.get("content-type", "").startswith("text/event-stream"):
            self.streaming = True
            self._answered(b"")

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)
        if self.streaming:
            self.held += len(body)
            self._wake()
            if self.held > _HIGH_WATER and not self.paused:
                self.paused = True
                self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if not self.closed and self.parser.get_status_code() < 200:
            return  # 100 Continue, 103 Early Hints: the answer is still to come
        self.ended = True
        self.keeps = not self.closed and self.parser.should_keep_alive()  # the parser forgets it with the message
        self._deadline = 0.0
        if self.streaming:
            self._wake()  # who reads gives the connection back, so that nobody else has it before
        else:
            self._answered(self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces))
            self._release()

    # The answer

    def _answered(self, body: bytes) -> None:
        if self.answer is not None and not self.answer.done():
            line = self if self.streaming else None
            self.answer.set_result(Reply(self.parser.get_status_code(), self.headers, body, line))

    def _fail(self, error: TargetError) -> None:
        self.fault, self.ended = error, True
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)
        self._wake()
        self.close()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def piece(self) -> bytes:
        """The next piece of a streamed body; empty at its end."""
        while not self.pieces:
            if self.fault:
                raise self.fault
            if self.ended:
                self._release()
                return b""
            self.waiter = self.loop.create_future()
            await self.waiter
        data = b"".join(self.pieces)
        self.pieces.clear()
        self.held = 0
        if self.paused and not self.closed:
            self.paused = False
            self._within(self.waits.silent_seconds)
            self.transport.resume_reading()
        return data

    def abandon(self) -> None:
        if self.ended and not self.fault:
            self._release()
        else:
            self.close()

    def _release(self) -> None:
        """Back to the pool, once."""
        if self.answer is not None:
            self.answer = None
            self.since = self.loop.time()
            if not self.closed and not self.keeps:
                self.close()
            self.pool.back(self)

    def close(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    # The clock

    def _within(self, seconds: float) -> None:
        """The timer that runs is kept and looks again when it fires, unless that would be too late."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline + 0.05:
            if self._timer:
                self._timer.cancel()
            self._timer = self.loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.closed:
            return
        now = self.loop.time()
        if not self._deadline and self.answer is not None:  # all is there, and nobody has taken it yet
            self._timer = self.loop.call_later(1.0, self._tick)
        elif not self._deadline:  # idle
            if self.since + self.waits.keep_seconds <= now:
                self.close()
                return
            self._timer = self.loop.call_at(self.since + self.waits.keep_seconds, self._tick)
        elif self._deadline > now or self.paused:
            self._timer = self.loop.call_at(max(self._deadline, now + 1.0 if self.paused else 0.0), self._tick)
        elif self.began:
            self._fail(Late(f"{self.pool} fell silent for {self.waits.silent_seconds:g} s in the middle of its answer"))
        else:
            self._fail(Late(f"{self.pool} did not answer within {self.waits.first_byte_seconds:g} s"))
