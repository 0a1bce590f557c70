"""From a name to a model."""

from __future__ import annotations

import asyncio
import sys
import types
from pathlib import Path

import pytest

from trivet.core.errors import ModelNotFound, UserError
from trivet.core.messages import Conversation
from trivet.core.models import resolve as module
from trivet.core.models.endpoint import Endpoint
from trivet.core.models.resolve import model_folder, resolve
from trivet.core.store.events import open_home
from trivet.core.store.registry import Registry


class Local:
    """Stands in for LocalModel: what it was given is all that counts here."""

    def __init__(self, folder: str, *, threads: int | None = None) -> None:
        self.given = (folder, threads)


@pytest.fixture(autouse=True)
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = types.ModuleType("trivet.core.models.local")
    fake.LocalModel = Local  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trivet.core.models.local", fake)
    for name in ("base", "helpful"):
        (tmp_path / "town" / name).mkdir(parents=True)
    monkeypatch.setattr(module, "TOWN", tmp_path / "town")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "town"


def given(spec: str, **settings: object) -> tuple[str, int | None]:
    model = resolve(spec, **settings)  # type: ignore[arg-type]
    assert isinstance(model, Local)
    return model.given


def test_local_models(town: Path) -> None:
    assert given("town:helpful") == (str(town / "helpful"), None)
    assert given("hf:owner/name", threads=2) == ("owner/name", 2)
    assert given("hf:./town/base") == ("./town/base", None)
    assert given("town/base") == given(str(Path("town/base"))) == ("town/base", None)


def test_scripted() -> None:
    assert asyncio.run(resolve("scripted:a: b").reply(Conversation())).content == "a: b"


def test_endpoint() -> None:
    model = resolve("http://127.0.0.1:1/v1#owner/name")
    assert isinstance(model, Endpoint)
    assert (model.url, model.model) == ("http://127.0.0.1:1/v1/chat/completions", "owner/name")
    with pytest.raises(
        ModelNotFound, match=r"https://x/v1 does not say which model; add it after #, like https://x/v1#NAME"
    ):
        resolve("https://x/v1")


def test_registry(tmp_path: Path, town: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(ModelNotFound, match="home holds no store; give --home"):
        resolve("registry:champion", home=home)
    with open_home(home) as store:
        registry = Registry(store)
        registry.register("v1", "town:base")
        registry.register("v2", town / "helpful")
        registry.register("loop", "registry:loop")
    with pytest.raises(ModelNotFound, match="has no champion yet"):
        resolve("registry:champion", home=home)
    with open_home(home) as store:
        Registry(store).promote("v2")
    assert given("registry:champion", home=home) == (str(town / "helpful"), None)
    assert given("registry:v1", home=home) == (str(town / "base"), None)
    assert model_folder("registry:v1", home) == str(town / "base")
    with pytest.raises(ModelNotFound, match='Did you mean "v1"'):
        resolve("registry:v11", home=home)
    with pytest.raises(ModelNotFound, match="lead in a circle at 'registry:loop'"):
        resolve("registry:loop", home=home)


def test_the_home_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIVET_HOME", str(tmp_path / "home"))
    with open_home(tmp_path / "home") as store:
        Registry(store).register("v1", "hf:owner/name")
    assert given("registry:v1") == ("owner/name", None)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("town:helpfull", r'there are town:base, town:helpful\. Did you mean "helpful"\?'),
        ("town:", "no model town:;"),
        ("owner/name", r'no model .owner/name.: it is no folder here.*Did you mean "hf:owner/name"\?'),
        ("gpt", "models are written town:NAME"),
        ("twon:base", r'Did you mean "town"\?'),
        ("hf:", "has no folder on this machine"),
        ("", "no model ''"),
    ],
)
def test_mistakes(spec: str, told: str) -> None:
    with pytest.raises(ModelNotFound, match=told):
        resolve(spec)


def test_a_town_without_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TOWN", tmp_path / "nowhere")
    with pytest.raises(ModelNotFound, match="none is built; run `trivet town build`"):
        resolve("town:base")


@pytest.mark.parametrize("spec", ["http://x/v1#m", "scripted:x"])
def test_what_has_no_folder(spec: str) -> None:
    with pytest.raises(ModelNotFound, match="has no folder on this machine"):
        model_folder(spec)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoTorch:
        """An import system in which the local model finds no torch."""

        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "trivet.core.models.local":
                raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.delitem(sys.modules, "trivet.core.models.local")
    monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])
    with pytest.raises(
        UserError,
        match=r"town:base runs on this machine, which needs torch; install it with: pip install 'trivet\[train\]'",
    ):
        resolve("town:base")
