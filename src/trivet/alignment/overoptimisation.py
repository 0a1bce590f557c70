"""How far a proxy can be trusted: what is gained by optimising it, over the distance from where optimising began.

Against d = sqrt(KL(policy | start)), what the gold reward gains has two shapes (Gao et al. 2022, arXiv:2210.10760, section 3):

    best of n                 R(d) = d (a - b d)         top at d* = a / (2 b)           KL = log n - (n - 1) / n
    reinforcement learning    R(d) = d (a - b log d)     top at d* = exp(a / b - 1)

R is 0 at d = 0: subtract the start's reward first. Both forms are linear in a and b, so they are fitted by least squares.
b <= 0 means that nothing bends down in the measured range, and then there is no top. A fit says nothing beyond the largest
d it has seen; `Fit.inside` tells whether its top lies there.

Best of n is computed from replies drawn once: the expectation over all subsets of n of them, which is unbiased and, unlike
one draw of n, has the same replies under every n. The KL holds where no two replies are the same; with repeats it is an
upper bound. Not covered: a gold reward that itself is noisy, and curves in which the shape is another one. Look at R^2 and
at the plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt
from typing import Literal, NamedTuple

import numpy as np

from trivet.core.errors import ConfigError

Form = Literal["best_of_n", "rl"]


def best_of_n_kl(n: int) -> float:
    """KL in nats of the best of n from one draw, log n - (n - 1) / n. By hand: 0 for 1, log 2 - 1/2 = 0.1931 for 2."""
    return log(n) - (n - 1) / n


def best_of_n(proxy: np.ndarray, value: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The expected `value` of the reply that `proxy` likes best among n: [prompts, K] twice -> [prompts, len(sizes)].

    Of the K replies of a prompt, sorted by proxy, the i-th (from 1) is the best of a random n-subset with chance
    C(i - 1, n - 1) / C(K, n) (Nakano et al. 2021, arXiv:2112.09332, appendix I). Replies that the proxy cannot tell apart
    stand in the order of their drawing, so give those one value or accept that.

    By hand: proxy (1, 2, 3), value (0, 1, 5), n = 2: subsets (1,2) (1,3) (2,3) give 1, 5, 5, so 11/3.
    """
    if proxy.shape != value.shape or proxy.ndim != 2:
        raise ConfigError(f"proxy is {proxy.shape} and value {value.shape}; both are [prompts, replies]")
    count = proxy.shape[1]
    if not all(1 <= n <= count for n in sizes):
        raise ConfigError(f"sizes are {list(sizes)} and there are {count} replies; n is between 1 and that")
    ordered = np.take_along_axis(value, np.argsort(proxy, axis=1, kind="stable"), 1)
    found: np.ndarray = ordered @ np.stack([_chances(count, n) for n in sizes], 1)
    return found


def _chances(count: int, n: int) -> np.ndarray:
    """C(i - 1, n - 1) / C(count, n) for i = 1 .. count, from the top down: each is the one above times (i - n + 1) / i."""
    found = np.zeros(count)
    found[-1] = n / count
    for i in range(count - 1, n - 1, -1):
        found[i - 1] = found[i] * (i - n + 1) / i
    return found


@dataclass(frozen=True, slots=True)
class Fit:
    """R(d) = d (a - b g(d)) with g(d) = d for best of n and log d for RL; `r2` on the points, `reach` their largest d."""

    form: Form
    a: float
    b: float
    r2: float
    reach: float

    @property
    def top(self) -> float:
        """d*, where the curve is highest; infinite where it does not bend down, nan where it falls from the start."""
        if self.form == "best_of_n":
            return (inf if self.a > 0 else nan) if self.b <= 0 else self.a / (2 * self.b) if self.a > 0 else nan
        return inf if self.b <= 0 else exp(min(700.0, self.a / self.b - 1))

    @property
    def inside(self) -> bool:
        """Whether the top lies in the range that was measured."""
        return 0 < self.top <= self.reach

    def at(self, d: float) -> float:
        bend = d if self.form == "best_of_n" else log(d) if d > 0 else 0.0
        return d * (self.a - self.b * bend)


def fit(form: Form, distances: Sequence[float], gains: Sequence[float]) -> Fit:
    """Least squares for a and b over points with d > 0; at least three of them.

    R^2 = 1 - sum (R - fit)^2 / sum (R - mean R)^2, so it can be negative: these forms have no constant.
    By hand: gains 1, 0 and -3 at d = 1, 2, 3 are d (2 - d), so best_of_n finds a = 2, b = 1, R^2 = 1 and d* = 1.
    """
    points = [(d, gain) for d, gain in zip(distances, gains, strict=True) if d > 0]
    if len(points) < 3:
        raise ConfigError(f"{len(points)} points with d > 0 cannot show a shape of two numbers; give three or more")
    d, gain = np.asarray(points, dtype=float).T
    bend = d if form == "best_of_n" else np.log(d)
    (a, b), *_ = np.linalg.lstsq(np.stack([d, -d * bend], 1), gain, rcond=None)
    left = gain - d * (a - b * bend)
    spread = float(((gain - gain.mean()) ** 2).sum())
    return Fit(form, float(a), float(b), 1 - float((left**2).sum()) / spread if spread else nan, float(d.max()))


def tops_of(distances: Sequence[float], gains: np.ndarray, *, draws: int = 400, seed: int = 0) -> np.ndarray:
    """d* of best of n, fitted again to `draws` resamples of the prompts; gains are [prompts, sizes].

    The same seed draws the same prompts, so the tops of two proxies may be compared draw by draw. A curve that falls from
    the start counts as 0. What the luck of labels and training adds is not in it.
    """
    dice = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        curve = gains[dice.integers(len(gains), size=len(gains))].mean(0)
        found.append(fit("best_of_n", distances, curve).top)
    tops: np.ndarray = np.nan_to_num(np.asarray(found), nan=0.0, posinf=inf)
    return tops


class Fall(NamedTuple):
    """How much lies between the best n and the largest, and the standard error over prompts."""

    mean: float
    error: float

    @property
    def sure(self) -> bool:
        """Above zero by two standard errors."""
        return self.mean > 2 * self.error > 0


def fall_of(values: np.ndarray) -> Fall:
    """How far gold [prompts, sizes] has fallen at the last size from its best, without the luck of having picked the best.

    The best size is chosen on the even prompts and the fall measured on the odd ones, and the other way round.
    """
    falls = np.empty(len(values))
    for side in (0, 1):
        best = int(values[1 - side :: 2].mean(0).argmax())
        falls[side::2] = values[side::2, best] - values[side::2, -1]
    return mean_of(falls)


def mean_of(values: np.ndarray) -> Fall:
    """The mean over prompts with its standard error."""
    return Fall(float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values)))
