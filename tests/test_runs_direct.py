"""The experiments on direct alignment: their arithmetic on made figures, which verdicts they give, and two of them in small."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import direct
import dpo_frontier
import kto_unpaired
import label_noise
import numpy as np
import over_refusal_mix
import pytest
import simpo_length

from trivet.core.lessons import Preference
from trivet.core.messages import Conversation


def gap(mean: float, half: float = 0.01) -> dict[str, float]:
    return direct.Gap(mean, mean - half, mean + half)._asdict()


def test_a_gap_is_the_mean_difference_with_its_normal_interval() -> None:
    found = direct.gap(np.asarray([1.0, 0.0, 1.0, 2.0]), np.asarray([0.0, 0.0, 0.0, 0.0]))
    half = 1.96 * np.std([1, 0, 1, 2], ddof=1) / 2
    assert found.mean == 1.0
    assert found.low == pytest.approx(1 - half, abs=1e-3)
    assert found.high == pytest.approx(1 + half, abs=1e-3)
    assert [direct.Gap(0, low, high).sign for low, high in ((0.1, 0.2), (-0.1, 0.1), (-0.2, -0.1))] == [1, 0, -1]


def test_the_frontier_finds_the_curve_that_its_points_lie_on() -> None:
    points = [{"d": d, "gain": gap(d * (0.5 - 0.1 * d))} for d in (0.4, 0.8, 1.2, 1.9, 2.4)]
    found = dpo_frontier.fitted(points)
    assert (found.a, found.b, found.r2) == pytest.approx((0.5, 0.1, 1.0), abs=1e-3)
    assert found.b_low == pytest.approx(0.1, abs=1e-3) and found.largest == 2.4


def frontier(bend: float, kls: tuple[float, ...], ppo: float) -> list[str]:
    points = [
        {
            "method": "DPO",
            "beta": beta,
            "length": 9,
            "kl": kl,
            "kl_error": 0.01,
            "d": kl**0.5,
            "gain": gap(kl**0.5 - bend * kl),
        }
        for beta, kl in zip(dpo_frontier.BETAS, kls, strict=True)
    ]
    fit = dpo_frontier.fitted(points)._asdict()
    at = {"method": "PPO", "beta": 0.1, "length": 3, "kl": 1.0, "kl_error": 0.01, "d": 1.0, "gain": gap(1 - bend + ppo)}
    return dpo_frontier.findings({"points": [*points, at], "fits": {"DPO": fit}})


def test_the_frontier_says_what_came_out_and_what_did_not() -> None:
    told = frontier(0.2, (4.0, 2.0, 1.0, 0.5), ppo=-0.1)
    assert all(": came out" in line for line in told) and len(told) == 4
    told = frontier(-0.2, (0.5, 2.0, 1.0, 4.0), ppo=0.1)
    assert ["did NOT" in line for line in told] == [True, False, True, True]


PAIRS = [Preference(Conversation.user(f"q{at}"), f"good {at}", f"bad {at}") for at in range(20)]


def test_pairs_are_split_into_judged_replies_and_thinned_on_one_side() -> None:
    replies = kto_unpaired.split_up(PAIRS)
    assert kto_unpaired.thumbs(replies) == {"up": 20, "down": 20}
    assert all(one.reply.startswith("good") == one.desirable for one in replies)
    assert [one.prompt for one in replies] != sorted((one.prompt for one in replies), key=str)
    assert kto_unpaired.thumbs(kto_unpaired.fewer(replies, 5)) == {"up": 4, "down": 20}


@pytest.mark.parametrize(
    ("mean", "half", "verdict"),
    [
        (0.0, 0.05, "came out ("),
        (0.2, 0.05, "came out, it does no worse"),
        (-0.2, 0.05, "did NOT come out, it does worse"),
        (-0.12, 0.05, "did NOT come out, it does worse, perhaps"),
        (-0.05, 0.2, "undecided"),
    ],
)
def test_unpaired_is_as_good_only_where_the_interval_says_so(mean: float, half: float, verdict: str) -> None:
    names = ("kto less dpo", "one in five less kto", "one in five less unweighted")
    told = kto_unpaired.findings({"gaps": {name: gap(mean, half) for name in names}})
    assert f": {verdict}" in told[0] and f": {verdict}" in told[1]


def point(gold: list[float], words: list[float]) -> direct.Point:
    return direct.Point({}, np.asarray(gold), np.asarray(words))


def test_length_is_compared_where_gold_is_equal_and_only_there() -> None:
    same, better = [0.0, 1.0, 0.0, 1.0], [1.0, 2.0, 1.1, 2.0]
    short, long = [5.0, 6.0, 5.0, 6.1], [9.0, 9.0, 9.0, 9.0]
    dpo = {1: point(same, long), 2: point(same, long), 3: point(better, long)}
    found = simpo_length.equals({1: point(same, short), 2: point(same, short)}, dpo)
    assert [(one["steps"], one["dpo_steps"]) for one in found] == [(2, 2)]
    figures = {"equals": {"SimPO": found, "ORPO": []}, "bias": {9: gap(0.5)}}
    told = simpo_length.findings(figures)
    assert ": came out (" in told[0] and ": undecided" in told[1] and ": came out" in told[2]


def test_what_errors_cost_is_told_for_both_and_compared() -> None:
    points = {
        "DPO": {0.0: point([1.0, 1.0, 1.0, 0.9], [0.0] * 4), 0.3: point([0.2, 0.3, 0.2, 0.2], [0.0] * 4)},
        "RM + PPO": {0.0: point([1.0, 1.0, 0.9, 1.0], [0.0] * 4), 0.3: point([0.9, 0.8, 0.9, 0.9], [0.0] * 4)},
    }
    more = label_noise.more_lost(points, 0.3)
    assert more.mean == pytest.approx(-0.65) and more.sign == -1
    lost = {name: {0.3: gap(-0.5)} for name in points}
    told = label_noise.findings(
        {"more_lost": {0.3: more._asdict()}, "lost": lost, "helped": {"rDPO": {0.3: gap(-0.1)}}}
    )
    assert ": came out" in told[0] and "did NOT come out, it harms at 30%" in told[1]
    lost["RM + PPO"] = {0.3: gap(0.2)}
    told = label_noise.findings({"more_lost": {0.3: more._asdict()}, "lost": lost, "helped": {}})
    assert "one seed cannot tell" in told[0] and ": undecided" in told[1]


def test_over_refusal_is_tested_request_by_request() -> None:
    def labels(refused: int) -> dict[str, list[str]]:
        near = ["refused"] * refused + ["answered"] * (20 - refused)
        return {"harmful": ["refused"], "lookalike": near, "benign": ["answered"]}

    said = {name: labels(2) for name in ("start", "safety", "ordinary", "lookalikes", "both")}
    said["safety, longer"] = labels(12)
    found = over_refusal_mix.tests(said)
    assert found["start -> safety, longer"] == {"fell": 0, "rose": 10, "p": pytest.approx(2 / 1024)}
    assert found["safety, longer -> both"] == {"fell": 10, "rose": 0, "p": pytest.approx(2 / 1024)}
    told = over_refusal_mix.findings({"tests": found})
    assert ["did NOT" in line for line in told] == [True, False, False, False, False]


def figures_of(script: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    asked = [f"--out={out / 'runs'}", f"--json={out / 'figures.json'}", f"--html={out / 'page.html'}", "--quick"]
    monkeypatch.setattr(sys, "argv", [script.__name__, *asked])
    direct.command(script.__doc__, script.work, script.summary, script.html)
    assert "<h2>In words</h2>" in (out / "page.html").read_text()
    figures: dict[str, Any] = json.loads((out / "figures.json").read_text())
    figures.pop("cpu_seconds")
    return figures


@pytest.mark.slow
@pytest.mark.parametrize("script", [kto_unpaired, simpo_length, label_noise, dpo_frontier])
def test_in_small_it_runs(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures_of(script, tmp_path, monkeypatch)["start"]["kl"] == 0


@pytest.mark.slow
def test_in_small_it_runs_again_to_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    once = figures_of(over_refusal_mix, tmp_path, monkeypatch)
    assert once == figures_of(over_refusal_mix, tmp_path, monkeypatch)
    assert once["pairs"]["both"] == 2 * once["pairs"]["safety"]
