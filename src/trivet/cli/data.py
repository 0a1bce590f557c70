"""`trivet data`: look at a data set before a model learns from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FORMS = ("preferences", "demonstrations", "feedback", "goals", "probes")


@click.group()
def data() -> None:
    """Look at data sets and check them, row by row."""


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "form", type=click.Choice(FORMS), required=True, help="What the rows are meant to be.")
@click.option("--show", default=0, type=click.IntRange(0), help="Print so many of the rows as they are understood.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the counts here (docs/figures.md).")
def check(file: Path, form: str, show: int, json_path: Path | None) -> None:
    """Read every row; the first one that cannot be read is named by line and reason."""
    found, dropped = _reader(form)(file)
    click.echo(f"{file}: {len(found)} {form}" + "".join(f", {count} dropped ({why})" for why, count in dropped.items()))
    for one in found[:show]:
        click.echo(f"  {one}")
    if json_path:
        from trivet.core.store.artefacts import write_json

        write_json(json_path, {"rows": len(found), "dropped": dropped})


def _reader(form: str) -> Callable[[Path], tuple[list[Any], dict[str, int]]]:
    from trivet.alignment import sources
    from trivet.robustness.goals import load_goals, load_probes

    lessons = {
        "preferences": sources.preferences,
        "demonstrations": sources.demonstrations,
        "feedback": sources.feedback,
    }
    if form in lessons:
        return lessons[form]
    return lambda file: (load_goals(file) if form == "goals" else load_probes(file, "benign"), {})
