"""Rates with honest intervals, and a paired test: the only statistics that a decision in Trivet rests on.

Intervals are Wilson's (1927) at 95 %, which stay inside [0, 1] and keep their coverage at 0 and 100 %, where the
textbook interval has no width at all; `exact` is that of Clopper and Pearson (1934), which never covers too little.
The paired test is McNemar's in its exact form: of the tasks whose outcome changed, how unlikely is this split between
the two directions if both were equally likely?

Outcomes that come in clusters are for stats_clusters.py, a judge that errs for stats_judges.py, and what two runs differ
in, many comparisons included, for stats_paired.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, nan, sqrt
from typing import NamedTuple

Z95 = 1.959963984540054
"""The standard normal quantile at 97.5 %."""


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` out of `n`. With n = 0 nothing is known: the rate is NaN (None in rows) and the interval is [0, 1].

    >>> Rate(8, 10).row()
    {'rate': 0.8, 'low': 0.49016, 'high': 0.94332, 'n': 10}
    """

    hits: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"a rate needs 0 <= hits <= n, was given {self.hits} hits of {self.n}")

    @property
    def rate(self) -> float:
        return self.hits / self.n if self.n else nan

    @property
    def low(self) -> float:
        return self.wilson().low

    @property
    def high(self) -> float:
        return self.wilson().high

    def wilson(self, z: float = Z95) -> Interval:
        """Wilson's score interval: the rates whose own normal approximation would not reject what was seen."""
        return wilson(self.hits / self.n, self.n, z) if self.n else Interval(0.0, 1.0)

    def exact(self, level: float = 0.95) -> Interval:
        """Clopper and Pearson's interval: wider, and never covers less than `level`."""
        from scipy.special import betaincinv  # 0.1 s to load, and most callers want Wilson's

        tail = (1 - level) / 2
        low = betaincinv(self.hits, self.n - self.hits + 1, tail) if self.hits else 0.0
        high = betaincinv(self.hits + 1, self.n - self.hits, 1 - tail) if self.hits < self.n else 1.0
        return Interval(float(low), float(high))

    def row(self) -> dict[str, float | int | None]:
        """As every figure of Trivet is written down (docs/figures.md)."""
        rate = round(self.rate, 5) if self.n else None
        return {"rate": rate, "low": round(self.low, 5), "high": round(self.high, 5), "n": self.n}

    def __str__(self) -> str:
        if not self.n:
            return "none measured"
        return f"{self.rate:.1%} [{self.low:.1%}, {self.high:.1%}] n={self.n}"


def wilson(p: float, n: float, z: float = Z95) -> Interval:
    """Wilson's score interval for a share `p` of `n` > 0 outcomes; `n` may be an effective number, not whole.

    centre = (p + z^2/2n) / (1 + z^2/n), half width = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    """
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the two terms are equal; rounding must not leave a false 1e-17 there.
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return Interval(low, high)


def rate_of(outcomes: Iterable[bool]) -> Rate:
    """The share of true outcomes."""
    outcomes = list(outcomes)
    return Rate(sum(map(bool, outcomes)), len(outcomes))


def overlap(one: Rate, other: Rate) -> bool:
    """Whether the 95 % intervals share a point. Where they do not, the rates differ well beyond p = 0.05."""
    return one.low <= other.high and other.low <= one.high


class Paired(NamedTuple):
    """What changed between two measurements of the same tasks.

    `b` went from true to false and `c` from false to true. `p` is two-sided; `p_fell` is the chance of at least `b`
    falls among the changed if falls and rises were equally likely (small: the rate fell), `p_rose` likewise for `c`.
    """

    b: int
    c: int
    p: float
    p_fell: float
    p_rose: float


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> Paired:
    """McNemar's exact test; `before[i]` and `after[i]` are the outcomes of the same task.

    >>> mcnemar([True] * 6 + [False], [False] * 6 + [True])[:3]
    (6, 1, 0.125)
    """
    if len(before) != len(after):
        raise ValueError(f"a paired test needs pairs, was given {len(before)} outcomes before and {len(after)} after")
    b = sum(bool(x) and not y for x, y in zip(before, after, strict=True))
    c = sum(bool(y) and not x for x, y in zip(before, after, strict=True))
    p_fell, p_rose = _upper_tail(b, b + c), _upper_tail(c, b + c)
    return Paired(b, c, min(1.0, 2 * min(p_fell, p_rose)), p_fell, p_rose)


def _upper_tail(k: int, n: int) -> float:
    """P(X >= k) for X ~ Binomial(n, 1/2), in whole numbers up to the last division.

    Each term is made from the one before: with thousands of pairs binomials from scratch took seconds."""
    term, total = comb(n, k), 0
    for i in range(k, n + 1):
        total += term
        term = term * (n - i) // (i + 1)
    return total / (1 << n)
