"""`trivet attack`: what gets through to a model, family by family, and how often it refuses what is harmless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trivet.core.config import load
from trivet.core.errors import ConfigError, ModelNotFound
from trivet.core.messages import digest_of
from trivet.core.models.resolve import model_folder, resolve
from trivet.core.protocols import Judge
from trivet.core.store.artefacts import home_or_default, write_json, write_text
from trivet.core.store.events import open_home
from trivet.robustness import report
from trivet.robustness.goals import load_goals
from trivet.robustness.measure import Config, Material, jobs, measure, run_name
from trivet.robustness.plan import Job
from trivet.robustness.suites import capability, overrefusal
from trivet.robustness.suites.summary import figures

_FILE = click.Path(path_type=Path, dir_okay=False)


def output_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every measuring command shares."""
    for option in reversed(
        (
            click.option("--goals", type=_FILE, help="JSON Lines of goals; default: those of the town."),
            click.option("--limit", type=int, help="At most so many attacks, evenly chosen."),
            click.option(
                "--config", "--recipe", "recipe", type=_FILE, help="A recipe; the options here come after it."
            ),
            click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe."),
            click.option("--concurrency", type=int, help="Requests to an endpoint at the same time."),
            click.option("--run", help="The name of the run; the same name goes on where it stopped."),
            click.option(
                "--home", type=click.Path(path_type=Path), help="The home folder.  [default: $TRIVET_HOME or .trivet]"
            ),
            click.option("--json", "json_path", type=_FILE, help="Write the figures to this file."),
            click.option("--html", "html_path", type=_FILE, help="Write the report to this file."),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.option("--target", help="The model: town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL ...")
@click.option("--families", help="Attack families, with commas between; default: all.")
@click.option(
    "--part", type=click.Choice(["train", "heldout"]), help="Which half of the templates.  [default: heldout]"
)
@output_options
def attack(
    recipe: Path | None, overrides: tuple[str, ...], families: str | None, home: Path | None,
    json_path: Path | None, html_path: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Attack a model or an endpoint and measure what gets through.

    Every attempt is stored in the home folder; the same command goes on where it was stopped. Over-refusal is measured
    in the same run.
    """
    if families is not None:
        given["families"] = "[" + families + "]"
    config = load(Config, recipe, [*as_overrides(given), *overrides, "benign=0"])
    measured("attack", config, home, json_path, html_path)


def measured(verb: str, config: Config, home: Path | None, json_path: Path | None, html_path: Path | None) -> None:
    """Resolves what the recipe names, measures, prints and writes."""
    started = time.monotonic()
    home = home_or_default(home)
    material, judge, source = _material(config)
    wanted = jobs(config, material)
    target = resolve(config.target, home=home)
    if hasattr(target, "concurrency"):
        target.concurrency = config.concurrency
    name = getattr(target, "name", "") if config.target.startswith("registry:") else config.target
    run = run_name(verb, config, wanted, name, _fingerprint(config.target, home))
    with open_home(home) as store, _shown_progress(run, wanted) as progress:
        done = asyncio.run(measure(config, wanted, target, judge, store, run=run, name=name, progress=progress))
    found = figures(done)
    click.echo(f"{name} on {source}: {len(done)} attempts, run {run}")
    for table in report.terminal(found):
        Console().print(table)
    row = found.row() | {
        "target": name, "run": run, "source": source, "part": config.part, "attempts": len(done),
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip
    if json_path:
        write_json(json_path, row)
    if html_path:
        write_text(html_path, report.html(found, done, title=f"Trivet: {name}", subtitle=f"{source}, run {run}"))


def as_overrides(given: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _material(config: Config) -> tuple[Material, Judge, str]:
    """What to ask, who judges, and a name for both: a file of goals with refusal rules, else the town and its oracle."""
    if config.goals:
        from trivet.core.judges.rules import RefusalRules

        material = Material(load_goals(config.goals), overrefusal.packaged(), capability.packaged())
        return material, RefusalRules(), config.goals.name
    try:
        from trivet.town.ground import ground
    except ModuleNotFoundError as missing:
        raise ConfigError(f"the town needs {missing.name}, which is not installed; give --goals FILE") from missing
    town = ground()
    part = getattr(town, config.part)
    return Material(part.goals, part.lookalikes, part.benign, town.knows_encodings), town.judge, town.name


def _fingerprint(spec: str, home: Path) -> str:
    """Changes when the files of a local model do, so that a model trained anew is measured anew."""
    try:
        folder = Path(model_folder(spec, home))
    except ModelNotFound:
        return ""
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return digest_of([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])


@contextmanager
def _shown_progress(run: str, wanted: Sequence[Job]) -> Iterator[Callable[[int, int, int], None]]:
    """A bar on stderr where that is a terminal, and a word on what had been done before."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("attempts", total=len(wanted))
        first = True

        def tell(done: int, total: int, successes: int) -> None:
            nonlocal first
            if first and done:
                console.print(f"{done} of {total} attempts are stored already (run {run})", markup=False)
            first = False
            bar.update(shown, completed=done, total=total, description=f"{successes} got through")

        yield tell
