"""What a reward model is worth on pairs it has not seen: how often it is right, whether its certainty can be believed,
and how much of it is a liking for long replies.

    accuracy      share of pairs in which the chosen reply has the higher reward (a tie is not right)
    certainty     sigmoid(|r_w - r_l|), the chance that the model gives to its own order; between 1/2 and 1
    ECE           sum over ten equal bins of certainty of  n_b / n |share right - mean certainty|   (Guo et al. 2017,
                  arXiv:1706.04599)
    Brier         mean (p - sigmoid(r_w - r_l))^2, where p is the chance that the label is right: 1 for plain labels
    length bias   correlation of reward and length; accuracy where the longer and where the shorter reply was chosen; how
                  often labels and model take the longer one (Singhal et al. 2023, arXiv:2310.03716)

Where a label is a chance, "right" counts by it. Lengths are tokens, the end token included.

Not covered: pairs that share a prompt are counted as independent; a length bias that the labels have too cannot be told
from a length that is deserved (the report says how often labels take the longer reply, and no more).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from math import atanh, sqrt, tanh
from pathlib import Path
from typing import Any

import numpy as np

from trivet.alignment.files import write_file
from trivet.alignment.pairs import Pair
from trivet.core.report import bars_with_intervals, bullets, lines, page, paragraph, section, table
from trivet.core.stats import Z95, Rate, mcnemar, overlap

BINS = 10
NAME = "reward_report"


def write(out: Path, rewards: np.ndarray, pairs: Sequence[Pair]) -> dict[str, Any]:
    """OUT/reward_report.json and .html from rewards [pairs, 2] of held-out pairs, chosen first; returns the figures."""
    lengths = np.asarray([[len(pair.chosen), len(pair.rejected)] for pair in pairs])
    found = figures(rewards, lengths, np.asarray([pair.chance for pair in pairs]))
    text, markup = json.dumps(found, indent=1), html(found)
    write_file(out / f"{NAME}.json", lambda path: path.write_text(text, encoding="utf-8"))
    write_file(out / f"{NAME}.html", lambda path: path.write_text(markup, encoding="utf-8"))
    return found


def figures(rewards: np.ndarray, lengths: np.ndarray, chances: np.ndarray | None = None) -> dict[str, Any]:
    """Everything below as one dictionary that JSON can hold; shapes [pairs, 2], chances [pairs]."""
    if rewards.shape != lengths.shape or rewards.ndim != 2 or rewards.shape[1] != 2 or not len(rewards):
        raise ValueError(
            f"rewards {rewards.shape} and lengths {lengths.shape} must both be [pairs, 2], one pair at least"
        )
    gaps = (rewards[:, 0] - rewards[:, 1]).astype(np.float64)
    found = {
        "pairs": len(gaps),
        "accuracy": _rate(gaps > 0).row(),
        "ties": int((gaps == 0).sum()),
        "mean_reward": {"chosen": float(rewards[:, 0].mean()), "rejected": float(rewards[:, 1].mean())},
        "calibration": calibration(gaps, chances),
        "length": length_bias(rewards, lengths),
    }
    return {**found, "findings": findings(found)}


# -------------------------------------------------------------------------------------------------------- calibration


def calibration(gaps: np.ndarray, chances: np.ndarray | None = None) -> dict[str, Any]:
    """ECE, Brier score, mean negative log-likelihood, and the rows of the reliability curve; gaps are r_w - r_l [pairs].

    By hand: gaps (ln 3, -ln 3) are a certainty of 3/4 each, of which one is right: ECE = |1/2 - 3/4| = 0.25, Brier =
    ((1/4)^2 + (3/4)^2) / 2 = 0.3125, NLL = (ln(4/3) + ln 4) / 2 = 0.8370.
    """
    chances = np.ones(len(gaps)) if chances is None else chances
    certainty = 1 / (1 + np.exp(-np.abs(gaps)))
    right = np.where(gaps > 0, chances, np.where(gaps < 0, 1 - chances, 0.5))
    places = np.minimum(((certainty - 0.5) * 2 * BINS).astype(int), BINS - 1)
    rows, ece = [], 0.0
    for number in range(BINS):
        there = places == number
        count = int(there.sum())
        if not count:
            continue
        says, is_right = float(certainty[there].mean()), float(right[there].mean())
        ece += count / len(gaps) * abs(is_right - says)
        rows.append(
            {"certainty": says, "right": Rate(round(float(right[there].sum())), count).row(), "share_right": is_right}
        )
    believed = np.where(gaps > 0, certainty, 1 - certainty)
    nll = chances * np.logaddexp(0, -gaps) + (1 - chances) * np.logaddexp(0, gaps)
    return {
        "ece": ece,
        "brier": float(np.square(chances - believed).mean()),
        "nll": float(nll.mean()),
        "mean_certainty": float(certainty.mean()),
        "curve": rows,
    }


# -------------------------------------------------------------------------------------------------------- length bias


def length_bias(rewards: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """How reward goes with length, over replies and within pairs; shapes [pairs, 2], chosen first."""
    gaps, longer = rewards[:, 0] - rewards[:, 1], lengths[:, 0] - lengths[:, 1]
    right, unequal = gaps > 0, longer != 0
    return {
        "r_reward_length": correlation(rewards.ravel(), lengths.ravel()),
        "r_gap_length_gap": correlation(gaps, longer),
        "accuracy_longer_chosen": _rate(right[longer > 0]).row(),
        "accuracy_shorter_chosen": _rate(right[longer < 0]).row(),
        "accuracy_equal_length": _rate(right[~unequal]).row(),
        "labels_take_longer": _rate(longer[unequal] > 0).row(),
        "model_takes_longer": _rate((gaps * longer)[unequal] > 0).row(),
        "p_takes_longer_more": mcnemar(list(longer[unequal] > 0), list((gaps * longer)[unequal] > 0)).p_rose,
        "by_gap": _by_gap(right, longer),
    }


def _by_gap(right: np.ndarray, longer: np.ndarray, parts: int = 6) -> list[dict[str, Any]]:
    """Accuracy over bins of |chosen| - |rejected| that hold about equally many pairs."""
    edges = np.unique(np.quantile(longer, np.linspace(0, 1, parts + 1), method="nearest"))
    rows = []
    for low, high in pairwise(edges) if len(edges) > 1 else [(edges[0], edges[0])]:
        last = high == edges[-1]
        there = (longer >= low) & ((longer <= high) if last else (longer < high))
        rows.append({"from": int(low), "to": int(high if last else high - 1), "accuracy": _rate(right[there]).row()})
    return rows


def correlation(one: np.ndarray, other: np.ndarray) -> dict[str, float | int | None]:
    """Pearson's r with its 95 % interval by Fisher's z; None where nothing varies or fewer than four points are there."""
    n = len(one)
    if n < 4 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return {"r": None, "low": None, "high": None, "n": n}
    r = float(np.corrcoef(one, other)[0, 1])
    z, half = atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), Z95 / sqrt(n - 3)
    return {"r": r, "low": tanh(z - half), "high": tanh(z + half), "n": n}


# ---------------------------------------------------------------------------------------------------------- the page


def findings(found: dict[str, Any]) -> list[str]:
    """What a person should know about these figures, in plain words; empty when no rule of thumb fires."""
    told, length, certain = [], found["length"], found["calibration"]
    accuracy = _read(found["accuracy"])
    if accuracy.low <= 0.5:
        told.append(f"It is right on {accuracy} of the pairs: that cannot be told from guessing.")
    off = certain["mean_certainty"] - accuracy.rate
    if not accuracy.low <= certain["mean_certainty"] <= accuracy.high:
        way = "surer of itself than it is right" if off > 0 else "less sure of itself than it is right"
        told.append(f"It is {way}: mean certainty {certain['mean_certainty']:.1%}, right on {accuracy}.")
    by_longer, by_shorter = _read(length["accuracy_longer_chosen"]), _read(length["accuracy_shorter_chosen"])
    if by_longer.n and by_shorter.n and not overlap(by_longer, by_shorter):
        more = "long" if by_longer.rate > by_shorter.rate else "short"
        told.append(
            f"It leans to {more} replies: right on {by_longer} where the longer one was chosen and on {by_shorter} "
            "where the shorter one was."
        )
    if length["p_takes_longer_more"] < 0.025:
        told.append(
            f"It takes the longer reply more often than its labels do: {_read(length['model_takes_longer'])} against "
            f"{_read(length['labels_take_longer'])}."
        )
    return told


def html(found: dict[str, Any], title: str = "Reward model on held-out pairs") -> str:
    """The figures as a page."""
    certain, length = found["calibration"], found["length"]
    told = found["findings"]
    curve = [(row["certainty"], row["share_right"]) for row in certain["curve"]]
    bins = [(f"{row['certainty']:.1%}", _read(row["right"]), row["right"]["n"]) for row in certain["curve"]]
    gaps = [f"{row['from']} to {row['to']}" for row in length["by_gap"]]
    rates = [_read(row["accuracy"]) for row in length["by_gap"]]
    names = {
        "accuracy where the longer was chosen": "accuracy_longer_chosen",
        "accuracy where the shorter was chosen": "accuracy_shorter_chosen",
        "labels take the longer": "labels_take_longer",
        "the model takes the longer": "model_takes_longer",
    }
    related = {"reward and length": "r_reward_length", "difference of both within pairs": "r_gap_length_gap"}
    return page(
        title,
        [
            section("What to look at", bullets(told) if told else paragraph("None of the rules of thumb fires.")),
            section("Accuracy", paragraph(f"The chosen reply has the higher reward in {_read(found['accuracy'])}.")),
            section(
                "Can its certainty be believed?",
                lines(
                    {"this model": curve, "as good as it says": [(0.5, 0.5), (1.0, 1.0)]},
                    x_label="certainty",
                    y_label="share right",
                ),
                table(("certainty", "share right", "pairs"), bins),
                paragraph(f"ECE {certain['ece']:.4f}, Brier {certain['brier']:.4f}, NLL {certain['nll']:.4f}."),
            ),
            section(
                "Does it go by length?",
                table(("of the pairs", "share"), [(name, _read(length[key])) for name, key in names.items()]),
                table(("correlation of", "r"), [(name, _related(length[key])) for name, key in related.items()]),
                bars_with_intervals(gaps, {"accuracy": rates}, caption="Accuracy by |chosen| - |rejected|, in tokens"),
            ),
        ],
        subtitle=f"{found['pairs']} pairs",
    )


def _related(found: dict[str, Any]) -> str:
    return "unknown" if found["r"] is None else f"{found['r']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _rate(outcomes: np.ndarray) -> Rate:
    return Rate(int(outcomes.sum()), len(outcomes))


def _read(row: dict[str, Any]) -> Rate:
    """A rate from its row."""
    return Rate(round((row["rate"] or 0.0) * row["n"]), row["n"])
