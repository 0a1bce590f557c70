"""Rates and tests against numbers from the literature, definitions and limits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from trivet.core.stats import Paired, Rate, mcnemar, overlap, rate_of

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS)
def test_wilson_and_exact_agree_with_scipy(counts: tuple[int, int]) -> None:
    rate = Rate(*counts)
    for ours, method in ((rate.wilson(), "wilson"), (rate.exact(), "exact")):
        theirs = binomtest(*counts).proportion_ci(0.95, method)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= rate.low <= rate.rate <= rate.high <= 1


def test_newcombe_1998_table_1() -> None:
    """Newcombe (1998, Statistics in Medicine 17:857), table I: 81/263, 15/148, 0/20, 1/29 by Wilson's method."""
    table = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for counts, (low, high) in table.items():
        assert Rate(*counts).wilson() == pytest.approx((low, high), abs=5e-5)


def test_the_ends_are_exact() -> None:
    assert Rate(0, 7).low == 0.0 and Rate(7, 7).high == 1.0
    assert Rate(0, 7).exact().low == 0.0 and Rate(7, 7).exact().high == 1.0


def test_nothing_measured() -> None:
    nothing = rate_of([])
    assert math.isnan(nothing.rate) and nothing.wilson() == nothing.exact() == (0.0, 1.0)
    assert nothing.row() == {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
    assert str(nothing) == "none measured"


def test_rate_of_and_rows() -> None:
    assert rate_of([True, False, True]) == Rate(2, 3)
    assert Rate(8, 10).row() == {"rate": 0.8, "low": 0.49016, "high": 0.94332, "n": 10}
    assert str(Rate(8, 10)) == "80.0% [49.0%, 94.3%] n=10"


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3)])
def test_impossible_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"was given {counts[0]} hits of 3"):
        Rate(*counts)


def test_overlap() -> None:
    assert not overlap(Rate(90, 100), Rate(10, 100)) and not overlap(Rate(10, 100), Rate(90, 100))
    assert overlap(Rate(50, 100), Rate(55, 100))
    assert overlap(Rate(0, 0), Rate(10, 100))


def test_mcnemar_counts_what_changed() -> None:
    before = [True, True, True, False, False, True]
    after = [True, False, False, True, False, False]
    assert mcnemar(before, after)[:2] == (3, 1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_sign_test(b: int, c: int) -> None:
    found = mcnemar([True] * b + [False] * c + [True], [False] * b + [True] * c + [True])
    assert found.p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0, abs=1e-12)
    assert found.p_fell == pytest.approx(binom.sf(b - 1, b + c, 0.5), abs=1e-12)
    assert found.p_rose == pytest.approx(binom.sf(c - 1, b + c, 0.5), abs=1e-12)


def test_mcnemar_limits() -> None:
    assert mcnemar([], []) == Paired(0, 0, 1.0, 1.0, 1.0)
    assert mcnemar([True] * 3000, [False] * 3000).p < 1e-300  # no overflow for many
    with pytest.raises(ValueError, match="2 outcomes before and 1 after"):
        mcnemar([True, True], [True])
