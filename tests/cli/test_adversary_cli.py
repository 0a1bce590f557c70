"""`trivet adversary`: settings reach the race, mistakes are told, and the figures are written where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trivet.cli.main import main
from trivet.loop.adversary import race as racing
from trivet.loop.adversary.workshop import Workshop

NOTHING = {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
SOME = {"rate": 0.5, "low": 0.1, "high": 0.9, "n": 4}
FIGURES: dict[str, Any] = {
    "settings": {"gate": {"over_refusal_rise": 0.02}},
    "rounds": [],
    "attackers": ["library", "zero"],
    "versions": [
        {"target": "v0", "attack_success": {"library": SOME, "zero": SOME}, "over_refusal": NOTHING, "capability": SOME}
    ],
}


def test_settings_reach_the_race_and_figures_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    met: list[Workshop] = []
    monkeypatch.setattr(racing, "race", lambda this: met.append(this) or FIGURES)
    out, page = tmp_path / "race.json", tmp_path / "race.html"
    with pytest.raises(SystemExit) as left:
        main(
            ["adversary", "--races", "2", "--target", "town:helpful", "--home", str(tmp_path / "home"), "--json", str(out),
             "--html", str(page), "goals=4", "probes=4", "ladder.rounds=3"]
        )  # fmt: skip
    assert left.value.code == 0
    (this,) = met
    assert (this.recipe.races, this.recipe.target, this.recipe.ladder.rounds) == (2, "town:helpful", 3)
    assert len(this.ground.heldout.goals) == 4 and this.shelf.place == tmp_path / "home"
    assert json.loads(out.read_text(encoding="utf-8")) == FIGURES
    assert "50.0" in page.read_text(encoding="utf-8") and "not measured" in capsys.readouterr().out


def test_mistakes_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["adversary", "ladder.rownds=3"])
    assert left.value.code == 2
    assert "rounds" in capsys.readouterr().err
