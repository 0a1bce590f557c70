"""The writer of a campaign: large transactions in a thread of their own, and nothing lost between them.

An attempt waits until there are FLUSH_AT of them or FLUSH_SECONDS have passed, whichever comes first, and all that wait are then
stored in one transaction, while the event loop goes on: encoding is cheap, but a disk takes its time. A process that is killed
loses at most what waits, and of that not a word that the target said: the replies are in the journal, and the next run judges
and stores them without asking again. However else a campaign ends, `flush` stores the rest. Storing is idempotent, so a batch
that may or may not have been stored is simply stored again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from queue import Queue
from threading import Thread
from typing import Protocol

from trivet.core.events import Attempt

FLUSH_AT = 1024
FLUSH_SECONDS = 0.5
AHEAD = 2
"""Transactions that may wait for the disk; then whoever brings another waits too."""


class Sink(Protocol):
    """Where attempts are kept: the store, or the way to one."""

    def add(self, events: Sequence[Attempt], /) -> int: ...


class Writer:
    """`stored` is told, in the event loop's thread, the ids of what has been stored.

    What goes wrong while storing is raised by whichever method is called next.
    """

    def __init__(self, sink: Sink, stored: Callable[[list[str]], None] = lambda ids: None) -> None:
        self.sink = sink
        self.stored = stored
        self._waiting: list[Attempt] = []
        self._arrived = asyncio.Event()
        self._finished = asyncio.Event()
        self._batches: Queue[list[Attempt] | None] = Queue(AHEAD)
        self._done: list[list[Attempt]] = []
        self._failure: BaseException | None = None
        self._thread: Thread | None = None

    def put(self, attempt: Attempt) -> None:
        self._waiting.append(attempt)
        if len(self._waiting) >= FLUSH_AT:
            self._hand_over()
        elif len(self._waiting) == 1:
            self._arrived.set()

    def put_all(self, attempts: Sequence[Attempt]) -> None:
        """All in one transaction, which is over when this returns."""
        self._waiting += attempts
        self.flush()

    def flush(self) -> None:
        """Everything is stored when this returns."""
        self._hand_over()
        self._batches.join()
        self._tell()

    def close(self) -> None:
        """Everything is stored, and the thread is gone."""
        try:
            self.flush()
        finally:
            if self._thread:
                self._batches.put(None)
                self._thread.join()
                self._thread = None

    async def drain(self) -> None:
        """Stores what has waited long enough, until `finish`."""
        while not self._finished.is_set():
            await self._arrived.wait()
            self._arrived.clear()
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._finished.wait()
            except TimeoutError:
                pass
            self._hand_over()

    def finish(self) -> None:
        self._finished.set()
        self._arrived.set()

    def _hand_over(self) -> None:
        self._tell()
        if not self._waiting:
            return
        if self._thread is None:
            self._thread = Thread(target=self._work, name="trivet-campaign", daemon=True)
            self._thread.start()
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _tell(self) -> None:
        """Passes on what the thread has to say."""
        while self._done:
            self.stored([attempt.id for attempt in self._done.pop()])
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                if self._failure is None:
                    self.sink.add(batch)
                    self._done.append(batch)
            except BaseException as failure:
                self._failure = failure
            finally:
                self._batches.task_done()
        self._batches.task_done()
