"""Serving the gateway: in a thread for programs and tests, in the foreground for the command line."""

from __future__ import annotations

import contextlib
import errno
import gc
import signal
import socket
import sys
import threading
from functools import partial
from types import TracebackType
from typing import Any

import uvicorn

from trivet.core.errors import TrivetError, UserError
from trivet.monitoring.gateway.connection import Connection, Patience

START_SECONDS = 30.0
DRAIN_SECONDS = 10


class Server(uvicorn.Server):
    """uvicorn's, which tells the application that it drains, so that `/readyz` can say so on connections that are open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if gateway := getattr(self.config.app, "gateway", None):
            gateway.draining = True
        await super().shutdown(sockets)


class Serving:
    """An application on 127.0.0.1 while the block runs; port 0 takes any free one.

    with Serving(app) as server:
        httpx.get(f"{server.url}/healthz")
    """

    def __init__(self, app: Any, port: int = 0, host: str = "127.0.0.1") -> None:
        self._socket = listen(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._server = Server(_config(app))
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="trivet-gateway", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __enter__(self) -> Serving:
        self._server.startup = self._announced(self._server.startup)  # type: ignore[method-assign]
        self._thread.start()
        if not self._ready.wait(START_SECONDS) or not self._server.started:
            self.stop()
            raise TrivetError(f"the gateway did not start on {self.url}: {self._failure or 'see the log'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish the requests under way, write what is to be recorded, and close the port."""
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()

    def _announced(self, startup: Any) -> Any:
        async def announce(sockets: list[socket.socket] | None = None) -> None:
            try:
                await startup(sockets=sockets)
            finally:
                self._ready.set()

        return announce

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:
            # The thread's end must reach whoever waits for it.
            self._failure = error
        finally:
            self._ready.set()


def run(app: Any, listening: socket.socket) -> None:
    """Serve on a socket of `listen` until interrupted; what is under way is finished and recorded."""
    # uvicorn stops in order at the first signal and then raises it once more; SIGTERM would end us before our own end.
    _calm()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            Server(_config(app)).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


def _calm() -> None:
    """What is there now stays, so the collector need not walk it again and again: each full walk over the modules and the
    guards' tables held every request up for tens of milliseconds. What requests leave behind is collected as ever, in
    larger portions. And the event loop gets the interpreter back from a thread (recording, long texts) after a fifth of a
    millisecond instead of five. Only for a process that serves and nothing else."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    sys.setswitchinterval(0.0002)


def listen(host: str, port: int, *, shared: bool = False, only_hold: bool = False) -> socket.socket:
    """A listening socket; a port that cannot be had is the user's to change.

    `shared` lets several processes listen on it, each with a socket of its own; `only_hold` takes the port and does not
    listen, for their parent, or the kernel would deal connections to a process that serves none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        why = f"port {port} on {host} is in use" if taken else f"cannot listen on {host}:{port}: {error}"
        raise UserError(f"{why}; choose another with --port (0 takes any free one)") from error
    if not only_hold:
        listening.listen(2048)
    return listening


def _config(app: Any) -> uvicorn.Config:
    gateway = getattr(app, "gateway", None)
    patience = gateway.settings.patience if gateway else Patience()
    return uvicorn.Config(
        app,
        http=partial(Connection, patience=patience),  # type: ignore[arg-type]
        interface="asgi3",
        proxy_headers=False,
        log_level="warning",
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
