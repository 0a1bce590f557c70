"""The registry: one champion, promotions and rollbacks whole or not at all, and the way back step by step."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trivet.core.errors import ModelNotFound, UserError
from trivet.core.events import Promotion
from trivet.core.store.events import Store, open_home
from trivet.core.store.registry import Registry


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for name in "abc":
        (tmp_path / "home" / "models" / name).mkdir(parents=True)
        (tmp_path / "home" / "models" / name / "weights").write_text(name)
    return open_home(tmp_path / "home")


@pytest.fixture
def registry(store: Store) -> Registry:
    registry = Registry(store)
    for name in "abc":
        registry.register(name, store.path.parent / "models" / name)
    return registry


def told(store: Store) -> list[tuple[str, str, str]]:
    return [(e.outcome, e.model, e.previous) for e in store.events("promotion") if isinstance(e, Promotion)]


def statuses(registry: Registry) -> str:
    return " ".join(f"{version.name}:{version.status}" for version in registry.versions())


def test_register(store: Store, registry: Registry) -> None:
    assert statuses(registry) == "a:candidate b:candidate c:candidate"
    version = registry.register("d", "town:helpful", parent="a", notes={"seed": 1})
    assert (version.folder, version.parent, version.digest, version.notes) == ("town:helpful", "a", "", {"seed": 1})
    assert registry.get("a").folder == str(store.path.parent / "models" / "a")
    assert registry.get("a").digest != registry.get("b").digest != ""


def test_a_candidate_may_be_registered_again_and_others_not(store: Store, registry: Registry) -> None:
    folder = store.path.parent / "models" / "a"
    (folder / "weights").write_text("trained further")
    before = registry.get("a")
    again = registry.register("a", folder, parent="b")
    assert again.digest != before.digest and again.parent == "b" and again.created == before.created
    registry.promote("a")
    assert registry.register("a", folder).status == "champion", "the same content is no change"
    (folder / "weights").write_text("something else")
    with pytest.raises(UserError, match="'a' is already a champion version with other content; choose another name"):
        registry.register("a", folder)


@pytest.mark.parametrize("name", ["", "champion"])
def test_names_that_cannot_be(registry: Registry, name: str) -> None:
    with pytest.raises(UserError, match="cannot name a model version"):
        registry.register(name, "x")


def test_unknown_names(tmp_path: Path, registry: Registry) -> None:
    registry.register("turn-1", "x")
    with pytest.raises(ModelNotFound, match=r'registered are a, b, c, turn-1\. Did you mean "turn-1"\?'):
        registry.get("trun-1")
    with pytest.raises(ModelNotFound, match="none is registered yet"):
        Registry(open_home(tmp_path / "other")).promote("a")


def test_promotion_and_rollback(store: Store, registry: Registry) -> None:
    assert registry.champion() is None
    registry.promote("a", ["first"])
    assert registry.promote("b", ["better"], run="r").status == "champion"
    assert statuses(registry) == "a:retired b:champion c:candidate"
    assert registry.rollback(["worse in production"]).name == "a"
    champion = registry.champion()
    assert champion is not None and champion.name == "a"
    assert statuses(registry) == "a:champion b:retired c:candidate"
    assert told(store) == [("promoted", "a", ""), ("promoted", "b", "a"), ("rolled_back", "a", "b")]
    [_, second, third] = store.events("promotion")
    assert isinstance(second, Promotion) and (second.reasons, second.run) == (("better",), "r")
    assert isinstance(third, Promotion) and third.reasons == ("worse in production",)


def test_promoting_the_champion_changes_nothing(store: Store, registry: Registry) -> None:
    """As happens when a turn is resumed after a crash."""
    registry.promote("a")
    registry.promote("a")
    assert told(store) == [("promoted", "a", "")]
    with pytest.raises(UserError, match="'a' is the first champion"):
        registry.rollback()


def test_rollbacks_go_back_step_by_step_and_end(registry: Registry) -> None:
    for name in "abac":
        registry.promote(name)
    assert [registry.rollback().name for _ in range(3)] == ["a", "b", "a"]
    with pytest.raises(UserError, match="'a' is the first champion: there is none before it"):
        registry.rollback()
    registry.promote("c")
    assert registry.rollback().name == "a"


def test_nothing_to_roll_back(registry: Registry) -> None:
    with pytest.raises(UserError, match="no model has been promoted yet"):
        registry.rollback()


def test_rejection(store: Store, registry: Registry) -> None:
    registry.reject("c", ["refuses everything"])
    registry.promote("a")
    registry.reject("b", ["no better"])
    registry.reject("b", ["again"])
    assert statuses(registry) == "a:champion b:rejected c:rejected"
    assert told(store) == [("rejected", "c", ""), ("promoted", "a", ""), ("rejected", "b", "a")]
    with pytest.raises(UserError, match="'a' is champion; only a candidate can be rejected"):
        registry.reject("a")
    assert registry.promote("b").status == "champion", "a person may overrule the gate"


@pytest.mark.parametrize("verb", ["promote", "reject", "rollback"])
def test_a_crash_in_the_middle_leaves_the_old_state(
    store: Store, registry: Registry, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    registry.promote("a")
    registry.promote("b")
    before = (statuses(registry), told(store))

    def crash(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Registry, "_tell", crash)
    with pytest.raises(MemoryError):
        registry.rollback() if verb == "rollback" else getattr(registry, verb)("c")
    monkeypatch.undo()
    assert (statuses(registry), told(store)) == before
    assert registry.rollback().name == "a"


CHILD = """
import os, signal, sys
from trivet.core.store.events import open_home
from trivet.core.store.registry import Registry
registry = Registry(open_home(sys.argv[1]))
Registry._tell = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
registry.promote("b")
"""


def test_kill_9_in_the_middle_of_a_promotion(store: Store, registry: Registry) -> None:
    registry.promote("a")
    done = subprocess.run([sys.executable, "-c", CHILD, str(store.path.parent)], check=False)
    assert done.returncode == -9
    assert statuses(registry) == "a:champion b:candidate c:candidate" and len(told(store)) == 1


def test_there_cannot_be_two_champions(store: Store, registry: Registry) -> None:
    registry.promote("a")
    with pytest.raises(Exception, match="UNIQUE constraint failed"), store.writing() as connection:
        connection.execute("UPDATE models SET status = 'champion' WHERE name = 'b'")


def test_a_promotion_joins_a_transaction(store: Store, registry: Registry) -> None:
    """So that a stage and its promotion are finished together."""
    with pytest.raises(ZeroDivisionError), store.transaction():
        registry.promote("a")
        store.finish_stage("r", "promote", {})
        raise ZeroDivisionError
    assert registry.champion() is None and store.stages("r") == {} and told(store) == []


def test_a_home_can_be_moved(tmp_path: Path, store: Store, registry: Registry) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    registry.register("outside", elsewhere)
    store.close()
    shutil.move(tmp_path / "home", tmp_path / "moved")
    with open_home(tmp_path / "moved", readonly=True) as moved:
        versions = {version.name: version for version in Registry(moved).versions()}
    assert versions["a"].folder == str(tmp_path / "moved" / "models" / "a")
    assert versions["outside"].folder == str(elsewhere)
    with pytest.raises(dataclasses.FrozenInstanceError):
        versions["a"].status = "champion"  # type: ignore[misc]
