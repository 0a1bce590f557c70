"""The store: what is kept is kept once, in order, all or nothing; what cannot be done is said in one line."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trivet.core.errors import DataError, StoreError
from trivet.core.events import Alert, Complaint, Event, Run
from trivet.core.store import connections, events, schema
from trivet.core.store.events import Store, open_home


def alerts(count: int, **fields: object) -> list[Alert]:
    return [Alert(id=f"a{number:05}", detector="d", why="w", at=float(number), **fields) for number in range(count)]  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_home(tmp_path / "home")


def ids(found: object) -> list[str]:
    return [event.id for event in found]  # type: ignore[attr-defined]


def test_events_are_kept_once_and_in_order(store: Store) -> None:
    made: list[Event] = [*alerts(3), Complaint(id="c", exchange="e", reason="other", run="r")]
    assert store.add(made) == 4
    assert store.add([*made, Run(id="new", name="x")]) == 1
    assert store.add([]) == 0
    assert list(store.events()) == [*made, store.get("new")]
    assert store.get("c") == made[3] and store.get("none") is None


def test_questions(store: Store) -> None:
    store.add([*alerts(5), *[Complaint(id=f"c{n}", exchange="e", reason="other", run="r") for n in range(3)]])
    assert ids(store.events("complaint")) == ids(store.events(run="r")) == ["c0", "c1", "c2"]
    assert ids(store.events("alert", "r")) == []
    assert ids(store.events("alert", newest=True, limit=2)) == ["a00004", "a00003"]
    assert ids(store.events("alert", "", limit=1)) == ["a00000"]
    assert ids(store.events(after="c1")) == ["c2"]
    assert ids(store.events(after="c1", newest=True, limit=9)) == ["c2"]
    assert ids(store.events("alert", after=2.0)) == ["a00003", "a00004"]
    assert ids(store.events(limit=0)) == []
    assert (store.count(), store.count("alert"), store.count(run="r"), store.count("alert", "r")) == (8, 5, 3, 0)
    assert store.known(["a00001", "c0", "nope"]) == {"a00001", "c0"}
    with pytest.raises(StoreError, match="has no event 'nope' to continue after"):
        store.events(after="nope")


def test_thousands_of_rows(store: Store) -> None:
    made = alerts(40_000)
    assert store.add(made) == 40_000, "more than SQLite takes as variables of one statement"
    assert store.known(event.id for event in made) == {event.id for event in made}


@pytest.mark.parametrize("newest", [False, True])
def test_pages_join_without_a_seam(store: Store, monkeypatch: pytest.MonkeyPatch, newest: bool) -> None:
    monkeypatch.setattr(events, "PAGE", 3)
    made = ids(alerts(7))
    store.add(alerts(7))
    wanted = made[::-1] if newest else made
    assert ids(store.events(newest=newest)) == wanted
    assert ids(store.events(newest=newest, limit=5)) == wanted[:5]
    assert ids(store.events(newest=newest, limit=3)) == wanted[:3]


def test_iteration_does_not_see_what_it_adds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE", 2)
    store.add(alerts(5))
    seen = 0
    for event in store.events("alert"):
        store.add([Alert(id=f"again-{event.id}", detector="d", why="w")])
        seen += 1
    assert seen == 5 and store.count() == 10


def test_text_that_is_not_unicode_is_refused_whole(store: Store) -> None:
    with pytest.raises(DataError, match="alert bad holds text that is not Unicode"):
        store.add([Alert(id="good", detector="d", why="w"), Alert(id="bad", detector="d", why="\ud800")])
    assert store.count() == 0


def test_an_event_of_another_time(store: Store) -> None:
    store.add(alerts(1))
    with store.writing() as connection:
        connection.execute('UPDATE events SET body = \'{"kind": "wedding"}\'')
    with pytest.raises(StoreError, match="has an event a00000 that this Trivet cannot read"):
        store.get("a00000")


# Stages


def test_stages(store: Store) -> None:
    assert store.stage("r", "attack") is None and store.stages("r") == {}
    store.finish_stage("r", "attack", {"b": 1, "a": [1.5]}, alerts(2))
    store.finish_stage("r", "build", {})
    store.finish_stage("s", "attack", {"other": True})
    assert store.stage("r", "attack") == {"a": [1.5], "b": 1}
    assert list(store.stages("r")) == ["attack", "build"]
    assert store.count() == 2


def test_a_stage_is_finished_once(store: Store) -> None:
    store.finish_stage("r", "attack", {"a": 1, "b": 2})
    store.finish_stage("r", "attack", {"b": 2, "a": 1}, alerts(3))
    assert store.count() == 0, "the events of a repeated finish were those of the first"
    with pytest.raises(StoreError, match="stage 'attack' of run 'r' is already finished with another result"):
        store.finish_stage("r", "attack", {"a": 2})
    assert store.stage("r", "attack") == {"a": 1, "b": 2}


def test_a_stage_and_its_events_are_one(store: Store) -> None:
    with pytest.raises(DataError):
        store.finish_stage("r", "attack", {}, [*alerts(2), Alert(detector="d", why="\udfff")])
    assert store.stages("r") == {} and store.count() == 0


# Transactions


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.add(alerts(2))
        assert store.count() == 2, "it sees its own writes"
        raise ZeroDivisionError
    assert store.count() == 0
    with store.transaction():
        store.add(alerts(2))
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.finish_stage("r", "x", {})
            raise ZeroDivisionError
        assert store.stages("r") == {}, "the inner block failed alone"
    assert store.count() == 2


def test_other_threads_do_not_see_an_open_transaction(store: Store) -> None:
    counts = []
    with store.transaction():
        store.add(alerts(2))
        thread = threading.Thread(target=lambda: counts.append(store.count()))
        thread.start()
        thread.join()
    assert counts == [0] and store.count() == 2


def test_many_threads(store: Store) -> None:
    def work(name: str) -> None:
        for number in range(20):
            store.add(
                [Alert(id=f"{name}-{number}", detector="d", why="w"), Alert(id=f"all-{number}", detector="d", why="w")]
            )
            assert store.get(f"{name}-{number}") is not None
            assert store.count() > 0

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 6 * 20 + 20


CHILD = """
import os, signal, sys
from trivet.core.events import Alert
from trivet.core.store.events import open_home
store = open_home(sys.argv[1])
store.finish_stage("r", "one", {}, [Alert(id="kept", detector="d", why="w")])
with store.transaction():
    store.add([Alert(id="lost", detector="d", why="w")])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=False)
    assert done.returncode == -9
    with open_home(tmp_path, readonly=True) as store:
        assert ids(store.events()) == ["kept"] and list(store.stages("r")) == ["one"]
    with open_home(tmp_path) as store:
        assert store.add([Alert(id="next", detector="d", why="w")]) == 1


# What cannot be opened or written


def test_closed(store: Store) -> None:
    store.close()
    store.close()
    for use in (lambda: store.count(), lambda: store.add(alerts(1))):
        with pytest.raises(StoreError, match=r"trivet\.db is closed"):
            use()


def test_readonly(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        open_home(tmp_path, readonly=True)
    assert list(tmp_path.iterdir()) == []
    with open_home(tmp_path) as store:
        store.add(alerts(2))
        with open_home(tmp_path, readonly=True) as reader:
            assert reader.count() == 2 and reader.path == store.path
            store.add(alerts(3))
            assert reader.count() == 3, "a reader follows the writer"
            with pytest.raises(StoreError, match="was opened read-only; open it for writing"):
                reader.add(alerts(1))


def unwritable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes SQLite behave as in a folder that may not be written: tests may run as root, whom no mode stops."""
    tried: list[str] = []
    real = connections.Connections._connect

    def connect(self: connections.Connections) -> sqlite3.Connection:
        tried.append(self._query)
        if "immutable" not in self._query:
            raise sqlite3.OperationalError("unable to open database file")
        return real(self)

    monkeypatch.setattr(connections.Connections, "_connect", connect)
    return tried


def test_readonly_in_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_home(tmp_path) as store:
        store.add(alerts(2))
    tried = unwritable(monkeypatch)
    with open_home(tmp_path, readonly=True) as reader:
        assert reader.count() == 2
    assert tried == ["?mode=ro", "?mode=ro&immutable=1"]


def test_readonly_beside_a_log_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An immutable open would silently leave out what is still in the log."""
    with open_home(tmp_path) as store:
        store.add(alerts(2))
        unwritable(monkeypatch)
        with pytest.raises(StoreError, match="failed: unable to open database file"):
            open_home(tmp_path, readonly=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_may_not_be_written(tmp_path: Path) -> None:
    with open_home(tmp_path / "a") as store:
        store.add(alerts(1))
    (tmp_path / "a").chmod(0o555)
    with open_home(tmp_path / "a", readonly=True) as reader:
        assert reader.count() == 1
    with pytest.raises(StoreError, match="read-only"):
        open_home(tmp_path / "a")


def test_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"cannot be opened: .*; check its folder"):
        open_home(tmp_path / "file" / "home")
    with pytest.raises(StoreError, match="cannot be opened; check the path"):
        Store.open(tmp_path)


def test_other_peoples_files(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database, but long enough to be read as one's header" * 20)
    with pytest.raises(StoreError, match="is not a store: the file is no SQLite database"):
        Store.open(path)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE things (x)")
    other.close()
    with pytest.raises(StoreError, match="is an SQLite file of another program"):
        Store.open(tmp_path / "other.db")
    with pytest.raises(StoreError, match="is an SQLite file of another program"):
        Store.open(tmp_path / "other.db", readonly=True)


def test_full_disk_loses_nothing(store: Store) -> None:
    store.add(alerts(10))
    with store.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    store._connections._writer.execute(f"PRAGMA max_page_count = {pages + 2}")  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="the disk is full; free some space and repeat"):
        store.add([Alert(detector="d", why="w" * 5000) for _ in range(100)])
    assert store.count() == 10
    store._connections._writer.execute(f"PRAGMA max_page_count = {pages + 200}")  # type: ignore[union-attr]
    assert store.add([Alert(detector="d", why="w" * 500)]) == 1


def test_locked_by_another_process(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.01)
    with Store.open(store.path) as other, store.transaction():
        store.add(alerts(1))
        with pytest.raises(StoreError, match="by another process; end that one, or wait"):
            other.add(alerts(1))


# Migrations


def test_newer_schema_is_refused(store: Store) -> None:
    with store.writing() as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'from the future', 0)")
    for readonly in (False, True):
        with pytest.raises(
            StoreError, match=f"a newer Trivet .schema 99, this one knows {len(schema.MIGRATIONS)}.; upgrade"
        ):
            Store.open(store.path, readonly=readonly)


def test_older_schema_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", whole[:1])
    with open_home(tmp_path) as store:
        store.add(alerts(2))
    monkeypatch.setattr(schema, "MIGRATIONS", whole)
    with pytest.raises(StoreError, match="has schema 1 and this Trivet reads 2; open it once for writing"):
        open_home(tmp_path, readonly=True)
    with open_home(tmp_path) as store, store.reading() as connection:
        assert store.count() == 2
        names = [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY number")]
    assert names == [migration.name for migration in whole]


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = schema.Migration("broken", ("CREATE TABLE fresh (x)", "CREATE TABLE fresh (x)"))
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(StoreError, match="table fresh already exists"):
        open_home(tmp_path)
    monkeypatch.undo()
    with open_home(tmp_path) as store, store.reading() as connection:
        assert schema.version(connection) == len(schema.MIGRATIONS)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'fresh'").fetchall()


def test_two_processes_migrate_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is done between our look and our lock."""
    open_home(tmp_path).close()
    connection = sqlite3.connect(tmp_path / events.FILE, isolation_level=None)
    answers = iter([0, len(schema.MIGRATIONS)])
    monkeypatch.setattr(schema, "version", lambda _: next(answers, len(schema.MIGRATIONS)))
    schema.migrate(connection)
    assert not connection.in_transaction
    connection.close()


def test_shipped_migrations_are_never_edited() -> None:
    from trivet.core.messages import digest_of

    assert [digest_of(migration) for migration in schema.MIGRATIONS[:2]] == [
        "3a500802ccf0c3fe1563d889fd34464a",
        "38dec4610d033e729af48040a869413d",
    ]
