"""How good the finder is: precision, recall and F1 by type, against rows whose personal data somebody marked.

A finding is right where start, end and type are those of a mark. Types are compared under one name (`SAME`): data sets call a web
address DOMAIN_NAME or URL. Where a whole type is marked that the finder has no rule for (names, places), its recall is
zero and shown; where none is marked, what is found is a false alarm.

Not covered: whether the marks are complete. In made-up texts they are, in real ones a find that is no mark may still be right.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trivet.core.errors import DataError
from trivet.core.stats import Rate
from trivet.monitoring.guards.pii_finder import Found

SAME = {"DOMAIN_NAME": "URL", "DATE_OF_BIRTH": "DATE_TIME"}


class Row(NamedTuple):
    """A text and the personal data marked in it; None where the row has no marks at all."""

    text: str
    spans: tuple[tuple[int, int, str], ...] | None


class Figure(NamedTuple):
    """One type: how often it is marked, found and right."""

    kind: str
    marked: int
    found: int
    right: int

    @property
    def precision(self) -> Rate:
        return Rate(self.right, self.found)

    @property
    def recall(self) -> Rate:
        return Rate(self.right, self.marked)

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.marked + self.found)

    def row(self) -> dict[str, Any]:
        """As figures are written down (docs/figures.md)."""
        rates = {"precision": self.precision.row(), "recall": self.recall.row()}
        return {"marked": self.marked, "found": self.found, "right": self.right, **rates, "f1": round(self.f1, 5)}


def rows(path: Path) -> Iterator[Row]:
    """The rows of a .jsonl or .jsonl.gz, one by one; DataError names the file and the line at fault."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield _row(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f"{path}, line {number}: needs `text` and, where it has them, `spans` of `start`, `end` and `type` "
                        f"inside the text ({type(error).__name__}: {error})"
                    ) from error
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}; give a .jsonl or .jsonl.gz of UTF-8 text") from error


def _row(row: Mapping[str, Any]) -> Row:
    text = row["text"]
    if not isinstance(text, str):
        raise TypeError(f"`text` is {type(text).__name__}")
    if "spans" not in row:
        return Row(text, None)
    spans = tuple((int(span["start"]), int(span["end"]), str(span["type"])) for span in row["spans"])
    if bad := next((span for span in spans if not 0 <= span[0] < span[1] <= len(text)), None):
        raise ValueError(f"no stretch {bad[0]}:{bad[1]} in {len(text)} characters")
    return Row(text, spans)


class Tally:
    """Counts row by row; `figures` are those of every type that was marked or found, by name."""

    def __init__(self) -> None:
        self._marked, self._found, self._right = Counter[str](), Counter[str](), Counter[str]()

    def add(self, marks: Iterable[tuple[int, int, str]], findings: Iterable[Found]) -> None:
        truth = {(start, end, SAME.get(kind, kind)) for start, end, kind in marks}
        given = {(one.start, one.end, SAME.get(one.kind, one.kind)) for one in findings}
        for counter, spans in ((self._marked, truth), (self._found, given), (self._right, truth & given)):
            counter.update(kind for _, _, kind in spans)

    def figures(self) -> list[Figure]:
        kinds = sorted(self._marked | self._found)
        return [Figure(kind, self._marked[kind], self._found[kind], self._right[kind]) for kind in kinds]
