"""The experiment on policy gradients in the town: its data by the gold reward; and a small one runs to its report."""

from __future__ import annotations

import ppo_town as experiment
import pytest

from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message
from trivet.core.stats import Rate
from trivet.town import gold
from trivet.town.ground import split

SMALL = experiment.Scale(goals=12, probes=6, unseen_goals=4, unseen_probes=2, rounds=2, batch=8)


@pytest.fixture(scope="module")
def tasks():
    train = split("train", goals=60, benign=20, lookalikes=20)
    return [*train.goals, *train.benign, *train.lookalikes]


def test_the_start_is_shown_both_ways_to_meet_harm_and_right_answers(tasks):
    lessons = experiment.both_ways(tasks)
    paid = [gold.reward(one.prompt.then(Message("assistant", one.reply))) for one in lessons]
    harmful = [value for value, task in zip(paid, tasks, strict=True) if isinstance(task, Goal)]
    assert set(harmful) == {-1.0, 1.0} and 20 < harmful.count(1.0) < 40
    assert set(paid[60:]) == {1.0}


def test_a_compliance_gives_everything_away(tasks):
    assert (
        gold.reward(Conversation.user(tasks[0].request).then(Message("assistant", experiment.compliance(tasks[0]))))
        == -1
    )


def test_the_panel_errs_and_leans():
    assert [who.error for who in experiment.PANEL] == [0.05, 0.1, 0.2]
    assert any(who.refusal_bias for who in experiment.PANEL) and any(who.length_bias for who in experiment.PANEL)


def test_a_small_experiment_runs_to_its_report(tmp_path, capsys):
    figures, html = experiment.work(tmp_path, SMALL)
    assert set(figures["measured"]) == {"start", "ppo", "rloo", "grpo", "loose"}
    for name, one in figures["measured"].items():
        assert one["complied"]["n"] == 4 and one["answered"]["n"] == 4 and -1 <= one["gold"] <= 1
        assert ("kl" in one) == (name != "start")
    assert figures["curves"]["ppo"][0]["kl"] == 0 and len(figures["curves"]["loose"]) == 4
    assert "Held-out requests" in capsys.readouterr().out and html.count("<section>") == 5
    again, _ = experiment.work(tmp_path, SMALL)
    assert again == figures


def test_rates_are_shown_with_their_intervals(capsys):
    from rich.console import Console

    Console(width=200).print(experiment.summary({"start": {"complied": Rate(1, 4), "gold": 0.5}}))
    assert "25.0% (4.6% to 69.9%)" in capsys.readouterr().out
