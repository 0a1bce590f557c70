"""How a target is asked, how hard, and for how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trivet.core.errors import ConfigError
from trivet.core.messages import Sampling
from trivet.robustness.budget import Budget, Prices


@dataclass(frozen=True)
class Pace:
    """How a target is asked.

    `timeout` bounds one attempt with all its turns, in seconds; what it waits for its turn does not count. `errors_in_a_row`
    and `error_share` say when a failing target is given up. `rate` is calls a second, `tokens_per_minute` what it says; without
    them the target's own words set the pace. `retries` and `backoff` (seconds, doubled each time) are for failures that
    may pass. A `budget` in money needs `prices`. `engine` ray spreads the campaign over a cluster (cluster.py).
    """

    sampling: Sampling = Sampling(max_tokens=256)
    concurrency: int = 16
    chunk: int = 128
    timeout: float = 600.0
    errors_in_a_row: int = 20
    error_share: float = 0.25
    rate: float | None = None
    tokens_per_minute: float | None = None
    retries: int = 3
    backoff: float = 0.5
    budget: Budget | None = None
    prices: Prices | None = None
    engine: Literal["local", "ray"] = "local"

    def __post_init__(self) -> None:
        if self.budget and self.budget.money is not None and self.prices is None:
            raise ConfigError("a budget in money needs prices: what a million tokens of prompts and of replies cost")
