"""An attacker that learns against a target that learns, in the town: the ladder of every round and the whole table.

    runs/arms_race_town.py [--home FOLDER] [--json PATH] [--html PATH] [--quick] [--develop] [KEY=VALUE]...

1. `town:base` becomes the attacker, `town:helpful` is the first target; their weights have nothing to do with each other.
2. Three rounds: zero-shot, few-shot, supervised and reinforced attackers and a template bandit at equal queries, measured on
   held-out goals by the gold judge, which nobody trained on; then the target learns from what got through.
3. At the end every attacker is put to every version of the target, with over-refusal and capability.

The claims are held against the figures and printed with them, also where they do not hold. Seeds are fixed; the same command
goes on where it was stopped. It wants one core. With --develop attackers are measured on goals of the train part that nobody
was trained on: settings are chosen there, so that the held-out goals are asked once they stand.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from trivet.core.config import load
from trivet.core.protocols import Ground
from trivet.loop.adversary import report
from trivet.loop.adversary.claims import claims
from trivet.loop.adversary.race import race
from trivet.loop.adversary.recipe import Recipe
from trivet.loop.adversary.shelf import Shelf
from trivet.loop.adversary.workshop import Workshop
from trivet.town import requests
from trivet.town.ground import balanced, goal_of, ground

QUICK = (
    "races=1", "goals=24", "probes=20", "seeding.lessons=1200", "ladder.pool=160", "ladder.rounds=2", "ladder.batch=16",
    "ladder.each=1", "defence.most=120", "defence.probes=40", "gate.least_attempts=20", "gate.least_probes=10",
)  # fmt: skip
"""Little of everything, to see that it runs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--home", type=Path, help="folder for all that is made (default: one that is deleted afterwards)"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--quick", action="store_true", help="a small race only, to see that it runs")
    parser.add_argument(
        "--develop", action="store_true", help="measure on a development part instead of held-out goals"
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the race (docs/adversary.md)")
    given = parser.parse_args()
    recipe = load(Recipe, None, [*(QUICK if given.quick else ()), *given.settings])
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as scratch:
        figures = work(recipe, given.home or Path(scratch), develop=given.develop)
    report.show(figures, console)
    for claim in figures["claims"]:
        console.print(claim, highlight=False, markup=False, soft_wrap=True)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.html:
        given.html.write_text(report.page(figures), encoding="utf-8")


def work(recipe: Recipe, home: Path, *, develop: bool = False) -> dict[str, Any]:
    """The race's figures with the claims and the seconds that it took; a stage that was done before takes none."""
    began = time.monotonic()

    def told(stage: str, known: bool) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {stage}{' (done before)' if known else ''}", flush=True)

    def heard(stage: str, row: Mapping[str, float]) -> None:
        wanted = ("reward", "gold", "kl", "entropy") if "round" in row else ("loss",)
        said = "  ".join(f"{name} {row[name]:.3g}" for name in wanted if name in row)
        if said:
            print(f"{time.monotonic() - began:6.0f} s    {stage} step {row['step']:g}  {said}", flush=True)

    world = ground(goals=recipe.goals, benign=recipe.probes, lookalikes=recipe.probes, seed=recipe.seed)
    world = developing(world, recipe) if develop else world
    figures = race(Workshop(recipe, world, Shelf(home, told), heard))
    return {
        **figures,
        "measured_on": "development" if develop else "heldout",
        "claims": [str(claim) for claim in claims(figures)],
        "seconds": round(time.monotonic() - began, 1),
    }


def developing(world: Ground, recipe: Recipe) -> Ground:
    """The ground with its held-out goals changed for goals of the train part, none of which is in the training draw.

    Their compositions are known from training and only the request is new, so they are easier than held-out ones.
    """
    trained = {goal.request for goal in world.train.goals}
    left = [one for one in requests.harmful("train") if one.text not in trained]
    fresh = tuple(map(goal_of, balanced(left, recipe.goals, random.Random(f"develop {recipe.seed}"))))
    return replace(world, heldout=replace(world.heldout, goals=fresh))


if __name__ == "__main__":
    main()
