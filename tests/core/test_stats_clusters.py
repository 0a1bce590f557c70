"""Clustered intervals and hit@k: numbers by hand, limits, and coverage by simulation with fixed seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.stats import Rate, wilson
from trivet.core.stats_clusters import Mean, Share, clustered, hit_at, tallied


def test_two_clusters_by_hand() -> None:
    found = clustered([("a", True), ("a", True), ("b", False), ("b", False)])
    assert (found.hits, found.n, found.clusters) == (2, 4, 2)
    # p(1-p)/V (z/t)^2 = 1 (1.96/12.71)^2 is far below the 16/8 voices that two clusters are at least.
    assert found.effective == 2.0
    assert found.interval == Rate(1, 2).wilson() == pytest.approx((0.09453, 0.90547), abs=1e-5)


def test_four_clusters_by_hand() -> None:
    """Hits 4, 1, 0, 1 of 4 each: p = 6/16, V = 4/3 (2.5^2 + 0.5^2 + 1.5^2 + 0.5^2)/256 = 9/192, t at 3 is 3.1824."""
    shares = {"a": 4, "b": 1, "c": 0, "d": 1}
    found = clustered((name, shot < hits) for name, hits in shares.items() for shot in range(4))
    raw = (6 / 16) * (10 / 16) / (9 / 192) * (1.959964 / 3.182446) ** 2
    assert raw < 4  # so the four voices decide
    assert found.effective == 4.0
    even = clustered((name, shot < 2 + number % 2) for number, name in enumerate("abcdefgh") for shot in range(5))
    p, v = 20 / 40, 8 / 7 * 8 * 0.5**2 / 1600
    assert even.effective == pytest.approx(min(40, p * (1 - p) / v * (1.959964 / 2.364624) ** 2), rel=1e-5)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_clusters_of_one_are_wilsons(counts: tuple[int, int]) -> None:
    hits, n = counts
    found = clustered((number, number < hits) for number in range(n))
    assert found.interval == Rate(hits, n).wilson()
    assert found.effective == n


def test_all_or_nothing_counts_the_clusters() -> None:
    never = clustered((goal, False) for goal in range(10) for _ in range(10))
    assert never.interval == Rate(0, 10).wilson()
    always = clustered((goal, True) for goal in range(10) for _ in range(10))
    assert always.interval == Rate(10, 10).wilson()
    uneven = clustered((goal, False) for goal, size in ((0, 90), (1, 10)) for _ in range(size))
    assert uneven.effective == pytest.approx(100**2 / (90**2 + 10**2))


@pytest.mark.parametrize("goals", [2, 3, 5])
def test_coverage_where_goals_are_few(goals: int) -> None:
    """Even goals that speak with one voice (correlation 0.9) do not make the interval too narrow, nor useless."""
    rng, rounds, held = np.random.default_rng(13), 600, 0
    for _ in range(rounds):
        hits = rng.binomial(16, rng.beta(0.05, 0.05, goals))
        found = clustered((goal, shot < count) for goal, count in enumerate(hits) for shot in range(16))
        held += found.low <= 0.5 <= found.high
        assert found.high - found.low <= Rate(goals // 2, goals).high - Rate(goals // 2, goals).low + 0.02
    assert held / rounds >= 0.93


def test_equal_shares_are_worth_every_outcome() -> None:
    """Each goal gives in to one attack of two: between the goals there is no spread at all."""
    found = clustered((goal, hit) for goal in range(8) for hit in (True, False))
    assert (found.rate, found.effective) == (0.5, 16)


def test_a_single_cluster_is_one_voice() -> None:
    found = clustered([("a", True), ("a", False), ("a", False)])
    assert found.effective == 1.0
    assert found.interval == wilson(1 / 3, 1.0)


def test_nothing_measured() -> None:
    nothing = clustered([])
    assert nothing == Share(0, 0, 0, 0.0)
    assert math.isnan(nothing.rate) and nothing.interval == (0.0, 1.0)
    assert nothing.row()["rate"] is None
    assert str(nothing) == "none measured"


def test_rows_and_words() -> None:
    found = clustered((goal, True) for goal in range(3))
    assert found.row() == {"rate": 1.0, "low": 0.4385, "high": 1.0, "n": 3, "clusters": 3, "effective": 3.0}
    assert str(found) == "100.0% [43.9%, 100.0%] n=3 in 3"


@pytest.mark.parametrize(("spread", "goals", "each"), [(0.3, 30, 7), (0.3, 100, 7), (0.1, 45, 10), (0.6, 60, 5)])
def test_coverage_where_goals_differ(spread: float, goals: int, each: int) -> None:
    """Beta-binomial goals with mean 0.3 and this intra-cluster correlation: at least 93 % of intervals hold 0.3, and
    Wilson's over attempts, which does not know of goals, hold fewer."""
    mean, rng = 0.3, np.random.default_rng(12)
    a, b = mean * (1 - spread) / spread, (1 - mean) * (1 - spread) / spread
    held = naive = 0
    rounds = 800
    for _ in range(rounds):
        hits = rng.binomial(each, rng.beta(a, b, goals))
        pairs = [(goal, shot < count) for goal, count in enumerate(hits) for shot in range(each)]
        found = clustered(pairs)
        held += found.low <= mean <= found.high
        plain = Rate(found.hits, found.n)
        naive += plain.low <= mean <= plain.high
    assert 0.93 <= held / rounds <= 0.99
    assert naive < held


def test_hit_at_by_hand() -> None:
    assert hit_at(2, {"a": Rate(1, 4)}).value == 0.5
    assert hit_at(1, {"a": Rate(1, 4), "b": Rate(3, 4)}).value == 0.5
    assert hit_at(4, {"a": Rate(1, 4)}).value == 1.0


def test_hit_at_one_is_the_rate_where_goals_are_alike_in_number() -> None:
    pairs = [(goal, (goal + shot) % 3 == 0) for goal in range(9) for shot in range(5)]
    assert hit_at(1, tallied(pairs)).value == pytest.approx(clustered(pairs).rate)


def test_hit_at_is_unbiased() -> None:
    """Over all subsets of k attempts of n, the share that holds a hit: the definition, counted out."""
    outcomes = [True, False, False, True, False, False]
    subsets = list(itertools.combinations(outcomes, 3))
    assert hit_at(3, {"a": Rate(2, 6)}).value == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_goals_with_too_few_attempts_are_left_out_and_counted() -> None:
    found = hit_at(3, {"a": Rate(1, 2), "b": Rate(1, 3)})
    assert (found.value, found.clusters, found.left_out) == (1.0, 1, 1)
    nothing = hit_at(5, {"a": Rate(1, 2)})
    assert (nothing.low, nothing.high, nothing.clusters, nothing.left_out) == (0.0, 1.0, 0, 1)
    assert nothing.row()["rate"] is None
    assert str(nothing) == "none measured"
    with pytest.raises(ValueError, match="was given 0"):
        hit_at(0, {})


def test_hit_at_rows_and_limits() -> None:
    assert str(hit_at(1, {goal: Rate(1, 1) for goal in range(3)})) == "100.0% [43.9%, 100.0%] of 3"
    assert hit_at(1, {goal: Rate(1, 2) for goal in range(4)}).row() == {
        "rate": 0.5, "low": 0.21522, "high": 0.78478, "clusters": 4, "left_out": 0,
    }  # fmt: skip
    alone = hit_at(1, {"a": Rate(1, 2)})
    assert (alone.low, alone.high) == wilson(0.5, 1.0)
    assert isinstance(alone, Mean)


def test_coverage_of_hit_at() -> None:
    """Goals with success rates of Beta(1, 2): the true hit@3 is 1 - E(1-p)^3 = 1 - 2/5 = 0.6."""
    rng, rounds, held = np.random.default_rng(6), 600, 0
    for _ in range(rounds):
        hits = rng.binomial(8, rng.beta(1, 2, 40))
        found = hit_at(3, {goal: Rate(int(count), 8) for goal, count in enumerate(hits)})
        held += found.low <= 0.6 <= found.high
    assert 0.93 <= held / rounds <= 0.99
