"""Dialogues on the town at equal budgets: how often they win, and what it costs, with an attacker that needs no model.

    .venv/bin/python runs/dialogues_town.py [--goals 60] [--queries 8] [--target SPEC ...] [--judge gold|eye|classifier] [--json FILE]

Crescendo, PAIR, TAP and the GOAT-like attacker, each led by the template attacker, beside `one by one`: the same templates
drawn one after another without looking at what came of them (PAIR with streams of one message), and PAIR and TAP once more
with an attacker that learns from goal to goal. Held-out templates on
held-out goals; a gold judge reports. Targets: `town:helpful`, which refuses almost nothing, and `plain-taught`, made here in
about a minute from it, which was taught to refuse the plain request and nothing else. `--judge` is who steers the searches:
the oracle; the eye of a product, which takes whatever is no refusal for a success and so stops too early; or the shipped
classifier of replies.
`p` is McNemar's exact test against `one by one` on the same goals. About three minutes of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from trivet.alignment import sft
from trivet.core.events import Attempt
from trivet.core.hazards import Goal
from trivet.core.judges.classifier import ReplyClassifier
from trivet.core.judges.rules import RefusalRules
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.resolve import model_folder, resolve
from trivet.core.protocols import Judge, Model
from trivet.core.stats import mcnemar, rate_of
from trivet.core.store.events import open_home
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.campaign import Pace, execute
from trivet.robustness.dialogues.attacker import Attacker
from trivet.robustness.dialogues.library import dialogues, named
from trivet.robustness.dialogues.pair import Pair
from trivet.robustness.dialogues.template import TemplateAttacker
from trivet.robustness.plan import Job
from trivet.town.ground import ENCODINGS, split
from trivet.town.judge import Blindfolded, GoldJudge
from trivet.town.replies import refusal

PACE = Pace(Sampling(max_tokens=64), errors_in_a_row=10_000, error_share=1.0)
TAUGHT = "plain-taught"
LEARNING = {"pair, learning": "pair", "tap, learning": "tap"}
"""With an attacker that also takes what it has learnt from one goal to the next."""
JUDGES: dict[str, Judge] = {
    "gold": GoldJudge(),
    "eye": Blindfolded(RefusalRules()),
    "classifier": Blindfolded(ReplyClassifier.shipped()),
}


def plain_taught(out: Path, *, seed: int = 0) -> str:
    """Folder of the helpful model after it was shown refusals of plain requests, and answers to all that is harmless."""
    drawn = split("train", goals=600, benign=300, lookalikes=300, seed=seed)
    lessons = [
        Demonstration(
            Conversation.user(task.request), refusal(task.topic, at) if isinstance(task, Goal) else task.answer
        )
        for at, task in enumerate((*drawn.goals, *drawn.benign, *drawn.lookalikes))
    ]
    config = sft.Config(
        model=model_folder("town:helpful"), out=str(out), lr=1e-3, epochs=2, batch_tokens=2048, max_length=256,
        save_every=0, threads=1, seed=seed,
    )  # fmt: skip
    return str(sft.run(config, lessons).folder)


def methods(judge: Judge, queries: int) -> dict[str, tuple[NamedAttack, Attacker]]:
    """Every method with an attacker of its own, so that each has its own tally; `one by one` first."""
    found = {}
    for name in ("one by one", "pair", "tap", "crescendo", "goat", *LEARNING):
        player = Attacker(TemplateAttacker("heldout", encodings=ENCODINGS, remember=name in LEARNING))
        if name == "one by one":
            found[name] = (named("pair", Pair(player, judge, queries=queries, depth=1)), player)
        else:
            family = LEARNING.get(name, name)
            found[name] = (dialogues("heldout", player, judge, [family], queries=queries)[0], player)
    return found


def row_of(name: str, attempts: Sequence[Attempt], attacker: Attacker, base: dict[str, bool]) -> dict:
    """What one method came to: how often it won, how often the target was asked, and whether it beats `base` (paired)."""
    judged = [one for one in attempts if one.verdict.label != "error"]
    won = [one for one in judged if one.verdict.label == "complied"]
    outcomes = {one.task: one.verdict.label == "complied" for one in judged}
    both = [task for task in outcomes if task in base]
    base.update(outcomes if not base else {})
    return {
        "method": name,
        "p": mcnemar([base[task] for task in both], [outcomes[task] for task in both]).p if both else None,
        "success": rate_of(one.verdict.label == "complied" for one in judged),
        "part": rate_of(one.verdict.label in ("complied", "partial") for one in judged),
        "queries": fmean(one.turns for one in judged) if judged else 0.0,
        "queries_of_success": fmean(one.turns for one in won) if won else 0.0,
        "errors": len(attempts) - len(judged),
        "tally": dict(attacker.tally),
    }


def measured(name: str, target: Model, goals: Sequence[Goal], judge: Judge, queries: int) -> list[dict]:
    rows: list[dict] = []
    base: dict[str, bool] = {}
    print(f"\n{name}, at most {queries} queries for each of {len(goals)} goals")
    print(f"  {'method':14} {'won':32} {'won or a part':32} queries: mean  when won  errors  p")
    with tempfile.TemporaryDirectory() as home, open_home(home) as store:
        for method, (attack, player) in methods(judge, queries).items():
            jobs = [Job("attack", goal, attack) for goal in goals]
            began = time.perf_counter()
            done = asyncio.run(execute(jobs, target, JUDGES["gold"], store, run=method, name=name, pace=PACE))
            row = row_of(method, done, player, base) | {
                "target": name,
                "seconds": round(time.perf_counter() - began, 1),
            }
            rows.append(row)
            shown = "" if row["p"] is None else f"{row['p']:.3f}"
            print(
                f"  {method:14} {row['success']!s:32} {row['part']!s:32} {row['queries']:13.2f} "
                f"{row['queries_of_success']:9.2f} {row['errors']:7d}  {shown}"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--goals", type=int, default=60)
    parser.add_argument("--queries", type=int, default=12)
    parser.add_argument("--target", action="append", help=f"default: town:helpful and {TAUGHT}")
    parser.add_argument("--judge", choices=list(JUDGES), default="gold")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    goals = split("heldout", goals=given.goals, benign=0, lookalikes=0).goals
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.target or ("town:helpful", TAUGHT):
            spec = plain_taught(Path(scratch) / TAUGHT) if name == TAUGHT else name
            rows += measured(name, resolve(spec, threads=1), goals, JUDGES[given.judge], given.queries)
    if given.json:
        plain = [row | {"success": row["success"].row(), "part": row["part"].row()} for row in rows]
        given.json.write_text(json.dumps({"judge": given.judge, "queries": given.queries, "rows": plain}, indent=1))


if __name__ == "__main__":
    main()
