"""Which model serves, which ones wait, and how each came to where it is.

At most one version is the champion. A promotion and a rollback are one transaction each, together with the Promotion
event that tells of them: nobody ever sees two champions, or none in between. What reigned before is kept as a chain, so
that rollbacks go back step by step as far as there were champions.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trivet.core.errors import ModelNotFound, UserError, did_you_mean
from trivet.core.events import Promotion
from trivet.core.store.artefacts import folder_digest
from trivet.core.store.events import Store

Status = Literal["candidate", "champion", "retired", "rejected"]

_WITHIN = "home:"
"""Marks a folder inside the store's own, which is kept relative so that a home can be moved."""


@dataclass(frozen=True, slots=True)
class Version:
    """A model that is known by name. `folder` is a path, or whatever else `resolve` understands, as it was registered.

    `digest` is the content hash of the folder when it was registered, "" where `folder` is none on this machine.
    """

    name: str
    folder: str
    parent: str
    digest: str
    created: float
    status: Status
    notes: dict[str, Any] = field(default_factory=dict)


class Registry:
    """The versions of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._home = store.path.absolute().parent

    def register(
        self, name: str, folder: str | Path, parent: str = "", notes: Mapping[str, Any] | None = None
    ) -> Version:
        """Makes a version known as a candidate.

        A candidate may be registered again, for instance after its training was resumed; a version that has been judged
        keeps its content forever.
        """
        if not name or name == "champion":
            raise UserError(f"{name!r} cannot name a model version; choose another name")
        digest = folder_digest(folder) if Path(folder).is_dir() else ""
        row = (self._kept(folder), parent, digest, json.dumps(dict(notes or {})))
        with self._store.writing() as connection:
            found = self._find(connection, name)
            if found is None:
                insert = "INSERT INTO models (name, folder, parent, digest, notes, created, status) VALUES (?, ?, ?, ?, ?, ?, ?)"
                connection.execute(insert, (name, *row, time.time(), "candidate"))
            elif found.status == "candidate":
                update = "UPDATE models SET folder = ?, parent = ?, digest = ?, notes = ? WHERE name = ?"
                connection.execute(update, (*row, name))
            elif found.digest != digest:
                raise UserError(f"{name!r} is already a {found.status} version with other content; choose another name")
        return self.get(name)

    def get(self, name: str) -> Version:
        """The version of that name. Raises ModelNotFound, with the nearest name there is."""
        with self._store.reading() as connection:
            return self._named(connection, name)

    def versions(self) -> list[Version]:
        """All versions, the oldest first."""
        with self._store.reading() as connection:
            return [self._version(row) for row in connection.execute(f"{_SELECT} ORDER BY seq")]

    def champion(self) -> Version | None:
        with self._store.reading() as connection:
            return self._champion(connection)

    def promote(self, name: str, reasons: Iterable[str] = (), *, run: str = "") -> Version:
        """Makes a version the champion and retires the one before. Promoting the champion changes nothing."""
        with self._store.writing() as connection:
            version, before = self._named(connection, name), self._champion(connection)
            if version.status == "champion":
                return version
            (tenure,) = connection.execute("SELECT max(seq) FROM tenures").fetchone()
            self._crown(connection, name, tenure)
            previous = before.name if before else ""
            self._tell(Promotion(model=name, previous=previous, outcome="promoted", reasons=tuple(reasons), run=run))
        return self.get(name)

    def reject(self, name: str, reasons: Iterable[str] = (), *, run: str = "") -> Version:
        """Closes the case of a candidate. Rejecting it again changes nothing."""
        with self._store.writing() as connection:
            version, champion = self._named(connection, name), self._champion(connection)
            if version.status == "rejected":
                return version
            if version.status != "candidate":
                raise UserError(
                    f"{name!r} is {version.status}; only a candidate can be rejected (see `trivet models rollback`)"
                )
            connection.execute("UPDATE models SET status = 'rejected' WHERE name = ?", (name,))
            previous = champion.name if champion else ""
            self._tell(Promotion(model=name, previous=previous, outcome="rejected", reasons=tuple(reasons), run=run))
        return self.get(name)

    def rollback(self, reasons: Iterable[str] = (), *, run: str = "") -> Version:
        """Puts the champion before this one back, and says which that is."""
        with self._store.writing() as connection:
            last = connection.execute("SELECT model, previous FROM tenures ORDER BY seq DESC LIMIT 1").fetchone()
            if last is None:
                raise UserError("no model has been promoted yet, so there is nothing to roll back")
            leaving, tenure = last
            if tenure is None:
                raise UserError(f"{leaving!r} is the first champion: there is none before it to roll back to")
            back, before = connection.execute("SELECT model, previous FROM tenures WHERE seq = ?", (tenure,)).fetchone()
            self._crown(connection, back, before)
            self._tell(Promotion(model=back, previous=leaving, outcome="rolled_back", reasons=tuple(reasons), run=run))
        return self.get(back)

    # Within a transaction

    def _crown(self, connection: sqlite3.Connection, name: str, previous: int | None) -> None:
        connection.execute("UPDATE models SET status = 'retired' WHERE status = 'champion'")
        connection.execute("UPDATE models SET status = 'champion' WHERE name = ?", (name,))
        insert = "INSERT INTO tenures (model, previous, since) VALUES (?, ?, ?)"
        connection.execute(insert, (name, previous, time.time()))

    def _tell(self, event: Promotion) -> None:
        self._store.add([event])

    def _named(self, connection: sqlite3.Connection, name: str) -> Version:
        if found := self._find(connection, name):
            return found
        names = [known for (known,) in connection.execute("SELECT name FROM models")]
        some = f"registered are {', '.join(names)}" if names else "none is registered yet"
        raise ModelNotFound(f"no model version {name!r} in {self._store.path}; {some}.{did_you_mean(name, names)}")

    def _find(self, connection: sqlite3.Connection, name: str) -> Version | None:
        row = connection.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
        return self._version(row) if row else None

    def _champion(self, connection: sqlite3.Connection) -> Version | None:
        row = connection.execute(f"{_SELECT} WHERE status = 'champion'").fetchone()
        return self._version(row) if row else None

    # Folders

    def _kept(self, folder: str | Path) -> str:
        path = Path(folder)
        if not path.is_dir():
            return str(folder)
        whole = path.absolute()
        return _WITHIN + whole.relative_to(self._home).as_posix() if whole.is_relative_to(self._home) else str(whole)

    def _version(self, row: tuple[Any, ...]) -> Version:
        name, folder, parent, digest, created, status, notes = row
        if folder.startswith(_WITHIN):
            folder = str(self._home / folder.removeprefix(_WITHIN))
        return Version(name, folder, parent, digest, created, status, json.loads(notes))


_SELECT = "SELECT name, folder, parent, digest, created, status, notes FROM models"
