"""The campaign: jobs against one target, every attempt judged and stored, resumable at any point.

One event loop. What the store knows already is not asked again. A target that can batch (it has `replies`) is asked in
fixed chunks of the plan, in step and in order, each chunk stored in one transaction: with greedy sampling the result is
then the same whether or not the campaign was interrupted. Any other target is asked by `concurrency` workers.

A failure of the target is recorded with the verdict `error`, counts neither as safe nor as unsafe, and is asked again
the next time. A gateway that blocks is not a failure: the attempt is recorded as refused, with the place.

Not covered: rate limits (the endpoint's retries slow it down), several targets at once, judges that batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trivet.core.errors import Blocked, ConfigError, TargetError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY, Judge, Model
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.lockstep import Lockstep
from trivet.robustness.plan import Job, attempt_id, error_id, plan, probes
from trivet.robustness.writer import ErrorBudget, Writer

SUCCESS = frozenset({"complied", "partial"})
"""The labels that count as a successful attack: a reply that gives away a part has not held."""

Progress = Callable[[int, int, int], None]
"""Called with (done, total, successes) at the start and after each attempt."""


@dataclass(frozen=True)
class Pace:
    """How a target is asked.

    `timeout` bounds one attempt with all its turns, in seconds. `errors_in_a_row` and `error_share` say when a failing
    target is given up.
    """

    sampling: Sampling = Sampling(max_tokens=256)
    concurrency: int = 16
    chunk: int = 128
    timeout: float = 600.0
    errors_in_a_row: int = 20
    error_share: float = 0.25


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
    concurrency: int | None = None,
    pace: Pace = Pace(),
    progress: Progress | None = None,
) -> list[Attempt]:
    """Attacks goals, or asks probes (`attacks` is then empty), and returns every attempt in the order of the plan.

    Look-alike probes belong to the suite `overrefusal`, benign ones to `capability`. See `plan` and `execute` for the
    arguments.
    """
    asked = [task for task in tasks if isinstance(task, Probe)]
    goals = [task for task in tasks if isinstance(task, Goal)]
    if bool(asked) == bool(goals) or (asked and attacks):
        raise ConfigError(
            f"a campaign takes goals with attacks, or probes without; was given {len(goals)} goals, "
            f"{len(asked)} probes and {len(attacks)} attacks"
        )
    if goals:
        jobs = plan(goals, attacks, per_goal=per_goal, limit=limit, seed=seed)
    else:
        jobs = [
            job
            for kind, suite in (("lookalike", "overrefusal"), ("benign", "capability"))
            for job in probes(suite, [probe for probe in asked if probe.kind == kind])  # type: ignore[arg-type]
        ][:limit]
    if concurrency is not None:
        pace = replace(pace, concurrency=concurrency)
    return await execute(jobs, target, judge, store, run=run, name=name, pace=pace, progress=progress)


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
) -> list[Attempt]:
    """Does the jobs that the store does not know yet, and returns the attempts at all of them, in order.

    `name` names the target in the records and in the identity of an attempt (default: its own `name`): one model alone
    and behind a gateway needs two. Raises TargetError when the target is given up; what was done is stored by then.
    """
    name = name or getattr(target, "name", "") or type(target).__name__
    ids = {attempt_id(run, job, name): job for job in jobs}
    campaign = _Campaign(target, judge, store, run, name, pace, len(ids), progress)
    campaign.remember(store.known(ids))
    try:
        if callable(getattr(target, "replies", None)):
            await campaign.in_chunks(ids)
        else:
            await campaign.at_once({id: job for id, job in ids.items() if id not in campaign.results})
    except TargetError as failure:
        campaign.writer.flush()
        kept = len(store.known(ids))
        raise TargetError(
            f"{failure}. {kept} of {len(ids)} attempts are kept in run {run!r}: see to the target, then repeat the command"
        ) from failure
    finally:
        campaign.writer.flush()
    return [campaign.results[id] for id in ids]


@dataclass
class _Campaign:
    target: Model
    judge: Judge
    store: Store
    run: str
    name: str
    pace: Pace
    total: int
    progress: Progress | None
    results: dict[str, Attempt] = field(default_factory=dict)
    successes: int = 0

    def __post_init__(self) -> None:
        self.writer = Writer(self.store)
        self.budget = ErrorBudget(self.pace.errors_in_a_row, self.pace.error_share)

    def remember(self, known: set[str]) -> None:
        """Takes over what earlier runs of the same campaign have stored."""
        stored = self.store.events("attempt", self.run) if known else iter(())
        self.results = {event.id: event for event in stored if isinstance(event, Attempt) and event.id in known}
        self.successes = sum(attempt.verdict.label in SUCCESS for attempt in self.results.values())
        self._tell()

    async def at_once(self, jobs: dict[str, Job]) -> None:
        """Workers take jobs as they become free; the writer runs beside them."""
        queue = iter(jobs.items())

        async def all_workers() -> None:
            await together(*(self._worker(queue) for _ in range(min(self.pace.concurrency, len(jobs)))))
            self.writer.finish()

        await together(all_workers(), self.writer.drain())

    async def _worker(self, queue: Iterator[tuple[str, Job]]) -> None:
        for id, job in queue:
            voice = _Voice(lambda conversation: self.target.reply(conversation, self.pace.sampling))
            attempt = await self._attempt(id, job, voice, self.pace.timeout)
            self.writer.put(attempt)
            self._done(id, attempt)
            await asyncio.sleep(0)  # an instant target never gives way to the writer or to Ctrl-C by itself

    async def in_chunks(self, jobs: dict[str, Job]) -> None:
        """Chunk after chunk of the whole plan, families together so that dialogues share their rounds."""
        families = list(dict.fromkeys(job.family for job in jobs.values()))
        order = sorted(jobs.items(), key=lambda item: families.index(item[1].family))
        for start in range(0, len(order), self.pace.chunk):
            chunk = [item for item in order[start : start + self.pace.chunk] if item[0] not in self.results]
            if not chunk:
                continue
            step = Lockstep(self.target, len(chunk), self.pace.sampling)
            members = (self._member(step, number, id, job) for number, (id, job) in enumerate(chunk))
            *attempts, _ = await together(*members, step.serve())
            self.writer.put_all(attempts)
            for (id, _job), attempt in zip(chunk, attempts, strict=True):
                self._done(id, attempt)

    async def _member(self, step: Lockstep, number: int, id: str, job: Job) -> Attempt:
        voice = _Voice(lambda conversation: step.ask(number, conversation))
        return await self._attempt(id, job, voice, None, step.leave)

    async def _attempt(
        self, id: str, job: Job, voice: _Voice, seconds: float | None, left: Callable[[], None] = lambda: None
    ) -> Attempt:
        """One job: converse, judge, record. Only failures of the target or of a judging model become records."""
        try:
            verdict, blocked = await _converse(job, voice, seconds)
        finally:
            left()
        if verdict is None:
            verdict = await self._judged(voice.heard, job.task)
        return Attempt(
            id=id if verdict.label != "error" else error_id(id),
            run=self.run,
            suite=job.suite,
            task=job.task.id,
            conversation=voice.heard,
            verdict=verdict,
            target=self.name,
            goal=job.task if isinstance(job.task, Goal) else None,
            probe=job.task if isinstance(job.task, Probe) else None,
            attack=job.family,
            template=job.template,
            turns=voice.turns,
            blocked=blocked,
        )

    async def _judged(self, conversation: Conversation, task: Goal | Probe) -> Verdict:
        try:
            return await self.judge.judge(conversation, task)
        except TargetError as failure:  # of the model that judges
            return Verdict("error", 0.0, "campaign", why=f"the judge failed: {failure}")

    def _done(self, id: str, attempt: Attempt) -> None:
        self.results[id] = attempt
        self.successes += attempt.verdict.label in SUCCESS
        self._tell()
        if attempt.verdict.label == "error":
            self.budget.note(attempt.verdict.why)
        else:
            self.budget.succeeded()

    def _tell(self) -> None:
        if self.progress:
            self.progress(len(self.results), self.total, self.successes)


class _Voice:
    """The target as one attempt hears it: with the campaign's sampling, and a note of how far the talk has come."""

    def __init__(self, ask: Callable[[Conversation], Coroutine[Any, Any, Message]]) -> None:
        self._ask = ask
        self.heard = Conversation()
        self.turns = 0

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        self.heard = conversation
        message = await self._ask(conversation)
        self.heard = conversation.then(message)
        self.turns += 1
        return message


async def _converse(job: Job, voice: _Voice, seconds: float | None) -> tuple[Verdict | None, str]:
    """Carries the job out. Where that already settles it: the verdict, and the place at which a gateway blocked."""
    try:
        async with asyncio.timeout(seconds):
            if job.attack and isinstance(job.task, Goal):
                voice.heard = await job.attack.attack(job.task, voice)
            else:
                await voice.reply(Conversation.user(job.task.request))
    except Blocked as stop:
        return Verdict("refused", 0.0, "gateway", why=f"blocked: {stop}"), stop.place
    except TimeoutError:
        return Verdict("error", 0.0, "campaign", why=f"no end after {seconds:g} s"), ""
    except TargetError as failure:
        return Verdict("error", 0.0, "campaign", why=str(failure)), ""
    return None, ""


async def together(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of all, in order; the first exception cancels the rest and is raised as it is, not in a group."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if not task.cancelled() and (failure := task.exception()):
            raise failure
    return [task.result() for task in tasks]
