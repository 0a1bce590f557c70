"""The write path of whoever answers people while he records: acknowledged when it is in the spool, stored a little later.

`add` returns when the events are in the store's spool (`core/store/spool.py`), where a killed process does not lose them: a
write of some microseconds, and neither another thread nor another pass of the loop has to run before the caller goes on.
Another thread gives them to the store every `GATHER_SECONDS`, hundreds to a transaction, and waits for locks and disks where
nobody waits for it. `settled` waits until the store has them, for who reads it.

When the spool cannot be written, callers are told. When the store cannot, what was acknowledged stays in the spool and is tried
again, and until it is stored every further `add` raises: a full disk stops the gateway rather than the record. When it works
again, an Alert says how many events had been refused. What is not stored by the end is taken in by whoever opens the store
next.

Not covered: one write may wait for a disk that is hopelessly behind; then everybody on the loop does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from trivet.core.background import give_way
from trivet.core.errors import StoreError
from trivet.core.events import Alert, Event, encode
from trivet.core.store.spool import POSSIBLE, Spool
from trivet.monitoring.recorder import MOST, RETRY_SECONDS, EventStore, Full, Recorder

GATHER_SECONDS = 0.05
SETTLE_SECONDS = 10.0
BATCH = 256
MOST_BYTES = 64 << 20
"""Of events that wait, whatever their number: what memory they may take."""
_log = logging.getLogger("trivet.monitoring")

Line = tuple[Event, bytes]


class SpoolingStore(EventStore, Protocol):
    """The part of `core.store.events.Store` that this needs."""

    def spool(self) -> Spool: ...
    def add_lines(self, events: Iterable[Line]) -> int: ...


def recorder_for(store: EventStore, *, durable: bool, most: int = MOST) -> Recorder | Spooled:
    """The right one: with a spool for what must be durable, where the store has one."""
    if durable and POSSIBLE and hasattr(store, "spool"):
        return Spooled(store, most=most)  # type: ignore[arg-type]
    return Recorder(store, durable=durable, most=most)


class Spooled:
    """Start it, `await add(...)` on one event loop, close it."""

    durable = True

    def __init__(self, store: SpoolingStore, *, most: int = MOST) -> None:
        self.store, self.most = store, most
        self.refused = 0
        self._shut: StoreError | None = None
        """Why the spool could not be written the last time."""
        self._behind: StoreError | None = None
        """Why the store could not."""
        self._untidy: StoreError | None = None
        """Why the spool has no next file."""
        self._spool: Spool | None = None
        self._lines: deque[Line] = deque()
        self._stored = self._came = self._went = 0
        self._work, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def failure(self) -> StoreError | None:
        return self._behind or self._shut or self._untidy

    @property
    def waiting(self) -> int:
        """How many events are in the spool and not yet in the store."""
        return len(self._lines)

    def start(self) -> Spooled:
        """Start writing; after `close` it may be started again."""
        self._spool, self._stored = self.store.spool(), 0
        self._lines.clear()
        self._came = self._went = 0
        self._untidy = None
        self._work.clear()
        self._closing.clear()
        self._thread = threading.Thread(target=self._run, name="trivet-recorder", daemon=True)
        self._thread.start()
        return self

    # On the loop

    async def add(self, *events: Event) -> None:
        """Hand events over; raises StoreError where they are not kept."""
        self._may(len(events))
        try:
            self._write(_encoded(events))
        except StoreError:
            self.refused += len(events)
            raise

    def leave(self, *events: Event) -> None:
        """Hand events over without waiting: for what is noted while a request is being torn down."""
        try:
            if self._behind:
                raise self._behind
            self._write(_encoded(events))
        except StoreError:
            self.refused += len(events)

    async def check(self) -> None:
        """Raise StoreError if nothing could be written now: for replies that are recorded after."""
        self._may(1)
        if self._shut:
            await self.add(Alert(detector="recorder", why="probing after a failed write", severity="info"))

    async def settled(self) -> None:
        """Wait until the store has what was acknowledged, or cannot have it, or does not get it within SETTLE_SECONDS."""
        if self._spool is None:
            return
        target = self._spool.appended
        end = time.monotonic() + SETTLE_SECONDS
        while self._stored < target and not self._behind and not self._closing.is_set() and time.monotonic() < end:
            self._work.set()
            await asyncio.sleep(GATHER_SECONDS / 10)

    def _may(self, more: int) -> None:
        if self._behind:
            self.refused += more
            raise self._behind
        if self.waiting + more > self.most or self._came - self._went > MOST_BYTES:
            raise Full(
                f"{self.waiting} events wait to be stored, which is as many as may; the store is too slow for them"
            )

    def _write(self, lines: list[Line]) -> None:
        if self._spool is None:
            raise StoreError("nothing is recorded any more: the recorder has been closed")
        if self._shut:
            lines = [*lines, *_encoded([self._recovered(self._shut)])]
        try:
            self._spool.append([line for _, line in lines])
        except Exception as error:
            if self._shut is None:
                _log.error("events cannot be recorded: %s", error)
            self._shut = _store_error("spool", error)
            raise self._shut from error
        self._lines.extend(lines)
        self._came += sum(len(line) for _, line in lines)
        if self._shut:
            self._shut, self.refused = None, 0
        if not self._work.is_set():
            self._work.set()

    # The thread

    def close(self) -> None:
        """Store what is waiting and stop. Raises StoreError when something could not be stored, and says where it is."""
        if self._thread is None or self._spool is None:
            return
        self._closing.set()
        self._work.set()
        self._thread.join()
        left = len(self._lines)
        folder = self._spool.folder
        self._spool.close(done=not left)
        self._thread = self._spool = None
        if left:
            raise StoreError(
                f"{left} events are in {folder} and could not be stored: {self._behind}; opening the store takes them in"
            )
        if self._shut:
            raise StoreError(f"{self.refused} events could not be recorded: {self._shut}")

    def _run(self) -> None:
        give_way()
        folding = getattr(self.store, "folding", None)
        stop_folding = folding() if folding else None
        try:
            while not (self._closing.is_set() and not self._lines):
                self._work.wait(RETRY_SECONDS if self._untidy else None)
                self._closing.wait(RETRY_SECONDS if self._behind else GATHER_SECONDS)
                last = self._closing.is_set()
                self._work.clear()  # before looking: what comes after it sets it again
                while self._lines and self._one_batch():
                    pass
                if self._untidy:
                    self._tidy()
                if self._lines:
                    self._work.set()
                    if last:
                        return
        finally:
            if stop_folding:
                stop_folding()

    def _one_batch(self) -> bool:
        """Give the store a batch; whether it took it."""
        batch = [self._lines[number] for number in range(min(BATCH, len(self._lines)))]
        try:
            self.store.add_lines(batch)
        except Exception as error:
            # A store of another make may raise anything; a dead thread would keep events from it without a word.
            if self._behind is None:
                _log.error("events cannot be stored: %s", error)
            self._behind = _store_error("store", error)
            return False
        for _ in batch:
            self._lines.popleft()
        self._went += sum(len(line) for _, line in batch)
        self._stored += len(batch)
        self._tidy()
        if behind := self._behind:
            self._behind = None
            self._alert(behind)
        return True

    def _tidy(self) -> None:
        """Let the spool throw away what is stored. That it cannot make its next file keeps nothing from being recorded
        yet, so it is shown and tried again."""
        if self._spool is None:
            return
        try:
            self._spool.stored(self._stored)
        except Exception as error:
            if self._untidy is None:
                _log.error("the spool cannot go on to a new file: %s", error)
            self._untidy = _store_error("spool", error)
        else:
            self._untidy = None

    def _alert(self, behind: StoreError) -> None:
        alert, self.refused = self._recovered(behind), 0
        try:
            self.store.add([alert])
        except Exception as error:
            _log.error("an alert cannot be stored: %s", error)

    def _recovered(self, failure: StoreError) -> Alert:
        why = f"recording works again; {self.refused} events had been refused ({failure})"
        return Alert(detector="recorder", why=why, severity="critical")


def _store_error(what: str, error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(f"the {what} failed with {type(error).__name__}: {error}")


def _encoded(events: Sequence[Event]) -> list[Line]:
    try:
        return [(event, encode(event)) for event in events]
    except UnicodeEncodeError as error:
        raise StoreError(f"an event holds text that is not Unicode: {error.reason}; it cannot be kept") from error
