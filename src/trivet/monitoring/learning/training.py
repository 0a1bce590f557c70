"""How the light classifier is fitted: L-BFGS on the regularised logistic loss, calibration and threshold on kept-back rows.

Objective per head, with w the weights, x the unit vector of a text, y = +-1, a the row's weight (sum 1) and C the
strength:  sum_i a_i log(1 + exp(-y_i (w.x_i + b))) + |w|^2 / (2 C N).  Convex and started from zero, so the same rows
give the same weights. A row that says nothing about a head is left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, sparse

from trivet.core.errors import DataError
from trivet.core.ngrams import buckets
from trivet.monitoring.guards.classifier import Head, LightClassifier, pieces, windows
from trivet.monitoring.text import read


@dataclass(frozen=True)
class Row:
    """A labelled text: `labels` says for each head it speaks about whether the text is bad. `weight` scales its loss.

    Where it is known which stretch of a bad text is the bad one, `span` names it: windows that do not touch it are good. `hard` marks texts that are easily taken for bad (see `threshold`).
    """

    text: str
    labels: Mapping[str, bool]
    weight: float = 1.0
    span: tuple[int, int] | None = None
    hard: bool = False


def fit(
    rows: Sequence[Row],
    kept_back: Sequence[Row],
    heads: Sequence[str],
    *,
    false_positives: float = 0.01,
    size: int = 1 << 18,
    strength: float = 20.0,
    notes: Mapping[str, object] | None = None,
) -> LightClassifier:
    """Train all heads. `kept_back` calibrates and sets thresholds; it must not share texts with what is reported on."""
    windows_of = _windows_of(rows, size)
    columns, biases = [], []
    for head in heads:
        weights, bias = _regression(windows_of, rows, head, strength)
        columns.append(weights)
        biases.append(bias)
    # Half precision is what is saved, so it is what is calibrated.
    table = np.stack(columns, axis=1).astype(np.float16)
    bare = LightClassifier(table, tuple(Head(h, b, 1.0, 0.0, 0.5) for h, b in zip(heads, biases, strict=True)), {})
    raw = np.array([np.max([bare.raw(piece) for piece in pieces(row.text)], axis=0) for row in kept_back])
    finished = []
    for column, one in enumerate(bare.heads):
        known = [i for i, row in enumerate(kept_back) if one.name in row.labels]
        bad = np.array([kept_back[i].labels[one.name] for i in known])
        if not known or bad.all() or not bad.any():
            raise DataError(f"head {one.name!r}: the kept-back rows need good and bad texts, has {len(known)} rows")
        scores = raw[known, column]
        slope, offset = platt(scores, bad)
        probabilities = 1 / (1 + np.exp(-(slope * scores + offset)))
        hard = np.array([kept_back[i].hard for i in known])
        limit = threshold(probabilities[~bad], probabilities[~bad & hard], false_positives)
        finished.append(Head(one.name, one.bias, slope, offset, limit))
    return LightClassifier(table, tuple(finished), dict(notes or {}))


class Windows(NamedTuple):
    """One sparse row per window of each text's folded view, the text it belongs to, and whether it shows its badness."""

    matrix: sparse.csr_matrix
    owner: np.ndarray
    shows: np.ndarray


def _windows_of(rows: Sequence[Row], size: int) -> Windows:
    indices, data, lengths, owner, shows = [], [], [], [], []
    for number, row in enumerate(rows):
        for places, values, first, last in _features(row.text, size):
            indices.append(places)
            data.append(values)
            lengths.append(len(places))
            owner.append(number)
            shows.append(row.span is None or (first < row.span[1] and row.span[0] < last))
    if not lengths:
        raise DataError("no rows to train on; give (text, bad) pairs")
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    parts = (np.concatenate(data), np.concatenate(indices), pointers)
    return Windows(sparse.csr_matrix(parts, shape=(len(lengths), size)), np.array(owner), np.array(shows))


@lru_cache(maxsize=20000)
def _features(text: str, size: int) -> list[tuple[np.ndarray, np.ndarray, int, int]]:
    """The windows of a text as features, each with the stretch of the original it covers; remembered between fits."""
    view = read(text).folded
    found = []
    for start, end in windows(len(view.text)):
        places, values = buckets(view.text[start:end], size)
        first, last = view.origin(start, end) if start < end else (0, 0)
        found.append((places.astype(np.int32), values, first, last))
    return found


def _regression(known: Windows, rows: Sequence[Row], head: str, strength: float) -> tuple[np.ndarray, float]:
    """Weights and bias of one head. Good and bad weigh the same in sum; windows share their text's weight."""
    chosen = np.array([head in rows[i].labels for i in known.owner])
    if not chosen.any():
        raise DataError(f"head {head!r}: no row speaks about it")
    # Double precision once: a product of mixed precisions would copy the matrix every time.
    x, mine = known.matrix[chosen].astype(np.float64), known.owner[chosen]
    y = np.where(known.shows[chosen] & np.array([rows[i].labels[head] for i in mine]), 1.0, -1.0)
    if len(set(y)) < 2:
        raise DataError(f"head {head!r} needs good and bad texts, was given only {'bad' if y[0] > 0 else 'good'} ones")
    a = np.array([rows[i].weight for i in mine]) / np.bincount(mine, minlength=len(rows))[mine]
    for sign in (1.0, -1.0):
        a[y == sign] /= 2 * a[y == sign].sum()
    flipped = x.T.tocsr()
    decay = 1.0 / (strength * len(set(mine.tolist())))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:-1], theta[-1]
        margin = y * (x @ w + b)
        slack = np.logaddexp(0.0, -margin)
        pull = -a * y * np.exp(-margin - slack)
        gradient = np.concatenate([flipped @ pull + decay * w, [pull.sum()]])
        return float(a @ slack + 0.5 * decay * w @ w), gradient

    start = np.zeros(x.shape[1] + 1)
    options: dict[str, Any] = {"maxiter": 100, "ftol": 1e-6, "gtol": 1e-6}
    result = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return result.x[:-1], float(result.x[-1])


def platt(scores: np.ndarray, bad: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic curve through scores, with Platt's smoothed targets."""
    positive, negative = int(bad.sum()), int((~bad).sum())
    target = np.where(bad, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = theta[0] * scores + theta[1]
        error = 1 / (1 + np.exp(-np.clip(z, -60, 60))) - target
        value = np.sum(np.logaddexp(0.0, z) - target * z)
        return float(value), np.array([error @ scores, error.sum()])

    slope, offset = optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return float(slope), float(offset)


def threshold(
    good: np.ndarray, hard: np.ndarray, false_positives: float, floor: float = 0.5, hard_share: float = 2.0
) -> float:
    """The lowest threshold, from the floor up, at which at most the stated share of the good texts is flagged, and at
    most `hard_share` times that share of the hard ones among them.

    Not below one half: where the kept-back texts are told apart perfectly, nothing speaks for flagging doubtful ones.
    """
    return max(floor, _cut(good, false_positives), _cut(hard, hard_share * false_positives))


def _cut(scores: np.ndarray, share: float) -> float:
    allowed = int(np.floor(share * len(scores)))
    return float(np.nextafter(np.sort(scores)[::-1][allowed], 1.0)) if allowed < len(scores) else 0.0
