"""What two runs over the same tasks differ in: tests for pairs, for many categories at once, and what they can see.

`by_cluster` is the randomisation test that McNemar's is a special case of: if nothing had changed, the net change of
each goal would as well have come out with the other sign, so the p-value is the share of all sign patterns whose sum is
at least as far from 0 as the one seen. It is exact, it counts goals and not attempts, and where each goal has a single
attempt it is McNemar's exact test. `holm` (1979) keeps the chance of any false alarm among many categories at 5 %.
`least_detectable` says which change a comparison of this size would have found in four cases of five, so that "no
significant difference" cannot be read as "no difference".

Not covered: runs over different tasks (compare intervals), and changes of size rather than of rate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

from trivet.core.stats import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 40
"""Halvings of the search for the least detectable change: far below any digit that is printed."""


class Flipped(NamedTuple):
    """`change` is the sum of all changes; `p` is two-sided, `p_rose` and `p_fell` are the two one-sided ones."""

    change: int
    clusters: int
    p: float
    p_rose: float
    p_fell: float


def by_cluster(changes: Iterable[tuple[Hashable, int]]) -> Flipped:
    """The exact sign-flip test over (cluster, change) pairs, where a change is +1, 0 or -1 (or any whole number).

    By hand: three goals that each rose by one, p = 2/8 = 0.25; six of them, 2/64 = 0.031; one goal that rose by six
    attempts, 2/2 = 1, because one goal is one goal.
    """
    import numpy as np
    from scipy.special import gammaln

    nets: dict[Hashable, int] = {}
    for cluster, change in changes:
        nets[cluster] = nets.get(cluster, 0) + change
    total, reach = sum(nets.values()), sum(map(abs, nets.values()))
    chance = np.ones(
        1
    )  # of each possible sum; clusters that changed by the same size are one binomial among themselves
    for size, count in Counter(abs(net) for net in nets.values() if net).items():
        ups = np.arange(count + 1)
        part = np.zeros(2 * size * count + 1)
        part[:: 2 * size] = np.exp(gammaln(count + 1) - gammaln(ups + 1) - gammaln(count - ups + 1) - count * log(2))
        chance = np.convolve(chance, part)
    rose, fell = float(chance[reach + total :].sum()), float(chance[: reach + total + 1].sum())
    return Flipped(total, len(nets), min(1.0, 2 * min(rose, fell)), min(1.0, rose), min(1.0, fell))


def difference(changes: Iterable[tuple[Hashable, int]]) -> tuple[float, Interval]:
    """The mean change of a pair, and its 95 % interval with Student's t over clusters, cut to [-1, 1].

    With d = sum d_i / sum n_i over m clusters the variance is m/(m-1) sum (d_i - d n_i)^2 / n^2. Fewer than two clusters
    say nothing: the interval is [-1, 1]. By hand: changes 1, 0, 0, 1 of four goals are 0.5 +- 3.182 sqrt(4/3 . 1/16).
    """
    from scipy.special import stdtrit

    tallies: dict[Hashable, list[int]] = {}
    for cluster, change in changes:
        tally = tallies.setdefault(cluster, [0, 0])
        tally[0] += change
        tally[1] += 1
    n, m = sum(tally[1] for tally in tallies.values()), len(tallies)
    if not n:
        return 0.0, Interval(-1.0, 1.0)
    mean = sum(tally[0] for tally in tallies.values()) / n
    if m < 2:
        return mean, Interval(-1.0, 1.0)
    variance = m / (m - 1) * sum((tally[0] - mean * tally[1]) ** 2 for tally in tallies.values()) / n**2
    half = float(stdtrit(m - 1, 0.975)) * variance**0.5
    return mean, Interval(max(-1.0, mean - half), min(1.0, mean + half))


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: compare each with 0.05 and any false alarm among all has at most that chance.

    The i-th smallest of m is multiplied by m - i + 1 and made no smaller than the one before it. By hand: 0.01, 0.03,
    0.04 become 0.03, 0.06, 0.06.
    """
    adjusted, least = {}, 0.0
    for rank, (name, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(ps) - rank)))
        adjusted[name] = least
    return {name: adjusted[name] for name in ps}


def power(n: int, rise: float, fall: float = 0.0, alpha: float = 0.05) -> float:
    """The chance that McNemar's exact two-sided test on `n` pairs finds a rise.

    A share `rise` of pairs turns from false to true and a share `fall` back; the number of changed pairs is
    Binomial(n, rise + fall), and among d changed ones the test needs the smallest c with 2 P(Bin(d, 1/2) >= c) <= alpha.
    """
    import numpy as np
    from scipy.special import bdtrc, gammaln, xlog1py, xlogy

    changed = rise + fall
    if n < 1 or rise <= 0 or changed > 1:
        return 0.0
    spread = 10 * (n * changed * (1 - changed)) ** 0.5 + 10  # beyond it nothing is left that could be seen
    d = np.arange(max(0, int(n * changed - spread)), min(n, int(n * changed + spread)) + 1)
    log_chance = gammaln(n + 1) - gammaln(d + 1) - gammaln(n - d + 1) + xlogy(d, changed) + xlog1py(n - d, -changed)
    needed = _needed(d, alpha)
    found = np.where(needed <= d, bdtrc(needed - 1, np.maximum(d, 1), rise / changed), 0.0)
    return float((np.exp(log_chance) * found).sum())


def least_detectable(n: int, churn: float = 0.0, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """The smallest rise of a rate over `n` pairs that the paired test finds with a chance of `wanted`, or None for none.

    `churn` is the share of pairs that change in each direction by mere chance. By hand: without churn six rises and no
    fall are needed for p < 0.05, and P(Bin(100, x) >= 6) = 0.8 at x = 0.078.
    """
    most = 1.0 - 2 * churn
    if most <= 0 or power(n, churn + most, churn, alpha) < wanted:
        return None
    low, high = 0.0, most
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if power(n, churn + middle, churn, alpha) < wanted:
            low = middle
        else:
            high = middle
    return high


def _needed(d: NDArray[Any], alpha: float) -> NDArray[Any]:
    """For each number of changed pairs, how many must be rises; more than there are where none suffice."""
    import numpy as np
    from scipy.special import bdtrc, ndtri

    # Nearly, by the normal curve; then exactly.
    needed: NDArray[Any] = np.maximum(1, d / 2 + ndtri(1 - alpha / 2) * np.sqrt(d) / 2 - 0.5).astype(np.int64)
    while (short := (needed <= d) & (2 * bdtrc(needed - 1, d, 0.5) > alpha)).any():
        needed = needed + short
    while (spare := (needed > 1) & (2 * bdtrc(needed - 2, d, 0.5) <= alpha)).any():
        needed = needed - spare
    return needed
