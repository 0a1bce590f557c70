"""The report on a reward model: numbers by hand, against NumPy, and biases that are there or not."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from trivet.alignment import reward_report
from trivet.alignment.pairs import Pair
from trivet.alignment.reward_report import calibration, correlation, figures, length_bias


def drawn(n: int, *, per_token: float = 0.0, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and lengths of pairs whose labels follow Bradley and Terry on the true reward; the model's is
    scale * true + per_token * length."""
    dice = np.random.default_rng(seed)
    true, lengths = dice.normal(size=(n, 2)) * 1.5, dice.integers(5, 60, size=(n, 2))
    won = dice.random(n) < 1 / (1 + np.exp(true[:, 1] - true[:, 0]))
    true[~won], lengths[~won] = true[~won][:, ::-1], lengths[~won][:, ::-1]
    return scale * true + per_token * lengths, lengths


def test_calibration_by_hand():
    found = calibration(np.asarray([math.log(3), -math.log(3)]))
    assert found["ece"] == pytest.approx(0.25) and found["brier"] == pytest.approx(0.3125)
    assert found["nll"] == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    (row,) = found["curve"]
    assert row["certainty"] == pytest.approx(0.75) and row["right"]["n"] == 2 and row["share_right"] == 0.5


def test_soft_labels_count_by_their_chance():
    """Certain of 3/4 where the label is right with 3/4: perfectly calibrated, whichever reply is called chosen."""
    gaps = np.asarray([math.log(3), -math.log(3)])
    found = calibration(gaps, np.asarray([0.75, 0.25]))
    assert found["ece"] == pytest.approx(0) and found["brier"] == pytest.approx(0)
    assert found["nll"] == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_calibration_at_its_limits():
    sure = calibration(np.asarray([800.0, 800.0]))
    assert sure["ece"] == 0 and sure["brier"] == 0 and sure["nll"] == 0
    wrong = calibration(np.asarray([-800.0]))
    assert wrong["ece"] == 1 and wrong["brier"] == 1 and wrong["nll"] == 800
    torn = calibration(np.zeros(4))
    assert torn["ece"] == 0 and torn["brier"] == 0.25 and torn["nll"] == pytest.approx(math.log(2))


def test_ece_against_a_plain_loop():
    rewards, _ = drawn(500, scale=2.0)
    gaps = rewards[:, 0] - rewards[:, 1]
    bins: dict[int, list[tuple[float, bool]]] = {}
    for gap in gaps:
        certainty = 1 / (1 + math.exp(-abs(gap)))
        bins.setdefault(min(9, math.floor((certainty - 0.5) * 20)), []).append((certainty, gap > 0))
    wanted = sum(
        len(some) / 500 * abs(np.mean([right for _, right in some]) - np.mean([sure for sure, _ in some]))
        for some in bins.values()
    )
    assert calibration(gaps)["ece"] == pytest.approx(wanted)


def test_a_model_that_knows_its_labels_is_calibrated_and_one_that_shouts_is_not():
    """Labels drawn from sigmoid(gap) agree with it; gaps three times as wide are too sure, and the page says so."""
    true, shouted = (figures(*drawn(4000, scale=scale)) for scale in (1.0, 3.0))
    assert true["calibration"]["ece"] < 0.03 and shouted["calibration"]["ece"] > 0.1
    assert true["accuracy"] == shouted["accuracy"]
    assert not any("surer" in told for told in true["findings"])
    assert any("surer of itself than it is right" in told for told in shouted["findings"])
    meek = figures(*drawn(4000, scale=0.2))
    assert any("less sure of itself" in told for told in meek["findings"])


def test_length_bias_by_hand():
    rewards = np.asarray([[2.0, 1.0], [1.0, 2.0], [1.0, 0.0], [0.0, 3.0]])
    lengths = np.asarray([[9, 4], [3, 8], [5, 5], [7, 2]])
    found = length_bias(rewards, lengths)
    assert found["accuracy_longer_chosen"] == {"rate": 0.5, "low": 0.09453, "high": 0.90547, "n": 2}
    assert found["accuracy_shorter_chosen"]["rate"] == 0.0 and found["accuracy_equal_length"]["rate"] == 1.0
    assert found["labels_take_longer"]["rate"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["model_takes_longer"]["rate"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["r_reward_length"]["r"] == pytest.approx(np.corrcoef(rewards.ravel(), lengths.ravel())[0, 1])
    assert found["r_gap_length_gap"]["r"] == pytest.approx(np.corrcoef([1, -1, 1, -3], [5, -5, 0, 5])[0, 1])
    assert sum(row["accuracy"]["n"] for row in found["by_gap"]) == 4


def test_an_injected_length_bias_is_found_and_its_absence_is_not_cried_over():
    fair, biased, curt = (figures(*drawn(1500, per_token=slope)) for slope in (0.0, 0.06, -0.06))
    assert abs(fair["length"]["r_reward_length"]["r"]) < 0.06 and not fair["findings"]
    assert biased["length"]["r_reward_length"]["low"] > 0.3 and biased["length"]["r_gap_length_gap"]["low"] > 0.3
    assert any("leans to long replies" in told for told in biased["findings"])
    assert any("more often than its labels do" in told for told in biased["findings"])
    assert any("leans to short replies" in told for told in curt["findings"])
    gaps = biased["length"]["by_gap"]
    assert gaps[0]["to"] < 0 < gaps[-1]["from"] and gaps[0]["accuracy"]["high"] < gaps[-1]["accuracy"]["low"]


def test_bins_of_length_gaps_hold_every_pair_once():
    rewards, lengths = drawn(301)
    rows = length_bias(rewards, lengths)["by_gap"]
    assert sum(row["accuracy"]["n"] for row in rows) == 301
    assert all(one["to"] + 1 == other["from"] for one, other in pairwise(rows))
    same = np.full((3, 2), 7)
    assert [row["accuracy"]["n"] for row in length_bias(np.ones((3, 2)), same)["by_gap"]] == [3]


def test_correlation_has_fishers_interval_and_admits_what_it_cannot_know():
    one = np.arange(10.0)
    found = correlation(one, one + np.asarray([0, 3] * 5))
    r = np.corrcoef(one, one + np.asarray([0, 3] * 5))[0, 1]
    assert found["r"] == pytest.approx(r) and found["n"] == 10
    assert found["low"] == pytest.approx(math.tanh(math.atanh(r) - 1.959964 / math.sqrt(7)), abs=1e-5)
    assert correlation(np.ones(9), one[:9])["r"] is None and correlation(one[:3], one[:3])["r"] is None
    assert correlation(one, one)["r"] == pytest.approx(1.0)


def test_guessing_is_called_guessing():
    dice = np.random.default_rng(4)
    found = figures(dice.normal(size=(60, 2)), dice.integers(5, 60, size=(60, 2)))
    assert any("cannot be told from guessing" in told for told in found["findings"])


def test_shapes_that_do_not_fit_are_refused():
    for rewards, lengths in (
        (np.ones((3, 2)), np.ones((2, 2))),
        (np.ones(4), np.ones(4)),
        (np.ones((0, 2)), np.ones((0, 2))),
    ):
        with pytest.raises(ValueError, match=r"\[pairs, 2\]"):
            figures(rewards, lengths)


def test_the_files_hold_the_figures(tmp_path):
    ids = np.arange(40, dtype=np.int32)
    rewards, lengths = drawn(80, per_token=0.2)
    pairs = [Pair(ids[:3], ids[: chosen % 40], ids[: rejected % 40], chance=0.9) for chosen, rejected in lengths]
    found = reward_report.write(tmp_path, rewards, pairs)
    assert json.loads((tmp_path / "reward_report.json").read_text()) == found and found["pairs"] == 80
    page = (tmp_path / "reward_report.html").read_text()
    assert page.startswith("<!doctype html>") and page.count("<svg") == 2 and "r_gap" not in page
    assert all(
        told in page for told in ("Can its certainty be believed?", "Does it go by length?", "reward and length")
    )
    assert found["calibration"]["brier"] != pytest.approx(
        reward_report.calibration(rewards[:, 0] - rewards[:, 1])["brier"]
    )
