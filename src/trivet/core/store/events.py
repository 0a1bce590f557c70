"""The store: everything that happened, and how far each run has come, in one SQLite file.

Events are kept in the order of arrival and never changed; storing one twice is storing it once. A stage is a named step
of a run with its result: it is finished together with the events it made, in one transaction, so that after a crash a
step either happened with all it recorded or did not happen at all.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from trivet.core.errors import DataError, StoreError
from trivet.core.events import Alert, Event, decode, encode
from trivet.core.store.connections import Connections
from trivet.core.store.spool import Spool, left_behind

FILE = "trivet.db"
"""The store's file within a home folder."""

PAGE = 1000
"""Rows read at a time: no iteration holds a transaction open, however slowly it is consumed."""


def open_home(home: str | Path, *, readonly: bool = False) -> Store:
    """The store of a home folder; both are made where they are missing, unless `readonly`."""
    return Store.open(Path(home) / FILE, readonly=readonly)


class Store:
    """Events and stages behind one small interface. Safe to share between threads; close it, or use `with`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @classmethod
    def open(cls, path: str | Path, *, readonly: bool = False) -> Self:
        """Opens or makes the store at `path`. Raises StoreError where that cannot be, for instance for a newer schema."""
        store = cls(Connections(Path(path), readonly=readonly))
        if not readonly:
            try:
                store._take_in()
            except BaseException:
                store.close()
                raise
        return store

    @property
    def path(self) -> Path:
        return self._connections.path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written in the block by this thread is stored together or not at all; blocks may be nested.

        Do not `await` within it: another task of the thread would write into the same transaction.
        """
        with self._connections.writing():
            yield

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection for the other tables of this package; everyone else asks by method."""
        return self._connections.reading()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction on the other tables of this package; everyone else asks by method."""
        return self._connections.writing()

    # Events

    def add(self, events: Iterable[Event]) -> int:
        """Stores the events that are not there yet, in one transaction, and says how many those were."""
        rows = [_row(event) for event in events]
        if not rows:
            return 0
        with self._connections.writing() as connection:
            return sum(connection.execute(*statement).rowcount for statement in _inserts(rows))

    def add_lines(self, events: Iterable[tuple[Event, bytes]]) -> int:
        """`add`, for events that have been encoded already."""
        rows = [(event.id, event.kind, event.run, event.at, line.decode()) for event, line in events]
        if not rows:
            return 0
        with self._connections.writing() as connection:
            return sum(connection.execute(*statement).rowcount for statement in _inserts(rows))

    def spool(self) -> Spool:
        """A log of this process in front of the store, for a writer that others wait for (spool.py)."""
        return Spool(self.path)

    def _take_in(self) -> None:
        """What processes that were killed had acknowledged and not yet stored."""
        for left in left_behind(self.path):
            events: list[Event] = []
            broken: list[bytes] = []
            for line in left.lines:
                try:
                    events.append(decode(line))
                except msgspec.ValidationError as error:
                    raise StoreError(
                        f"the spool {left.path} has a line that this Trivet cannot read: {error}; use the Trivet that "
                        "wrote it, or move the file away"
                    ) from error
                except (msgspec.DecodeError, UnicodeDecodeError):
                    broken.append(line)  # no event of any Trivet: half a line, or what a disk made of one
            if broken:
                events.append(self._set_aside(left.path, broken))
            self.add(events)

    def _set_aside(self, spool: Path, lines: list[bytes]) -> Alert:
        """Keep lines that are no JSON beside the spools: one of them must not close the store for good."""
        aside = self.path.with_name(f"{self.path.name}-spool-{spool.stem}.broken")
        try:
            aside.write_bytes(b"\n".join(lines) + b"\n")
            aside.chmod(0o600)
        except OSError as error:
            raise StoreError(f"the file {aside} cannot be written: {error.strerror}; free some space") from error
        why = f"{len(lines)} lines of a spool were cut short or damaged and are set aside in {aside.name}"
        # Named by the file, so that a crash before the spool is removed does not tell it twice.
        return Alert(id=f"spool-{spool.stem}", detector="store", why=why, severity="critical")

    def get(self, id: str) -> Event | None:
        with self._connections.reading() as connection:
            found = connection.execute("SELECT id, body FROM events WHERE id = ?", (id,)).fetchone()
        return self._event(*found) if found else None

    def events(
        self,
        kind: str | None = None,
        run: str | None = None,
        *,
        after: float | str | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> Iterator[Event]:
        """The events of a kind and a run, in the order of arrival, or the newest first.

        `after` is a time (only events with a later `at`) or an event's id (only those that arrived after it). What is
        added during the iteration is not part of it. An unknown id is a StoreError: nothing would be skipped silently.
        """
        conditions, values = _conditions(kind, run)
        if isinstance(after, str):
            conditions.append("seq > ?")
            values.append(self._seq(after))
        elif after is not None:
            conditions.append("at > ?")
            values.append(after)
        return self._pages(conditions, values, limit, newest)

    def _pages(self, conditions: list[str], values: list[Any], limit: int | None, newest: bool) -> Iterator[Event]:
        order, beyond = ("DESC", "seq < ?") if newest else ("ASC", "seq > ?")
        where = " AND ".join([*conditions, beyond, "seq <= ?"])
        query = f"SELECT seq, id, body FROM events WHERE {where} ORDER BY seq {order} LIMIT ?"
        with self._connections.reading() as connection:
            (ceiling,) = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        last = ceiling + 1 if newest else 0
        left = ceiling if limit is None else limit
        while left > 0:
            with self._connections.reading() as connection:
                rows = connection.execute(query, (*values, last, ceiling, min(PAGE, left))).fetchall()
            if not rows:
                return
            for _, id, body in rows:
                yield self._event(id, body)
            last, left = rows[-1][0], left - len(rows)

    def count(self, kind: str | None = None, run: str | None = None) -> int:
        conditions, values = _conditions(kind, run)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._connections.reading() as connection:
            (number,) = connection.execute(f"SELECT count(*) FROM events{where}", values).fetchone()
        return int(number)

    def known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are stored."""
        # One JSON list is one SQL variable: SQLite allows 32,766 of them at most.
        query = "SELECT id FROM events WHERE id IN (SELECT value FROM json_each(?))"
        with self._connections.reading() as connection:
            return {id for (id,) in connection.execute(query, (json.dumps(list(ids)),))}

    def _seq(self, id: str) -> int:
        with self._connections.reading() as connection:
            found = connection.execute("SELECT seq FROM events WHERE id = ?", (id,)).fetchone()
        if not found:
            raise StoreError(f"the store {self.path} has no event {id!r} to continue after")
        return int(found[0])

    def _event(self, id: str, body: str) -> Event:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise StoreError(
                f"the store {self.path} has an event {id} that this Trivet cannot read: {error}"
            ) from error

    # Stages

    def stage(self, run: str, name: str) -> dict[str, Any] | None:
        """The result of a finished stage, or None where it has not been finished."""
        return self.stages(run).get(name)

    def stages(self, run: str) -> dict[str, dict[str, Any]]:
        """The finished stages of a run with their results, in the order in which they were finished."""
        with self._connections.reading() as connection:
            rows = connection.execute("SELECT name, result FROM stages WHERE run = ? ORDER BY rowid", (run,)).fetchall()
        return {name: json.loads(result) for name, result in rows}

    def finish_stage(self, run: str, name: str, result: dict[str, Any], events: Iterable[Event] = ()) -> None:
        """Records a stage's result with the events it made, in one transaction.

        Finishing it again with the same result changes nothing; with another result it is a StoreError, because then
        two runs were given one name.
        """
        text = msgspec.json.encode(result, order="deterministic").decode()
        with self._connections.writing() as connection:
            query = "SELECT result FROM stages WHERE run = ? AND name = ?"
            found = connection.execute(query, (run, name)).fetchone()
            if found and found[0] != text:
                raise StoreError(
                    f"stage {name!r} of run {run!r} is already finished with another result; give the new run another name"
                )
            if not found:
                connection.execute("INSERT INTO stages VALUES (?, ?, ?, ?)", (run, name, text, time.time()))
                self.add(events)

    # Life

    def folding(self) -> Callable[[], None]:
        """Keep the log short from another thread, for a writer that others wait for; returns what ends it."""
        return self._connections.folding()

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _row(event: Event) -> tuple[str, str, str, float, str]:
    try:
        return event.id, event.kind, event.run, event.at, encode(event).decode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{event.kind} {event.id} holds text that is not Unicode: {error.reason}; replace it"
        ) from error


def _inserts(rows: list[tuple[str, str, str, float, str]]) -> Iterator[tuple[str, list[Any]]]:
    """The rows in few statements, of few sizes that stay prepared. `executemany` would take Python's lock anew for each
    row, which in a process that serves others at the same time is most of what writing costs."""
    at = 0
    for size in _SIZES:
        while len(rows) - at >= size:
            yield _INSERT[size], [value for row in rows[at : at + size] for value in row]
            at += size


_SIZES = (256, 64, 16, 4, 1)
_INSERT = {
    size: f"INSERT INTO events (id, kind, run, at, body) VALUES {', '.join(['(?, ?, ?, ?, ?)'] * size)} "
    "ON CONFLICT (id) DO NOTHING"
    for size in _SIZES
}


def _conditions(kind: str | None, run: str | None) -> tuple[list[str], list[Any]]:
    given = [(f"{column} = ?", value) for column, value in (("kind", kind), ("run", run)) if value is not None]
    return [condition for condition, _ in given], [value for _, value in given]
