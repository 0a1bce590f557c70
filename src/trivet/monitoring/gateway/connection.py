"""HTTP/1.1 on the client's side: one asyncio protocol per connection, httptools for the bytes, ASGI for the application.

uvicorn keeps what it is good at (sockets, signals, lifespan, drain) and takes this class as its `http` protocol. It is
here because uvicorn's own has no clock for slow clients, tells an application of a hang-up only when asked, and does more
for each request than a gateway needs. Each connection has one timer, moved and not renewed:

- head and body must come within `read_seconds`, and a head is at most `max_head_bytes` long;
- a client that does not read what it asked for is dropped after `write_seconds`;
- an idle connection is closed after `idle_seconds`.

`scope["trivet.gone"]` takes a function that is called when the client hangs up before it has the whole response.

Not covered: HTTP/2, TLS to clients (put a proxy in front), WebSockets, trailers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools

from trivet.monitoring.gateway.cycle import STATUS, Cycle

_HIGH_WATER = 1 << 16


@dataclass(frozen=True)
class Patience:
    """How long a connection waits for its client, and how long a head may be."""

    read_seconds: float = 30.0
    write_seconds: float = 30.0
    idle_seconds: float = 75.0
    max_head_bytes: int = 1 << 16


class Connection(asyncio.Protocol):
    """A client's connection. Requests that are sent ahead wait their turn."""

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        patience: Patience = Patience(),
    ) -> None:
        if not config.loaded:
            config.load()
        self.app = config.loaded_app
        self.loop = _loop or asyncio.get_event_loop()
        self.state, self.patience = server_state, patience
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.cycle: Cycle | None = None
        self.waiting: deque[Cycle] = deque()
        self.closed = False
        self._server: Any = None
        self._client: Any = None
        self._head = self._size = 0
        self._long = False
        self._coming: Cycle | None = None
        """The request whose body is being read, which may be ahead of the one being answered."""
        self._reading = True
        self._writable: asyncio.Future[None] | None = None
        self._deadline = self._deaf = 0.0
        """Until when the client must have said something, and must have read something; 0 for no hurry."""
        self._timer: asyncio.TimerHandle | None = None

    # The transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.state.connections.add(self)
        self._server, self._client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._expect(self.patience.read_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.state.connections.discard(self)
        if self._timer:
            self._timer.cancel()
        self.resume_writing()
        for cycle in (self.cycle, *self.waiting):
            if cycle:
                cycle.hang_up()
        self.waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self._coming is None:
            if not self._head:
                self._expect(self.patience.read_seconds)
            self._head += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._coming or self.cycle:  # the offer of another protocol is declined by answering in this one
                (self._coming or self.cycle).keep_alive = False  # type: ignore[union-attr]
        except httptools.HttpParserError:
            if self._long:
                self._refuse(431, b"The request's head is too long.")
            else:
                self._refuse(400, b"The request is not valid HTTP/1.1.")
            return
        if self._coming is None and self._head > self.patience.max_head_bytes:
            self._refuse(431, b"The request's head is too long.")

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()
            self._deaf = self.loop.time() + self.patience.write_seconds
            self._look_by(self._deaf)

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._deaf = 0.0
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None
            if self.cycle is None and not self.closed:
                self._go_on()

    async def drained(self) -> None:
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def shutdown(self) -> None:
        """uvicorn asks for it when it is to stop: idle connections close, others after the answer that is under way."""
        if self.cycle is None:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # The clock

    def _expect(self, seconds: float) -> None:
        """Something must be heard within so many seconds."""
        self._deadline = self.loop.time() + seconds
        self._look_by(self._deadline)

    def _look_by(self, when: float) -> None:
        """The timer that runs is kept, since it looks again when it fires, unless that would be much too late."""
        if self._timer is None:
            self._timer = self.loop.call_at(when, self._tick)
        elif self._timer.when() > when + 0.05:
            self._timer.cancel()
            self._timer = self.loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.closed:
            return
        now = self.loop.time()
        if self._deaf and self._deaf <= now:
            self.transport.abort()
        elif self._deadline and self._deadline <= now:
            if self._late():
                self._refuse(408, b"The request did not come in time.")
            else:
                self.transport.abort()
        elif waits := [when for when in (self._deaf, self._deadline) if when]:
            self._timer = self.loop.call_at(min(waits), self._tick)

    def _late(self) -> bool:
        """Whether what is late is the client's request, and not its reading of an answer."""
        if self._coming is None:
            return bool(self._head) and self.cycle is None
        return self.cycle is self._coming and not self.cycle.started

    def _refuse(self, status: int, why: bytes) -> None:
        """An answer without an application, after which nothing more is read."""
        if not self.transport.is_closing():
            if self.cycle is None or not self.cycle.started:
                head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                self.transport.write(STATUS[status] + head % len(why) + why)
            self.transport.close()

    # The parser

    def on_message_begin(self) -> None:
        self._url, self._size = b"", 0
        self._headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))
        self._size += len(name) + len(value)
        if self._size > self.patience.max_head_bytes:
            self._long = True
            raise ValueError

    def on_headers_complete(self) -> None:
        url = self._url
        if not url.startswith(b"/"):  # absolute form, or `*`
            parts = httptools.parse_url(url)
            url = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        raw, _, query = url.partition(b"?")
        path = raw.decode("ascii", "replace")
        version = self.parser.get_http_version()
        cycle = Cycle(self, version != "1.0" and self.parser.should_keep_alive())
        cycle.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "server": self._server,
            "client": self._client,
            "state": {},
            "trivet.gone": cycle.on_gone,
        }
        cycle.expects = any(n == b"expect" and v.lower() == b"100-continue" for n, v in self._headers)
        self._coming, self._head = cycle, 0
        if self.cycle is None:
            self._start(cycle)
        else:
            self.waiting.append(cycle)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._coming is not None and self._coming.feed(body) > _HIGH_WATER:
            self.pause_reading()

    def on_message_complete(self) -> None:
        cycle, self._coming = self._coming, None
        if cycle is not None:
            self._deadline = 0.0
            cycle.complete = True
            cycle.wake()
            if cycle.over:
                self.next()

    def pause_reading(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.waiting and not self.transport.is_closing():
            self._reading = True
            self.transport.resume_reading()

    # One request after another

    def _start(self, cycle: Cycle) -> None:
        self.cycle = cycle
        task = self.loop.create_task(cycle.run(self.app))
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def next(self) -> None:
        """The answer is out and the request read to its end: go on, or close."""
        done, self.cycle = self.cycle, None
        self.state.total_requests += 1
        if self.transport.is_closing():
            return
        if done is not None and not done.keep_alive:
            self.transport.close()
            return
        if self._writable is None:  # or who sends ahead and does not read would fill our memory with answers
            self._go_on()

    def _go_on(self) -> None:
        if self.waiting:
            self._start(self.waiting.popleft())
        else:
            self._expect(self.patience.idle_seconds)
        self.resume_reading()
