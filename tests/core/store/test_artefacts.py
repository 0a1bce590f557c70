"""Files beside the store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trivet.core.errors import StoreError
from trivet.core.store import artefacts
from trivet.core.store.artefacts import folder_digest, home_or_default, write_json, write_text


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_or_default() == Path(".trivet")
    monkeypatch.setenv("TRIVET_HOME", "elsewhere")
    assert home_or_default() == Path("elsewhere")
    assert home_or_default("given") == home_or_default(Path("given")) == Path("given")


def filled(folder: Path, **files: str) -> Path:
    (folder / "deep").mkdir(parents=True)
    for name, text in files.items():
        (folder / "deep" / name).write_text(text)
    return folder


def test_digest_is_names_and_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = filled(tmp_path / "one", a="x", b="y" * 50)
    monkeypatch.setattr(artefacts, "CHUNK", 16)
    found = folder_digest(one)
    assert found == folder_digest(filled(tmp_path / "two", b="y" * 50, a="x"))
    assert found != folder_digest(filled(tmp_path / "three", a="x", c="y" * 50))
    assert found != folder_digest(filled(tmp_path / "four", a="x", b="y" * 49 + "z"))
    (one / ".cache").mkdir()
    (one / ".cache" / "x").write_text("hidden")
    assert found == folder_digest(one)
    with pytest.raises(StoreError, match="is no folder, so it has no digest"):
        folder_digest(one / "deep" / "a")


def test_writing_is_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "x.json"
    write_json(path, {"ä": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"x\.json could not be written: No space left on device; check"):
        write_text(path, "new")
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": 1}, "the old file stands"
    assert [file.name for file in path.parent.iterdir()] == ["x.json"], "and no draft is left"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="could not be written"):
        write_text(tmp_path / "file" / "below" / "x", "y")
