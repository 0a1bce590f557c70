"""Best of n and the two fitted forms: by hand, against drawing by chance, and where nothing bends."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from trivet.alignment.overoptimisation import best_of_n, best_of_n_kl, fall_of, fit, mean_of, tops_of
from trivet.core.errors import ConfigError


def test_the_kl_of_best_of_n_by_hand():
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(2) == pytest.approx(0.19315, abs=1e-5)
    assert best_of_n_kl(256) == pytest.approx(4.54908, abs=1e-5)


def test_the_kl_of_best_of_n_is_that_of_the_density():
    """The best of n has the density n u^(n-1) over the quantile u of the proxy, so KL is its integral against log."""
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (2, 5, 16):
        density = n * u ** (n - 1)
        assert best_of_n_kl(n) == pytest.approx(float((density * np.log(density)).mean()), abs=1e-4)


def test_best_of_n_by_hand():
    assert best_of_n(np.array([[1.0, 2, 3]]), np.array([[0.0, 1, 5]]), [1, 2, 3])[0] == pytest.approx([2, 11 / 3, 5])
    assert best_of_n(np.array([[3.0, 2, 1]]), np.array([[0.0, 1, 5]]), [2])[0] == pytest.approx([1 / 3])


def test_best_of_n_is_the_mean_over_all_subsets():
    dice = np.random.default_rng(0)
    proxy, value = dice.normal(size=(2, 7)), dice.normal(size=(2, 7))
    for n in range(1, 8):
        sets = list(combinations(range(7), n))
        by_hand = [np.mean([value[p, max(s, key=lambda i: proxy[p, i])] for s in sets]) for p in (0, 1)]
        assert best_of_n(proxy, value, [n])[:, 0] == pytest.approx(by_hand)


def test_best_of_n_of_many_replies_is_finite_and_rises_in_its_own_reward():
    proxy = np.random.default_rng(1).normal(size=(3, 1024))
    curve = best_of_n(proxy, proxy, [1, 2, 64, 500, 1024])
    assert curve[:, 0] == pytest.approx(proxy.mean(1)) and curve[:, -1] == pytest.approx(proxy.max(1))
    assert (np.diff(curve, axis=1) > 0).all()


def test_best_of_n_refuses_other_shapes_and_sizes():
    with pytest.raises(ConfigError, match="both are"):
        best_of_n(np.zeros((1, 2)), np.zeros((1, 3)), [1])
    with pytest.raises(ConfigError, match="between 1 and"):
        best_of_n(np.zeros((1, 2)), np.zeros((1, 2)), [3])


def test_the_fit_of_best_of_n_by_hand():
    found = fit("best_of_n", [0, 1, 2, 3], [9, 1, 0, -3])  # the point at d = 0 says nothing and is left out
    assert (found.a, found.b, found.r2, found.top) == pytest.approx((2, 1, 1, 1))
    assert found.inside and found.reach == 3 and found.at(0.5) == pytest.approx(0.75)


def test_the_fit_of_rl_by_hand():
    """With a = b = 1 the curve d (1 - log d) is highest at d = exp(0) = 1, where it is 1."""
    d = [0.5, 1, 2, 4]
    found = fit("rl", d, [x * (1 - math.log(x)) for x in d])
    assert (found.a, found.b, found.r2, found.top) == pytest.approx((1, 1, 1, 1))
    assert found.at(1) == pytest.approx(1) and found.at(math.e) == pytest.approx(0) and found.at(0) == 0


def test_r2_by_hand():
    """Gains 1, 2, 3, 4.5 at d = 1 .. 4 with the best a and b by the normal equations."""
    d, gain = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4.5])
    inputs = np.stack([d, -(d**2)], 1)
    a, b = np.linalg.solve(inputs.T @ inputs, inputs.T @ gain)
    found = fit("best_of_n", d, gain)
    assert (found.a, found.b) == pytest.approx((a, b))
    assert found.r2 == pytest.approx(1 - ((gain - inputs @ [a, b]) ** 2).sum() / ((gain - 2.625) ** 2).sum())


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
def test_a_curve_that_does_not_bend_down_has_no_top(form):
    found = fit(form, [1, 2, 3, 4], [1, 4, 9, 16])
    assert found.b < 0 and found.top == math.inf and not found.inside


def test_a_curve_that_falls_from_the_start_has_no_top_either():
    assert math.isnan(fit("best_of_n", [1, 2, 3], [-2, -6, -12]).top)


def test_a_top_beyond_what_was_measured_is_told_apart():
    found = fit("best_of_n", [0.5, 1, 1.5], [0.5 * 9.5, 9, 1.5 * 8.5])  # d (10 - d), highest at 5
    assert found.top == pytest.approx(5) and not found.inside


def test_two_points_show_no_shape():
    with pytest.raises(ConfigError, match="three or more"):
        fit("rl", [0, 1, 2], [0, 1, 1])


def test_a_fall_is_measured_where_its_top_was_not_chosen():
    """Even prompts are best at the second size, odd ones at the first; each half is measured at the other's best."""
    even, odd = [0.0, 1.0, 0.5], [1.0, 0.0, 0.5]
    found = fall_of(np.array([even, odd] * 4))
    assert found.mean == pytest.approx(-0.5) and not found.sure
    assert fall_of(np.array([[0.0, 1.0, 0.4], [0.0, 1.0, 0.6]] * 4)).mean == pytest.approx(0.5)
    assert fall_of(np.array([[0.0, 1.0, 0.4], [0.0, 1.0, 0.6]] * 4)).sure


def test_pure_noise_does_not_fall():
    """Where all sizes are alike, the fall from the best must not be sure, however many sizes there are to pick from."""
    dice = np.random.default_rng(3)
    sure = sum(fall_of(dice.normal(size=(40, 12))).sure for _ in range(200))
    assert sure < 20


def test_the_error_of_a_mean_by_hand():
    assert mean_of(np.array([1.0, 3.0])) == pytest.approx((2, 1))


def test_tops_are_resampled_over_prompts():
    d = [1.0, 2.0, 3.0]
    early, late = ([x * (2 * top - x) for x in d] for top in (1, 2))
    gains = np.array([early, late] * 10)
    tops = tops_of(d, gains, draws=50)
    assert tops.shape == (50,) and tops.min() >= 1 and tops.max() <= 2 and tops.mean() == pytest.approx(1.5, abs=0.1)
    assert (tops_of(d, gains, draws=50) == tops).all()
    assert (tops_of(d, -gains, draws=5) == 0).all()  # they fall from the start
