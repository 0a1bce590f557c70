"""HTTP/1.1 to an upstream: kept connections, each with one request at a time.

A thin client because the client is what makes gateways slow (httpx costs a core two hundred requests a second where this
does thousands). What happens on a connection is in `line.py`.

Not covered: HTTP/2, proxies of the environment, compressed answers (we ask for none), redirects (a key would travel
with them; they are passed on as the answer they are).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

from trivet.core.errors import UserError
from trivet.monitoring.gateway.line import Late, Line, Reply, Unreached, Waits

__all__ = ["Late", "Pool", "Reply", "Unreached", "Waits"]


class Pool:
    """The connections to one upstream, for one event loop."""

    def __init__(self, url: str, *, headers: Mapping[str, str], waits: Waits, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{url!r} is no http URL; give one like https://api.example.com/v1")
        self.waits = waits
        self.loop = asyncio.get_running_loop()
        self.host = parts.hostname
        self.tls = tls if parts.scheme == "https" else None
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.base = parts.path.rstrip("/")
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self.base}"
        self._fixed = _lines({"host": parts.netloc.rpartition("@")[2], "accept-encoding": "identity", **headers})
        self._heads: dict[str, bytes] = {}
        self._idle: list[Line] = []
        self._open = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    def __str__(self) -> str:
        return self.name

    async def post(self, path: str, body: bytes, *, stream: bool, headers: Mapping[str, str]) -> Reply:
        """One request, on a kept connection where there is one. Raises TargetError; Unreached where nothing got there."""
        head = self._heads.get(path)
        if head is None:
            start = f"POST {self.base}{path} HTTP/1.1\r\n".encode()
            head = self._heads[path] = start + self._fixed + b"content-type: application/json\r\ncontent-length: "
        more = _lines(headers) if headers else b""
        line = await self._line()
        answer = line.ask(b"".join((head, str(len(body)).encode(), b"\r\n", more, b"\r\n", body)), stream=stream)
        try:
            return await answer
        except asyncio.CancelledError:
            line.close()
            raise

    async def _line(self) -> Line:
        now = self.loop.time()
        while True:
            while self._idle:
                line = self._idle.pop()
                if not line.closed and now - line.since < self.waits.keep_seconds:
                    return line
                line.close()
            if self._open < self.waits.max_connections:
                return await self._connect()
            turn: asyncio.Future[None] = self.loop.create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()  # the place that fell to us goes to the next
                raise

    async def _connect(self) -> Line:
        self._open += 1
        line = Line(self)
        try:
            async with asyncio.timeout(self.waits.connect_seconds):
                await self.loop.create_connection(
                    lambda: line, self.host, self.port, ssl=self.tls, server_hostname=self.host if self.tls else None
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            why = str(error) or f"no connection within {self.waits.connect_seconds:g} s"
            if line.transport is None:
                self.gone(line)
            raise Unreached(f"{self} could not be reached: {why}") from error
        except BaseException:
            if line.transport is None:
                self.gone(line)
            else:
                line.close()
            raise
        return line

    def back(self, line: Line) -> None:
        if not line.closed:
            self._idle.append(line)
            if line._timer is None:
                line._timer = self.loop.call_at(line.since + self.waits.keep_seconds, line._tick)
            self._next()

    def gone(self, line: Line) -> None:
        self._open -= 1
        if line in self._idle:
            self._idle.remove(line)
        self._next()

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        for line in [*self._idle]:
            line.close()


def _lines(headers: Mapping[str, str]) -> bytes:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and name.isascii()):
            raise UserError(f"the header {name!r} holds characters that HTTP cannot carry; copy it again")
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
