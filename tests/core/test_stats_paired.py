"""Tests for pairs: McNemar's as a special case, Holm by hand, power by simulation with fixed seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from trivet.core.stats import mcnemar
from trivet.core.stats_paired import by_cluster, difference, holm, least_detectable, power


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_clusters_of_one_are_mcnemars(b: int, c: int, same: int) -> None:
    changes = [*[-1] * b, *[1] * c, *[0] * same]
    found = by_cluster(enumerate(changes))
    exact = mcnemar([True] * b + [False] * c, [False] * b + [True] * c)
    assert (found.change, found.clusters) == (c - b, b + c + same)
    assert found.p == pytest.approx(exact.p, abs=1e-12)
    assert found.p_rose == pytest.approx(exact.p_rose, abs=1e-12)
    assert found.p_fell == pytest.approx(exact.p_fell, abs=1e-12)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_all_sign_patterns_counted_out(nets: list[int]) -> None:
    patterns = itertools.product((-1, 1), repeat=len(nets))
    sums = [sum(sign * net for sign, net in zip(signs, nets, strict=True)) for signs in patterns]
    found = by_cluster(enumerate(nets))
    assert found.p_rose == pytest.approx(sum(total >= sum(nets) for total in sums) / len(sums))
    assert found.p_fell == pytest.approx(sum(total <= sum(nets) for total in sums) / len(sums))


def test_one_goal_is_one_goal() -> None:
    assert by_cluster([("a", 1)] * 6).p == 1.0
    assert by_cluster((goal, 1) for goal in range(6)).p == pytest.approx(2 / 64)
    assert by_cluster([]) == (0, 0, 1.0, 1.0, 1.0)


def test_a_hundred_thousand_goals_are_no_more_work_than_a_sum() -> None:
    found = by_cluster((goal, 1 if goal % 3 else -1) for goal in range(100_000))
    assert (found.change, found.clusters) == (100_000 - 2 * 33_334, 100_000)
    assert found.p < 1e-12
    even = by_cluster((goal, 1 if goal % 2 else -1) for goal in range(100_000))
    assert even.p == 1.0 and even.p_rose == pytest.approx(0.5, abs=0.01)


def test_false_alarms_of_the_clustered_test() -> None:
    """Nothing has changed but whole goals flip together: McNemar's p is below 0.05 far too often, this one is not."""
    rng, rounds, alarms, naive = np.random.default_rng(8), 500, 0, 0
    for _ in range(rounds):
        direction = rng.integers(-1, 2, 25)  # per goal: fell, same or rose, on all of its eight attempts
        changes = [(goal, int(way)) for goal, way in enumerate(direction) for _ in range(8)]
        alarms += by_cluster(changes).p < 0.05
        before = [way < 0 for _, way in changes]
        after = [way > 0 for _, way in changes]
        naive += mcnemar(before, after).p < 0.05
    assert alarms / rounds <= 0.06
    assert naive / rounds > 0.3


def test_difference_by_hand() -> None:
    mean, (low, high) = difference([(0, 1), (1, 0), (2, 0), (3, 1)])
    half = 3.182446 * (4 / 3 / 16) ** 0.5
    assert mean == 0.5
    assert (low, high) == pytest.approx((0.5 - half, 1.0), abs=1e-5)
    assert difference([]) == (0.0, (-1.0, 1.0))
    assert difference([("a", 1), ("a", 0)]) == (0.5, (-1.0, 1.0))


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_keeps_the_order_and_never_falls_below() -> None:
    ps = {"x": 0.02, "y": 0.001, "z": 0.5}
    adjusted = holm(ps)
    assert list(adjusted) == list(ps)
    assert all(adjusted[name] >= p for name, p in ps.items())


def test_power_by_hand() -> None:
    """Without falls, six rises are needed: P(Bin(100, x) >= 6)."""
    for rise in (0.05, 0.078, 0.12):
        assert power(100, rise) == pytest.approx(binom.sf(5, 100, rise), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "rise", "fall", "alpha"),
    [(40, 0.2, 0.05, 0.05), (17, 0.5, 0.3, 0.01), (60, 0.1, 0.02, 0.0005), (45, 0.7, 0.05, 1e-6)],
)
def test_power_counted_out(n: int, rise: float, fall: float, alpha: float) -> None:
    """Over every number of changed pairs and of rises among them."""
    whole = 0.0
    for d in range(n + 1):
        for c in range(d + 1):
            if c > d - c and binomtest(c, d).pvalue <= alpha:
                whole += binom.pmf(d, n, rise + fall) * binom.pmf(c, d, rise / (rise + fall))
    assert power(n, rise, fall, alpha) == pytest.approx(whole, abs=1e-9)


def test_power_by_simulation() -> None:
    rng, n, rise, fall = np.random.default_rng(9), 120, 0.16, 0.05
    found = [
        binomtest(int(c), int(b + c)).pvalue <= 0.05 and c > b if b + c else False
        for c, b, _ in rng.multinomial(n, [rise, fall, 1 - rise - fall], 3000)
    ]
    assert power(n, rise, fall) == pytest.approx(np.mean(found), abs=0.025)


@pytest.mark.parametrize(("n", "rise", "fall"), [(0, 0.5, 0.0), (10, 0.0, 0.1), (10, 0.8, 0.3)])
def test_power_of_what_cannot_be(n: int, rise: float, fall: float) -> None:
    assert power(n, rise, fall) == 0.0


def test_power_of_everything_rising() -> None:
    assert power(6, 1.0) == pytest.approx(1.0)
    assert power(5, 1.0) == 0.0  # five of five: p = 0.0625


def test_least_detectable() -> None:
    found = least_detectable(100)
    assert found is not None
    assert binom.sf(5, 100, found) == pytest.approx(0.8, abs=1e-6)
    more, churned = least_detectable(1000), least_detectable(100, churn=0.1)
    assert more is not None and churned is not None
    assert more < found < churned
    assert least_detectable(5) is None  # even if all five rise
    assert least_detectable(100, churn=0.5) is None
