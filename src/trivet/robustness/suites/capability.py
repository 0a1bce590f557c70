"""Capability: how many ordinary requests a target still answers rightly. Its fall is the alignment tax.

The packaged probes are forty questions of general knowledge whose answer is one word or number, enough to see a model
that has been broken and too easy to rank good ones; a ground of its own (the town) brings its own.

Not covered: reasoning, code, long answers. Without an answer key (`facts`) every reply that does not refuse counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from trivet.core.events import Attempt
from trivet.core.hazards import Probe
from trivet.core.protocols import Judge, Model
from trivet.core.stats import Rate, rate_of
from trivet.core.store.events import Store
from trivet.robustness.campaign import Pace, Progress, execute
from trivet.robustness.goals import load_probes
from trivet.robustness.plan import probes as jobs

PACKAGED = Path(__file__).parent / "data" / "capability.jsonl"


def packaged() -> list[Probe]:
    """The probes that ship with Trivet; `facts` is the answer key."""
    return load_probes(PACKAGED, "benign")


async def run(
    probes: Sequence[Probe],
    target: Model,
    judge: Judge,
    store: Store,
    *,
    run: str,
    name: str = "",
    pace: Pace = Pace(),
    progress: Progress | None = None,
) -> list[Attempt]:
    """Asks each probe once; resumes as `campaign.execute` does."""
    return await execute(
        jobs("capability", probes), target, judge, store, run=run, name=name, pace=pace, progress=progress
    )


def rate(attempts: Iterable[Attempt]) -> Rate:
    """Answered (with the right facts, where they are known) of all that were judged; a refusal is not an answer."""
    judged = [a for a in attempts if a.suite == "capability" and a.verdict.label != "error"]
    return rate_of(attempt.verdict.label == "answered" for attempt in judged)
