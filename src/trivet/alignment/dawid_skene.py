"""Who errs how, without knowing the truth: the model of Dawid and Skene (1979), fitted by EM.

Every item has a true class, drawn with the shares `prior`. A labeller l who sees an item of class t says c with
probability confusion[l, t, c], independently of what others say. EM goes back and forth (equations 2.3 to 2.5):

    E   posterior[i, t]     proportional to prior[t] * product of confusion[l, t, c] over the labels (l, c) of item i
    M   confusion[l, t, c]  the share of c among l's labels, each item counted by posterior[i, t];  prior[t] their mean

starting from each item's shares of labels, so that a class keeps the name most labellers give it. The likelihood never
falls. From the fit follow each item's consensus and each labeller's accuracy and bias.

Not covered: labellers who err together (they share a habit, or are the same model asked twice) look right to this model;
items that are harder than others; and two labellers, whom nothing tells apart: at least three should share many items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivet.alignment.agreement import Labels

FLOOR = 1e-12
"""The least probability in a logarithm: what EM sets to zero stays there, and its log must be a number."""

MET = 1e-9
"""Expected items of a class at and below which a labeller has not met it: EM's zeros are never quite zero."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The consensus of some labels: posterior [items, C], prior [C], confusion [labellers, C (true), C (said)].

    Where a labeller never met a class, that row of the confusion is NaN. `rounds` is how long EM took; `log_likelihood`
    is the natural logarithm of the probability of all labels.
    """

    labels: Labels
    posterior: np.ndarray
    prior: np.ndarray
    confusion: np.ndarray
    log_likelihood: float
    rounds: int

    @property
    def consensus(self) -> list[Any]:
        """The likeliest class of each item."""
        return [self.labels.categories[at] for at in self.posterior.argmax(1)]

    @property
    def chance(self) -> np.ndarray:
        """[items]: the probability of that class."""
        return np.asarray(self.posterior.max(1))

    def accuracy(self) -> np.ndarray:
        """[labellers]: the share of their labels that are the true class, items counted by the posterior."""
        right = self.posterior[self.labels.item, self.labels.label]
        return _means(right, self.labels)

    def bias(self) -> np.ndarray:
        """[labellers, C]: how much oftener a labeller gives a label than it is true of the same items.

        A labeller who errs evenly has a bias too where classes are uneven: errors move labels from the common class.
        """
        size = len(self.labels.categories)
        said = np.eye(size)[self.labels.label] - self.posterior[self.labels.item]
        return np.stack([_means(said[:, at], self.labels) for at in range(size)], axis=1)


def fit(labels: Labels, *, rounds: int = 500, tolerance: float = 1e-8) -> Fit:
    """Dawid and Skene's estimate.

    Stops where a round raises the log-likelihood by less than `tolerance` per label, or after so many rounds.
    """
    counts = labels.counts()
    posterior = counts / counts.sum(1, keepdims=True)
    before, number = -np.inf, 0
    while True:
        prior = posterior.mean(0)
        confusion = _confusion(labels, posterior)
        joint = _joint(labels, prior, confusion)
        top = joint.max(1, keepdims=True)
        whole = top[:, 0] + np.log(np.exp(joint - top).sum(1))
        posterior = np.exp(joint - whole[:, None])
        likelihood = float(whole.sum())
        number += 1
        if number >= rounds or likelihood - before < tolerance * len(labels.item):
            return Fit(labels, posterior, prior, confusion, likelihood, number)
        before = likelihood


def intervals(labels: Labels, *, draws: int = 200, seed: int = 0, level: float = 0.95) -> dict[str, np.ndarray]:
    """Bootstrap bounds of what `fit` finds, over items: name -> [2, ...] for accuracy, bias, confusion and prior.

    Every draw is fitted anew. A labeller without labels in a draw does not count there.
    """
    dice, size = np.random.default_rng(seed), len(labels.items)
    found: dict[str, list[np.ndarray]] = {"accuracy": [], "bias": [], "confusion": [], "prior": []}
    for _ in range(draws):
        drawn = redrawn(labels, dice.integers(size, size=size))
        one = fit(drawn, tolerance=1e-6)
        for name, value in zip(found, (one.accuracy(), one.bias(), one.confusion, one.prior), strict=True):
            found[name].append(value)
    tails: Sequence[float] = ((1 - level) / 2, (1 + level) / 2)
    return {name: _quantiles(np.stack(values), tails) for name, values in found.items()}


def redrawn(labels: Labels, drawn: np.ndarray) -> Labels:
    """The labels of the items at the places `drawn`, which may repeat; a repeated item stands there as often."""
    order = np.argsort(labels.item, kind="stable")
    ends = np.searchsorted(labels.item[order], np.arange(len(labels.items) + 1))
    lengths = ends[drawn + 1] - ends[drawn]
    starts = np.repeat(ends[drawn] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    kept = order[starts + np.arange(lengths.sum())]
    items = tuple(labels.items[at] for at in drawn)
    item = np.repeat(np.arange(len(drawn)), lengths)
    return Labels(items, labels.labellers, labels.categories, item, labels.labeller[kept], labels.label[kept])


def _confusion(labels: Labels, posterior: np.ndarray) -> np.ndarray:
    """The M step, [labellers, true, said]."""
    size, many = len(labels.categories), len(labels.labellers)
    place = labels.labeller * size + labels.label
    sums = np.stack(
        [np.bincount(place, weights=posterior[labels.item, true], minlength=many * size) for true in range(size)],
        axis=1,
    )
    sums = sums.reshape(many, size, size).transpose(0, 2, 1)
    whole = sums.sum(2, keepdims=True)
    return np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > MET)


def _joint(labels: Labels, prior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """[items, true]: the logarithm of the probability of an item's labels together with a class."""
    log = np.log(np.maximum(np.nan_to_num(confusion), FLOOR))[labels.labeller, :, labels.label]
    sums = [np.bincount(labels.item, weights=log[:, true], minlength=len(labels.items)) for true in range(len(prior))]
    return np.log(np.maximum(prior, FLOOR)) + np.stack(sums, axis=1)


def _means(values: np.ndarray, labels: Labels) -> np.ndarray:
    """[labellers]: the mean over each labeller's labels; NaN for one without labels."""
    many = len(labels.labellers)
    sums = np.bincount(labels.labeller, weights=values, minlength=many)
    given = np.bincount(labels.labeller, minlength=many)
    return np.divide(sums, given, out=np.full(many, np.nan), where=given > 0)


def _quantiles(values: np.ndarray, tails: Sequence[float]) -> np.ndarray:
    """np.nanquantile over the draws, without its warning where a labeller has no labels in any of them."""
    empty = np.isnan(values).all(0)
    return np.where(empty, np.nan, np.nanquantile(np.where(empty, 0.0, values), tails, axis=0))
