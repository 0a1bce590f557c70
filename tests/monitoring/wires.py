"""A server that says exactly the bytes that a test tells it to, and a client that does the same: for what a well-behaved
library would never send."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANG, RESET, CLOSE = b"<hang>", b"<reset>", b"<close>"
"""In place of bytes: say nothing more, break the connection off, or close it."""

Line = list[bytes]
"""What is sent for one request, piece by piece."""


def ok(body: bytes, kind: str = "application/json", extra: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body


def status(code: int, body: bytes = b"{}", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {code} Said\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Wire:
    """Answers request after request from its script; the last line is said for ever."""

    def __init__(self, *lines: Line | Callable[[bytes], Line]) -> None:
        self.lines = list(lines)
        self.seen: list[bytes] = []
        self.connections = 0
        self.asked = threading.Event()
        """Set with each request."""
        self.left = threading.Event()
        """Set when a client has gone away."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(row.split(b":")[1])
                        for row in head.lower().split(b"\r\n")
                        if row.startswith(b"content-length")
                    ),
                    0,
                )
                request = head + await reader.readexactly(length)
                line = self.lines[min(len(self.seen), len(self.lines) - 1)]
                self.seen.append(request)
                self.asked.set()
                for piece in line(request) if callable(line) else line:
                    if piece == HANG:
                        await reader.read()  # until the other side goes
                        return
                    if piece == RESET:
                        writer.transport.abort()
                        return
                    if piece == CLOSE:
                        return
                    writer.write(piece)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.close()

    async def start(self, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        server = await asyncio.start_server(self._served, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        return server


@contextmanager
def wired(*lines: Line | Callable[[bytes], Line]) -> Iterator[Wire]:
    """The server in a thread of its own."""
    wire, ready, stop = Wire(*lines), threading.Event(), []

    async def main() -> None:
        server = await wire.start()
        ending = asyncio.Event()
        stop.append((asyncio.get_running_loop(), ending))
        ready.set()
        await ending.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield wire
    finally:
        loop, ending = stop[0]
        loop.call_soon_threadsafe(ending.set)
        thread.join(10)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so in another thread that tells nobody."""
    look = threading.Event()
    for _ in range(2000):
        if true():
            return
        look.wait(0.01)
    raise AssertionError("it never came to be so")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
