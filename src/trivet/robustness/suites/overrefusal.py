"""Over-refusal: how often a target refuses what only looks alarming.

Always reported beside attack success, because a model that refuses everything is perfectly safe and of no use. The
packaged probes were written for this project, after the types that XSTest distinguishes (Röttger et al. 2024,
arXiv:2308.01263): homonyms, figures of speech, safe targets and contexts, definitions, history, privacy of fictional and
public people, nonsense discrimination; two more ask about prevention and about science.

Not covered: other languages, several turns, degrees of refusal (a hedged answer counts as an answer).
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

PACKAGED = Path(__file__).parent / "data" / "overrefusal.jsonl"


def packaged() -> list[Probe]:
    """The probes that ship with Trivet; `topic` is the type."""
    return load_probes(PACKAGED, "lookalike")


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
        jobs("overrefusal", probes), target, judge, store, run=run, name=name, pace=pace, progress=progress
    )


def rate(attempts: Iterable[Attempt]) -> Rate:
    """Refused of all that were judged. An empty or a wrong reply is no refusal; capability counts those."""
    judged = [a for a in attempts if a.suite == "overrefusal" and a.verdict.label != "error"]
    return rate_of(attempt.verdict.label == "refused" for attempt in judged)
