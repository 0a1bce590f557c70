"""One small real turn, shared by the tests that look at its result and by those that kill another and compare."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trivet.core.config import load
from trivet.core.protocols import Ground
from trivet.loop.recipe import Recipe

ROOT = Path(__file__).parents[2]
SMALL = (
    "threads=1",
    "sizes.harvest_attacks=42",
    "sizes.harvest_probes=24",
    "sizes.heldout_attacks=42",
    "sizes.heldout_lookalikes=21",
    "sizes.heldout_benign=21",
    "sizes.concurrency=16",
    "training.beta=0.1",
    "training.nll_weight=0.2",
    "training.lr=1e-3",
    "training.epochs=2",
    "training.batch_size=8",
    "gate.least_attempts=20",
    "gate.least_probes=10",
    "gate.over_refusal_rise=0.5",
    "gate.capability_drop=0.5",
)
"""So little is asked that the gate has to be told to be content with it."""


@dataclass(frozen=True)
class Finished:
    """A turn that ran to its end in a process of its own."""

    home: Path
    json: dict[str, Any]

    @property
    def figures(self) -> dict[str, Any]:
        return dict(self.json["turns"][0])

    @property
    def folder(self) -> Path:
        return self.home / "turns" / "turn-0001"

    def copy(self, place: Path) -> Path:
        """The home once more, for a test that changes it."""
        return Path(shutil.copytree(self.home, place))


@pytest.fixture(scope="session")
def kills() -> ModuleType:
    """runs/kill_resume.py as a module."""
    spec = importlib.util.spec_from_file_location("kill_resume", ROOT / "runs" / "kill_resume.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def smooth(tmp_path_factory: pytest.TempPathFactory, kills: ModuleType) -> Finished:
    """A small turn on town:helpful that nothing disturbs."""
    home = tmp_path_factory.mktemp("smooth") / "home"
    figures = home.parent / "figures.json"
    assert kills.command(home, ["--json", str(figures), *SMALL]) == "done"
    return Finished(home, json.loads(figures.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    """The recipe of the small turn, with other settings laid over it."""
    return lambda *overrides: load(Recipe, None, [*SMALL, *overrides])


@pytest.fixture(scope="session")
def town(recipe: Callable[..., Recipe]) -> Ground:
    """The ground of the small turn."""
    from trivet.cli.loop import _ground

    ground: Ground = _ground(recipe())
    return ground
