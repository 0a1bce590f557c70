"""What a classifier is worth on rows it has not seen: rates with intervals per source, and areas under the curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from trivet.core.stats import Rate
from trivet.monitoring.guards.classifier import LightClassifier
from trivet.monitoring.learning.corpus import HARD, Example


def auroc(scores: np.ndarray, bad: np.ndarray) -> float:
    """The chance that a bad text scores above a good one, ties counting half (Mann-Whitney)."""
    order = np.sort(scores[~bad])
    below = np.searchsorted(order, scores[bad], "left")
    equal = np.searchsorted(order, scores[bad], "right") - below
    return float((below + equal / 2).mean() / len(order))


def auprc(scores: np.ndarray, bad: np.ndarray) -> float:
    """Average precision over the bad texts, from the highest score down; equal scores are taken together."""
    thresholds, inverse = np.unique(-scores, return_inverse=True)
    hits = np.bincount(inverse, weights=bad.astype(float), minlength=len(thresholds))
    seen = np.cumsum(np.bincount(inverse, minlength=len(thresholds)))
    return float((np.cumsum(hits) / seen * hits).sum() / bad.sum())


def recall_at(scores: np.ndarray, bad: np.ndarray, false_positives: float) -> Rate:
    """Recall at the threshold that lets through the stated share of the good ones among these same rows."""
    good = np.sort(scores[~bad])[::-1]
    limit = good[int(false_positives * len(good))]
    return Rate(int((scores[bad] > limit).sum()), int(bad.sum()))


def measured(classifier: LightClassifier, head: str, examples: Sequence[Example]) -> dict[str, Any]:
    """The figures of one head of a light classifier on those examples that speak about it."""
    column = [h.name for h in classifier.heads].index(head)
    known = [e for e in examples if head in e.labels]
    scores = np.array([classifier.probabilities(e.text)[column] for e in known])
    bad = np.array([e.labels[head] for e in known], dtype=bool)
    return figures_of(scores, bad, known, classifier.heads[column].threshold)


def figures_of(scores: np.ndarray, bad: np.ndarray, known: Sequence[Example], limit: float) -> dict[str, Any]:
    """What scores are worth at a threshold and over all of them; `bad` is the truth of each row."""
    flagged = scores >= limit
    hard = np.array([e.source.startswith(HARD) for e in known], dtype=bool)
    figures: dict[str, Any] = {
        "recall": _rate(flagged[bad]),
        "false_positives": _rate(flagged[~bad]),
        "over_refusal": _rate(flagged[~bad & hard]),
        "f1": round(f1(flagged, bad), 4),
        "per_source": per_source(known, flagged, bad),
    }
    if bad.any() and not bad.all():
        figures["auroc"] = round(auroc(scores, bad), 4)
        figures["auprc"] = round(auprc(scores, bad), 4)
        for share in (0.01, 0.05):
            figures[f"recall_at_{share:.0%}"] = recall_at(scores, bad, share).row()
    return figures


def f1(flagged: np.ndarray, bad: np.ndarray) -> float:
    """The harmonic mean of precision and recall; 0 where nothing bad is flagged."""
    hits = int((flagged & bad).sum())
    return 2 * hits / (int(flagged.sum()) + int(bad.sum())) if hits else 0.0


def _rate(flags: np.ndarray) -> dict[str, Any]:
    return Rate(int(flags.sum()), len(flags)).row()


def per_source(known: Sequence[Example], flagged: np.ndarray, bad: np.ndarray) -> list[dict[str, Any]]:
    groups: dict[tuple[str, bool, bool], list[bool]] = defaultdict(list)
    for example, flag, wrong in zip(known, flagged, bad, strict=True):
        groups[example.source, bool(wrong), example.language == "en"].append(bool(flag))
    return [
        {"source": source, "bad": wrong, "english": english, **Rate(sum(flags), len(flags)).row()}
        for (source, wrong, english), flags in sorted(groups.items())
    ]
