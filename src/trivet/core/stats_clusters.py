"""Rates over outcomes that come in clusters: several attacks on one goal, several samples of one prompt.

Outcomes of one goal resemble one another, so a hundred attempts on ten goals say less about the next goal than a hundred
goals would. `clustered` therefore finds how many independent outcomes the data are worth (the effective number, Kish
1965) from the spread between clusters, and puts that number into Wilson's interval, which stays inside [0, 1] and does
not collapse at 0 and 100 % as a standard error does (Korn and Graubard 1998 do the same to Clopper and Pearson's).

`hit_at` answers another question of the same data: what is the chance that at least one of `k` attempts on a goal gets
through? It is the unbiased estimator of Chen et al. (2021, arXiv:2107.03374), who call it pass@k.

Measured by simulation (tests/core/test_stats_clusters.py): 93 to 96 % of the intervals hold the truth at rates from 5 to
90 %. Not covered: rare hits that come in few clusters (at 2 % and a correlation of 0.3, 91 % hold it), clusters within
clusters, weights, and clusters so few (below about five) that no interval deserves trust.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from math import comb, nan

from trivet.core.stats import Z95, Interval, Rate, wilson

Tallies = Mapping[Hashable, Rate]
"""For each cluster its hits and how many outcomes it has."""


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `n` outcomes in `clusters` clusters, worth `effective` independent ones. The interval is at 95 %."""

    hits: int
    n: int
    clusters: int
    effective: float

    @property
    def rate(self) -> float:
        return self.hits / self.n if self.n else nan

    @property
    def interval(self) -> Interval:
        return wilson(self.rate, self.effective) if self.n else Interval(0.0, 1.0)

    @property
    def low(self) -> float:
        return self.interval.low

    @property
    def high(self) -> float:
        return self.interval.high

    def row(self) -> dict[str, float | int | None]:
        """As JSON: `rate`, `low`, `high`, `n`, and `clusters` with the `effective` number of outcomes."""
        rate = round(self.rate, 5) if self.n else None
        low, high = (round(value, 5) for value in self.interval)
        return {
            "rate": rate, "low": low, "high": high, "n": self.n,
            "clusters": self.clusters, "effective": round(self.effective, 2),
        }  # fmt: skip

    def __str__(self) -> str:
        if not self.n:
            return "none measured"
        return f"{self.rate:.1%} [{self.low:.1%}, {self.high:.1%}] n={self.n} in {self.clusters}"


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of per-cluster values in [0, 1] with its 95 % interval; `left_out` clusters had too few outcomes."""

    value: float
    low: float
    high: float
    clusters: int
    left_out: int = 0

    def row(self) -> dict[str, float | int | None]:
        value = round(self.value, 5) if self.clusters else None
        return {
            "rate": value, "low": round(self.low, 5), "high": round(self.high, 5),
            "clusters": self.clusters, "left_out": self.left_out,
        }  # fmt: skip

    def __str__(self) -> str:
        if not self.clusters:
            return "none measured"
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}] of {self.clusters}"


def tallied(outcomes: Iterable[tuple[Hashable, bool]]) -> dict[Hashable, Rate]:
    """The hits of each cluster, from (cluster, outcome) pairs."""
    counts: dict[Hashable, list[int]] = {}
    for cluster, hit in outcomes:
        count = counts.setdefault(cluster, [0, 0])
        count[0] += bool(hit)
        count[1] += 1
    return {cluster: Rate(hits, n) for cluster, (hits, n) in counts.items()}


def clustered(outcomes: Iterable[tuple[Hashable, bool]]) -> Share:
    """The rate of (cluster, outcome) pairs, with an interval that knows of the clusters.

    With p = hits/n over m clusters of n_i outcomes and h_i hits, the variance of p between clusters is
    V = m/(m-1) sum (h_i - p n_i)^2 / n^2 (linearised ratio, Cochran 1977, ch. 9), and the effective number is
    p(1-p)/V (z/t)^2 with Student's t at m - 1 degrees of freedom, at most n. Where every cluster has one outcome this
    is n: Wilson's own interval. At 0 and 100 % nothing can be learnt about the spread and the number is m, as if each
    cluster had spoken once.

    By hand: two clusters with 2 of 2 and 0 of 2 hits have p = 0.5 and V = 2 (1 + 1) / 16 = 0.25, so one independent
    outcome before Student's correction; that is (1.96/12.71)^2 = 0.024 after it, and the interval is [0.002, 0.998].
    """
    tallies = tallied(outcomes)
    hits, n, m = sum(one.hits for one in tallies.values()), sum(one.n for one in tallies.values()), len(tallies)
    if m in (0, n) or hits in (0, n):
        return Share(hits, n, m, float(m))
    p = hits / n
    variance = _variance(((one.hits - p * one.n) / n for one in tallies.values()), m)
    return Share(hits, n, m, _effective(p, variance, m, n))


def hit_at(k: int, tallies: Tallies) -> Mean:
    """The chance that one of `k` attempts on a goal, drawn from those made, gets through; the mean over goals.

    For a goal with h hits in n attempts 1 - C(n-h, k) / C(n, k): unbiased for n >= k, whereas 1 - (1 - h/n)^k is too
    low. Goals with fewer than `k` attempts are left out and counted. By hand: 1 hit in 4, k = 2 is 1 - 3/6 = 0.5.
    """
    if k < 1:
        raise ValueError(f"hit@k needs k of at least 1, was given {k}")
    values = [1 - comb(one.n - one.hits, k) / comb(one.n, k) for one in tallies.values() if one.n >= k]
    m, left_out = len(values), len(tallies) - len(values)
    if not m:
        return Mean(nan, 0.0, 1.0, 0, left_out)
    mean = sum(values) / m
    if not 0 < mean < 1:
        effective = float(m)
    else:
        made = sum(one.n for one in tallies.values() if one.n >= k)
        effective = _effective(mean, _variance(((value - mean) / m for value in values), m), m, made)
    return Mean(mean, *wilson(mean, effective), m, left_out)


def _variance(residuals: Iterable[float], m: int) -> float:
    """m/(m-1) times the sum of squares; nothing is known from a single cluster."""
    return m / (m - 1) * sum(one * one for one in residuals) if m > 1 else float("inf")


def _effective(p: float, variance: float, m: int, most: int) -> float:
    """How many independent outcomes with this p have this variance, at most so many; a single cluster counts as one."""
    if m == 1:
        return 1.0
    if variance == 0:
        return float(most)
    from scipy.special import stdtrit  # 0.1 s to load, and plain rates need none of it

    t = float(stdtrit(m - 1, 0.975))
    return min(float(most), p * (1 - p) / variance * (Z95 / t) ** 2)
