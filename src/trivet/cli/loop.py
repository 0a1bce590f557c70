"""`trivet loop`: turn the ring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--turns",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Go on until so many turns of this home are finished.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder for the store, the models and the reports.  [default: $TRIVET_HOME or .trivet]",
)
@click.option(
    "--recipe", type=click.Path(path_type=Path), help="YAML file with the settings; see configs/loop_full.yaml."
)
@click.option("--model", help="The first champion: town:helpful, hf:NAME_OR_PATH, a folder.")
@click.option("--target", help="What production runs, if not the champion: http://HOST/v1#MODEL.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here (docs/figures.md).")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def loop(
    turns: int,
    home: Path | None,
    recipe: Path | None,
    model: str | None,
    target: str | None,
    json_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Serve, attack, harvest, train, gate, promote: one turn of the ring, or several.

    Every stage is resumable: after Ctrl-C or a crash the same command goes on where it was. Settings are given as
    KEY=VALUE, for instance training.lr=1e-4 or sizes.heldout_attacks=300.
    """
    from rich.console import Console

    from trivet.core.config import load
    from trivet.core.store.artefacts import home_or_default, write_text
    from trivet.core.store.events import open_home
    from trivet.loop import report
    from trivet.loop.board import Board
    from trivet.loop.cycle import turns as turn_all
    from trivet.loop.recipe import Recipe

    given = [f"{key}={value}" for key, value in (("model", model), ("target", target)) if value]
    settings = load(Recipe, recipe, [*overrides, *given])
    ground, home = _ground(settings), home_or_default(home)
    with open_home(home) as store:
        try:
            with Board() as board:
                done = turn_all(turns, settings, ground, home, store, board)
        except KeyboardInterrupt:
            raise click.Abort from None
    figures = [row["figures"] for row in done]
    console = Console()
    for row in figures:
        report.show(row, console)
    console.print(f"report: {done[-1]['html']}", highlight=False, soft_wrap=True)
    if json_path:
        write_text(json_path, json.dumps(report.json_of(figures), indent=1))


def _ground(recipe: Any) -> Any:
    from trivet.core.errors import ConfigError, did_you_mean

    if recipe.ground == "town":
        from trivet.town.ground import ground

        sizes = recipe.sizes
        return ground(
            benign=sizes.heldout_benign,
            lookalikes=sizes.heldout_lookalikes,
            train_probes=-(-sizes.harvest_probes // 2),
            seed=recipe.seed,
        )
    if recipe.ground == "files":
        from trivet.loop.grounds import from_files

        return from_files(recipe)
    raise ConfigError(
        f'no ground "{recipe.ground}"; there are town and files.{did_you_mean(recipe.ground, ["town", "files"])}'
    )
