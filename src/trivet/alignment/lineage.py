"""Where made data comes from: an append-only file of rows, each known by the hash of the question it answers.

A row is a question (everything that decides the answer: texts, principle, models, sampling, seeds) and its answer. Its id
is the hash of the question, so what is still to be done is a set difference, and nothing is asked twice. Questions that
belong together are answered together and appended by one write that is synced: a killed run leaves whole rows, at worst
a torn one at the end, which is cut away.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivet.alignment.files import writing
from trivet.core.errors import Blocked, DataError, TargetError
from trivet.core.messages import digest_of

Row = dict[str, Any]
Answer = Mapping[str, Any] | TargetError
MANY = 8
"""Failures in a row, with nothing else, that are no accident."""


class Ledger:
    """The rows of one file by id. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self._cut_torn_end()
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                self.rows[row["id"]] = row
            except (ValueError, TypeError, KeyError) as why:
                raise DataError(f"{path} line {number} is no row of a lineage; mend it, or give another out") from why

    def _cut_torn_end(self) -> None:
        with self.path.open("r+b") as file:
            whole = file.read()
            file.truncate(whole.rfind(b"\n") + 1)

    def append(self, rows: Sequence[Row]) -> None:
        """Rows that are not there yet, in one write."""
        fresh = {row["id"]: row for row in rows if row["id"] not in self.rows}
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fresh.values())
        with writing(self.path), self.path.open("ab", buffering=0) as file:
            left = memoryview(text.encode())
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        self.rows.update(fresh)

    async def answered(
        self,
        questions: Sequence[Mapping[str, Any]],
        ask: Callable[[Sequence[int]], Awaitable[Sequence[Answer]]],
        *,
        together: bool,
    ) -> list[Row | TargetError]:
        """The row of each question; `ask` is given the places of those to answer and returns their answers.

        `together` asks for all when one is missing: a local model's numbers depend in their last bits on the company
        in a batch, and so a run that went on ends in the same bytes as one that nothing disturbed. Where every one of
        MANY questions failed and none was blocked, the model is down and no question at fault: raises the first failure.
        """
        ids = [digest_of(dict(question)) for question in questions]
        places = [at for at, one in enumerate(ids) if one not in self.rows]
        if together and places:
            places = list(range(len(ids)))
        answers = dict(zip(places, await ask(places), strict=True)) if places else {}
        failures = {at: answer for at, answer in answers.items() if isinstance(answer, TargetError)}
        if len(failures) == len(ids) >= MANY and not any(isinstance(one, Blocked) for one in failures.values()):
            raise failures[0]
        self.append(
            [
                {"id": ids[at], **questions[at], **answer}
                for at, answer in answers.items()
                if not isinstance(answer, TargetError)
            ]
        )
        return [self.rows[one] if one in self.rows else failures[at] for at, one in enumerate(ids)]


def question_of(row: Mapping[str, Any], answers: Sequence[str]) -> dict[str, Any]:
    """The question of a row: all of it but its id and the fields that hold the answer."""
    return {name: value for name, value in row.items() if name != "id" and name not in answers}
