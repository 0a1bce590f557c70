"""`trivet align`: one training run from a recipe, its data and `key=value` overrides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trivet.core.config import load
from trivet.core.errors import ConfigError, Interrupted
from trivet.core.lessons import lesson_digest
from trivet.core.models.resolve import model_folder
from trivet.core.stats import Rate
from trivet.core.store.artefacts import write_json

if TYPE_CHECKING:
    from trivet.alignment.engine import Result
    from trivet.core.lessons import Demonstration, Preference

SHOWN = ("loss", "margin", "accuracy", "heldout_loss", "heldout_accuracy", "tokens_per_second")


def inputs(command: Callable[..., None]) -> Callable[..., None]:
    """What every kind of run takes."""
    for part in reversed(
        (
            click.argument("recipe", type=click.Path(path_type=Path)),
            click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
            click.option(
                "--data", multiple=True, required=True, help="Data set to learn from (.jsonl, .jsonl.gz); repeatable."
            ),
            click.option("--heldout", multiple=True, help="Data set to measure on and not to learn from; repeatable."),
            click.option(
                "--hold-out",
                "share",
                type=click.FloatRange(0, 0.9),
                default=0.0,
                help="Share of --data to measure on instead of learning from it, chosen by content.",
            ),
            click.option(
                "--json", "json_path", type=click.Path(path_type=Path), help="Write the figures to this file."
            ),
        )
    ):
        command = part(command)
    return command


@click.group()
def align() -> None:
    """Train a model: demonstrations, preferences, LoRA or full.

    RECIPE is a YAML file (see configs/); KEY=VALUE changes a key of it. The same command goes on where it was stopped.
    """


@align.command()
@inputs
def sft(recipe: Path, overrides: tuple[str, ...], **given: Any) -> None:
    """Supervised fine-tuning on demonstrations."""
    from trivet.alignment import sft as kind
    from trivet.alignment import sources

    _run(kind, sources.demonstrations, recipe, overrides, **given)


@align.command()
@inputs
def dpo(recipe: Path, overrides: tuple[str, ...], **given: Any) -> None:
    """Preference optimisation (DPO, cDPO, IPO) on pairs."""
    from trivet.alignment import preference, sources

    _run(preference, sources.preferences, recipe, overrides, **given)


def _run(
    kind: Any,
    read: Callable[[str], Any],
    recipe: Path,
    overrides: Sequence[str],
    data: Sequence[str],
    heldout: Sequence[str],
    share: float,
    json_path: Path | None,
) -> None:
    config = load(kind.Config, recipe, overrides)
    missing = [name for name in ("model", "out") if not getattr(config, name)]
    if missing:
        raise ConfigError(f"{recipe} does not say {' and '.join(missing)}; add it there or as {missing[0]}=PLACE")
    config = replace(config, model=model_folder(config.model))
    if getattr(config, "reference", ""):
        config = replace(config, reference=model_folder(config.reference))
    lessons, dropped = _read(read, data)
    unseen, _ = _read(read, heldout)
    lessons, apart = split(lessons, share)
    unseen += apart
    click.echo(f"{len(lessons)} lessons to learn from, {len(unseen)} to measure on{_told(dropped)}")
    began = time.monotonic()
    try:
        with _shown_progress() as progress:
            result = kind.run(config, lessons, heldout=unseen, progress=progress)
    except KeyboardInterrupt as stopped:
        raise Interrupted(f"stopped; the same command goes on from the last checkpoint in {config.out}") from stopped
    seconds = time.monotonic() - began
    _show(result)
    if json_path:
        write_json(json_path, _figures(config, result, len(lessons), len(unseen), dropped, seconds))


def split(lessons: Sequence[Any], share: float) -> tuple[list[Any], list[Any]]:
    """(learnt, measured): a lesson's prompt decides, so that no prompt is on both sides, today and tomorrow."""

    def apart(lesson: Any) -> bool:
        key = lesson.prompt.digest if len(lesson.prompt) else lesson_digest(lesson)
        return int(sha256(key.encode()).hexdigest()[:8], 16) < share * (1 << 32)

    return [one for one in lessons if not apart(one)], [one for one in lessons if apart(one)]


def _read(read: Callable[[str], Any], paths: Sequence[str]) -> tuple[list[Demonstration | Preference], dict[str, int]]:
    lessons, dropped = [], {}
    for path in paths:
        loaded = read(path)
        lessons += loaded.lessons
        for why, count in loaded.dropped.items():
            dropped[why] = dropped.get(why, 0) + count
    return lessons, dropped


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
