"""Files of replies judged in bulk by the trained judge, one answer a row, in order, on as many cores as there are."""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trivet.core.errors import DataError
from trivet.core.judges.classifier import Judged, ReplyClassifier

ROWS = 512


def rows_of(path: Path) -> Iterator[Judged]:
    """(prompt or None, response) of every row of a .jsonl or .jsonl.gz; raises DataError that names the line at fault."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    prompt, response = row.get("prompt"), row["response"]
                    if not isinstance(response, str) or not isinstance(prompt, str | None):
                        raise TypeError
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f"{path}, line {number}: needs a text in `response` and a text or null in `prompt`, "
                        f"has {line.strip():.80}"
                    ) from error
                yield prompt, response
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def scored(rows: Iterable[Judged], judge: Path | None, workers: int) -> Iterator[dict[str, Any]]:
    """{"score", "complied", "label", "harm"} for every row. `judge`: a file of `trivet judge train`; None is the shipped one."""
    waiting = iter(rows)
    batches = iter(lambda: list(islice(waiting, ROWS)), [])
    first, second = next(batches, []), next(batches, [])
    work = partial(_batch, judge)
    if not second or workers < 2:
        for batch in chain([first, second], batches):
            yield from work(batch)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        under_way: deque[Future[list[dict[str, Any]]]] = deque()
        for batch in chain([first, second], batches):
            under_way.append(pool.submit(work, batch))
            if len(under_way) > 2 * workers:
                yield from under_way.popleft().result()
        for done in under_way:
            yield from done.result()


def _batch(path: Path | None, rows: list[Judged]) -> list[dict[str, Any]]:
    judge = ReplyClassifier.load(path) if path else ReplyClassifier.shipped()
    found = []
    for (_, reply), score in zip(rows, judge.scores(rows), strict=True):
        label = judge.label(score, reply)
        if label == "empty":  # whoever says nothing has not complied
            score, label = score._replace(complied=0.0, harm=0.0), "refused"
        found.append(
            {
                "score": round(score.complied, 6),
                "complied": label in ("complied", "partial"),
                "label": label,
                "harm": round(score.harm, 6),
            }
        )
    return found
