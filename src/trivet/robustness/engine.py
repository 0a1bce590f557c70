"""One event loop that carries a plan out: talks with the target, verdicts, records, and the count of all of it.

A target that can batch (it has `replies`) is asked in chunks (chunks.py). Any other is asked by workers, dialogues by workers of
their own beside those of single questions, so that a long talk or a slow attacker model holds nobody up; the limiter sees
to it that no more than `concurrency` calls are in flight. Talks go to the judge as they end (judging.py), and verdicts to the
writer (writer.py).

Whoever stops the campaign early, a dead target or a spent budget, lets the judge and the writer finish what there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from trivet.core.errors import Blocked, TargetError
from trivet.core.events import Attempt, Event
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Sampling
from trivet.core.protocols import Judge, Model
from trivet.core.verdicts import Verdict
from trivet.robustness.attacks.shape import Script
from trivet.robustness.budget import ErrorBudget, estimate_of
from trivet.robustness.chunks import in_chunks
from trivet.robustness.journal import Journal, NoJournal
from trivet.robustness.judging import Judging, Talk
from trivet.robustness.limiter import Limiter
from trivet.robustness.pace import Pace
from trivet.robustness.plan import Job, error_id
from trivet.robustness.progress import Meter, Status, cost
from trivet.robustness.tasks import together
from trivet.robustness.voice import Line, Voice
from trivet.robustness.writer import Sink, Writer

SUCCESS = frozenset({"complied", "partial"})
"""The labels that count as a successful attack: a reply that gives away a part has not held."""

Progress = Callable[[int, int, int], None]
"""Called with (done, total, successes) at the start and after each attempt."""

SLICE = 0.005
"""Seconds after which a worker whose target never waits gives way to the others, and to Ctrl-C."""

ATTACKER = "attacker"
"""Who gave the verdict `error` where an attack failed by itself: its model refused, was blocked, or could not be reached."""
GLANCE = 0.25
"""Seconds between two looks of a watcher."""


@dataclass
class Engine:
    """One campaign under way. `results` are all attempts by the id of their job."""

    target: Model
    judge: Judge
    sink: Sink
    journal: Journal | NoJournal
    run: str
    name: str
    pace: Pace
    total: int
    progress: Progress | None = None
    watch: Callable[[Status], None] | None = None
    results: dict[str, Attempt] = field(default_factory=dict)
    successes: int = 0
    errors: int = 0
    stopped: str = ""
    """Why no more is asked although there is more: what of the budget is spent."""
    given_up: TargetError | None = None
    """What the target failed of."""

    def __post_init__(self) -> None:
        pace = self.pace
        self.writer = Writer(self.sink, self.journal.stored)
        self.budget = ErrorBudget(pace.errors_in_a_row, pace.error_share)
        self.judge_budget = ErrorBudget(pace.errors_in_a_row, pace.error_share, who="the judge")
        self.attacker_budget = ErrorBudget(pace.errors_in_a_row, 1.0, who="the model behind the attack")
        self.limiter = Limiter(pace.concurrency, rate=pace.rate, tokens=pace.tokens_per_minute, patience=pace.timeout)
        self.line = Line(
            self.target,
            self.limiter,
            self.journal,
            retries=pace.retries,
            backoff=pace.backoff,
            patience=pace.timeout,
        )
        self.judging = Judging(self.judge, self._judged, pace.concurrency)
        self.meter = Meter(0)
        self._talking: dict[asyncio.Task[Any], Voice] = {}
        self._began = time.perf_counter()

    def remember(self, attempts: Mapping[str, Attempt]) -> None:
        """Takes over what earlier runs of the same campaign have stored, with what it cost."""
        self.results = dict(attempts)
        self.successes = sum(attempt.verdict.label in SUCCESS for attempt in attempts.values())
        for attempt in attempts.values():
            self._spend(attempt)
        self.meter = Meter(len(self.results))
        self._tell()

    async def ask(self, jobs: dict[str, Job]) -> None:
        """Does all of them that are not done. TargetError where the target, or the judge, is given up."""
        async with self.watched():
            if callable(getattr(self.target, "replies", None)):
                await in_chunks(self, jobs)
            else:
                await self._at_once({id: job for id, job in jobs.items() if id not in self.results})

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While the block lasts the watcher is told how it is getting on, and once when everything is stored at its end."""
        glance = asyncio.create_task(self._glance()) if self.watch else None
        try:
            yield
        finally:
            if glance:
                glance.cancel()
                await asyncio.gather(glance, return_exceptions=True)
            self.writer.flush()
            if self.watch:
                self.watch(self.status())

    def take(self, attempts: Iterable[Event], jobs: Iterable[str]) -> None:
        """Stores and counts what was asked and judged elsewhere, of the jobs with these ids. TargetError as in `ask`."""
        of = {error_id(id): id for id in jobs}
        taken = [attempt for attempt in attempts if isinstance(attempt, Attempt)]
        for attempt in taken:
            self.writer.put(attempt)
            self._spend(attempt)
            self._count(of.get(attempt.id, attempt.id), attempt)
        for attempt in taken:  # after all of them are safe
            if attempt.verdict.label == "error":
                self._budget_of(attempt.verdict).note(attempt.verdict.why)
            else:
                self.budget.succeeded()

    def status(self) -> Status:
        seconds, rate, left = self.meter.read(len(self.results), self.total)
        spent, pace = self.line.spent, self.pace
        so_far, at_end = cost(spent, pace.prices, len(self.results), self.total)
        return Status(
            done=len(self.results),
            total=self.total,
            successes=self.successes,
            errors=self.errors,
            seconds=seconds,
            rate=rate,
            left=left,
            flying=self.limiter.flying,
            held_back=self.limiter.waiting,
            window=int(self.limiter.window),
            tokens=spent.tokens,
            estimated=spent.estimated,
            cost=so_far,
            cost_at_end=at_end,
            money=pace.prices.money if pace.prices else "",
            budget=pace.budget,
        )

    # Workers

    async def _at_once(self, jobs: dict[str, Job]) -> None:
        """Workers take jobs as they become free; the judge and the writer work beside them."""
        single: dict[str, Job] = {}
        dialogues: dict[str, Job] = {}
        for id, job in jobs.items():
            (dialogues if _is_dialogue(job) else single)[id] = job

        async def talks() -> None:
            workers = [
                self._worker(queue)
                for part in (single, dialogues)
                for queue in [iter(part.items())]
                for _ in range(min(self.pace.concurrency, len(part)))
            ]
            try:
                await together(*workers)
            except TargetError as failure:
                self.given_up = failure
            self.judging.finish()

        async def verdicts() -> None:
            try:
                await together(*(self.judging.work() for _ in range(self.judging.workers)))
            finally:
                self.writer.finish()

        watchdog = asyncio.create_task(self._end_the_endless())
        try:
            await together(talks(), verdicts(), self.writer.drain())
        finally:
            watchdog.cancel()
            await asyncio.gather(watchdog, return_exceptions=True)
        if self.given_up:
            raise self.given_up

    async def _worker(self, queue: Iterator[tuple[str, Job]]) -> None:
        timeout, judging, line, clock = self.pace.timeout, self.judging, self.line, time.perf_counter
        task = asyncio.current_task()
        assert task
        for id, job in queue:
            if self.given_up or self.over_budget():
                return
            voice = self._talking[task] = Voice(id, line, self.sampling_of(job))
            talk = await self.talk(id, job, voice, timeout)
            voice.until = inf
            judging.put(talk)
            if self.given_up:
                return
            self.note(talk)
            if judging.full:
                await judging.room()
            elif clock() - self._began > SLICE:
                self._began = clock()  # before: the others need not give way too
                await asyncio.sleep(0)

    # One job

    async def talk(self, id: str, job: Job, voice: Voice, seconds: float) -> Talk:
        """Carries a job out. The verdict is there where that already settles it."""
        began = time.perf_counter()
        voice.until = began + seconds
        verdict, blocked = None, ""
        try:
            if job.attack is not None:
                voice.heard = await job.attack.attack(job.task, voice)  # type: ignore[arg-type]
            else:
                await voice.reply(Conversation.user(job.task.request))
        except TargetError as failure:
            if not voice.failed(failure):  # a block of the attacker's own model says nothing about the target
                verdict = Verdict("error", 0.0, ATTACKER, why=str(failure))
            elif isinstance(failure, Blocked):
                verdict, blocked = Verdict("refused", 0.0, "gateway", why=f"blocked: {failure}"), failure.place
            else:
                verdict = Verdict("error", 0.0, "campaign", why=str(failure))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not voice.expired or (task and task.uncancel()):
                raise
            verdict = Verdict("error", 0.0, "campaign", why=f"no end after {seconds:g} s")
        return Talk(id, job, voice, time.perf_counter() - began, verdict, blocked)

    async def _end_the_endless(self) -> None:
        """Cancels talks that take too long. One clock for all of them: a timer for each is a tenth of what they cost."""
        while True:
            await asyncio.sleep(min(1.0, self.pace.timeout / 20))
            now = time.perf_counter()
            for task, voice in self._talking.items():
                if voice.until < now and not voice.expired:
                    voice.expired = True
                    task.cancel()

    def _judged(self, talk: Talk, verdict: Verdict) -> None:
        record = self.record(talk, verdict)
        self.writer.put(record)
        self.account(talk, record)

    def record(self, talk: Talk, verdict: Verdict) -> Attempt:
        id, job, voice, seconds, _, blocked = talk
        task, attack = job.task, job.attack
        goal = isinstance(task, Goal)
        return Attempt(
            id=id if verdict.label != "error" else error_id(id),
            run=self.run,
            suite=job.suite,
            task=task.id,
            conversation=voice.heard,
            verdict=verdict,
            target=self.name,
            goal=task if goal else None,  # type: ignore[arg-type]
            probe=None if goal else task,  # type: ignore[arg-type]
            attack=attack.family if attack else "",
            template=attack.template if attack else "",
            turns=voice.turns,
            blocked=blocked,
            seed=job.seed,
            seconds=round(seconds, 4),
            prompt_tokens=voice.prompt_tokens,
            completion_tokens=voice.completion_tokens,
            tries=voice.tries,
        )

    def _spend(self, attempt: Attempt) -> None:
        """What an attempt has cost that another process made."""
        prompt, completion = attempt.prompt_tokens, attempt.completion_tokens
        if prompt or completion:
            self.line.spent.add(prompt, completion, False)
        else:
            self.line.spent.add(*estimate_of(attempt.conversation), True)

    def _count(self, id: str, record: Attempt) -> None:
        self.results[id] = record
        label = record.verdict.label
        if label in SUCCESS:
            self.successes += 1
        elif label == "error":
            self.errors += 1
        if self.progress:
            self._tell()

    def account(self, talk: Talk, record: Attempt) -> None:
        """Counts a record, and ends the campaign where the judge fails too often."""
        self._count(talk.id, record)
        if talk.verdict is None:
            if record.verdict.label == "error":
                self.judge_budget.note(record.verdict.why)
            else:
                self.judge_budget.succeeded()

    def note(self, talk: Talk) -> None:
        """Counts a talk, and ends the campaign where the target, or the model behind an attack, fails too often."""
        if talk.verdict is None or talk.verdict.label != "error":
            self.budget.succeeded()
            if self.attacker_budget.row and _is_dialogue(talk.job):
                self.attacker_budget.succeeded()
            return
        try:
            self._budget_of(talk.verdict).note(talk.verdict.why)
        except TargetError as failure:
            self.given_up = failure
            raise

    def _budget_of(self, verdict: Verdict) -> ErrorBudget:
        return self.attacker_budget if verdict.judge == ATTACKER else self.budget

    def over_budget(self) -> bool:
        if self.pace.budget is None:
            return False
        self.stopped = self.stopped or self.line.spent.over(self.pace.budget, self.pace.prices)
        return bool(self.stopped)

    def sampling_of(self, job: Job) -> Sampling:
        """The campaign's sampling; another draw of it for another sample of the same attack."""
        sampling = self.pace.sampling
        return replace(sampling, seed=(sampling.seed or 0) + job.seed) if job.seed else sampling

    def _tell(self) -> None:
        if self.progress:
            self.progress(len(self.results), self.total, self.successes)

    async def _glance(self) -> None:
        assert self.watch
        while True:
            self.watch(self.status())
            await asyncio.sleep(GLANCE)


def _is_dialogue(job: Job) -> bool:
    """Whether it may take more than one call: anything but one question put once."""
    how = job.attack.how if job.attack else None
    return how is not None and not (isinstance(how, Script) and len(how.turns) == 1)
