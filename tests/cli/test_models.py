"""`trivet models` on a store of this test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trivet.cli.models import models
from trivet.core.errors import ModelNotFound, UserError
from trivet.core.store.events import open_home
from trivet.core.store.registry import Registry


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    with open_home(home) as store:
        registry = Registry(store)
        for name in ("v1", "v2"):
            (home / "models" / name).mkdir(parents=True)
            (home / "models" / name / "weights").write_text(name)
            registry.register(name, home / "models" / name, notes={"seed": 7})
        registry.register("outside", "hf:owner/name", parent="v1")
        registry.promote("v1", ["the first"])
        registry.promote("v2", ["attack success fell"])
    return home


def run(home: Path, *args: str) -> Result:
    result = CliRunner().invoke(models, [*args, "--home", str(home), "--json", str(home / "out.json")])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def figures(home: Path) -> object:
    return json.loads((home / "out.json").read_text())


def test_list(home: Path) -> None:
    assert "champion" in run(home, "list").output
    rows = figures(home)
    assert isinstance(rows, list)
    assert [(row["name"], row["status"]) for row in rows] == [
        ("v1", "retired"),
        ("v2", "champion"),
        ("outside", "candidate"),
    ]


def test_show(home: Path) -> None:
    output = run(home, "show").output
    assert "v2" in output and "promoted: attack success fell" in output and "as registered" in output
    (home / "models" / "v1" / "weights").write_text("tampered")
    assert "changed since it was registered" in run(home, "show", "v1").output
    (home / "models" / "v1" / "weights").unlink()
    (home / "models" / "v1").rmdir()
    assert "missing" in run(home, "show", "v1").output
    assert "not a folder of this machine" in run(home, "show", "outside").output
    with pytest.raises(ModelNotFound, match="no model version 'v3'"):
        run(home, "show", "v3")


def test_promote_and_rollback(home: Path) -> None:
    assert run(home, "rollback", "--reason", "users complain").output == "v1 is the champion again, in place of v2\n"
    assert run(home, "promote", "outside").output == "outside is the champion now\n"
    assert run(home, "rollback").output.startswith("v1 is the champion again")
    with pytest.raises(UserError, match="'v1' is the first champion"):
        run(home, "rollback")
    assert "rolled_back" in run(home, "history").output
    told = figures(home)
    assert isinstance(told, list)
    assert [(row["outcome"], row["model"], row["reasons"]) for row in told] == [
        ("promoted", "v1", ["the first"]),
        ("promoted", "v2", ["attack success fell"]),
        ("rolled_back", "v1", ["users complain"]),
        ("promoted", "outside", ["by hand"]),
        ("rolled_back", "v1", []),
    ]


def test_an_empty_registry(tmp_path: Path) -> None:
    open_home(tmp_path).close()
    assert run(tmp_path, "list").output == "no version is registered yet\n"
    assert run(tmp_path, "history").output == "nothing has been promoted or rejected yet\n"
    with pytest.raises(UserError, match="there is no champion yet"):
        run(tmp_path, "show")


def test_no_store_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no store; give --home"):
        run(tmp_path, "rollback")
    assert list(tmp_path.iterdir()) == []


def test_without_json(home: Path) -> None:
    assert CliRunner().invoke(models, ["list"], env={"TRIVET_HOME": str(home)}).exit_code == 0
    assert not (home / "out.json").exists()
