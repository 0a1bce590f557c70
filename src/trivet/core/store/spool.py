"""The store's own log in front of SQLite: what is in it survives a killed process, and costs its writer microseconds.

A transaction of SQLite touches a page of every index and waits whenever somebody else is writing or the disk is synced.
Whoever answers people while he records appends to a spool instead, a plain file beside the store, and gives the events to the
store in large transactions later, from another thread. Lines are whole events; one that a kill cut short was never
acknowledged and is left out. Opening the store takes in what a process that is gone has left behind: it held a lock on its
file, which the kernel lets go with the process. Events have ids, so taking one in twice is taking it in once.

Like the store's own log, a spool is not synced at each line: a power cut may cost the last moments, a kill costs nothing.

Not covered: platforms without file locks (Windows, `POSSIBLE` is False); there events must go to the store at once.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trivet.core.errors import StoreError

try:
    import fcntl
except ModuleNotFoundError:  # pragma: no cover
    # Windows: there is no such lock, so no spool either (see POSSIBLE), and the recorder writes to the store itself.
    fcntl = None  # type: ignore[assignment]

POSSIBLE = fcntl is not None
LONG = 8 << 20
"""A file of so many bytes is followed by a new one, so that what the store has can be thrown away."""


class _File(NamedTuple):
    path: Path
    handle: int


def folder_of(store: Path) -> Path:
    """Where the spools of a store are: beside it, like SQLite's own log."""
    return store.with_name(f"{store.name}-spool")


class Spool:
    """A file that one process appends to. `append` and `stored` may be called from different threads: whatever waits for
    the disk (making a file, removing one) is done by the thread of `stored`, and the other finds it done."""

    def __init__(self, store: Path) -> None:
        self.store, self.folder = store, folder_of(store)
        self.appended = 0
        self._lock = threading.Lock()
        self._full: deque[tuple[int, _File]] = deque()
        self._file = self._fresh()
        self._next: _File | None = self._fresh()
        self._size = 0
        self._bad = False
        """Whether the file ends in half a line."""

    def append(self, lines: list[bytes]) -> None:
        """All of the lines or, with a StoreError, none. A line is an event without its line end."""
        data = b"\n".join(lines) + b"\n"
        with self._lock:
            if self._bad:
                self._cut_back()
            if self._bad:
                raise StoreError(
                    f"the spool {self._file.path} ends in half a line that cannot be cut off, and no other file could be "
                    "made; free some space and repeat: nothing stored is lost"
                )
            try:
                at = 0
                while at < len(data):  # a full disk may take a part
                    at += os.write(self._file.handle, data[at:] if at else data)
            except OSError as error:
                self._cut_back()
                raise StoreError(
                    f"the store {self.store} could not be written: {error.strerror}; free some space and repeat: "
                    "nothing stored is lost"
                ) from error
            self._size += len(data)
            self.appended += len(lines)
            if self._size > LONG and self._next:
                self._go_on()

    def _go_on(self) -> None:
        assert self._next
        self._full.append((self.appended, self._file))
        self._file, self._size, self._next, self._bad = self._next, 0, None, False

    def _cut_back(self) -> None:
        """Take the half of a line away. Where even that fails nothing more may follow it: on to the next file."""
        try:
            os.ftruncate(self._file.handle, self._size)
            self._bad = False
        except OSError:
            self._bad = True
            if self._next:
                self._go_on()

    def stored(self, count: int) -> None:
        """The first `count` lines that were ever appended are in the store: their files are of no more use.

        StoreError where no next file could be made; it is tried again the next time."""
        with self._lock:
            done = []
            while self._full and self._full[0][0] <= count:
                done.append(self._full.popleft()[1])
        for file in done:
            _remove(file)
        if self._next is None:
            self._next = self._fresh()

    def close(self, *, done: bool) -> None:
        """The end. The file stays, for the next who opens the store, unless all of it is `done`."""
        with self._lock:
            if self._next:
                _remove(self._next)
            for file in (*(file for _, file in self._full), self._file):
                if done:
                    _remove(file)
                else:
                    os.close(file.handle)
            self._full.clear()
        with suppress(OSError):
            self.folder.rmdir()

    def _fresh(self) -> _File:
        while True:
            path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileNotFoundError:
                continue  # another process has just removed the empty folder
            except OSError as error:
                raise StoreError(f"the spool {path} cannot be made: {error.strerror}; check its folder") from error
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return _File(path, handle)
            os.close(handle)  # somebody who opened the store took it for left behind before we had the lock


def _remove(file: _File) -> None:
    file.path.unlink(missing_ok=True)
    os.close(file.handle)


class Left(NamedTuple):
    """What a process that is gone has left behind."""

    path: Path
    lines: list[bytes]


def left_behind(store: Path) -> Iterator[Left]:
    """The spools that nobody holds any more; each is removed when the next is asked for, so store its lines first."""
    folder = folder_of(store)
    if not POSSIBLE or not folder.is_dir():
        return
    for path in sorted(folder.glob("*.jsonl")):
        try:
            handle = os.open(path, os.O_RDWR)
        except OSError:
            continue  # another process has just taken it in
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)  # its process is alive
            continue
        try:
            if path.exists():
                *whole, _cut = path.read_bytes().split(b"\n")
                yield Left(path, whole)
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)
    with suppress(OSError):
        folder.rmdir()
