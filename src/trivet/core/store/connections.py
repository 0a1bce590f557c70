"""SQLite as the store uses it: one writer behind a lock, readers on connections of their own, errors in our words.

WAL mode lets readers go on while something is written. `synchronous=NORMAL` cannot corrupt the file; a power cut may
cost the last transactions, a killed process costs none. A read-only store also opens where the folder may not be
written, as long as no writer left its log behind.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from trivet.core.background import give_way
from trivet.core.errors import StoreError
from trivet.core.store import schema

BUSY_SECONDS = 15.0
"""How long a writer waits for another process's transaction before it gives up."""

FOLD_SECONDS, FOLD_PAGES, PAGE_BYTES, LONG_LOG = 0.5, 1000, 4096, 64 << 20
"""How often the log is looked at, the pages and the page's size from which it is folded in, and when it is long."""


class Connections:
    """The connections to one store file. Safe to use from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        self.path = path
        self.readonly = readonly
        self._lock = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._all: list[sqlite3.Connection] = []
        self._closed = False
        self._owner: int | None = None
        """The thread whose transaction is open."""
        self._query = "?mode=ro" if readonly else ""
        self._writer: sqlite3.Connection | None = None
        self._folder: sqlite3.Connection | None = None
        try:
            with self._explained():
                if readonly:
                    self._first_reader()
                else:
                    self._first_writer()
        except OSError as error:
            raise StoreError(f"the store {path} cannot be opened: {error.strerror}; check its folder") from error
        except StoreError:
            self.close()
            raise

    def _first_writer(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._connect()
        schema.check(self._writer, str(self.path), writable=True)
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = NORMAL")
        schema.migrate(self._writer)

    def _first_reader(self) -> None:
        if not self.path.is_file():
            raise StoreError(f"there is no store at {self.path}; check the path, or run a command that writes one")
        try:
            connection = self._connect()
            schema.check(connection, str(self.path), writable=False)
        except sqlite3.OperationalError:
            # WAL needs a shared-memory file beside the store, which a read-only folder does not allow. Without a log
            # the main file is all there is, and SQLite can be told that nobody will change it.
            log = self.path.with_name(self.path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            self._query = "?mode=ro&immutable=1"
            connection = self._connect()
            schema.check(connection, str(self.path), writable=False)
        self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}{self._query}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        self._all.append(connection)
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with, for as long as the block lasts.

        Inside a transaction of the same thread it is the writer's, so that a transaction sees its own writes.
        """
        with self._explained():
            self._check_open()
            if self._writer is not None and self._owner == threading.get_ident():
                yield self._writer
                return
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                self._idle.append(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block or nothing of it. A block within a block is a part that can fail alone."""
        with self._lock, self._explained():
            self._check_open()
            if self._writer is None:
                raise StoreError(f"the store {self.path} was opened read-only; open it for writing")
            inner = self._owner is not None
            begin, commit, undo = _INNER if inner else _OUTER
            self._writer.execute(begin)
            self._owner = threading.get_ident()
            try:
                yield self._writer
                self._writer.execute(commit)
            except BaseException:
                # A full disk has rolled back by itself, and then there is nothing left to undo.
                with suppress(sqlite3.OperationalError):
                    for statement in undo:
                        self._writer.execute(statement)
                raise
            finally:
                self._owner = threading.get_ident() if inner else None

    def folding(self) -> Callable[[], None]:
        """Fold the log into the file from a thread of its own until the function that is returned is called.

        SQLite lets the writer that crosses a thousand pages do it, and wait for the disk: whoever waits for that
        transaction waits too. Here the writer never does. The log cannot start again from its beginning while new pages keep
        coming, so once it is long the writer is kept out for the moment that the last few pages take.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._fold, args=(stop,), name="trivet-store", daemon=True)
        with self._lock, self._explained():
            self._check_open()
            assert self._writer is not None, "a store opened for reading has no log to fold"
            self._writer.execute("PRAGMA wal_autocheckpoint = 0")
            connection = self._connect()
        self._folder = connection
        thread.start()

        def end() -> None:
            stop.set()
            thread.join()
            with self._lock:
                if self._writer is not None and not self._closed:
                    self._writer.execute(f"PRAGMA wal_autocheckpoint = {FOLD_PAGES}")

        return end

    def _fold(self, stop: threading.Event) -> None:
        give_way()
        log = self.path.with_name(self.path.name + "-wal")
        connection = self._folder
        assert connection is not None
        while not stop.wait(FOLD_SECONDS):
            with suppress(sqlite3.Error, OSError):
                size = log.stat().st_size
                if size > FOLD_PAGES * PAGE_BYTES:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                if size > LONG_LOG:
                    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # The writer goes last: the last connection to leave folds the log into the main file.
            for connection in reversed(self._all):
                connection.close()
            self._all.clear()
            self._idle.clear()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self.path} is closed")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as StoreErrors of one line that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self._explain(error)) from error

    def _explain(self, error: sqlite3.Error) -> str:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        what, mend = _REASONS.get(code, (f"failed: {error}", "see the SQLite message"))
        return f"the store {self.path} {what}; {mend}"


_OUTER = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_INNER = ("SAVEPOINT part", "RELEASE part", ("ROLLBACK TO part", "RELEASE part"))

_REASONS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "could not be written: the disk is full",
        "free some space and repeat: nothing stored is lost",
    ),
    sqlite3.SQLITE_READONLY: ("cannot be written: it or its folder is read-only", "give a folder that may be written"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check the path and the rights of its folder"),
    sqlite3.SQLITE_NOTADB: ("is not a store: the file is no SQLite database", "give another path"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "restore it from a copy, or run SQLite's `.recover` on it"),
    sqlite3.SQLITE_BUSY: (
        f"was locked for {BUSY_SECONDS:.0f} s by another process",
        "end that one, or wait and repeat",
    ),
    sqlite3.SQLITE_IOERR: (
        "could not be read or written: the disk reports an error",
        "check the disk and its free space",
    ),
}
