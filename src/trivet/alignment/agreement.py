"""How far several labellers agree, beyond what chance would give, with intervals: Cohen, Fleiss, Krippendorff.

All three compare the agreement that is seen with what the same labels would give if they were dealt out at random; 1 is
perfect, 0 is chance, below 0 is worse than chance. They differ in who may be missing and in what chance means:

    Cohen's kappa (1960)            two named labellers, each with the marginal shares of their own; weights for order (1968)
    Fleiss' kappa (1971)            any labellers, the same number for every item, one set of shares for all
    Krippendorff's alpha            any labellers, any number for every item, labels that are names, ranks or numbers

Intervals are percentiles of bootstrap draws over items, because the labels of one item belong together. A statistic is
NaN where it is undefined: where all labels are the same, agreement and having no choice cannot be told apart.

NumPy alone. Written here and not taken from a package: the one for alpha is under the GPL, and crowd-kit, which is well
made, brings scikit-learn, nltk and pandas. The tests hold these functions against the examples of the papers, and against
both packages where they are installed.

Not covered: weights between labellers, and dependence between items (several pairs of one prompt count as independent).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np

from trivet.core.errors import DataError

Level = Literal["nominal", "ordinal", "interval", "ratio"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")
DRAWS = 1000
MANY = 1000
"""Different labels above which a table of all against all would not fit; only the interval level does without one."""


class Estimate(NamedTuple):
    """A statistic and its 95 % bootstrap interval over `items`; NaN where it is undefined."""

    value: float
    low: float
    high: float
    items: int

    def row(self) -> dict[str, float | int | None]:
        known = {name: None if number != number else round(float(number), 5) for name, number in self._asdict().items()}
        return {**known, "items": self.items}

    def __str__(self) -> str:
        return "undefined" if self.value != self.value else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Labels:
    """Who said what of which item: three arrays [labels] of indices into items, labellers and categories.

    A labeller may have labelled an item several times, or not at all.
    """

    items: tuple[str, ...]
    labellers: tuple[str, ...]
    categories: tuple[Any, ...]
    item: np.ndarray
    labeller: np.ndarray
    label: np.ndarray

    def counts(self) -> np.ndarray:
        """[items, categories]: how many labels of each kind an item has."""
        return _table(self.item, self.label, len(self.items), len(self.categories))

    def of(self, labeller: str) -> np.ndarray:
        """[items, categories]: the same for one labeller."""
        mine = self.labeller == self.labellers.index(labeller)
        return _table(self.item[mine], self.label[mine], len(self.items), len(self.categories))


def labels_of(rows: Iterable[tuple[Hashable, Hashable, Any]], order: Sequence[Any] | None = None) -> Labels:
    """From (item, labeller, label) rows. `order` gives all categories from low to high; else they are sorted.

    Raises DataError where a label is not in the order, and where there are no rows.
    """
    rows = list(rows)
    if not rows:
        raise DataError("there are no labels; give rows of item, labeller and label")
    items, labellers = (tuple(dict.fromkeys(row[at] for row in rows)) for at in (0, 1))
    given = dict.fromkeys(row[2] for row in rows)
    categories = tuple(order) if order else tuple(sorted(given, key=_rank))
    if unknown := [label for label in given if label not in set(categories)]:
        known = ", ".join(map(str, categories))
        raise DataError(f"the label {unknown[0]!r} is not in the order {known}; add it there or mend the row")
    places = [{value: at for at, value in enumerate(kind)} for kind in (items, labellers, categories)]
    columns = [np.array([places[at][row[at]] for row in rows]) for at in range(3)]
    return Labels(tuple(map(str, items)), tuple(map(str, labellers)), categories, *columns)


def cohen_kappa(
    one: Sequence[Any],
    two: Sequence[Any],
    *,
    weighting: Literal["none", "linear", "quadratic"] = "none",
    order: Sequence[Any] | None = None,
) -> float:
    """Cohen's kappa of two labellers on the same questions, (p_o - p_e) / (1 - p_e).

    `one[i]` and `two[i]` are their labels of item i. With a weighting, labels that are near in `order` (sorted, if none
    is given) disagree less: by their distance or its square. Raises ValueError when the labels are not paired, or none.

    >>> round(cohen_kappa("yyyynnnnyn", "yyynnnnnny"), 2)
    0.4
    """
    if len(one) != len(two) or not len(one):
        raise ValueError(f"kappa needs paired labels, was given {len(one)} and {len(two)}")
    categories = list(order) if order else sorted({*one, *two}, key=_rank)
    place = {label: at for at, label in enumerate(categories)}
    size = len(categories)
    first, second = np.array([place[x] for x in one]), np.array([place[x] for x in two])
    return kappa_of_table(_table(first, second, size, size), weighting)


def kappa_of_table(table: np.ndarray, weighting: Literal["none", "linear", "quadratic"] = "none") -> float:
    """Cohen's kappa of a table [categories, categories] of how often one said a where the other said b."""
    share = table / total if (total := table.sum()) else table
    at = np.arange(len(table))
    far = np.abs(at[:, None] - at[None, :])
    cost = {"none": (far > 0).astype(float), "linear": far.astype(float), "quadratic": far.astype(float) ** 2}[
        weighting
    ]
    expected = float((cost * np.outer(share.sum(1), share.sum(0))).sum())
    return 1 - float((cost * share).sum()) / expected if expected > 0 else nan


def pair_kappa(labels: Labels, one: str, two: str, *, draws: int = DRAWS, seed: int = 0) -> Estimate:
    """Cohen's kappa of two of the labellers, on the items that both labelled; several labels of an item count in part."""
    first, second = labels.of(one), labels.of(two)
    both = (first.sum(1) > 0) & (second.sum(1) > 0)
    first, second = (part[both] / part[both].sum(1, keepdims=True) for part in (first, second))
    return bootstrap(lambda times: kappa_of_table(first.T @ (second * times[:, None])), len(first), draws, seed)


def fleiss_kappa(counts: np.ndarray, times: np.ndarray | None = None) -> float:
    """Fleiss' kappa of counts [items, categories]: how many labellers put an item into a category.

    `times` [items] is how often each item counts. Raises ValueError where items differ in how many labels they have:
    the measure is not defined there, and Krippendorff's alpha is.
    """
    each = counts.sum(1)
    if not len(counts) or each.min() != each.max() or each[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number of labels for every item, and at least two")
    n, weight = each[0], np.ones(len(counts)) if times is None else times
    agreed = ((counts**2).sum(1) - n) / (n * (n - 1))
    shares = weight @ counts / (weight.sum() * n)
    expected = float((shares**2).sum())
    return (float(weight @ agreed / weight.sum()) - expected) / (1 - expected) if expected < 1 - 1e-12 else nan


def krippendorff_alpha(
    counts: np.ndarray,
    level: Level = "nominal",
    values: Sequence[float] | None = None,
    times: np.ndarray | None = None,
) -> float:
    """Krippendorff's alpha, 1 - D_o / D_e, of counts [items, categories]; items with fewer than two labels do not count.

    The level says how far two labels are apart: nominal 1 if they differ; ordinal by how many labels lie between them;
    interval (a - b)^2; ratio ((a - b) / (a + b))^2. The last two need `values` [categories], numbers.
    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    if level in ("interval", "ratio") and values is None:
        raise ValueError(f"alpha at the {level} level needs the numbers that the labels stand for")
    kept = counts.sum(1) > 1
    weight = (np.ones(len(counts)) if times is None else times)[kept]
    counts = counts[kept]
    weight = weight / (counts.sum(1) - 1)
    if level == "interval":
        return _interval_alpha(counts, weight, np.asarray(values, float))
    if counts.shape[1] > MANY:
        raise DataError(f"{counts.shape[1]} different labels are too many for the {level} level; the limit is {MANY}")
    pairs = counts.T @ (counts * weight[:, None])
    pairs[np.diag_indices_from(pairs)] -= weight @ counts
    total = pairs.sum(1)
    far = _distances(level, total, values)
    expected = float(total @ far @ total)
    return 1 - (float(total.sum()) - 1) * float((pairs * far).sum()) / expected if expected > 0 else nan


def bootstrap(
    statistic: Callable[[np.ndarray], float], items: int, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Estimate:
    """A statistic of items with its interval: what it is when the items are drawn again, as many and with replacement.

    `statistic` takes how often each item counts, [items]. Draws in which it is undefined are left out.
    """
    if not items:
        return Estimate(nan, nan, nan, 0)
    value, dice = statistic(np.ones(items)), np.random.default_rng(seed)
    found = np.array([statistic(np.bincount(dice.integers(items, size=items), minlength=items)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if value != value or not len(found):
        return Estimate(value, nan, nan, items)
    tail = (1 - level) / 2
    return Estimate(value, float(np.quantile(found, tail)), float(np.quantile(found, 1 - tail)), items)


def _interval_alpha(counts: np.ndarray, weight: np.ndarray, values: np.ndarray) -> float:
    """By sums of squares: scores may take as many values as there are labels."""
    each, first, second = counts.sum(1), counts @ values, counts @ values**2
    observed = float(weight @ (2 * (each * second - first**2)))
    total = (weight * (each - 1)) @ counts
    n = float(total.sum())
    expected = 2 * (n * float(total @ values**2) - float(total @ values) ** 2)
    return 1 - (n - 1) * observed / expected if expected > 1e-12 * max(1.0, n * n) else nan


def _distances(level: Level, total: np.ndarray, values: Sequence[float] | None) -> np.ndarray:
    """[categories, categories]: the squared difference of two labels."""
    if level == "nominal":
        return 1.0 - np.eye(len(total))
    if level == "ordinal":
        middle = np.cumsum(total) - total / 2
        return (middle[:, None] - middle[None, :]) ** 2
    numbers = np.asarray(values, float)
    both = numbers[:, None] + numbers[None, :]
    return np.divide(numbers[:, None] - numbers[None, :], both, out=np.zeros_like(both), where=both != 0) ** 2


def _table(rows: np.ndarray, columns: np.ndarray, height: int, width: int) -> np.ndarray:
    """[height, width]: how often each (row, column) occurs."""
    return np.bincount(rows * width + columns, minlength=height * width).reshape(height, width).astype(float)


def _rank(label: Any) -> tuple[bool, Any]:
    """Numbers by size, then all else by name."""
    number = isinstance(label, (int, float))
    return (not number, label if number else str(label))
