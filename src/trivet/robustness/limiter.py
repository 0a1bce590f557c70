"""How fast one target is asked: as fast as it likes, and no faster.

Three things hold a call back. A window of calls in flight, which grows by one with every round of answers and halves
when the target says that it is too much (429, 503, 529): additive increase and multiplicative decrease, as TCP does (Chiu and
Jain 1989); answers to calls that were sent before the last halving do not halve it again, and near the size that was too
much it grows slowly. Buckets of tokens, in the
older sense of that word, which fill at the rates that the user gave. And the target's own words: `Retry-After` stops everyone
until then, and what the rate limit headers say is left is spread over the time until there is more.

While nothing holds back, a call costs two additions: a target in this process is never made to wait.

Not covered: a limit that several processes share (give each its part), and limits that a target does not tell and does not
answer with one of these codes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from math import inf

from trivet.core.errors import ConfigError
from trivet.core.models.traffic import quotas, retry_after

TOO_MUCH = frozenset({429, 503, 529})
"""Answers that say that the target is asked too fast."""


SLOWLY = 0.1
"""How fast the window grows where it was too much before, of how fast it grows elsewhere."""


class Bucket:
    """`rate` a second flow in, `most` fit. It may be overdrawn, since what a call takes is known only afterwards."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.most, self._clock = rate, most, clock
        self.level, self._at = most, clock()

    def wait(self, wanted: float) -> float:
        """The seconds until so much is there. More than fits is not waited for: a full bucket will do."""
        now = self._clock()
        self.level = min(self.most, self.level + (now - self._at) * self.rate)
        self._at = now
        return max(0.0, (min(wanted, self.most) - self.level) / self.rate)

    def take(self, amount: float) -> None:
        self.level -= amount


class Limiter:
    """Slots for calls to one target, `most` at a time. `rate` is calls a second, `tokens` is tokens a minute.

    A target that wants to be left alone for longer than `patience` is not obeyed: its calls fail, and who counts failures
    gives it up, instead of a campaign that stands still for a day.
    """

    def __init__(
        self,
        most: int,
        *,
        rate: float | None = None,
        tokens: float | None = None,
        patience: float = inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("concurrency", most), ("rate", rate), ("tokens a minute", tokens)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name} is {value:g}, and must be more than 0")
        self.most = most
        self.patience = patience
        self.window = float(most)
        """Calls that may be in flight now; never less than one."""
        self._too_much = inf
        """The window that was too much the last time."""
        self.flying = 0
        self.generation = 0
        """How often the window was halved: a call remembers under which it was sent."""
        self.waited = 0.0
        """Seconds that calls have been held back, all together."""
        self._clock = clock
        self._calls = Bucket(rate, max(1.0, rate), clock) if rate else None
        self._tokens = Bucket(tokens / 60, tokens / 6, clock) if tokens else None
        self._typical = 0.0
        self._not_before = 0.0
        self._gap = 0.0
        self._last = -inf
        self._held = bool(rate or tokens)
        """Whether anything but the window holds calls back, or has ever done so."""
        self._queue: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Calls that are held back now."""
        return len(self._queue)

    def at_once(self) -> bool:
        """Takes a slot where that needs no waiting, and says whether it did."""
        if self._queue or self.flying >= int(self.window):
            return False
        if self._held:
            if self._wait() > 0:
                return False
            self._start()
        else:
            self.flying += 1
        return True

    async def slot(self) -> None:
        """Waits for a slot, in the order of asking. Give it back with `free`."""
        if self.at_once():
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._serve()
        since = self._clock()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.free(False)  # the slot came in the same moment
            elif turn in self._queue:
                self._queue.remove(turn)
            raise
        finally:
            self.waited += self._clock() - since

    def free(self, well: bool = True) -> None:
        """A call is over. Where it went `well` the window may grow again."""
        self.flying -= 1
        if well and self.window < self.most:
            near = self.window + 1 > self._too_much
            self.window = min(self.most, self.window + (SLOWLY if near else 1.0) / self.window)
            if self.window > self._too_much:
                self._too_much = inf
        if self._queue:
            self._serve()

    def answered(self, status: int, headers: Mapping[str, str], generation: int) -> None:
        """What the target said to a call that was sent under this generation."""
        if status in TOO_MUCH:
            if generation == self.generation:
                self.generation += 1
                self._too_much = max(self.window, 2.0)
                self.window = max(1.0, self.window / 2)
            self.pause(retry_after(headers))
        # The scarcest of what it names. A server that names none again has lifted what it had named before.
        gap = 0.0
        for unit, remaining, reset in quotas(headers):
            calls = remaining if unit == "requests" else remaining / max(1.0, self._typical)
            if calls < 1:
                self.pause(reset)
            elif calls < self.most and reset <= self.patience:
                gap = max(gap, reset / calls)
        self._gap = gap
        self._held = self._held or gap > 0 or self._not_before > 0

    def spent(self, tokens: int) -> None:
        """What a call took, once that is known."""
        self._typical += (tokens - self._typical) / 8 if self._typical else tokens
        if self._tokens:
            self._tokens.take(tokens)

    def pause(self, seconds: float) -> None:
        """Nobody calls for so long."""
        if 0 < seconds <= self.patience:
            self._not_before = max(self._not_before, self._clock() + seconds)
            self._held = True

    def _wait(self) -> float:
        """Seconds until a call may start; infinite where it needs another to end."""
        if self.flying >= int(self.window):
            return inf
        if not self._held:
            return 0.0
        now = self._clock()
        wait = max(self._not_before - now, self._last + self._gap - now, 0.0)
        if self._calls:
            wait = max(wait, self._calls.wait(1.0))
        if self._tokens:
            wait = max(wait, self._tokens.wait(self._typical))
        return wait

    def _start(self) -> None:
        self.flying += 1
        if self._gap:
            self._last = self._clock()
        if self._calls:
            self._calls.take(1.0)

    def _serve(self) -> None:
        """Gives slots to those who wait, as far as there are any, and sets an alarm for the next."""
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        while self._queue:
            wait = self._wait()
            if wait > 0:
                if wait < inf:
                    self._alarm = asyncio.get_running_loop().call_later(wait, self._serve)
                return
            turn = self._queue.popleft()
            if not turn.done():
                self._start()
                turn.set_result(None)
