"""Who may talk to the gateway: requests that name this server as their host, and pages of this server.

A page on another site can make a visitor's browser send requests here. Two checks stop it before any route runs:

- the Host header must be one of ours, or a name that an attacker points at 127.0.0.1 (DNS rebinding) would make that
  page same-origin with the gateway;
- a request that carries an Origin must come from the host that it is sent to. Programs send none.

Not covered: authentication. Whoever can reach the port with a program of his own can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trivet.monitoring.gateway.wire import Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY = "*"


class OwnOrigin:
    """Middleware. `hosts` are the names by which this server is called, without ports; `*` allows every name."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = LOOPBACK) -> None:
        self.app = app
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._fault(Headers(scope=scope)) if scope["type"] == "http" else None
        await (fault.response() if fault else self.app)(scope, receive, send)

    def _fault(self, headers: Headers) -> Refused | None:
        host = headers.get("host", "")
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            origin = urlsplit(headers["origin"]).netloc if "origin" in headers else host
        except ValueError:
            return Refused(400, "The Host or Origin header is not an address.")
        if ANY not in self.hosts and name not in self.hosts:
            message = f"This server is not called {name!r}; its operator can allow the name (serve --allow-host)."
            return Refused(421, message, code="unknown_host")
        if origin != host:
            return Refused(403, "Pages of other sites may not call this server.", code="cross_origin")
        return None
