"""`trivet adversary`: an attacker that learns against a target that learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click


@click.command()
@click.option("--target", help="The first target: town:helpful, hf:NAME_OR_PATH, a folder.")
@click.option("--attacker", help="The model that becomes the attacker, in the same forms; its weights are its own.")
@click.option("--races", type=click.IntRange(1), help="Rounds of attacker and target in turn.  [default: 3]")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder for all that is made.  [default: adversary in $TRIVET_HOME or .trivet]",
)
@click.option("--recipe", "recipe_path", type=click.Path(path_type=Path), help="YAML file with the settings.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here (docs/adversary.md)."
)
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write the report here.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def adversary(
    target: str | None,
    attacker: str | None,
    races: int | None,
    home: Path | None,
    recipe_path: Path | None,
    json_path: Path | None,
    html_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train an attacker against a target and the target against the attacker, round after round.

    Every round climbs a ladder (zero-shot, few-shot, supervised on successes, reinforcement) beside a bandit over the
    library's templates, then trains the target on what got through. At the end every attacker meets every target. The
    world is the town; settings are given as KEY=VALUE, for instance ladder.rounds=60 or defence.harmless_share=0.7.
    After Ctrl-C or a crash the same command goes on where it was.
    """
    from rich.console import Console

    from trivet.core.config import load
    from trivet.core.store.artefacts import home_or_default, write_json, write_text
    from trivet.loop.adversary import report
    from trivet.loop.adversary.race import race
    from trivet.loop.adversary.recipe import Recipe
    from trivet.loop.adversary.shelf import Shelf
    from trivet.loop.adversary.workshop import Workshop
    from trivet.town.ground import ground

    given = {"target": target, "attacker": attacker, "races": races}
    recipe = load(Recipe, recipe_path, [*overrides, *(f"{key}={value}" for key, value in given.items() if value)])
    place = home or home_or_default() / "adversary"
    errors = Console(stderr=True)

    def told(stage: str, known: bool) -> None:
        errors.print(f"{stage}{' (done before)' if known else ''}", highlight=False)

    def heard(stage: str, row: Mapping[str, float]) -> None:
        wanted = ("reward", "gold", "kl", "entropy") if "round" in row else ("loss",)
        said = "  ".join(f"{name} {row[name]:.3g}" for name in wanted if name in row)
        if said:
            errors.print(f"  {stage} {row['step']:g}/{row.get('steps', row['step']):g}  {said}", highlight=False)

    world = ground(goals=recipe.goals, benign=recipe.probes, lookalikes=recipe.probes, seed=recipe.seed)
    try:
        figures = race(Workshop(recipe, world, Shelf(place, told), heard))
    except KeyboardInterrupt:
        raise click.Abort from None
    report.show(figures, Console())
    if json_path:
        write_json(json_path, figures)
    if html_path:
        write_text(html_path, report.page(figures))
