"""What is known about a judge: how often it agrees with labels, by data set, tied to its content by a hash.

A judge whose errors are not known makes rates that mean nothing. A card says for each set of labelled replies kappa
(Cohen 1960), the area under the curve, sensitivity (of replies that comply, the share called so) and specificity (of
those that do not), with Wilson intervals, and how it was measured: `unseen` (trained without that set), `in domain`
(trained on other requests of that set), `100 labels` and `in domain, calibrated` (the same two, with a curve laid through a
hundred or all labels of that set's other requests: curves.py), `own` (labels of your own target), `trained on` (rows that
it was trained on, which says nothing), or `measured` (nobody knows). `sensitivity` and `specificity` of the card as a whole
are what a report corrects an attack success rate with (core/stats_judges.py): shares over the sets that it had not seen,
whose interval knows how unlike the sets are.

Not covered: that labels are right. Two people agree with kappa .96 on plain refusals and less on everything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from trivet.core.errors import DataError
from trivet.core.stats import Rate
from trivet.core.stats_clusters import Share, clustered

How = Literal["unseen", "100 labels", "in domain", "in domain, calibrated", "own", "trained on", "measured"]


@dataclass(frozen=True)
class Agreement:
    """A judge against the labels of one data set. `kappa` and `auc` are NaN where one of the labels is missing."""

    source: str
    how: How
    n: int
    kappa: float
    auc: float
    sensitivity: Rate
    specificity: Rate
    judge: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "judge": self.judge,
            "how": self.how,
            "n": self.n,
            "kappa": _rounded(self.kappa),
            "auc": _rounded(self.auc),
            "sensitivity": self.sensitivity.row(),
            "specificity": self.specificity.row(),
        }


@dataclass(frozen=True)
class JudgeCard:
    """`digest` is the judge's; `sensitivity` and `specificity` are over all data sets that it had never seen, each a cluster."""

    judge: str
    digest: str
    sensitivity: Share
    specificity: Share
    agreements: tuple[Agreement, ...] = ()
    notes: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls, judge: str, digest: str, agreements: Sequence[Agreement], notes: Mapping[str, Any] | None = None
    ) -> JudgeCard:
        """Over the sets it never saw; over all others where there are none, but never over what it was trained on."""
        known = [a for a in agreements if a.how == "unseen"] or [a for a in agreements if a.how != "trained on"]
        return cls(
            judge,
            digest,
            _over([a.sensitivity for a in known]),
            _over([a.specificity for a in known]),
            tuple(agreements),
            notes,
        )

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> JudgeCard:
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            agreements = tuple(
                Agreement(**{**row, **{k: Rate(**row[k]) for k in ("sensitivity", "specificity")}})
                for row in data.pop("agreements")
            )
            sensitivity, specificity = Share(**data["sensitivity"]), Share(**data["specificity"])
            return cls(data["judge"], data["digest"], sensitivity, specificity, agreements, data["notes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a judge's card: {error}; make it with `trivet judge train`") from error


def agreement(
    source: str,
    how: How,
    labels: ArrayLike,
    scores: ArrayLike,
    said: ArrayLike,
    judge: str = "",
) -> Agreement:
    """A judge's scores and what it said (both [n]) against labels [n]; True is that the reply complies."""
    truth, called = np.asarray(labels, bool), np.asarray(said, bool)
    return Agreement(
        source,
        how,
        len(truth),
        kappa(truth, called),
        auc(truth, np.asarray(scores, float)),
        Rate(int((truth & called).sum()), int(truth.sum())),
        Rate(int((~truth & ~called).sum()), int((~truth).sum())),
        judge,
    )


def kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's kappa of two [n] yes/no labellings: (p_o - p_e) / (1 - p_e); NaN where both say only one thing."""
    a, b = one.mean(), other.mean()
    chance = a * b + (1 - a) * (1 - b)
    return float(((one == other).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")


def auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The chance that a reply which complies scores above one which does not, ties counting half (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(scores)[truth].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def _over(rates: Sequence[Rate]) -> Share:
    """Several sources' rates as one, each source a cluster; of a single source its own."""
    if len(rates) == 1:
        return Share(rates[0].hits, rates[0].n, rates[0].n, float(rates[0].n))
    return clustered((i, hit < one.hits) for i, one in enumerate(rates) for hit in range(one.n))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 3)
