"""How a campaign is getting on: how fast, how long it will take, what it costs and will have cost.

The rate is that of the last seconds, since a target that has just begun to refuse calls makes the average of an hour a lie;
so is the time left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trivet.robustness.budget import Budget, Prices, Spent

WINDOW = 15.0
"""Seconds over which the rate is taken."""


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a campaign. `done` counts what earlier runs stored, the tokens too; `rate` and the others are this run's.

    `left` is the time to the end in seconds, None while nobody can know; `cost_at_end` is what the whole plan will have cost at
    what an attempt has cost on average. `estimated` says that some tokens were counted by us and not by the target.
    """

    done: int
    total: int
    successes: int
    errors: int
    seconds: float
    rate: float
    left: float | None
    flying: int
    held_back: int
    window: int
    tokens: int
    estimated: bool
    cost: float | None = None
    cost_at_end: float | None = None
    money: str = ""
    budget: Budget | None = None

    def line(self) -> str:
        """All of it in one line."""
        words = [f"{self.done:,} of {self.total:,}", f"{self.rate:,.1f}/s"]
        if self.left is not None and self.done < self.total:
            words.append(f"{_clock(self.left)} left")
        words += [f"{self.successes:,} got through", f"{self.errors:,} errors"]
        limit = f" of {self.budget.tokens:,}" if self.budget and self.budget.tokens else ""
        words.append(f"{'about ' if self.estimated else ''}{self.tokens:,}{limit} tokens")
        if self.cost is not None:
            limit = f" of {self.budget.money:.2f}" if self.budget and self.budget.money else ""
            end = f", {self.cost_at_end:.2f} at the end" if self.cost_at_end is not None else ""
            words.append(f"{self.cost:.2f}{limit} {self.money}{end}")
        if self.held_back:
            words.append(f"{self.held_back} calls held back ({self.window} at a time)")
        return ", ".join(words)


class Meter:
    """Watches the count go up."""

    def __init__(self, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seen = deque([(self._began, done)])

    def read(self, done: int, total: int) -> tuple[float, float, float | None]:
        """Seconds since the beginning, the rate now, and the seconds left."""
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        rate = (done - before) / (now - then) if now > then else 0.0
        return now - self._began, rate, (total - done) / rate if rate else None


def cost(spent: Spent, prices: Prices | None, done: int, total: int) -> tuple[float | None, float | None]:
    """What it has cost, and what the whole will have cost at that rate."""
    if prices is None:
        return None, None
    so_far = prices.of(spent.prompt, spent.completion)
    return so_far, so_far * total / done if done else None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
