"""The write path: what is acknowledged is stored, what cannot be stored is said."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from trivet.core.errors import StoreError
from trivet.core.events import Alert, Event
from trivet.core.store.events import Store
from trivet.monitoring.recorder import Full, Recorder


class Flaky:
    """A store that fails while it is told to, and tells when it was asked."""

    def __init__(self) -> None:
        self.broken, self.events, self.asked = False, list[Event](), threading.Event()

    def add(self, events: Iterable[Event]) -> int:
        self.asked.set()
        if self.broken:
            raise StoreError("disk full")
        self.events += events
        return 0


def alert(n: int) -> Alert:
    return Alert(id=str(n), detector="test", why="")


def test_what_is_acknowledged_is_stored(tmp_path: Path) -> None:
    with Store.open(tmp_path / "t.db") as store:
        recorder = Recorder(store).start()

        async def many() -> None:
            await asyncio.gather(*(recorder.add(alert(n)) for n in range(300)))
            assert store.count("alert") == 300

        asyncio.run(many())
        recorder.close()


def test_a_durable_failure_reaches_the_caller_and_recovery_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    store = Flaky()
    recorder = Recorder(store).start()

    async def story() -> None:
        store.broken = True
        for n in range(2):
            with pytest.raises(StoreError, match="disk full"):
                await recorder.add(alert(n))
        with pytest.raises(StoreError):
            await recorder.check()
        store.broken = False
        await recorder.check()
        await recorder.add(alert(9))

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    recorder.close()
    assert len(caplog.records) == 1, "logged once, not for every event"
    whys = [e.why for e in store.events if isinstance(e, Alert)]
    assert any("3 events had been refused" in why for why in whys)
    assert "9" in {e.id for e in store.events}


def test_without_durability_a_failed_batch_waits_and_later_ones_are_refused() -> None:
    store = Flaky()
    store.broken = True
    recorder = Recorder(store, durable=False).start()

    async def story() -> None:
        await recorder.add(alert(1))
        store.asked.wait(10)
        while recorder.failure is None:
            await asyncio.sleep(0)
        with pytest.raises(StoreError):
            await recorder.add(alert(2))
        store.broken = False

    asyncio.run(story())
    recorder.close()
    assert next(e.id for e in store.events) == "1"


def test_closing_writes_what_waits_and_says_what_could_not_be(tmp_path: Path) -> None:
    store = Flaky()
    recorder = Recorder(store, durable=False).start()
    asyncio.run(recorder.add(*(alert(n) for n in range(50))))
    recorder.close()
    assert len(store.events) == 50
    store.broken = True
    recorder = Recorder(store, durable=False).start()
    recorder.leave(alert(99))
    with pytest.raises(StoreError, match="1 events could not be recorded"):
        recorder.close()


def test_a_store_of_another_make_cannot_kill_the_writer() -> None:
    class Odd(Flaky):
        def add(self, events: Iterable[Event]) -> int:
            if self.broken:
                raise ZeroDivisionError
            return super().add(events)

    store = Odd()
    recorder = Recorder(store).start()
    store.broken = True
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        asyncio.run(recorder.add(alert(1)))
    store.broken = False
    asyncio.run(recorder.add(alert(2)))
    recorder.close()


def together(recorder: Recorder, *numbers: int) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(recorder.add(alert(n)) for n in numbers))

    asyncio.run(all_of_them())


def test_more_than_may_wait_is_refused() -> None:
    recorder = Recorder(Flaky(), most=2).start()
    with pytest.raises(Full, match="too slow"):
        together(recorder, 1, 2, 3)
    recorder.close()


def test_an_event_that_nothing_can_hold_leaves_its_neighbours_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store.open(tmp_path / "t.db") as store:
        recorder = Recorder(store).start()

        async def three() -> list[Any]:
            bad = Alert(id="bad", detector="test", why="\ud800")
            return await asyncio.gather(
                *(recorder.add(event) for event in (alert(1), bad, alert(2))), return_exceptions=True
            )

        first, second, third = asyncio.run(three())
        recorder.close()
        assert (first, third) == (None, None) and isinstance(second, StoreError)
        assert {"1", "2"} < {event.id for event in store.events()}
        assert any("not Unicode" in e.why for e in store.events() if isinstance(e, Alert))
