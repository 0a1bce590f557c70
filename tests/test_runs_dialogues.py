"""The measurement of dialogues, in small: every method asked for the same goals within the same budget, and paired."""

from __future__ import annotations

import pytest
from dialogues_town import JUDGES, measured, row_of

from trivet.core.models.scripted import Scripted
from trivet.robustness.dialogues.attacker import Attacker
from trivet.town.ground import split

GOALS = split("heldout", goals=6, benign=0, lookalikes=0).goals


def test_each_method_is_measured_on_the_same_goals_and_budget(capsys: pytest.CaptureFixture[str]) -> None:
    gives_in = Scripted(lambda talk: "; ".join(GOALS[0].facts) if GOALS[0].request in talk.last_user else "Well.")
    rows = measured("scripted", gives_in, GOALS, JUDGES["gold"], 4)
    assert [row["method"] for row in rows][:5] == ["one by one", "pair", "tap", "crescendo", "goat"]
    assert all(row["success"].n == 6 and row["success"].hits >= 1 and not row["errors"] for row in rows)
    assert all(row["queries"] <= 4 for row in rows) and len(gives_in.seen) == sum(6 * row["queries"] for row in rows)
    assert rows[0]["p"] is None and all(0 < row["p"] <= 1 for row in rows[1:])
    assert "at most 4 queries for each of 6 goals" in capsys.readouterr().out


def test_methods_are_compared_on_the_goals_that_both_were_judged_on() -> None:
    base: dict[str, bool] = {"a": True, "b": False}
    assert row_of("none", [], Attacker(Scripted("")), base)["p"] is None
    assert base == {"a": True, "b": False}
