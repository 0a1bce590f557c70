"""One request as the routes see it: raw ASGI with names, no framework between a request and its checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from trivet.monitoring.gateway.wire import Refused

Headers = Mapping[str, str]
NONE: Headers = MappingProxyType({})
_JSON = (b"content-type", b"application/json")
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Gone(Exception):  # noqa: N818
    """The client hung up."""


class Call:
    """A request and the means to answer it. `started` is True once the status is out."""

    __slots__ = ("_receive", "_send", "_watch", "gone", "headers", "method", "path", "scope", "started")

    def __init__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.gone = self.started = False
        self._watch: asyncio.Task[None] | None = None

    def header(self, name: str) -> str:
        return self.headers.get(name.encode(), b"").decode("latin-1")

    async def body(self, limit: int) -> bytes:
        """The whole body, refused as soon as it is longer than allowed."""
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        message = await self._receive()
        whole = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body") and len(whole) <= limit:
            return bytes(whole)
        parts, size = [], 0
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await self._receive()
        self.gone = True
        raise Gone

    def when_gone(self, act: Callable[[], Any]) -> None:
        """Call `act` when the client hangs up. The body must have been read. Our own server tells by itself; under
        another one a task has to wait for it."""

        def gone() -> None:
            if not self.gone:
                self.gone = True
                act()

        if told := self.scope.get("trivet.gone"):
            told(gone)
            return

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            gone()

        self._watch = asyncio.get_running_loop().create_task(watch())

    def close(self) -> None:
        """No more watching."""
        if told := self.scope.get("trivet.gone"):
            told(None)
        elif self._watch:
            self._watch.cancel()

    async def reply(self, status: int, body: bytes, headers: Headers = NONE, kind: bytes | None = None) -> None:
        """A whole response."""
        head = [(b"content-type", kind) if kind else _JSON]
        head += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def begin(self, headers: Headers) -> None:
        """The head of a stream of events."""
        head = [*_EVENTS, *((name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items())]
        self.started = True
        await self._send({"type": "http.response.start", "status": 200, "headers": head})

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _too_large(limit: int) -> Refused:
    return Refused(413, f"The body is larger than the {limit} bytes allowed.", code="request_too_large")
