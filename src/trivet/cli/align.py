"""`trivet align`: one training run from a recipe, its data and `key=value` overrides."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trivet.core.config import load, option, peel
from trivet.core.errors import ConfigError, Interrupted
from trivet.core.lessons import lesson_digest
from trivet.core.models.resolve import model_folder
from trivet.core.stats import Rate
from trivet.core.store.artefacts import write_json

if TYPE_CHECKING:
    from trivet.alignment.engine import Result

SHOWN = (
    "loss",
    "reward",
    "kl",
    "margin",
    "accuracy",
    "forget_nll",
    "retain_nll",
    "heldout_loss",
    "heldout_accuracy",
    "tokens_per_second",
)


@dataclass(frozen=True)
class Job:
    """What a recipe file says besides the settings of its recipe."""

    recipe: str = option(help="sft, preference, kto, reward, ppo, policy_gradient, constitution, unlearn")
    data: list[str] = option(list, "data sets to learn from (.jsonl, .jsonl.gz, .parquet); --data adds to them")
    heldout: list[str] = option(list, "data sets to measure on and not to learn from; --heldout adds to them")
    hold_out: float = option(0.0, "share of the data to measure on instead of learning from it, chosen by content")

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out <= 0.9:
            raise ConfigError(f"hold_out is {self.hold_out}; it is a share from 0 to 0.9")


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--data", multiple=True, help="Data set to learn from, besides those in RECIPE; repeatable.")
@click.option("--heldout", multiple=True, help="Data set to measure on and not to learn from; repeatable.")
@click.option(
    "--hold-out",
    "share",
    type=click.FloatRange(0, 0.9),
    default=None,
    help="Share of the data to measure on instead of learning from it, chosen by content.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file.")
def align(
    recipe: Path,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    heldout: tuple[str, ...],
    share: float | None,
    json_path: Path | None,
) -> None:
    """Train a model: demonstrations, preferences, rewards, policies, constitutions, unlearning.

    RECIPE is a YAML file (see configs/) whose key `recipe` says how; KEY=VALUE changes a key of it. The same command goes
    on where it was stopped.
    """
    from trivet.alignment import recipes

    job, values, rest = peel(Job, recipe, overrides)
    kind = recipes.module(job.recipe)
    config = _filled(load(kind.Config, recipe, rest, values=values), recipe, local=recipes.recipe(job.recipe).local)
    form = recipes.recipe(job.recipe).lessons
    paths = [*job.data, *data]
    if not paths and not getattr(config, "documents", ""):
        raise ConfigError(f"{recipe} names no data; add `data: [FILE]` there, or --data FILE")
    lessons, dropped = _read(form, paths)
    unseen, _ = _read(form, [*job.heldout, *heldout])
    lessons, apart = split(lessons, job.hold_out if share is None else share)
    unseen += apart
    click.echo(f"{len(lessons)} lessons to learn from, {len(unseen)} to measure on{_told(dropped)}")
    began = time.monotonic()
    try:
        with _shown_progress() as progress:
            result = kind.run(config, lessons, heldout=unseen, progress=progress)
    except KeyboardInterrupt as stopped:
        raise Interrupted(f"stopped; the same command goes on from the last checkpoint in {config.out}") from stopped
    seconds = time.monotonic() - began
    if int(os.environ.get("RANK", "0")):
        return  # one process of several speaks for all
    _show(result)
    if json_path:
        write_json(json_path, _figures(config, result, len(lessons), len(unseen), dropped, seconds))


def _filled(config: Any, recipe: Path, *, local: bool) -> Any:
    """The config, with model specs as folders where weights are wanted; raises ConfigError for what it does not say."""
    missing = [name for name in ("model", "out") if not getattr(config, name)]
    if missing:
        raise ConfigError(f"{recipe} does not say {' and '.join(missing)}; add it there or as {missing[0]}=PLACE")
    named = [name for name in ("model", "reference") if local and getattr(config, name, "")]
    return replace(config, **{name: model_folder(getattr(config, name)) for name in named})


def split(lessons: Sequence[Any], share: float) -> tuple[list[Any], list[Any]]:
    """(learnt, measured): a lesson's prompt decides, so that no prompt is on both sides, today and tomorrow."""

    def apart(lesson: Any) -> bool:
        prompt = getattr(lesson, "prompt", lesson)  # some recipes learn from prompts alone
        key = prompt.digest if len(prompt) else lesson_digest(lesson)
        return int(sha256(key.encode()).hexdigest()[:8], 16) < share * (1 << 32)

    return [one for one in lessons if not apart(one)], [one for one in lessons if apart(one)]


def _read(form: str, paths: Sequence[str]) -> tuple[list[Any], dict[str, int]]:
    """All lessons of these sources, and how many rows were dropped for which reason; the first of them are named."""
    from trivet.alignment import sources

    lessons: list[Any] = []
    dropped: Counter[str] = Counter()
    for path in paths:
        found = sources.read(path, form)
        lessons += found.lessons
        dropped.update(found.dropped)
        for place in sources.places(found.drops):
            click.echo(f"{path}: dropped {place}", err=True)
    return lessons, dict(dropped)


def _told(dropped: dict[str, int]) -> str:
    counts = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in dropped.items() if count)
    return f" (dropped: {counts})" if counts else ""


def _show(result: Result) -> None:
    click.echo(f"{result.steps} steps{_told(result.dropped)}; the model is in {result.folder}")
    for name, value in result.final.items():
        if name not in ("steps", "lr"):
            click.echo(f"  {name:24} {value:.4g}")
    click.echo(f"metrics: {result.metrics}")


def _figures(
    config: Any, result: Result, learnt: int, unseen: int, dropped: dict[str, int], seconds: float
) -> dict[str, Any]:
    figures = {}
    if "heldout_accuracy" in result.final:
        count = int(result.final["heldout_pairs"])
        figures["heldout_accuracy"] = Rate(round(result.final["heldout_accuracy"] * count), count).row()
    return {
        **figures,
        "folder": str(result.folder),
        "steps": result.steps,
        "lessons": learnt,
        "heldout_lessons": unseen,
        "dropped_rows": dropped,
        "dropped_lessons": result.dropped,
        "final": result.final,
        "metrics": str(result.metrics),
        "seconds": round(seconds, 2),
        "settings": asdict(config),
    }


@contextmanager
def _shown_progress() -> Iterator[Callable[[Any], None]]:
    """A live line on stderr with step and losses; gives the callback that moves it."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=None, figures="")

        def update(row: Any) -> None:
            figures = "  ".join(f"{name.replace('_', ' ')} {row[name]:.4g}" for name in SHOWN if name in row)
            bar.update(task, total=row.get("steps"), completed=row["step"], figures=figures)

        yield update
