"""A server on this machine that answers from a script, byte by byte where a test wants that."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Wire:
    """`answers` are used up in order; `asked` are the bodies that came in and `headers` their headers."""

    answers: list[Answer]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*answers: Answer) -> Iterator[Wire]:
    wire = Wire(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            wire.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            wire.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.released = wire.released
            wire.answers.pop(0)(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    wire.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield wire
    finally:
        wire.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(status: int, body: bytes | str | dict[str, Any], **headers: str) -> Answer:
    """A whole response."""
    raw = body if isinstance(body, bytes) else (json.dumps(body) if isinstance(body, dict) else body).encode()

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(raw)))
        for name, value in {"content_type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(raw)

    return write


def said(text: Any, finish: str = "stop") -> Answer:
    return answer(200, {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]})


def delta(text: str | None, finish: str | None = None) -> str:
    return "data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]}) + "\n\n"


def events(*frames: str, then: Answer | None = None) -> Answer:
    """A stream of frames that ends with the connection, or goes on with `then`."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.send_header("connection", "close")
        handler.end_headers()
        for frame in frames:
            handler.wfile.write(frame.encode())
            handler.wfile.flush()
        if then:
            then(handler)

    return write


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Nothing more until the test is over."""
    handler.released.wait()  # type: ignore[attr-defined]
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection without an answer."""
    handler.close_connection = True


def half(handler: BaseHTTPRequestHandler) -> None:
    """Promises a hundred bytes and sends three."""
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"c')
    handler.close_connection = True
