"""Acknowledged in the spool, stored soon after, told when either is not so."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wires import until

from trivet.core.errors import StoreError
from trivet.core.events import Alert, Event
from trivet.core.store.events import Store
from trivet.core.store.spool import Spool, folder_of
from trivet.monitoring import spooled as module
from trivet.monitoring.recorder import Full, Recorder
from trivet.monitoring.spooled import Spooled, recorder_for


class Moody:
    """A store that fails while it is told to."""

    def __init__(self, store: Store) -> None:
        self.store, self.broken, self.batches = store, False, list[int]()

    def spool(self) -> Spool:
        return self.store.spool()

    def add(self, events: Iterable[Event]) -> int:
        return self.store.add(events)

    def add_lines(self, events: Iterable[tuple[Event, bytes]]) -> int:
        if self.broken:
            raise StoreError("disk full")
        events = list(events)
        self.batches.append(len(events))
        return self.store.add_lines(events)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "t.db") as store:
        yield store


def alert(n: int) -> Alert:
    return Alert(id=str(n), detector="test", why="")


def together(recorder: Spooled, *numbers: int) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(recorder.add(alert(n)) for n in numbers))

    asyncio.run(all_of_them())


def test_the_right_recorder_for_a_store(store: Store) -> None:
    class Plain:
        def add(self, events: Iterable[Event]) -> int:
            return 0

    assert isinstance(recorder_for(store, durable=True), Spooled)
    assert isinstance(recorder_for(store, durable=False), Recorder)
    assert isinstance(recorder_for(Plain(), durable=True), Recorder)


def test_what_is_acknowledged_is_in_the_spool_and_then_in_the_store(store: Store) -> None:
    moody = Moody(store)
    moody.broken = True
    recorder = Spooled(moody).start()
    together(recorder, *range(10))
    lines = b"".join(file.read_bytes() for file in folder_of(store.path).glob("*")).count(b"\n")
    assert lines == 10 and store.count() == 0
    moody.broken = False
    recorder.close()
    assert store.count("alert") >= 10 and not folder_of(store.path).exists()


def test_many_share_a_transaction_and_readers_can_wait_for_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.2)
    moody = Moody(store)
    recorder = Spooled(moody).start()

    async def story() -> None:
        await asyncio.gather(*(recorder.add(alert(n)) for n in range(30)))
        await recorder.add(alert(30), alert(31))
        recorder.leave(alert(32))
        await recorder.settled()
        assert store.count() == 33

    asyncio.run(story())
    assert moody.batches == [33]
    recorder.close()


def test_a_store_that_fails_refuses_what_comes_later_and_keeps_what_came(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    moody = Moody(store)
    moody.broken = True
    recorder = Spooled(moody).start()
    with caplog.at_level(logging.ERROR):
        together(recorder, 1)
        until(lambda: recorder.failure is not None)
        for _ in range(2):
            with pytest.raises(StoreError, match="disk full"):
                together(recorder, 2)
        with pytest.raises(StoreError):
            asyncio.run(recorder.check())
        recorder.leave(alert(2))
        asyncio.run(recorder.settled())
    assert len(caplog.records) == 1, "logged once, not for every event"
    moody.broken = False
    until(lambda: recorder.failure is None)
    together(recorder, 3)
    recorder.close()
    assert {"1", "3"} < {event.id for event in store.events()}
    assert any("4 events had been refused" in e.why for e in store.events() if isinstance(e, Alert))


def test_what_could_not_be_stored_is_left_for_the_next(tmp_path: Path) -> None:
    with Store.open(tmp_path / "t.db") as store:
        moody = Moody(store)
        moody.broken = True
        recorder = Spooled(moody).start()
        together(recorder, 1, 2)
        with pytest.raises(StoreError, match=r"2 events are in .*spool and could not be stored: disk full"):
            recorder.close()
    with Store.open(tmp_path / "t.db") as store:
        assert [event.id for event in store.events()] == ["1", "2"]


def test_a_spool_that_fails_is_told_and_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Spool, lines: list[bytes]) -> None:
        raise StoreError("no room")

    recorder = Spooled(store).start()
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "append", full)
        for n in (1, 2):
            with pytest.raises(StoreError, match="no room"):
                together(recorder, n)
        recorder.leave(alert(3))
        with pytest.raises(StoreError, match="no room"):
            asyncio.run(recorder.check())
    asyncio.run(recorder.check())
    together(recorder, 4)
    recorder.close()
    assert "4" in {event.id for event in store.events()}
    assert any("4 events had been refused" in e.why for e in store.events() if isinstance(e, Alert))
    recorder.start()
    monkeypatch.setattr(Spool, "append", full)
    with pytest.raises(StoreError):
        together(recorder, 5)
    with pytest.raises(StoreError, match="1 events could not be recorded"):
        recorder.close()


def test_more_than_may_wait_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Spooled(store, most=0).start()
    with pytest.raises(Full, match="too slow"):
        together(recorder, 1)
    recorder.close()
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    monkeypatch.setattr(module, "GATHER_SECONDS", 60.0)
    recorder = Spooled(store).start()
    together(recorder, 1)
    with pytest.raises(Full, match="1 events wait"):
        together(recorder, 2)
    recorder.close()


def test_a_store_of_another_make_cannot_kill_the_thread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    moody = Moody(store)
    odd: Any = moody.add_lines
    monkeypatch.setattr(moody, "add_lines", lambda events: 1 / 0)
    monkeypatch.setattr(moody, "add", lambda events: 1 / 0)
    recorder = Spooled(moody).start()
    together(recorder, 1)
    until(lambda: recorder.failure is not None)
    assert "ZeroDivisionError" in str(recorder.failure)
    moody.add_lines = odd  # type: ignore[method-assign]
    until(lambda: recorder.failure is None)
    recorder.close()
    assert [event.id for event in store.events()] == ["1"]


def test_an_event_that_nothing_can_hold_leaves_its_neighbours_alone(store: Store) -> None:
    recorder = Spooled(store).start()

    async def three() -> list[Any]:
        bad = Alert(id="bad", detector="test", why="\ud800")
        return await asyncio.gather(*(recorder.add(e) for e in (alert(1), bad, alert(2))), return_exceptions=True)

    first, second, third = asyncio.run(three())
    recorder.close()
    assert (first, third) == (None, None) and isinstance(second, StoreError)
    assert [event.id for event in store.events()] == ["1", "2"]


def test_after_the_end_nothing_is_taken(store: Store) -> None:
    recorder = Spooled(store).start()
    recorder.close()
    recorder.close()
    with pytest.raises(StoreError, match="closed"):
        together(recorder, 1)
    recorder.leave(alert(2))
    asyncio.run(recorder.settled())
    assert store.count() == 0


def test_a_spool_without_a_next_file_is_shown_and_kills_no_thread(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    recorder, asked = Spooled(store).start(), list[int]()

    def none_left(self: Spool, count: int) -> None:
        asked.append(count)
        raise StoreError("too many open files")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(Spool, "stored", none_left)
        for n in (1, 2):
            together(recorder, n)
            asyncio.run(recorder.settled())
        until(lambda: len(asked) > 3)
        assert "too many open files" in str(recorder.failure), "/healthz says so"
    assert len(caplog.records) == 1
    until(lambda: recorder.failure is None)
    recorder.close()
    assert [event.id for event in store.events()] == ["1", "2"]


def test_whatever_the_spool_raises_reaches_who_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(self: Spool, lines: list[bytes]) -> None:
        raise OSError(5, "Input/output error")

    recorder = Spooled(store).start()
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "append", odd)
        with pytest.raises(StoreError, match="OSError"):
            together(recorder, 1)
        recorder.leave(alert(2))
    together(recorder, 3)
    recorder.close()
    assert any("2 events had been refused" in e.why for e in store.events() if isinstance(e, Alert))


def test_waiting_for_the_store_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    hangs, moody = threading.Event(), Moody(store)
    monkeypatch.setattr(moody, "add_lines", lambda events: hangs.wait() and store.add_lines(events))
    recorder = Spooled(moody).start()
    together(recorder, 1)
    asyncio.run(recorder.settled())
    assert store.count() == 0
    hangs.set()
    recorder.close()
    assert store.count() == 1
