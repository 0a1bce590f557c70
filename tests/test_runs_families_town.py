"""The measurement of every family on the town: a small one runs to its figures."""

from __future__ import annotations

import json
from pathlib import Path

import families_town as experiment
import pytest

from trivet.robustness.attacks.library import BASIC, FAMILIES
from trivet.robustness.converters.library import listing


def test_a_small_measurement_runs_to_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [row for row in listing() if row.name in {"rot13", "zero_width_bits", "json"}]
    monkeypatch.setattr(experiment, "listing", lambda: some)
    out = tmp_path / "out.json"
    experiment.main(["--each", "6", "--converters", "2", "--draws", "2", "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    families = {row["family"]: row for row in rows if "family" in row}
    assert list(families) == list(FAMILIES)
    assert all(row["all"]["n"] + row["errors"] == 6 for row in families.values())
    for name in BASIC:
        assert families[name]["all"]["rate"] > 0, f"{name} does not break town:helpful"
    assert families["leak"]["all"]["rate"] == 0
    assert families["bon"]["read"]["n"] == 0
    converters = {row["converter"]: row for row in rows if "converter" in row}
    assert converters["rot13"]["all"]["rate"] > 0 and converters["zero_width_bits"]["errors"] > 0
    assert [row["draws"] for row in rows if "draws" in row] == [1, 2]
    assert "95 % intervals" in capsys.readouterr().out
