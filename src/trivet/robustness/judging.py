"""The judge of a campaign, off the way of those who ask: talks come in as they end, verdicts go out as they are found.

A judge with `judge_many` (a classifier) is given batches in a thread, as large as what has gathered meanwhile; any other is asked
by as many workers as the target has. A judge that says what it is (`digest`, or `card.digest`) is asked only once about the same
reply to the same request. The queue is bounded: a slow judge holds back the asking, not the memory.

A judging model that fails is a verdict `error`, which counts as neither safe nor unsafe; every other exception is a mistake in
the judge and ends the campaign.

Not covered: a cache beyond this process; a judge with `judge_many` that reads more than reply and request must not give a digest.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple

from trivet.core.errors import TargetError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.core.protocols import Judge
from trivet.core.verdicts import Verdict
from trivet.robustness.plan import Job
from trivet.robustness.voice import Voice

BATCH = 256
BACKLOG = 512
"""Talks that may wait for the judge."""

SLICE = 0.0002
"""Seconds after which a judge that never waits lets those go on who ask: the target should not wait for a verdict."""

REMEMBERED = 50_000
"""Verdicts that are kept for equal replies."""


class Talk(NamedTuple):
    """One job done. `verdict` is None where a judge must say; `blocked` is the place where a gateway stopped it."""

    id: str
    job: Job
    voice: Voice
    seconds: float
    verdict: Verdict | None = None
    blocked: str = ""


Case = tuple[Conversation, Goal | Probe | None]
_Key = tuple[Goal | Probe, str]


def failed(failure: TargetError) -> Verdict:
    return Verdict("error", 0.0, "campaign", why=f"the judge failed: {failure}")


class Judging:
    """`deliver` is called with each talk and its verdict, in this event loop."""

    def __init__(self, judge: Judge, deliver: Callable[[Talk, Verdict], None], workers: int) -> None:
        self.judge = judge
        self.deliver = deliver
        self._many = getattr(judge, "judge_many", None)
        self.workers = 1 if self._many else workers
        card = getattr(judge, "card", None)
        self._cached = bool(getattr(judge, "digest", "") or getattr(card, "digest", ""))
        self._known: dict[_Key, Verdict] = {}
        self._begin()

    def _begin(self) -> None:
        self._talks: deque[Talk] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._room = asyncio.Event()
        self._finished = self._broken = False

    def group(self, deliver: Callable[[Talk, Verdict], None]) -> Judging:
        """The same judge with the same memory for a group of its own."""
        other = copy(self)
        other.deliver = deliver
        other._begin()
        return other

    @property
    def full(self) -> bool:
        return len(self._talks) >= BACKLOG

    def put(self, talk: Talk) -> None:
        """One more; wait for `room` first where it is `full`."""
        self._talks.append(talk)
        if self._idle:
            self._wake()

    async def room(self) -> None:
        while self.full:
            self._room.clear()
            await self._room.wait()

    def finish(self) -> None:
        """No more will come: `work` ends when all are judged."""
        self._finished = True
        while self._idle:
            self._wake()

    async def work(self) -> None:
        """Judges until `finish`. `workers` of these run at once."""
        while not self._broken:
            while self._talks and not self._broken:
                try:
                    await (self._batch() if self._many else self._slice())
                except BaseException:
                    self._broken = True
                    raise
                if self._talks:
                    await asyncio.sleep(0)
            if self._finished:
                return
            come = asyncio.get_running_loop().create_future()
            self._idle.append(come)
            await come

    def _wake(self) -> None:
        """One worker and not all: most judges are done before the next talk comes."""
        come = self._idle.pop()
        if not come.done():
            come.set_result(None)

    async def _slice(self) -> None:
        """Talk after talk, until there are no more or it has been long enough."""
        talks, judge, deliver, cached, clock = (
            self._talks, self.judge.judge, self.deliver, self._cached, time.perf_counter
        )  # fmt: skip
        began = clock()
        while talks and not self._broken:
            talk = talks.popleft()
            if len(talks) == BACKLOG // 2:
                self._room.set()
            verdict = talk.verdict or (self._remembered(talk) if cached else None)
            if verdict is None:
                try:
                    verdict = await judge(talk.voice.heard, talk.job.task)
                except TargetError as failure:
                    verdict = failed(failure)
                if cached:
                    self._remember(talk, verdict)
            deliver(talk, verdict)
            if clock() - began > SLICE:
                return

    async def _batch(self) -> None:
        talks = [self._talks.popleft() for _ in range(min(BATCH, len(self._talks)))]
        self._room.set()
        verdicts = {number: talk.verdict or self._remembered(talk) for number, talk in enumerate(talks)}
        asked: dict[_Key | int, int] = {}
        for number, talk in enumerate(talks):
            if verdicts[number] is None:
                asked.setdefault(_key(talk) if self._cached else number, number)
        if asked:
            cases = [(talks[number].voice.heard, talks[number].job.task) for number in asked.values()]
            found = dict(zip(asked, await self._judged(cases), strict=True))
            for number, talk in enumerate(talks):
                if verdicts[number] is None:
                    verdict = verdicts[number] = found[_key(talk) if self._cached else number]
                    self._remember(talk, verdict)
        for number, talk in enumerate(talks):
            verdict = verdicts[number]
            assert verdict is not None
            self.deliver(talk, verdict)

    async def _judged(self, cases: Sequence[Case]) -> Sequence[Verdict]:
        assert self._many
        try:
            if inspect.iscoroutinefunction(self._many):
                verdicts: Sequence[Verdict] = await self._many(cases)
            else:
                verdicts = await asyncio.to_thread(self._many, cases)
        except TargetError as failure:
            return [failed(failure)] * len(cases)
        if len(verdicts) != len(cases):
            raise ValueError(
                f"judge_many gave {len(verdicts)} verdicts on {len(cases)} conversations; give one on each"
            )
        return verdicts

    def _remembered(self, talk: Talk) -> Verdict | None:
        return self._known.get(_key(talk)) if self._cached else None

    def _remember(self, talk: Talk, verdict: Verdict) -> None:
        if self._cached and verdict.label != "error":
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[_key(talk)] = verdict


def _key(talk: Talk) -> _Key:
    """What a verdict rests on: the reply, and the request with all that the judge knows of it."""
    return talk.job.task, talk.voice.heard.reply
