"""`--engine ray`: one campaign on the processors of a Ray cluster, its results in the one store.

The jobs that are not done are cut into shards. Each shard is a task that runs the same engine on whatever node Ray puts it,
and its attempts come back in batches as they are judged; they are stored here as they come. So a node that is lost
costs what it had not sent yet: its shard is begun again elsewhere without what is stored, RETRIES times at most. The pace is the whole
cluster's: concurrency, rate, tokens a minute and budget are divided among the shards that run at once.

Target and judge travel pickled: connections must be made when they are first asked for, as `Endpoint` does. Ray is an
extra (`pip install 'trivet[ray]'`), loaded here and nowhere else.

Not covered: targets that batch on a GPU of their own (each shard would load the model), dialogues that share rounds, replies that a
lost node had heard and not sent (they are asked again).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from trivet.core.errors import TargetError, UserError
from trivet.core.events import Attempt, decode, encode
from trivet.robustness.engine import Engine
from trivet.robustness.journal import NoJournal
from trivet.robustness.pace import Pace
from trivet.robustness.plan import Job

SHARD = 256
"""Jobs of a shard at most: what is asked again, at worst, when a node is lost."""

RETRIES = 3
"""How often a shard is begun again after its node was lost."""


SHARD_OF_A_BUDGET = 16
"""The same where there is a budget: shards under way come to their end, and may overdraw it by so much each."""

Batch = tuple[list[bytes], str]
"""Attempts, and why the target is given up, where it is."""


async def spread(engine: Engine, jobs: dict[str, Job]) -> None:
    """Does on the cluster what `Engine.ask` does here. Joins the cluster that RAY_ADDRESS names, or starts a local one."""
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError as missing:
        raise UserError("the engine ray needs Ray; install it with: pip install 'trivet[ray]'") from missing
    if callable(getattr(engine.target, "replies", None)):
        raise UserError(
            "the engine ray is for targets behind a URL or in a function; give a local model the local engine"
        )
    if not ray.is_initialized():
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    # What an earlier run on this machine had begun is brought to its end here, where its replies are.
    if begun := {id: jobs[id] for id in engine.journal.begun() & jobs.keys()}:
        await engine.ask(begun)
    todo = [item for item in jobs.items() if item[0] not in engine.results]
    if not todo:
        return
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), engine.pace.concurrency, len(todo)))
    size = max(1, min(SHARD_OF_A_BUDGET if engine.pace.budget else SHARD, -(-len(todo) // (4 * workers))))
    waiting = deque(dict(todo[start : start + size]) for start in range(0, len(todo), size))
    async with engine.watched():
        await _drive(ray, engine, waiting, workers)


async def _drive(ray: Any, engine: Engine, waiting: deque[dict[str, Job]], workers: int) -> None:
    """Keeps so many shards running until all are done. Ray is waited for in a thread: the event loop goes on."""
    task = ray.remote(num_cpus=1, max_retries=0)(_carry_out)
    pace = _share(engine.pace, workers)
    fixed = ray.put((engine.target, engine.judge, engine.run, engine.name, pace))
    running: dict[Any, dict[str, Job]] = {}
    lost = 0
    try:
        while True:
            while waiting and len(running) < workers and not engine.over_budget():
                jobs = waiting.popleft()
                running[task.options(num_returns="streaming").remote(jobs, fixed)] = jobs
            if not running:
                return
            ready, _ = await asyncio.to_thread(ray.wait, list(running), num_returns=1)
            for stream in ready:
                try:
                    batch = await asyncio.to_thread(_next, ray, stream)
                except ray.exceptions.RayTaskError as mistake:
                    # Of an attack, a judge or ourselves: raised as if it had happened here.
                    raise mistake.cause if isinstance(mistake.cause, Exception) else mistake from mistake
                except ray.exceptions.RayError as gone:
                    lost += 1
                    if lost > RETRIES * workers:
                        raise TargetError(f"the cluster lost {lost} shards, the last time: {gone}") from gone
                    batch = None
                if batch is None:
                    jobs = running.pop(stream)
                    if left := {id: job for id, job in jobs.items() if id not in engine.results}:
                        waiting.append(left)
                    continue
                lines, failure = batch
                engine.take(map(decode, lines), running[stream])
                if failure:
                    raise TargetError(failure)
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _next(ray: Any, stream: Any) -> Batch | None:
    """The next batch of a shard; None where there is no more."""
    try:
        batch: Batch = ray.get(next(stream))
    except StopIteration:
        return None
    return batch


def _share(pace: Pace, workers: int) -> Pace:
    """What one of so many may take. Progress and budget are watched by whoever spreads."""
    return replace(
        pace,
        engine="local",
        concurrency=max(1, pace.concurrency // workers),
        rate=pace.rate / workers if pace.rate else None,
        tokens_per_minute=pace.tokens_per_minute / workers if pace.tokens_per_minute else None,
        budget=None,
    )


def _carry_out(jobs: dict[str, Job], fixed: Any) -> Iterator[Batch]:
    """A shard on its node: batches of attempts as they are judged, and at the end why it stopped, where it did."""
    target, judge, run, name, pace = fixed
    batches: queue.Queue[Batch | BaseException | None] = queue.Queue(8)

    class Sink:
        def add(self, events: Sequence[Attempt]) -> int:
            batches.put(([encode(event) for event in events], ""))
            return len(events)

    def work() -> None:
        engine = Engine(target, judge, Sink(), NoJournal(), run, name, pace, len(jobs))
        try:
            asyncio.run(_asked(engine, jobs))
        except TargetError as failure:
            batches.put(([], str(failure)))
        except BaseException as mistake:
            batches.put(mistake)
        batches.put(None)

    thread = threading.Thread(target=work)
    thread.start()
    while (batch := batches.get()) is not None:
        if isinstance(batch, BaseException):
            raise batch
        yield batch
    thread.join()


async def _asked(engine: Engine, jobs: dict[str, Job]) -> None:
    try:
        await engine.ask(jobs)
    finally:
        engine.writer.close()
        if close := getattr(engine.target, "aclose", None):
            await close()
