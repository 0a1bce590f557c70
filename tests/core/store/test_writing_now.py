"""Writing for those who must not wait: now or not at all, and the log kept short by somebody else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.core.errors import DataError, StoreError
from trivet.core.events import Alert
from trivet.core.store import connections
from trivet.core.store.events import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "t.db") as store:
        yield store


def alert(n: int, why: str = "") -> Alert:
    return Alert(id=str(n), detector="test", why=why)


def test_events_are_there_once(store: Store) -> None:
    assert store.add_now([alert(1), alert(2)]) and store.add_now([alert(2), alert(3)])
    assert [event.id for event in store.events()] == ["1", "2", "3"]
    assert store.add([alert(n) for n in range(700)]) == 697, "in statements of several sizes"
    assert store.count() == 700


def test_nobody_is_waited_for(store: Store) -> None:
    with store.transaction():
        store.add([alert(1)])
        assert store.add_now([alert(2)]) is False
    assert store.add_now([alert(2)])
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.add_now([alert(3)]) is False
    other.close()
    assert [event.id for event in store.events()] == ["1", "2"]


def test_all_of_it_or_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError):
        store.add_now([alert(1), alert(2, "\ud800")])
    real = store._connections.writing_now
    with pytest.raises(ZeroDivisionError), real() as connection:
        assert connection
        connection.execute("INSERT INTO events (id, kind, run, at, body) VALUES ('x', 'alert', '', 0, '{}')")
        raise ZeroDivisionError
    assert store.count() == 0
    assert store.add_now([alert(1)]), "and the connection is of use again"


def test_a_store_that_cannot_be_written(store: Store) -> None:
    with Store.open(store.path, readonly=True) as fixed, pytest.raises(StoreError, match="read-only"):
        fixed.add_now([alert(1)])
    store.add_now([alert(1)])
    with sqlite3.connect(store.path) as other:
        other.execute("ALTER TABLE events RENAME TO gone")
    with pytest.raises(StoreError):
        store.add_now([alert(2)])


def test_an_error_that_is_not_a_lock_is_told(store: Store) -> None:
    class Full:
        def execute(self, statement: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

        def close(self) -> None:
            pass

    store.add_now([alert(1)])
    store._connections._quick = Full()  # type: ignore[assignment]
    with pytest.raises(StoreError, match="disk reports an error"):
        store.add_now([alert(2)])


def test_the_log_is_folded_in_by_another_thread(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FOLD_SECONDS", 0.001)
    monkeypatch.setattr(connections, "LONG_LOG", 1 << 20)
    log = store.path.with_name(store.path.name + "-wal")
    end = store.folding()
    before, look = store.path.stat().st_size, threading.Event()
    longest = 0
    for n in range(3000):
        store.add_now([alert(n, "x" * 4000)]) or store.add([alert(n, "x" * 4000)])
        longest = max(longest, log.stat().st_size)
    for _ in range(1000):
        if store.path.stat().st_size > before + (8 << 20):
            break
        look.wait(0.01)
    assert store.path.stat().st_size > before + (8 << 20), "most of it is in the file although the log was never closed"
    end()
    end_of_it = [thread for thread in threading.enumerate() if thread.name == "trivet-store"]
    assert not end_of_it and store.count() == 3000


def test_folding_may_end_after_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "t.db")
    end = store.folding()
    store.close()
    end()
