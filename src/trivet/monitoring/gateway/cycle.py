"""One request and its response on a client's connection, as ASGI sees them."""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivet.monitoring.gateway.connection import Connection

_log = logging.getLogger("trivet.monitoring")
STATUS = {
    code: f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase if code in set(http.HTTPStatus) else ''}\r\n".encode()
    for code in range(100, 600)
}
_DISCARD = 1 << 24
"""How much of a body nobody wants is read so that the refusal arrives, instead of being lost in a reset."""


class Cycle:
    """One request and its response, as ASGI sees them."""

    __slots__ = (
        "_gone", "_held", "_size", "_waiter", "chunked", "complete", "connection", "delivered", "expects", "gone",
        "headless", "keep_alive", "over", "scope", "start", "started",
    )  # fmt: skip

    def __init__(self, connection: Connection, keep_alive: bool) -> None:
        self.connection, self.keep_alive = connection, keep_alive
        self.scope: dict[str, Any] = {}
        self.complete = self.delivered = self.expects = False
        self.started = self.over = self.gone = self.chunked = self.headless = False
        self.start: dict[str, Any] = {}
        self._held: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._gone: Callable[[], None] | None = None

    def feed(self, body: bytes) -> int:
        """More of the body; says how much of it waits to be taken."""
        self._size += len(body)
        if self.over:  # the answer is out already: read on so that it arrives, but not for ever
            if self._size > _DISCARD:
                self.connection.transport.close()
            return 0
        self._held.append(body)
        self.wake()
        return self._size

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def on_gone(self, call: Callable[[], None] | None) -> None:
        self._gone = call
        if self.gone and call:
            call()

    def hang_up(self) -> None:
        if not self.over:
            self.gone = True
            self.wake()
            if self._gone:
                self._gone()

    async def receive(self) -> dict[str, Any]:
        while not (self._held or (self.complete and not self.delivered)):
            if self.gone or self.over:
                return {"type": "http.disconnect"}
            if self.expects and not self.started:
                self.expects = False
                self.connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = self.connection.loop.create_future()
            await self._waiter
            self._waiter = None
        body = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._size, self.delivered = 0, self.complete
        self.connection.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone or self.over:
            return
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body":
            self._write(message.get("body", b""), message.get("more_body", False))
            if self.connection._writable is not None:
                await self.connection.drained()

    def _write(self, body: bytes, more: bool) -> None:
        out = []
        if not self.started:
            out += self._header(None if more else len(body))
            self.started = True
        if not self.headless:
            if not self.chunked:
                out.append(body)
            elif body:
                out += [b"%x\r\n" % len(body), body, b"\r\n"]
            if self.chunked and not more:
                out.append(b"0\r\n\r\n")
        self.connection.transport.write(b"".join(out))
        if not more:
            self._finish()

    def _finish(self) -> None:
        self.over = True
        self._held.clear()
        self._gone = None
        if self.complete:
            self.connection.next()
        else:
            self.connection._expect(self.connection.patience.read_seconds)
            self.connection.resume_reading()

    def _header(self, length: int | None) -> list[bytes]:
        status = self.start["status"]
        out = [STATUS[status]]
        for name, value in self.connection.state.default_headers:
            out += [name, b": ", value, b"\r\n"]
        sized = False
        for name, value in self.start.get("headers", ()):
            name = name.lower()
            if name == b"content-length":
                sized = True
            elif name == b"transfer-encoding" or (name == b"connection" and value.lower() != b"close"):
                continue
            elif name == b"connection":
                self.keep_alive = False
                continue
            out += [name, b": ", value, b"\r\n"]
        bodiless = status < 200 or status in (204, 304)
        self.headless = bodiless or self.scope["method"] == "HEAD"
        if not sized and not bodiless:
            if length is not None:
                out.append(b"content-length: %d\r\n" % length)
            elif self.scope["http_version"] == "1.1":
                self.chunked = True
                out.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        out.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return out

    async def run(self, app: Any) -> None:
        """The application on this request. What it lets fall is logged; a response that never began becomes a 500."""
        try:
            await self._answered(app)
        finally:
            # The scope leads back here. Left like that, every request would wait for the collector, which walks thousands
            # at once and holds everybody up for milliseconds.
            self.scope = {}

    async def _answered(self, app: Any) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            fault = "" if self.over or self.gone else "The application ended without a whole response."
        except asyncio.CancelledError:
            self.connection.transport.abort()  # the server stops and the drain is over
            raise
        except Exception:
            # Whatever a route lets fall, the connection must be answered or cut, and the others served.
            _log.exception("the gateway failed on %s %s", self.scope["method"], self.scope["path"])
            fault = "The gateway failed; its log says why."
        if fault and not self.over and not self.gone:
            if self.started:
                self.connection.transport.abort()  # the client must not take a part for the whole
                return
            self.keep_alive = False
            self.start = {"status": 500, "headers": [(b"content-type", b"text/plain; charset=utf-8")]}
            self._write(fault.encode(), False)
