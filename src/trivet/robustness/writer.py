"""What keeps a campaign honest while things go wrong: a writer that loses nothing, and a budget of errors."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from trivet.core.errors import TargetError
from trivet.core.events import Attempt
from trivet.core.store.events import Store

FLUSH_AT = 256


class Writer:
    """Stores attempts in batches as large as they arrive: one by one from a slow target, hundreds from a fast one.

    `drain` runs beside the attacks and stores whatever is there each time the event loop comes round to it; `flush` at
    the end stores the rest, however the campaign ended. Storing is idempotent, so a batch that may or may not have
    been stored when the process was interrupted is simply stored again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._waiting: list[Attempt] = []
        self._arrived = asyncio.Event()
        self._finished = False

    def put(self, attempt: Attempt) -> None:
        self._waiting.append(attempt)
        if len(self._waiting) >= FLUSH_AT:
            self.flush()
        else:
            self._arrived.set()

    def put_all(self, attempts: list[Attempt]) -> None:
        """All in one transaction."""
        self._waiting += attempts
        self.flush()

    def flush(self) -> None:
        if self._waiting:
            self.store.add(self._waiting)
            self._waiting = []

    async def drain(self) -> None:
        """Stores what arrives until `finish`."""
        while not self._finished:
            await self._arrived.wait()
            self._arrived.clear()
            self.flush()

    def finish(self) -> None:
        self._finished = True
        self._arrived.set()


@dataclass
class ErrorBudget:
    """How many failures of the target are bad luck, and when there is no target any more.

    Raises TargetError after `in_a_row` failures without a success between them, or when more than `share` of at least
    `at_least` attempts have failed.
    """

    in_a_row: int = 20
    share: float = 0.25
    at_least: int = 40
    row: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    tried: int = field(default=0, init=False)

    def succeeded(self) -> None:
        self.tried += 1
        self.row = 0

    def note(self, why: str) -> None:
        self.tried += 1
        self.row += 1
        self.failed += 1
        if self.row >= self.in_a_row:
            raise TargetError(f"the target failed {self.row} times in a row, the last time: {why}")
        if self.tried >= self.at_least and self.failed > self.share * self.tried:
            raise TargetError(f"the target failed {self.failed} of {self.tried} times, the last time: {why}")
