"""The write path: events go to the store from one background thread, many to a transaction, and none is lost in silence.

With `durable` (the default) `add` returns when the events are in the store, and raises StoreError when they cannot be;
then the caller knows and nothing is kept. What arrives while one transaction is being written shares the next (group
commit), and a loop is woken once for all of its callers. Without `durable` `add` returns at once: a failed batch stays in
memory and is tried again, and until it is written every further `add` raises, so that a full disk stops the gateway rather
than the record. When writing works again, an Alert in the store says how many events had been refused.

At most `most` events wait; one more is a Full, which callers answer with "come again" rather than with more memory.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from trivet.core.errors import DataError, StoreError
from trivet.core.events import Alert, Event

BATCH = 500
MOST = 20_000
RETRY_SECONDS = 0.25
_log = logging.getLogger("trivet.monitoring")


class EventStore(Protocol):
    """The part of `core.store.events.Store` that recording needs. `folding`, where there is one, keeps the log short."""

    def add(self, events: Iterable[Event]) -> int: ...


class Full(StoreError):  # noqa: N818
    """More events wait to be written than are allowed to."""


class _Item(NamedTuple):
    events: Sequence[Event]
    loop: asyncio.AbstractEventLoop | None
    done: asyncio.Future[None] | None


class Recorder:
    """Writes events to a store. Start it, `await add(...)`, close it: closing writes what is waiting."""

    def __init__(self, store: EventStore, *, durable: bool = True, most: int = MOST) -> None:
        self.store, self.durable, self.most = store, durable, most
        self.failure: StoreError | None = None
        self.refused = 0
        self._put = self._taken = 0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many events have been handed over and not been written."""
        return self._put - self._taken

    def start(self) -> Recorder:
        """Start writing; after `close` it may be started again."""
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="trivet-recorder", daemon=True)
        self._thread.start()
        return self

    async def add(self, *events: Event) -> None:
        """Hand events over; raises StoreError where they are not kept."""
        self._room(len(events))
        if not self.durable:
            if self.failure:
                self.refused += len(events)
                raise self.failure
            self.leave(*events)
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._put += len(events)
        self._queue.put(_Item(events, loop, done))
        await done  # a caller that is cancelled leaves its events behind: they are written all the same

    def leave(self, *events: Event) -> None:
        """Hand events over without waiting: for what is noted while a request is being torn down."""
        self._put += len(events)
        self._queue.put(_Item(events, None, None))

    async def check(self) -> None:
        """Raise StoreError if nothing could be written now: for replies that are recorded after."""
        self._room(1)
        if self.failure:
            await self.add(Alert(detector="recorder", why="probing after a failed write", severity="info"))

    async def settled(self) -> None:
        """For readers of the store: what was acknowledged is there."""

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

    def _room(self, more: int) -> None:
        if self.waiting + more > self.most:
            raise Full(
                f"{self.waiting} events wait to be recorded, which is as many as may; the store is too slow for them"
            )

    # The writing thread

    def _run(self) -> None:
        folding = getattr(self.store, "folding", None)
        stop_folding = folding() if folding else None
        try:
            while True:
                batch, stop = self._next()
                if batch:
                    self._write(batch)
                    self._taken += sum(len(item.events) for item in batch)
                if stop:
                    return
        finally:
            if stop_folding:
                stop_folding()

    def _next(self) -> tuple[list[_Item], bool]:
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

    def _write(self, batch: list[_Item]) -> None:
        events = [event for item in batch for event in item.events]
        last = self.durable
        while failure := self._try(events):
            if isinstance(failure.__cause__, DataError):
                self._sort_out(batch, failure)
                return
            if self.failure is None:
                _log.error("events cannot be recorded: %s", failure)
            self.failure = failure
            if last:
                self.refused += len(events)
                _tell(batch, failure)
                return
            # Closing cuts the wait short and leaves one more try.
            last = self._closing.wait(RETRY_SECONDS)
        self._recovered()
        _tell(batch, None)

    def _sort_out(self, batch: list[_Item], failure: StoreError) -> None:
        """An event that no store can hold must not take its neighbours with it, nor be tried for ever."""
        if len(batch) > 1:
            for item in batch:
                self._write([item])
            return
        _log.error("an event cannot be recorded: %s", failure)
        _tell(batch, failure)
        self._try([Alert(detector="recorder", why="an event held text that is not Unicode", severity="critical")])

    def _try(self, events: Sequence[Event]) -> StoreError | None:
        try:
            self.store.add(events)
        except StoreError as error:
            return error
        except Exception as error:
            # A store of another make may raise anything; a dead writer thread would lose events without a word.
            failure = StoreError(f"the store failed with {type(error).__name__}: {error}")
            failure.__cause__ = error
            return failure
        return None

    def _recovered(self) -> None:
        if self.failure is None:
            return
        why = f"recording works again; {self.refused} events had been refused ({self.failure})"
        self.failure, self.refused = None, 0
        self._try([Alert(detector="recorder", why=why, severity="critical")])


def _tell(batch: Sequence[_Item], failure: StoreError | None) -> None:
    """Wake every loop that waits for something of the batch, once."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for item in batch:
        if item.loop is not None and item.done is not None:
            waiting.setdefault(item.loop, []).append(item.done)
    for loop, futures in waiting.items():
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, futures, failure)


def _settle(futures: Sequence[asyncio.Future[None]], failure: StoreError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
