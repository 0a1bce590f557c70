"""Who may talk to the gateway: requests that name this server as their host, and pages of this server.

A page on another site can make a visitor's browser send requests here. Two checks stop it before any route runs:

- the Host header must be one of ours, or a name that an attacker points at 127.0.0.1 (DNS rebinding) would make that
  page same-origin with the gateway;
- a request that carries an Origin must come from the host that it is sent to. Programs send none.

Not covered: who a program belongs to; that is for keys (keys.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from trivet.monitoring.gateway.wire import Refused

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY = "*"
_KNOWN = 64
"""Host headers that are remembered as good: a server is called by few names."""


class OwnOrigin:
    """`hosts` are the names by which this server is called, without ports; `*` allows every name."""

    def __init__(self, hosts: Sequence[str] = LOOPBACK) -> None:
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self._good: set[bytes] = set()

    def fault(self, headers: Mapping[bytes, bytes]) -> Refused | None:
        """Why the request may not be served, or None."""
        given = headers.get(b"host", b"")
        origin = headers.get(b"origin")
        if origin is None and given in self._good:
            return None
        host = given.decode("latin-1")
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            source = host if origin is None else urlsplit(origin.decode("latin-1")).netloc
        except ValueError:
            return Refused(400, "The Host or Origin header is not an address.")
        if ANY not in self.hosts and name not in self.hosts:
            message = f"This server is not called {name!r}; its operator can allow the name (serve --allow-host)."
            return Refused(421, message, code="unknown_host")
        if source != host:
            return Refused(403, "Pages of other sites may not call this server.", code="cross_origin")
        if len(self._good) < _KNOWN:
            self._good.add(given)
        return None
