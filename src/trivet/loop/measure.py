"""Measure: one model on the held-out part, alone or behind the gateway.

Alone decides promotion: the model must have become better itself. Behind the guards shows what the layers add, and what
they cost in over-refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trivet.core.events import Attempt
from trivet.core.hazards import Probe
from trivet.core.messages import Sampling
from trivet.core.protocols import Ground, Model
from trivet.core.store.events import Store
from trivet.loop.recipe import Sizes
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.campaign import Pace, execute
from trivet.robustness.plan import Job, plan, probes

Progress = Callable[[int, int, int], None]


def heldout_jobs(ground: Ground, attacks: Sequence[NamedAttack], sizes: Sizes, seed: int) -> list[Job]:
    """The held-out questions of a turn: the same for every model that is measured in it."""
    part = ground.heldout
    return [
        *_attacks(ground.heldout.goals, attacks, sizes.heldout_attacks, seed),
        *probes("overrefusal", _even(part.lookalikes, sizes.heldout_lookalikes)),
        *probes("capability", _even(part.benign, sizes.heldout_benign)),
    ]


def harvest_jobs(ground: Ground, attacks: Sequence[NamedAttack], sizes: Sizes, seed: int) -> list[Job]:
    """What is asked of the champion before training: attacks and harmless requests of the train part."""
    half = sizes.harvest_probes // 2
    return [
        *_attacks(ground.train.goals, attacks, sizes.harvest_attacks, seed),
        *probes("overrefusal", _even(ground.train.lookalikes, half)),
        *probes("capability", _even(ground.train.benign, sizes.harvest_probes - half)),
    ]


def _attacks(goals: Sequence, attacks: Sequence[NamedAttack], count: int, seed: int) -> list[Job]:
    families = len({attack.family for attack in attacks})
    rounds = max(families, -(-count // max(1, len(goals))))
    return plan(goals, attacks, per_goal=rounds, limit=count, seed=seed)


def _even(rows: Sequence[Probe], count: int) -> Sequence[Probe]:
    return rows[:count]


async def ask(
    jobs: Sequence[Job],
    model: Model,
    ground: Ground,
    store: Store,
    *,
    run: str,
    name: str,
    sizes: Sizes,
    eye: bool = False,
    progress: Progress | None = None,
) -> list[Attempt]:
    """All jobs put to one model, judged by the ground's judge, or by the production eye for a harvest."""
    pace = Pace(Sampling(max_tokens=sizes.max_tokens), concurrency=sizes.concurrency)
    judge = ground.eye if eye else ground.judge
    try:
        return await execute(jobs, model, judge, store, run=run, name=name, pace=pace, progress=progress)
    finally:
        if close := getattr(model, "aclose", None):
            await close()
