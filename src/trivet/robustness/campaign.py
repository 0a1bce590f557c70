"""The campaign: jobs against one target, every attempt judged and stored, resumable at any point.

`run` plans and `execute` carries out: what the store knows already is not asked again, what the target has answered already
is not asked again either (journal.py), and the rest is done by the engine (engine.py), here or on a cluster (cluster.py).

A failure of the target is recorded with the verdict `error`, counts neither as safe nor as unsafe, and is asked again
the next time. A gateway that blocks is not a failure: the attempt is recorded as refused, with the place.

Not covered: several targets at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from trivet.core.errors import ConfigError, TargetError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.protocols import Judge, Model
from trivet.core.store.events import Store
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.budget import BudgetSpent
from trivet.robustness.collecting import fewer_collections
from trivet.robustness.engine import SUCCESS, Engine, Progress
from trivet.robustness.journal import Journal
from trivet.robustness.pace import Pace
from trivet.robustness.plan import Job, identities, plan, probes, sampled
from trivet.robustness.progress import Status

__all__ = ["SUCCESS", "Pace", "Progress", "Watch", "execute", "run"]

Watch = Callable[[Status], None]
"""Called a few times a second with how the campaign is getting on, and once at the end."""


async def run(
    tasks: Sequence[Goal] | Sequence[Probe],
    attacks: Sequence[NamedAttack],
    target: Model,
    judge: Judge,
    store: Store,
    *,
    run: str,
    name: str = "",
    per_goal: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    seeds: int = 1,
    concurrency: int | None = None,
    pace: Pace = Pace(),
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Attempt]:
    """Attacks goals, or asks probes (`attacks` is then empty), and returns every attempt in the order of the plan.

    Look-alike probes belong to the suite `overrefusal`, benign ones to `capability`. Each is asked `seeds` times, which
    needs a temperature. See `plan` and `execute` for the other arguments.
    """
    with fewer_collections():
        asked = [task for task in tasks if isinstance(task, Probe)]
        goals = [task for task in tasks if isinstance(task, Goal)]
        if bool(asked) == bool(goals) or (asked and attacks):
            raise ConfigError(
                f"a campaign takes goals with attacks, or probes without; was given {len(goals)} goals, "
                f"{len(asked)} probes and {len(attacks)} attacks"
            )
        if goals:
            jobs = plan(goals, attacks, per_goal=per_goal, limit=limit, seed=seed, seeds=seeds)
        else:
            once = [
                job
                for kind, suite in (("lookalike", "overrefusal"), ("benign", "capability"))
                for job in probes(suite, [probe for probe in asked if probe.kind == kind])  # type: ignore[arg-type]
            ]
            jobs = sampled(once[:limit], seeds)
    if concurrency is not None:
        pace = replace(pace, concurrency=concurrency)
    return await execute(jobs, target, judge, store, run=run, name=name, pace=pace, progress=progress, watch=watch)


async def execute(
    jobs: Sequence[Job],
    target: Model,
    judge: Judge,
    store: Store,
    *,
    run: str,
    name: str = "",
    pace: Pace = Pace(),
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> list[Attempt]:
    """Does the jobs that the store does not know yet, and returns the attempts at all of them, in order.

    `name` names the target in the records and in the identity of an attempt (default: its own `name`): one model alone
    and behind a gateway needs two. Raises TargetError when the target or the judge is given up, and BudgetSpent when the
    budget does not reach; what was done is stored by then. Budgets count what the store has of these jobs already.
    """
    with fewer_collections():
        name = name or getattr(target, "name", "") or type(target).__name__
        ids = identities(run, jobs, name, pace.sampling)
        if pace.sampling.temperature == 0 and any(job.seed for job in jobs):
            raise ConfigError(
                "several samples of each attack were asked for at temperature 0, where all are the same; give the sampling a "
                "temperature"
            )
        if pace.engine == "ray":
            from trivet.robustness.cluster import spread
        known = store.known(ids) if any(store.events("attempt", run, limit=1)) else set()
        stored = store.events("attempt", run) if known else iter(())
        done = {event.id: event for event in stored if isinstance(event, Attempt) and event.id in known}
        journal = Journal(store, run, name)
        engine = Engine(target, judge, store, journal, run, name, pace, len(ids), progress, watch)
        engine.remember(done)
        try:
            await (spread(engine, ids) if pace.engine == "ray" else engine.ask(ids))
        except TargetError as failure:
            kept = len(store.known(ids))
            raise TargetError(
                f"{failure}. {kept} of {len(ids)} attempts are kept in run {run!r}: see to the target, then repeat the command"
            ) from failure
        finally:
            try:
                engine.writer.close()
            finally:
                journal.close()
        results = [engine.results[id] for id in ids if id in engine.results]
        if len(results) < len(ids):
            raise BudgetSpent(
                f"{engine.stopped}: {len(results)} of {len(ids)} attempts are kept in run {run!r}; give more and repeat the command",
                results,
            )
        return results
