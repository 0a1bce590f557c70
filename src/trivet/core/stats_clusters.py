"""Rates over outcomes that come in clusters: several attacks on one goal, several samples of one prompt.

Outcomes of one goal resemble one another, so a hundred attempts on ten goals say less about the next goal than a hundred
goals would. `clustered` therefore finds how many independent outcomes the data are worth (the effective number, Kish
1965) from the spread between clusters, and puts that number into Wilson's interval, which stays inside [0, 1] and does
not collapse at 0 and 100 % as a standard error does (Korn and Graubard 1998 do the same to Clopper and Pearson's).

`hit_at` answers another question of the same data: what is the chance that at least one of `k` attempts on a goal gets
through? It is the unbiased estimator of Chen et al. (2021, arXiv:2107.03374), who call it pass@k.

Measured by simulation (tests/core/test_stats_clusters.py): 93 to 96 % of the intervals hold the truth at rates from 5 to
90 %, and more where there are few clusters. Not covered: rare hits that come in few clusters (at 2 % and a correlation of
0.3, 91 % hold it), clusters within clusters, weights.
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
    p(1-p)/V (z/t)^2 with Student's t at m - 1 degrees of freedom. It is at most n, and at least n^2 / sum n_i^2: even where
    a cluster speaks with one voice the clusters are that many independent ones (Kish 1965). Where every cluster has
    one outcome it is n: Wilson's own interval. At 0 and 100 %, where the spread tells nothing, it is the least.

    By hand: two clusters with 2 of 2 and 0 of 2 hits have p = 0.5 and V = 2 (1 + 1) / 16 = 0.25, so one independent
    outcome before Student's correction and 0.024 after it; but they are at least 16 / 8 = 2 voices, and the interval is
    Wilson's of one in two, [0.095, 0.905].
    """
    tallies = tallied(outcomes)
    hits, n, m = sum(one.hits for one in tallies.values()), sum(one.n for one in tallies.values()), len(tallies)
    if not n:
        return Share(0, 0, 0, 0.0)
    least = n * n / sum(one.n * one.n for one in tallies.values())
    if m == n or hits in (0, n):
        return Share(hits, n, m, least)
    p = hits / n
    return Share(hits, n, m, _effective(p, ((one.hits - p * one.n) / n for one in tallies.values()), m, least, n))


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
    mean, made = sum(values) / m, sum(one.n for one in tallies.values() if one.n >= k)
    # Clusters count alike here, so that m voices are the least.
    effective = _effective(mean, ((value - mean) / m for value in values), m, m, made) if 0 < mean < 1 else float(m)
    return Mean(mean, *wilson(mean, effective), m, left_out)


def _effective(p: float, residuals: Iterable[float], m: int, least: float, most: float) -> float:
    """How many independent outcomes with this p have the variance of the m clusters' residuals, within these bounds."""
    if m == 1:
        return least
    variance = m / (m - 1) * sum(one * one for one in residuals)
    if variance == 0:
        return float(most)
    from scipy.special import stdtrit  # 0.1 s to load, and plain rates need none of it

    t = float(stdtrit(m - 1, 0.975))
    return max(float(least), min(float(most), p * (1 - p) / variance * (Z95 / t) ** 2))
