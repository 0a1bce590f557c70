"""Rows of labelled data scored in bulk: the trained stages' probability, and what a policy would do with the text.

A row is scored as what it is: a prompt is a user's message, a document is a tool's (whatever was retrieved), and
language for toxicity is a reply. `flagged` is whether the policy would do more than let pass or mask personal data.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from trivet.core.errors import DataError
from trivet.core.messages import Conversation, Message, Role
from trivet.core.verdicts import Place
from trivet.monitoring.guards.cascade import MOST, MOST_OF_DOCUMENTS, Cascade
from trivet.monitoring.guards.encoder import THREADS
from trivet.monitoring.policy import Policy

ROWS = 128
PATIENCE_MS = 3_600_000.0


class Kind(NamedTuple):
    """What rows of a task are: the cascade's task, the fields their text may be in, whose words they are, and where."""

    task: str
    fields: tuple[str, ...]
    role: Role
    place: Place


KINDS: Mapping[str, Kind] = {
    "prompts_safety": Kind("unsafe", ("text", "prompt"), "user", "input"),
    "jailbreak": Kind("jailbreak", ("text", "prompt"), "user", "input"),
    "injection": Kind("injection", ("document", "text"), "tool", "input"),
    "toxicity": Kind("toxic", ("text",), "assistant", "output"),
}


def texts_of(path: Path, fields: tuple[str, ...]) -> Iterator[str]:
    """The text of every row of a .jsonl or .jsonl.gz; raises DataError that names the line at fault."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    yield next(row[field] for field in fields if isinstance(row.get(field), str))
                except (ValueError, AttributeError, StopIteration) as error:
                    wanted = " or ".join(f"`{field}`" for field in fields)
                    raise DataError(
                        f"{path}, line {number}: needs a text in {wanted}, has {line.strip():.80}"
                    ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def scored(texts: Iterable[str], kind: Kind, policy: str, workers: int) -> Iterator[dict[str, Any]]:
    """One row per text, in order: `score`, `flagged`, and the `layer` that decided (empty where none did).

    More than one batch is dealt to `workers` processes, one core each: the reading of a text is Python's and holds a core."""
    batches = iter(lambda: list(islice(waiting, ROWS)), [])
    waiting = iter(texts)
    first, second = next(batches, []), next(batches, [])
    if not second or workers < 2:
        for batch in chain([first, second], batches):
            yield from _batch(batch, kind, policy)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_core) as pool:
        under_way: deque[Future[list[dict[str, Any]]]] = deque()
        for batch in chain([first, second], batches):
            under_way.append(pool.submit(_batch, batch, kind, policy))
            if len(under_way) > 2 * workers:
                yield from under_way.popleft().result()
        for done in under_way:
            yield from done.result()


def _one_core() -> None:
    os.environ[THREADS] = "1"


def _batch(texts: list[str], kind: Kind, policy: str) -> list[dict[str, Any]]:
    """Both stages read the whole batch at once; the policy's own layers then find the answers remembered."""
    found = Cascade.shipped().scored(texts, MOST_OF_DOCUMENTS if kind.role == "tool" else MOST)
    layers = asyncio.run(_decided(texts, kind, _policy(policy)))
    return [
        {"score": round(one.probabilities[kind.task], 6), "flagged": bool(layer), "layer": layer}
        for one, layer in zip(found, layers, strict=True)
    ]


@lru_cache(maxsize=1)
def _policy(source: str) -> Policy:
    """The policy without its deadlines: they are for a request that somebody waits for, and here a whole batch is asked
    about at once, so on a busy machine rows at its end would be flagged for being late."""
    policy = Policy.load(source)
    return Policy(tuple(replace(layer, deadline_ms=PATIENCE_MS) for layer in policy.layers), policy.name)


async def _decided(texts: list[str], kind: Kind, policy: Policy) -> list[str]:
    """The layer that flagged, blocked, rewrote or sent each text to review; empty where it may pass. All at once, so
    that what a policy reads anew (a document without its orders) is read together too."""
    checked = await asyncio.gather(
        *(policy.acheck(Conversation((Message(kind.role, text),)), kind.place) for text in texts)
    )
    decisions = (one.decision for one in checked)
    return [decision.layer if decision.would not in ("allow", "mask") else "" for decision in decisions]
