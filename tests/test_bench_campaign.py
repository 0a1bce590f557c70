"""The comparison with garak and PyRIT: what all sides are given, what is checked, and its sums."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module


def test_all_sides_hear_the_same_and_half_of_it_refuses(module):
    from trivet.core.judges.rules import refusal_in

    said = module("campaign_side").replies(400)
    assert len(said) == len(set(said.values())) == 400
    assert sum(bool(refusal_in(reply)) for reply in said.values()) == 200
    assert 400 < sum(map(len, said.values())) / 400 < 800


def test_our_side_stores_and_judges_all_of_it(module, tmp_path):
    bench = module("campaign")
    row = bench.side("ours", sys.executable, {"attempts": 200})
    assert (row["stored"], row["through"]) == (200, 100)
    assert row["wall_seconds"] > 0 < row["cpu_seconds"]


def test_a_side_that_does_not_do_all_of_it_ends_the_bench(module, monkeypatch):
    bench = module("campaign")
    result = json.dumps({"stored": 199, "through": 100, "wall_seconds": 1.0, "cpu_seconds": 1.0})

    def lazy(words, **_):
        Path(words[3]).write_text(result, encoding="utf-8")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(bench.subprocess, "run", lazy)
    with pytest.raises(SystemExit, match="it stored 199"):
        bench.side("garak", "python", {"attempts": 200})


def test_a_peer_that_cannot_be_installed_is_null_and_named(module, monkeypatch):
    bench = module("campaign")
    monkeypatch.setattr(bench.campaign_peer, "python", lambda name: f"{name} could not be installed here: no space")
    row = {"per_s": 5000.0, "per_cpu_s": 6000.0, "whole_per_s": 4000.0, "whole_per_cpu_s": 4500.0}
    monkeypatch.setattr(bench, "side", lambda name, python, given: dict(row))
    found = bench.compared(3, {"ours": 10, "garak": 10, "pyrit": 10})
    assert found["attempts_per_s"] == 5000
    assert found["ratio_vs_garak"] is None is found["ratio_vs_pyrit_cpu"]
    assert found["notes"] == [f"{name} could not be installed here: no space" for name in ("garak", "pyrit")]


def test_the_ratio_is_that_of_the_medians(module, monkeypatch):
    bench = module("campaign")
    monkeypatch.setattr(bench.campaign_peer, "python", lambda name: Path("python"))
    speeds = {"ours": iter([900.0, 1000.0, 5000.0]), "garak": iter([10.0, 50.0, 20.0])}

    def side(name, python, given):
        speed = next(speeds[name])
        return {"per_s": speed, "per_cpu_s": 2 * speed, "whole_per_s": speed / 2, "whole_per_cpu_s": speed}

    monkeypatch.setattr(bench, "side", side)
    found = bench.compared(3, {"ours": 10, "garak": 20})
    assert found["ratio_vs_garak"] == found["ratio_vs_garak_cpu"] == 50
    assert "ratio_vs_garak_whole" not in found  # whole runs of other lengths are not compared
    assert found["ratio_vs_pyrit"] is None


@pytest.mark.parametrize(
    ("bare", "busy", "over"),
    [(5.02, False, 0.005976), (5.04, True, 0.001984)],
)
def test_what_is_added_to_a_slow_target(module, bare, busy, over):
    row = {"attempts": 1600, "wall_seconds": 5.05, "bare_seconds": bare, "cpu_seconds": 0.16}
    found = module("campaign").overhead(row)
    assert found["busy"] is busy
    assert found["overhead_at_200ms"] == pytest.approx(over, abs=1e-5)
    assert found["cpu_ms_per_attempt"] == pytest.approx(0.1)
