"""A judge set right for your own target: a curve and thresholds fitted on about a hundred replies that you labelled.

Ranking travels between targets better than thresholds do: a judge with an AUC of .93 on a model it never saw may agree
with people no better than kappa .14 there. So a logistic curve (Platt 1999) is laid through the scores of your labelled
replies, which moves the threshold of one half to where your target's replies part. The card that comes out is measured
by leaving each reply out in turn, so it is not rosier for having been fitted on the same rows.

Not covered: fewer than ten replies of either label (refused); replies that your labellers disagree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trivet.core.errors import DataError
from trivet.core.judges.cards import JudgeCard, agreement
from trivet.core.judges.classifier import Cuts, ReplyClassifier
from trivet.core.judges.curves import platt
from trivet.core.judges.training import Reply, full_from

FEWEST = 10


def calibrated(judge: ReplyClassifier, rows: Sequence[Reply]) -> ReplyClassifier:
    """The judge with a curve, thresholds and a card of your own. Raises DataError where the labels are too few."""
    known = [row for row in rows if row.complied is not None]
    truth = np.array([bool(row.complied) for row in known], bool)
    fewest = int(min(truth.sum(), (~truth).sum())) if len(known) else 0
    if fewest < FEWEST:
        raise DataError(
            f"calibrating needs at least {FEWEST} replies that comply and {FEWEST} that do not, about a hundred in all; "
            f"was given {int(truth.sum())} and {int((~truth).sum())}"
        )
    logits = judge.logits([(row.request, row.reply) for row in known])[:, 0]
    slope, offset = platt(logits, truth)
    left_out = np.array([_left_out(logits, truth, i) for i in range(len(known))])
    scores = 1 / (1 + np.exp(-np.clip(slope * logits + offset, -60, 60)))
    full = full_from([(score, row.part) for score, row in zip(scores.tolist(), known, strict=True) if row.complied])
    fitted = judge.with_cuts(Cuts(full=full, slope=slope, offset=offset))
    seen = agreement("own labels", "own", truth, left_out, left_out >= 0.5, judge.name)
    return replace(fitted, card=JudgeCard.of(judge.name, fitted.digest, [seen]))


def _left_out(logits: np.ndarray, truth: np.ndarray, i: int) -> float:
    others = np.arange(len(logits)) != i
    slope, offset = platt(logits[others], truth[others])
    return float(1 / (1 + np.exp(-np.clip(slope * logits[i] + offset, -60, 60))))
