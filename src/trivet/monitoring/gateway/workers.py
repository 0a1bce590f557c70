"""Several processes on one port, for machines with more cores than one Python can use.

Each worker listens for itself (SO_REUSEPORT: the kernel deals connections out) and has its own connections, counters and
share of the keys' limits; they meet in the store's file. The parent serves nothing: it passes signals on, and starts a
worker again that has died, but not one that cannot start.

Not covered: platforms without fork (Windows).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from trivet.core.errors import TrivetError, UserError

YOUNG_SECONDS = 5.0
"""A worker that dies sooner than this cannot start, and another try would fare no better."""


class Workers:
    """`if Workers(4).parent(announce): return` in front of what a worker does."""

    def __init__(self, count: int) -> None:
        if not hasattr(os, "fork"):
            raise UserError("--workers needs a platform with fork; run one gateway for each core instead")
        self.count = count
        self.born: dict[int, float] = {}
        self.stopping = False

    def parent(self, announce: Callable[[], None]) -> bool:
        """False in each worker, at once; True in the parent, when all have ended. Raises if one could not start."""
        for _ in range(self.count):
            if not self._fork():
                return False
        announce()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        while self.born:
            pid, status = os.wait()
            lived = time.monotonic() - self.born.pop(pid, 0.0)
            if self.stopping:
                continue
            if lived < YOUNG_SECONDS:
                self._stop(signal.SIGTERM, None)
                raise TrivetError(
                    f"a worker ended at once ({os.waitstatus_to_exitcode(status)}); see its message above"
                )
            if not self._fork():
                return False
        return True

    def _fork(self) -> int:
        pid = os.fork()
        if pid:
            self.born[pid] = time.monotonic()
        else:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return pid

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True
        for pid in self.born:
            os.kill(pid, signal.SIGTERM)
