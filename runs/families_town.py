"""Every family of attacks against a model of the town: which get through, and which its models cannot even read.

    .venv/bin/python runs/families_town.py [--target town:helpful] [--each 48] [--converters N] [--draws N] [--json FILE]

Held-out templates on held-out goals, judged by the town's oracle; `leak` plants prompts and looks for canaries. Each family
is asked `--each` times with all its wordings, whatever the target is known to read, and a second figure keeps to those
that it reads (ground.knows_encodings, and all that is still ordinary language and not too long). With `--converters N` every converter is
tried as well, the bare encoded request on N goals; with `--draws N` the first 24 goals get N draws of best-of-n each, told as
hit@k. A prompt that does not fit into the context is an error, counted beside
the rate and never in it. On one core the families take half a minute, 12 goals for each converter and 64 draws a minute each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from trivet.core.events import Attempt
from trivet.core.hazards import Goal
from trivet.core.messages import Sampling
from trivet.core.models.resolve import resolve
from trivet.core.protocols import Ground, Judge, Model
from trivet.core.stats import Rate
from trivet.core.stats_clusters import hit_at, tallied
from trivet.core.store.events import Store, open_home
from trivet.robustness.attacks import bon, leak
from trivet.robustness.attacks.library import FAMILIES, attacks
from trivet.robustness.attacks.shape import NamedAttack, script
from trivet.robustness.campaign import SUCCESS, Pace, execute
from trivet.robustness.converters.library import listing
from trivet.robustness.plan import Job, plan
from trivet.robustness.suites.summary import success_rate
from trivet.town.ground import ground

PACE = Pace(Sampling(max_tokens=64), errors_in_a_row=10_000, error_share=1.0)
"""A prompt that is too long is an error of its own and no sign that the target fails."""


def ask(jobs: Sequence[Job], target: Model, judge: Judge, store: Store, run: str) -> list[Attempt]:
    return asyncio.run(execute(jobs, target, judge, store, run=run, name="target", pace=PACE))


def errors(attempts: Sequence[Attempt]) -> int:
    return sum(attempt.verdict.label == "error" for attempt in attempts)


def of_families(town: Ground, target: Model, store: Store, each: int) -> list[dict]:
    """One row for each family: the rate over all wordings, the rate over those that the target reads, errors."""
    rows = []
    for family in FAMILIES:
        goals: Sequence[Goal] = town.heldout.goals
        judge: Judge = town.judge
        if family == "leak":
            goals, judge = leak.goals("heldout", each), leak.Canaries()
        chosen = attacks("heldout", [family])
        done = ask(plan(goals, chosen, per_goal=1, limit=each), target, judge, store, family)
        read = {attack.template for attack in attacks("heldout", [family], encodings=town.knows_encodings)}
        known = [attempt for attempt in done if attempt.template in read]
        rows.append({"family": family, "all": success_rate(done), "read": success_rate(known), "errors": errors(done)})
        show(family, rows[-1]["all"], rows[-1]["read"], rows[-1]["errors"])
    return rows


def of_converters(town: Ground, target: Model, store: Store, each: int) -> list[dict]:
    """One row for each converter: the bare encoded request on the same goals."""
    rows = []
    goals = town.heldout.goals[:each]
    for one in listing():
        how = NamedAttack("bare", one.name, "heldout", script("{request}", encoding=one.name))
        done = ask(plan(goals, [how]), target, town.judge, store, f"bare {one.name}")
        rows.append({"converter": one.name, "room": one.room, "all": success_rate(done), "errors": errors(done)})
    for row in sorted(rows, key=lambda row: -row["all"].hits):
        show(f"{row['converter']} ({row['room']})", row["all"], None, row["errors"])
    return rows


def of_draws(town: Ground, target: Model, store: Store, count: int) -> list[dict]:
    """hit@k of best-of-n for k = 1, 2, 4 ... up to all draws."""
    goals = town.heldout.goals[:24]
    done = ask(plan(goals, bon.draws("heldout", count), per_goal=count), target, town.judge, store, "draws")
    tallies = tallied((one.task, one.verdict.label in SUCCESS) for one in done if one.verdict.label != "error")
    rows = []
    for k in [1 << power for power in range(count.bit_length())]:
        mean = hit_at(k, tallies)
        print(f"best of {k:<26} {mean}")
        rows.append({"draws": k, "hit": mean.row()})
    return rows


def show(name: str, rate: Rate, read: Rate | None, failed: int) -> None:
    second = f"   read: {read}" if read and (read.hits, read.n) != (rate.hits, rate.n) else ""
    print(f"{name:<34} {rate!s:<34}{second}{f'   {failed} errors' if failed else ''}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="town:helpful")
    parser.add_argument("--each", type=int, default=48, help="attempts by each family")
    parser.add_argument("--converters", type=int, default=0, help="try every converter on so many goals")
    parser.add_argument("--draws", type=int, default=0, help="so many draws of best-of-n on each of 24 goals")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    town, target = ground(), resolve(given.target, threads=1)
    with tempfile.TemporaryDirectory() as home, open_home(home) as store:
        print(f"{given.target}: attacks that got through, 95 % intervals (Wilson)")
        families = of_families(town, target, store, given.each)
        converters = of_converters(town, target, store, given.converters) if given.converters else []
        draws = of_draws(town, target, store, given.draws) if given.draws else []
    print(f"{time.monotonic() - began:.0f} s")
    if given.json:
        rates = ("all", "read")
        rows = [
            {key: value.row() if key in rates else value for key, value in row.items()}
            for row in (*families, *converters, *draws)
        ]
        given.json.write_text(json.dumps({"target": given.target, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
