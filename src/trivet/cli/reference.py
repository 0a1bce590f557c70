"""docs/cli.md, written from the commands themselves: `python -m trivet.cli.reference > docs/cli.md` (or `make docs`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import click

from trivet.alignment.recipes import RECIPES
from trivet.cli.main import cli
from trivet.core.config import describe

CONFIGS = {
    "trivet align": "trivet.cli.align:Job",
    **{f"trivet align, recipe: {name}": f"{recipe.module}:Config" for name, recipe in RECIPES.items()},
    "trivet attack, trivet eval": "trivet.robustness.measure:Config",
    "trivet loop": "trivet.loop.recipe:Recipe",
    "trivet adversary": "trivet.loop.adversary.recipe:Recipe",
    "trivet town build": "trivet.town.build:Config",
}
"""The recipes, by the command that takes them."""


def commands(group: click.Command = cli, path: str = "trivet") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, groups before their members."""
    yield path, group
    if isinstance(group, click.Group):
        context = click.Context(group, info_name=path)
        for name in group.list_commands(context):
            member = group.get_command(context, name)
            assert member is not None
            yield from commands(member, f"{path} {name}")


def markdown() -> str:
    """The whole page."""
    parts = ["# Commands", "", "Generated from the program by `make docs`; do not edit.", ""]
    for name, command in commands():
        names = cli.context_settings["help_option_names"]
        width = {"max_content_width": 100, "terminal_width": 100}
        text = command.get_help(click.Context(command, info_name=name, help_option_names=names, **width))
        parts += [f"## {name}", "", "```", text, "```", ""]
    parts += ["# Recipes", "", "Fields of the YAML files, which `key=value` on the command line overrides.", ""]
    for title, path in CONFIGS.items():
        module, _, name = path.partition(":")
        parts += [f"## {title}", "", "| field | type | default | |", "| --- | --- | --- | --- |"]
        parts += [_row(row) for row in describe(getattr(import_module(module), name))]
        parts.append("")
    return "\n".join(parts)


def _row(row: Any) -> str:
    cells = (f"`{row.name}`", row.type, f"`{row.default}`" if row.default else "", row.help)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(markdown())
