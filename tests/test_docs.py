"""Docs are tested: the command reference is current, links lead somewhere, recipes load, event kinds are told."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from trivet.alignment import recipes
from trivet.cli.align import Job
from trivet.cli.reference import CONFIGS
from trivet.core import config, events

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_command_reference_is_current() -> None:
    # In a process of its own: click keeps a command's help option as whoever asked first had it.
    command = [sys.executable, "-m", "trivet.cli.reference"]
    written = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").strip() == written.strip(), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    named = re.findall(r"`((?:src|docs|configs|runs|bench|examples|tests)/[\w./-]+\.\w+)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [name for name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_starts_with_its_command_and_loads(recipe: Path) -> None:
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# trivet "), first
    if first.startswith("# trivet align"):
        job, values, _ = config.peel(Job, recipe)
        config.load(recipes.module(job.recipe).Config, recipe, values=values)
        return
    for command, path in CONFIGS.items():
        if any(first.startswith(f"# {name}") for name in command.split(", ")):
            module, _, name = path.partition(":")
            config.load(getattr(import_module(module), name), recipe)


def test_every_event_kind_is_documented() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    kinds = [kind.__struct_config__.tag for kind in get_args(events.Event)]
    assert not [kind for kind in kinds if f"`{kind}`" not in text]


def test_every_config_field_has_a_line_of_help() -> None:
    for path in CONFIGS.values():
        module, _, name = path.partition(":")
        assert not [row.name for row in config.describe(getattr(import_module(module), name)) if not row.help]
