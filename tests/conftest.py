"""No test reaches a network: connections are allowed to this machine only, in every test and without asking."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

# For the processes that tests start, which the guard below cannot see.
os.environ["HF_HUB_OFFLINE"] = "1"
# See cli/main.py: torch's threads must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Keys of the person who runs the tests must not travel, not even to a server of a test.
for name in ("OPENAI_API_KEY", "TRIVET_API_KEY", "TRIVET_HOME"):
    os.environ.pop(name, None)


def is_local(address: Any) -> bool:
    """Whether a socket address is on this machine. Anything but (host, port, ...) is a path of a local socket."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        yield


def _guarded(real: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        if not is_local(address):
            # Not an OSError: a client that retries those must not hide it.
            raise RuntimeError(f"a test tried to reach {address!r}; tests may only use 127.0.0.1")
        return real(self, address)

    return connect
