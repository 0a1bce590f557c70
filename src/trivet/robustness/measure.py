"""One measurement: attacks, over-refusal and capability of one target, as a single resumable campaign.

`Config` is the recipe of `trivet attack` and `trivet eval` (see configs/). The three suites are planned together and
run together, so that attack success never stands without over-refusal beside it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Sampling, digest_of
from trivet.core.protocols import Judge, Model
from trivet.core.store.events import Store
from trivet.robustness.attacks.library import attacks
from trivet.robustness.campaign import Pace, Progress, execute
from trivet.robustness.plan import Job, plan, probes

_T = TypeVar("_T")


@dataclass(frozen=True)
class Config:
    """What is measured, and how hard."""

    target: str = option("town:helpful", "the model: town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL ...")
    goals: Path | None = option(None, "JSON Lines of goals (`behavior`, `category`); default: those of the town")
    families: tuple[str, ...] = option((), "the attack families; default: all")
    part: Literal["train", "heldout"] = option("heldout", "which half of the attack templates (and of the town)")
    limit: int | None = option(None, "at most so many attacks, evenly chosen; default: every goal by every family")
    per_goal: int | None = option(None, "attacks on each goal; default: one of each family")
    lookalikes: int = option(100, "how many over-refusal probes are asked beside the attacks")
    benign: int = option(100, "how many capability probes are asked by `trivet eval`")
    seed: int = option(0, "decides which templates and probes are drawn")
    max_tokens: int = option(256, "the longest reply that is asked for")
    concurrency: int = option(16, "requests to an endpoint at the same time")
    timeout: float = option(600.0, "seconds after which one attempt with all its turns has failed")
    run: str = option("", "the name under which attempts are stored; default: made from all of the above")

    def __post_init__(self) -> None:
        for name in ("limit", "per_goal", "max_tokens", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, and must be at least 1")
        for name in ("lookalikes", "benign"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, and cannot be less than 0")
        if self.timeout <= 0:
            raise ConfigError(f"timeout is {self.timeout:g} s, and must be more than 0")

    @property
    def pace(self) -> Pace:
        return Pace(Sampling(max_tokens=self.max_tokens), concurrency=self.concurrency, timeout=self.timeout)


@dataclass(frozen=True)
class Material:
    """What a measurement is made of. `encodings` are those that the target is known to read; None means all."""

    goals: Sequence[Goal]
    lookalikes: Sequence[Probe]
    benign: Sequence[Probe] = ()
    encodings: Collection[str] | None = None


def jobs(config: Config, material: Material) -> list[Job]:
    """Everything to be asked: the attacks, then the look-alikes, then the benign probes."""
    chosen = attacks(config.part, config.families or None, encodings=material.encodings)
    return [
        *plan(material.goals, chosen, per_goal=config.per_goal, limit=config.limit, seed=config.seed),
        *probes("overrefusal", _drawn(material.lookalikes, config.lookalikes, config.seed)),
        *probes("capability", _drawn(material.benign, config.benign, config.seed)),
    ]


def run_name(verb: str, config: Config, wanted: Sequence[Job], *fingerprints: str) -> str:
    """The name given, or one that is the same exactly when the same is asked of the same target in the same way."""
    if config.run:
        return config.run
    asked = [[job.suite, job.task.id, job.family, job.template] for job in wanted]
    return f"{verb}-{digest_of([config.target, config.max_tokens, asked, *fingerprints])[:10]}"


async def measure(
    config: Config,
    wanted: Sequence[Job],
    target: Model,
    judge: Judge,
    store: Store,
    *,
    run: str,
    name: str = "",
    progress: Progress | None = None,
) -> list[Attempt]:
    """Does all jobs and closes the target's connections, on success and on failure."""
    try:
        return await execute(
            wanted, target, judge, store, run=run, name=name or config.target, pace=config.pace, progress=progress
        )
    finally:
        close = getattr(target, "aclose", None)
        if close is not None:
            await close()


def _drawn(tasks: Sequence[_T], count: int, seed: int) -> Sequence[_T]:
    """So many of them, in their own order, decided by the seed."""
    if len(tasks) <= count:
        return tasks
    return [tasks[number] for number in sorted(random.Random(seed).sample(range(len(tasks)), count))]
