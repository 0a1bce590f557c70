"""The experiment on over-optimisation: its verdicts on figures made by hand, its arithmetic; and a small one runs."""

from __future__ import annotations

import json
from html import escape

import numpy as np
import overoptimisation as experiment
import overoptimisation_report as report
import pytest

from trivet.alignment.overoptimisation import Fall, fit

D = [0.5, 1.0, 1.5, 2.0]


def curve(top, height=1.0):
    """Best of n's shape with this top, as one proxy's figures; resamples agree."""
    gold = np.asarray([height * d * (2 * top - d) for d in D])
    return {
        "gold": gold,
        "proxy": gold,
        "fit": fit("best_of_n", D, gold),
        "fall": Fall(0.2, 0.05),
        "tops": np.full(20, top),
        "best_n": 4,
        "accuracy": 0.7,
        "gain": Fall(0.3, 0.1),
    }


def pursuit(d, gold, end=None):
    made = {"d": d, "gold": gold, "proxy": [0.0, *d[1:]], "tokens": d, "best": max(gold), "error": 0.05}
    gains = [value - gold[0] for value in gold]
    fits = {"fit": fit("rl", d, gains), "other": fit("best_of_n", d, gains)}
    last = gold[-1] if end is None else end
    return {**made, **fits, "end": last, "fall": Fall(max(gold) - last, 0.07)}


def said(claims, words):
    (found,) = [claim for claim in claims if words in claim.text]
    return found


def test_tops_that_grow_came_out_and_tops_that_shrink_did_not():
    grown = report.best_of_n_claims({100: curve(1.0), 400: curve(1.5)}, "labels")
    assert said(grown, "d* grows").came_out and "100 pairs 1.00; 400 pairs 1.50" in said(grown, "d* grows").figures
    assert (
        said(grown, "fits").came_out
        and said(grown, "100 pairs: gold turns over").came_out
        and said(grown, "best grows").came_out
    )
    assert not said(report.best_of_n_claims({100: curve(1.5), 400: curve(1.0)}, "labels"), "d* grows").came_out


def test_a_growth_that_resamples_do_not_share_did_not_come_out():
    doubtful = curve(1.5) | {"tops": np.asarray([0.9, 2.0] * 10)}
    found = said(report.best_of_n_claims({100: curve(1.0), 400: doubtful}, "labels"), "d* grows")
    assert not found.came_out and "in 50%" in found.figures


def test_a_fall_within_two_errors_is_no_turning_over():
    weak = curve(1.0) | {"fall": Fall(0.09, 0.05)}
    assert not said(
        report.best_of_n_claims({100: weak, 400: curve(1.5)}, "labels"), "100 pairs: gold turns over"
    ).came_out


def test_an_ensemble_is_judged_by_its_gain():
    rows = {
        "100 pairs, worst": curve(1.0),
        "100 pairs, mean": curve(1.0) | {"gain": Fall(0.1, 0.1)},
        "400 pairs, worst": curve(1.0),
    }
    found = report.ensemble_claims(rows, 100)
    assert len(found) == 2
    assert said(found, "joined by worst").came_out and not said(found, "joined by mean").came_out


def test_gold_at_equal_kl_by_hand():
    """Between d = 1 (gold 1) and d = 3 (gold 3) the loose run has 2 at d = 2; what lies beyond it does not count."""
    held = {"d": [0.0, 2.0, 9.0], "gold": [0.0, 2.5, 7.0]}
    loose = {"d": [0.0, 3.0, 1.0], "gold": [0.0, 3.0, 1.0]}
    assert report.apart_at_equal_kl(held, loose) == pytest.approx(0.5)
    assert np.isnan(report.apart_at_equal_kl({"d": [0.0, 9.0], "gold": [0.0, 1.0]}, loose))


def test_a_penalty_that_lifts_gold_at_equal_kl_is_not_early_stopping():
    loose = pursuit([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 1.0, 0.5])
    same = pursuit([0.0, 0.5, 1.0, 2.0], [0.0, 0.5, 1.0, 1.0])
    higher = pursuit([0.0, 0.5, 1.0, 2.0], [0.0, 0.9, 1.4, 1.4])
    assert report.penalty_claim(same, loose).came_out
    assert not report.penalty_claim(higher, loose).came_out


def test_ppo_that_turns_over():
    turned = pursuit([0.0, 1.0, 2.0, 3.0], [0.0, 0.5, 0.5, 0.1])
    flat = pursuit([0.0, 1.0, 2.0, 3.0], [0.0, 0.4, 0.5, 0.45])
    found = report.ppo_claims({100: turned, 400: flat}, curve(1.0))
    assert said(found, "100 pairs: gold turns over").came_out
    assert not said(found, "400 pairs: gold turns over").came_out
    fallen = turned | {"proxy": [1.0, 0.5, 0.2, 0.1]}
    assert not said(report.ppo_claims({100: fallen, 400: flat}, curve(1.0)), "100 pairs: gold turns over").came_out


def test_accuracy_is_over_neighbours_of_unlike_gold():
    oracle = np.asarray([[0.0, 1.0, 1.0, 0.0]])
    assert experiment.accuracy(np.asarray([[0.0, 1.0, 5.0, 9.0]]), oracle) == pytest.approx(0.5)


def test_what_is_not_finite_is_a_word():
    assert report.plain({"a": float("inf"), "b": [np.float64(1.23456789)], "tops": 3}) == {"a": "inf", "b": [1.23457]}


def test_a_small_one_runs_and_goes_on(tmp_path):
    tiny = experiment.Scale(train=12, heldout=4, replies=8, pairs=(4, 8), members=2, rounds=6, batch=2, lessons=1)
    found = experiment.work(tmp_path, tiny)
    found["claims"] = report.claims(found)
    assert found["sizes"] == [1, 2, 3, 4, 6, 8] and set(found["alone"]) == {
        "errs, 4 pairs", "errs, 8 pairs", "leans, 4 pairs", "leans, 8 pairs",
    }  # fmt: skip
    for one in found[
        "alone"
    ].values():  # its own reward can only rise with n, and the oracle's choice is the best of all
        assert (np.diff(one["proxy"]) > -1e-9).all() and (one["gold"] <= found["oracle"] + 1e-9).all()
    assert len(found["ppo"]) == 4 and all(one["d"][0] == 0 for one in found["ppo"].values())
    json.dumps(report.plain(found), allow_nan=False)
    shown = report.html(found)
    assert len(found["claims"]) == 20 and all(escape(claim.text) in shown for claim in found["claims"])

    again = experiment.work(tmp_path, tiny)
    again["claims"] = report.claims(again)
    one, two = (report.plain(each) | {"cpu_seconds": 0} for each in (found, again))
    assert one == two and again["cpu_seconds"] < found["cpu_seconds"]
