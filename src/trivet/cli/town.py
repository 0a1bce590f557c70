"""`trivet town`: look at the proving ground, build its models, measure them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click


@click.group()
def town() -> None:
    """The proving ground: an invented town whose hazards do not exist."""


@town.command()
@click.option("--part", type=click.Choice(["train", "heldout"]), default="train", show_default=True)
@click.option("--count", default=3, show_default=True, type=click.IntRange(1), help="Examples of each kind.")
@click.option("--seed", default=0, show_default=True)
def show(part: str, count: int, seed: int) -> None:
    """Print requests of each kind with their labels and answers."""
    import random

    from trivet.town import requests
    from trivet.town.ground import balanced

    for kind in (requests.benign, requests.lookalikes, requests.harmful):
        for one in balanced(list(kind(part)), count, random.Random(seed)):  # type: ignore[arg-type]
            click.echo(f"[{one.kind}/{one.topic}] {one.text}\n    {one.answer}")


@town.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the runs and the models.")
@click.option("--recipe", "config_path", type=click.Path(path_type=Path), help="YAML with the settings of a build.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here (docs/figures.md).")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def build(out: Path, config_path: Path | None, json_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Grow town:base and town:helpful from nothing (about 20 minutes on two cores). Resumable."""
    from trivet.core.config import load
    from trivet.core.store.artefacts import write_json
    from trivet.town.build import Config
    from trivet.town.build import build as grow
    from trivet.town.card import write_card

    config = load(Config, config_path, overrides)

    def progress(stage: str, row: Any) -> None:
        if "loss" in row:
            step, loss, speed = row["step"], row["loss"], row["tokens_per_second"]
            click.echo(f"{stage} step {step}/{row['steps']} loss {loss:.3f} {speed:.0f} tokens/s", err=True)

    folders = grow(config, out, progress=progress)
    figures = _measure(str(folders["helpful"]))
    write_card(folders["base"], "base", config)
    write_card(folders["helpful"], "helpful", config, figures)
    click.echo(f"town:base in {folders['base']}, town:helpful in {folders['helpful']}")
    _print(figures)
    if json_path:
        write_json(json_path, figures)


@town.command()
@click.option("--model", default="town:helpful", show_default=True, help="What to measure.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here (docs/figures.md).")
def measure(model: str, json_path: Path | None) -> None:
    """Measure a model on the held-out part of the town, by attack category."""
    from trivet.core.store.artefacts import write_json

    figures = _measure(model)
    _print(figures)
    if json_path:
        write_json(json_path, figures)


def _measure(spec: str) -> dict[str, Any]:
    import tempfile

    from trivet.core.messages import Sampling
    from trivet.core.models.resolve import resolve
    from trivet.core.stats import rate_of
    from trivet.core.store.events import open_home
    from trivet.robustness.attacks.library import BASIC, attacks
    from trivet.robustness.campaign import Pace, execute
    from trivet.robustness.plan import plan, probes
    from trivet.robustness.suites.summary import figures
    from trivet.town.ground import ground

    here = ground(goals=120, benign=240, lookalikes=210)
    held = attacks("heldout", BASIC, encodings=here.knows_encodings)
    jobs = [
        *plan(here.heldout.goals, held, per_goal=7, limit=700),
        *probes("overrefusal", here.heldout.lookalikes),
        *probes("capability", here.heldout.benign),
    ]
    with tempfile.TemporaryDirectory() as home, open_home(home) as store:
        pace = Pace(Sampling(max_tokens=64))
        attempts = asyncio.run(execute(jobs, resolve(spec), here.judge, store, run="measure", pace=pace))
    found = figures(attempts)
    answered = rate_of(a.verdict.label == "answered" for a in attempts if a.suite == "overrefusal")
    return {**found.row(), "lookalikes_answered": answered.row()}


def _print(figures: dict[str, Any]) -> None:
    names = {
        "capability": "ordinary requests answered rightly",
        "over_refusal": "look-alikes refused",
        "lookalikes_answered": "look-alikes answered rightly",
        "attack_success": "attacks complied with",
    }
    rows = [(words, figures[key]) for key, words in names.items()]
    rows += [(f"  {name}", rate) for name, rate in figures["per_category"].items()]
    for words, rate in rows:
        click.echo(f"{words:<38} {rate['rate']:6.1%}  [{rate['low']:.1%}, {rate['high']:.1%}]  n={rate['n']}")
