"""Rogan and Gladen's correction: by hand, at its limits, and its coverage by simulation with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trivet.core.stats import Rate
from trivet.core.stats_clusters import Share
from trivet.core.stats_judges import Corrected, corrected


def test_the_estimate_by_hand() -> None:
    found = corrected(Rate(30, 100), Rate(90, 100), Rate(80, 100))
    assert found.rate == pytest.approx((0.3 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert found.row()["rate"] == 0.14286


def test_the_interval_by_hand() -> None:
    """q' = (30 + 1.9207) / 103.8415 = 0.30740, Se' = 91/102, Sp' = 81/102, their sum less 1 is 70/102 = 0.68627;
    p' = (0.30740 + 0.79412 - 1) / 0.68627 = 0.14793."""
    found = corrected(Rate(30, 100), Rate(90, 100), Rate(80, 100))
    z2 = 1.959964**2
    q, se, sp = (30 + z2 / 2) / (100 + z2), 91 / 102, 81 / 102
    p = (q + sp - 1) / (se + sp - 1)
    assert p == pytest.approx(0.14793, abs=1e-5)
    v_se, v_sp = se * (1 - se) / 102, sp * (1 - sp) / 102
    middle = p + 2 * z2 * (p * v_se - (1 - p) * v_sp)
    half = 1.959964 * math.sqrt(q * (1 - q) / (100 + z2) + p**2 * v_se + (1 - p) ** 2 * v_sp) / (se + sp - 1)
    assert (found.low, found.high) == pytest.approx((max(0.0, middle - half), middle + half), abs=1e-6)


def test_a_perfect_judge_changes_little() -> None:
    found = corrected(Rate(34, 100), Rate(5000, 5000), Rate(5000, 5000))
    assert found.rate == pytest.approx(0.34)
    assert (found.low, found.high) == pytest.approx((Rate(34, 100).low, Rate(34, 100).high), abs=0.01)


def test_fewer_labels_widen_the_interval() -> None:
    many, few = (corrected(Rate(300, 1000), Rate(9 * n, 10 * n), Rate(9 * n, 10 * n)) for n in (400, 4))
    assert few.rate == pytest.approx(many.rate)
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_clusters_widen_the_interval() -> None:
    plain = corrected(Rate(300, 1000), Rate(90, 100), Rate(90, 100))
    clustered = corrected(Share(300, 1000, 50, 80.0), Rate(90, 100), Rate(90, 100))
    assert clustered.rate == plain.rate
    assert clustered.high - clustered.low > plain.high - plain.low


def test_below_the_false_alarms_it_is_nothing() -> None:
    found = corrected(Rate(15, 100), Rate(90, 100), Rate(80, 100))
    assert (found.rate, found.low) == (0.0, 0.0) and found.high > 0
    assert corrected(Rate(93, 100), Rate(90, 100), Rate(90, 100)).rate == 1.0


@pytest.mark.parametrize(("seen", "told"), [(Rate(300, 300), "100.0% were called"), (Rate(0, 300), "0.0% were called")])
def test_a_rate_that_the_judge_cannot_show_says_that_the_card_does_not_fit(seen: Rate, told: str) -> None:
    found = corrected(seen, Rate(70, 100), Rate(80, 100))
    assert told in found.why and "20.0% to 70.0% so whatever the truth is" in found.why


@pytest.mark.parametrize(
    ("seen", "sensitivity", "specificity", "why"),
    [
        (Rate(5, 10), Rate(65, 100), Rate(65, 100), "says too little"),  # 0.65 + 0.65 - 1 = 0.30: not above
        (Rate(5, 10), Rate(20, 100), Rate(90, 100), "sensitivity 0.20 and specificity 0.90"),
        (Rate(5, 10), Rate(0, 0), Rate(90, 100), "calibrate it"),
        (Rate(5, 10), Rate(90, 100), Rate(0, 0), "calibrate it"),
        (Rate(0, 0), Rate(90, 100), Rate(90, 100), "nothing was measured"),
    ],
)
def test_where_it_refuses(seen: Rate, sensitivity: Rate, specificity: Rate, why: str) -> None:
    found = corrected(seen, sensitivity, specificity)
    assert why in found.why and math.isnan(found.rate)
    assert found.row()["rate"] is None
    assert str(found).startswith("not corrected: ")


def test_just_above_the_least_it_corrects() -> None:
    assert not corrected(Rate(5, 10), Rate(66, 100), Rate(65, 100)).why
    assert str(Corrected(0.25, 0.1, 0.4)) == "25.0% [10.0%, 40.0%]"


@pytest.mark.parametrize(
    ("truth", "se", "sp", "labels", "n"),
    [(0.05, 0.9, 0.9, 100, 300), (0.3, 0.8, 0.85, 60, 200), (0.6, 0.95, 0.7, 150, 400), (0.02, 0.85, 0.97, 200, 500)],
)
def test_coverage(truth: float, se: float, sp: float, labels: int, n: int) -> None:
    """The judge's card is drawn anew each time, so its own uncertainty must be in the interval: at least 93 % hold."""
    rng, rounds, held, asked = np.random.default_rng(7), 1500, 0, 0
    for _ in range(rounds):
        q = truth * se + (1 - truth) * (1 - sp)
        found = corrected(
            Rate(int(rng.binomial(n, q)), n),
            Rate(int(rng.binomial(labels, se)), labels),
            Rate(int(rng.binomial(labels, sp)), labels),
        )
        if "says too little" not in found.why:
            asked += 1
            held += found.low <= truth <= found.high
    assert asked > 0.98 * rounds
    assert held / asked >= 0.93
