"""The monitor: each rule fires on what it is for and is silent otherwise; a round's figures by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from trivet.alignment import monitor, readouts, report
from trivet.alignment.batches import Row
from trivet.alignment.rollouts import Rollout, reply_mask
from trivet.core.messages import Conversation, Message


def rows(count: int = 30, **curves) -> list[dict[str, float]]:
    """A quiet run, but for the curves given: each a function of how far the run has come, from 0 to 1."""
    quiet = {
        "reward": lambda t: t, "kl": lambda t: 3 * t, "length": lambda t: 20.0, "length_correlation": lambda t: 0.1,
        "entropy": lambda t: 1.0 - 0.5 * t, "clip_fraction": lambda t: 0.05, "explained_variance": lambda t: 0.5,
        "ended": lambda t: 1.0, "reward_std": lambda t: 0.5, "gold": lambda t: 0.5 * t,
    }  # fmt: skip
    shaped = {**quiet, **curves}
    return [{"step": n + 1.0, **{name: f(n / (count - 1)) for name, f in shaped.items()}} for n in range(count)]


def test_a_quiet_run_is_told_nothing():
    assert monitor.review(rows()) == {}
    assert monitor.review([]) == {} and monitor.review(rows(4, ended=lambda t: 0.0)) == {}


@pytest.mark.parametrize(
    ("rule", "words", "curves"),
    [
        ("runaway", "reward rose from", {"kl": lambda t: 40 * t}),
        ("gamed gold", "Reward hacking: `gold`", {"gold": lambda t: t * (1 - t)}),
        ("length", "length bias", {"length": lambda t: 20 + 20 * t, "length_correlation": lambda t: 0.8}),
        ("certain", "entropy fell", {"entropy": lambda t: 1.0 if t < 0.3 else 0.05}),
        ("clipped", "40% of the tokens are clipped", {"clip_fraction": lambda t: 0.4}),
        ("critic", "worse than a constant", {"explained_variance": lambda t: -0.2}),
        ("cut", "Only 50% of the replies end", {"ended": lambda t: 0.5}),
        ("alike", "the same reward", {"reward_std": lambda t: 0.0}),
        ("groups", "In 90% of the groups", {"groups_alike": lambda t: 0.9}),
    ],
)
def test_each_rule_fires_alone(rule, words, curves):
    told = monitor.review(rows(**curves))
    assert list(told) == [rule] and words in told[rule]


def test_distance_alone_is_no_hacking():
    """KL that is paid for with no rise, KL that a target holds, and KL that is small for long replies are left alone."""
    assert "runaway" not in monitor.review(rows(kl=lambda t: 40 * t, reward=lambda t: -t))
    assert "runaway" not in monitor.review(rows(kl=lambda t: 20.0))
    assert "runaway" not in monitor.review(rows(kl=lambda t: 40 * t, length=lambda t: 300.0))


def test_a_watched_reward_that_falls_with_the_reward_is_no_hacking():
    both = {"gold": lambda t: 1 - t, "reward": lambda t: 1 - t}
    assert "gamed gold" not in monitor.review(rows(**both))
    assert "gamed gold" not in monitor.review(rows(gold=lambda t: 0.5))
    assert "gamed other" in monitor.review(rows(other=lambda t: 1 - t), watched=("other",))


def test_a_warning_is_logged_once_and_the_file_is_current(tmp_path, caplog):
    heard: set[str] = set()
    bad = rows(ended=lambda t: 0.3)
    with caplog.at_level(logging.WARNING, logger="trivet"):
        monitor.tell(tmp_path, bad, watched=(), heard=heard)
        monitor.tell(tmp_path, bad, watched=(), heard=heard)
    assert heard == {"cut"} and len(caplog.records) == 1 and "max_tokens" in caplog.text
    assert (tmp_path / "warnings.txt").read_text().count("\n") == 1
    monitor.tell(tmp_path, rows(), watched=(), heard=heard)
    assert (tmp_path / "warnings.txt").read_text() == ""


def test_the_report_shows_reward_against_distance_and_says_what_is_wrong():
    page = report.report(rows(kl=lambda t: 40 * t - 1, gold=lambda t: t * (1 - t)), {"beta": 0.0}, title="Run")
    assert "sqrt(KL)" in page and "Reward hacking" in page and "ran away" in page


def test_figures_of_a_round_by_hand():
    """Lengths 1, 2, 3 and rewards 1, 2, 6: r = 2.5 / (1 * sqrt(7)) = 0.9449; entropy over the six real tokens only."""
    made = [Row(np.arange(2 + n), 1) for n in range(3)]
    talk = Conversation.user("why").then(Message("assistant", "so"))
    rollout = Rollout(made, [talk] * 3, torch.tensor([True, True, False]), reply_mask(made))
    entropies = torch.tensor([[6.0, 99.0, 99.0], [0.0, 0.0, 99.0], [0.0, 0.0, 0.0]])
    found = readouts.of_round(torch.tensor([1.0, 2.0, 6.0]), rollout, entropies, 0.25)
    assert found == pytest.approx(
        {
            "reward": 3.0, "reward_std": 7**0.5, "kl": 0.25, "entropy": 1.0, "length": 2.0,
            "length_correlation": 2.5 / 7**0.5, "ended": 2 / 3,
        }
    )  # fmt: skip
    alike = readouts.of_round(torch.tensor([1.0, 1.0, 1.0]), rollout, entropies, 0.0)
    assert alike["length_correlation"] == 0 and alike["reward_std"] == 0
    assert readouts.finite(a=1.0, b=float("nan")) == {"a": 1.0}
