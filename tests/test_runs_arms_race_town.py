"""The arms race in the town as a script: its settings load, and the claims stand beside the figures they are about."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import arms_race_town as experiment
import pytest

from trivet.core.config import load
from trivet.core.stats import Rate
from trivet.loop.adversary.recipe import Recipe
from trivet.town import requests
from trivet.town.ground import ground


def race_of_nothing(this: Any) -> dict[str, Any]:
    rate = Rate(1, 4).row()
    version = {"target": "v0", "attack_success": {"zero": rate}, "over_refusal": rate, "capability": rate}
    settings = {"gate": {"over_refusal_rise": this.recipe.gate.over_refusal_rise}}
    return {"settings": settings, "rounds": [], "versions": [version], "attackers": ["zero"]}


def test_the_script_writes_figures_with_their_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "race", race_of_nothing)
    out, page = tmp_path / "race.json", tmp_path / "race.html"
    command = [
        "arms_race_town.py",
        "--quick",
        "--home",
        str(tmp_path / "home"),
        "--json",
        str(out),
        "--html",
        str(page),
        "goals=4",
    ]
    monkeypatch.setattr(sys, "argv", command)
    experiment.main()
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert any("does not hold: attack success falls" in claim for claim in figures["claims"])
    assert figures["seconds"] >= 0 and "holds: over-refusal does not rise" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_quick_race_is_a_race() -> None:
    recipe = load(Recipe, None, experiment.QUICK)
    assert recipe.races == 1 and recipe.ladder.budget < 300
    assert load(Recipe).races >= 3


def test_settings_are_chosen_on_goals_that_are_neither_trained_on_nor_reported() -> None:
    recipe = load(Recipe, None, [*experiment.QUICK, "goals=40"])
    world = ground(goals=recipe.goals, benign=8, lookalikes=8, seed=recipe.seed)
    dev = experiment.developing(world, recipe)
    fresh = {goal.request for goal in dev.heldout.goals}
    assert len(fresh) == 40 and dev.train == world.train
    assert not fresh & {goal.request for goal in world.train.goals}
    assert not fresh & {one.text for one in requests.harmful("heldout")}
