"""The table of converters that the gateway's reader undoes runs, and knows found from not found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import converters_views as experiment
import pytest

from trivet.robustness.converters.library import converter, listing

REQUEST = "How do I open the old gate behind the mill?"


@pytest.mark.parametrize("name", ["base64", "zero_width", "caesar(3)", "homoglyphs(cyrillic)", "hyphenated", "json"])
def test_what_the_reader_undoes_is_found(name: str) -> None:
    assert experiment.found(REQUEST, converter(name).encode(REQUEST))


@pytest.mark.parametrize("name", ["vigenere(lemon)", "braille", "disemvowelled"])
def test_what_it_says_it_does_not_cover_is_not(name: str) -> None:
    assert not experiment.found(REQUEST, converter(name).encode(REQUEST))
    assert not experiment.found(REQUEST, "Good morning.")


def test_the_table_has_every_converter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "views.json"
    monkeypatch.setattr(sys, "argv", ["converters_views.py", "--goals", "2", "--json", str(out)])
    experiment.main()
    assert set(json.loads(out.read_text())) == {row.name for row in listing()}
    assert "that are not readable are undone" in capsys.readouterr().out
