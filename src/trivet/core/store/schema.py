"""The tables of the store, as migrations that are only ever added to.

Each migration runs in a transaction of its own together with the record that it ran, so a crash leaves the store at one
number or the next and never between. What has shipped is never edited (tests/core/store/test_schema.py holds a hash of
each): a change is a new migration at the end.
"""

from __future__ import annotations

import sqlite3
import time
from typing import NamedTuple

from trivet.core.errors import StoreError

APPLICATION_ID = 0x54525654
"""`TRVT` in the file's header: tells our stores from other people's SQLite files."""


class Migration(NamedTuple):
    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        "events and stages",
        (
            # `seq` is the order of arrival. The implicit rowid would do, but VACUUM may renumber that.
            """CREATE TABLE events (
                seq INTEGER PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                kind TEXT NOT NULL,
                run TEXT NOT NULL,
                at REAL NOT NULL,
                body TEXT NOT NULL
            )""",
            # Every index ends in `seq` by itself, so each of these is read in the order of arrival without sorting;
            # (run, kind) alone could not do that for a run of all kinds.
            "CREATE INDEX events_by_kind ON events (kind)",
            "CREATE INDEX events_by_run ON events (run)",
            "CREATE INDEX events_by_run_and_kind ON events (run, kind)",
            """CREATE TABLE stages (
                run TEXT NOT NULL,
                name TEXT NOT NULL,
                result TEXT NOT NULL,
                at REAL NOT NULL,
                PRIMARY KEY (run, name)
            )""",
        ),
    ),
    Migration(
        "model registry",
        (
            """CREATE TABLE models (
                seq INTEGER PRIMARY KEY,
                name TEXT NOT NULL UNIQUE,
                folder TEXT NOT NULL,
                parent TEXT NOT NULL,
                digest TEXT NOT NULL,
                created REAL NOT NULL,
                status TEXT NOT NULL CHECK (status IN ('candidate', 'champion', 'retired', 'rejected')),
                notes TEXT NOT NULL
            )""",
            "CREATE UNIQUE INDEX one_champion ON models (status) WHERE status = 'champion'",
            # Who reigned, in order. `previous` is the tenure to which a rollback returns; it is not always the row
            # before, because a rollback is itself a new row.
            """CREATE TABLE tenures (
                seq INTEGER PRIMARY KEY,
                model TEXT NOT NULL REFERENCES models (name),
                previous INTEGER REFERENCES tenures (seq),
                since REAL NOT NULL
            )""",
        ),
    ),
)


def version(connection: sqlite3.Connection) -> int:
    """How many migrations the store has seen; 0 for an empty file."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return 0
    (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    return int(number)


def check(connection: sqlite3.Connection, where: str, *, writable: bool) -> int:
    """The store's version, refused where this Trivet cannot use it: another program's file, newer, or older and fixed."""
    (mark,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and mark != APPLICATION_ID:
        raise StoreError(f"{where} is an SQLite file of another program; give a path of its own to the store")
    found = version(connection)
    if found > len(MIGRATIONS):
        raise StoreError(
            f"{where} was written by a newer Trivet (schema {found}, this one knows {len(MIGRATIONS)}); upgrade Trivet"
        )
    if found < len(MIGRATIONS) and not writable:
        raise StoreError(
            f"{where} has schema {found} and this Trivet reads {len(MIGRATIONS)}; open it once for writing to migrate it"
        )
    return found


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the store to the newest schema. Two processes may try at once: the second finds the work done."""
    for number, migration in enumerate(MIGRATIONS, start=1):
        if version(connection) >= number:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) < number:
                _apply(connection, number, migration)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _apply(connection: sqlite3.Connection, number: int, migration: Migration) -> None:
    if number == 1:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, at REAL NOT NULL)")
    for statement in migration.statements:
        connection.execute(statement)
    connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, migration.name, time.time()))
