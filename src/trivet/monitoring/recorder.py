"""The write path: events go to the store from one background thread, many to a transaction, and none is lost in silence.

With `durable` (the default) `add` returns when the events are in the store, and raises StoreError when they cannot be;
then the caller knows and nothing is kept. Without it `add` returns at once: a failed batch stays in memory and is tried
again, and until it is written every further `add` raises, so that a full disk stops the gateway rather than the record.
When writing works again, an Alert in the store says how many events had been refused.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Protocol

from trivet.core.errors import StoreError
from trivet.core.events import Alert, Event

BATCH = 500
RETRY_SECONDS = 0.25
_log = logging.getLogger("trivet.monitoring")


class EventStore(Protocol):
    """The part of `core.store.events.Store` that recording needs."""

    def add(self, events: Iterable[Event]) -> int: ...


class Recorder:
    """Writes events to a store. Start it, `await add(...)`, close it: closing writes what is waiting."""

    def __init__(self, store: EventStore, *, durable: bool = True) -> None:
        self.store, self.durable = store, durable
        self.failure: StoreError | None = None
        self.refused = 0
        self._queue: queue.SimpleQueue[tuple[Sequence[Event], Future[None] | None] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Recorder:
        """Start writing; after `close` it may be started again."""
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="trivet-recorder", daemon=True)
        self._thread.start()
        return self

    async def add(self, *events: Event) -> None:
        """Hand events over; raises StoreError where they are not kept."""
        if not self.durable:
            if self.failure:
                self.refused += len(events)
                raise self.failure
            self._queue.put((events, None))
            return
        done: Future[None] = Future()
        self._queue.put((events, done))
        await asyncio.shield(asyncio.wrap_future(done))

    def leave(self, *events: Event) -> None:
        """Hand events over without waiting: for what is noted while a request is being torn down."""
        self._queue.put((events, None))

    async def check(self) -> None:
        """Raise StoreError if the last write failed and the next one would too: for replies that are recorded after."""
        if self.failure:
            await self.add(Alert(detector="recorder", why="probing after a failed write", severity="info"))

    def close(self) -> None:
        """Write what is waiting and stop. Raises StoreError when something could not be written."""
        if self._thread is None:
            return
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        self._thread = None
        if self.failure:
            raise StoreError(f"{self.refused} events could not be recorded: {self.failure}")

    def _run(self) -> None:
        while True:
            batch, stop = self._next()
            if batch:
                self._write(batch)
            if stop:
                return

    def _next(self) -> tuple[list[tuple[Sequence[Event], Future[None] | None]], bool]:
        """What waits in the queue, at least one item and at most BATCH; and whether it is the last."""
        batch = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) >= BATCH:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _write(self, batch: list[tuple[Sequence[Event], Future[None] | None]]) -> None:
        events = [event for some, _ in batch for event in some]
        last = self.durable
        while failure := self._try(events):
            if self.failure is None:
                _log.error("events cannot be recorded: %s", failure)
            self.failure = failure
            if last:
                self.refused += len(events)
                for _, done in batch:
                    if done:
                        done.set_exception(failure)
                return
            # Closing cuts the wait short and leaves one more try.
            last = self._closing.wait(RETRY_SECONDS)
        self._recovered()
        for _, done in batch:
            if done:
                done.set_result(None)

    def _try(self, events: Sequence[Event]) -> StoreError | None:
        try:
            self.store.add(events)
        except StoreError as error:
            return error
        except Exception as error:
            # A store of another make may raise anything; a dead writer thread would lose events without a word.
            return StoreError(f"the store failed with {type(error).__name__}: {error}")
        return None

    def _recovered(self) -> None:
        if self.failure is None:
            return
        why = f"recording works again; {self.refused} events had been refused ({self.failure})"
        self.failure, self.refused = None, 0
        self._try([Alert(detector="recorder", why=why, severity="critical")])
