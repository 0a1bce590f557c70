"""KTO needs no pairs: split into single judged replies, they teach about as much as DPO's pairs do.

    python runs/kto_unpaired.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

The same labels, by one who errs in a tenth of the answers, used in four ways (Ethayarajh et al. 2024, arXiv:2402.01306):

    dpo         as pairs
    kto         every chosen reply a thumb up, every rejected one a thumb down, none knows of its partner
    one in five a fifth of the thumbs up and all thumbs down, with weights that make both sides count alike
    unweighted  the same replies without weights

Equally many optimiser steps of 32 pairs or 64 replies, the same beta and rate. Gold rewards on held-out requests are compared
request by request with intervals; "about as much" means within `CLOSE`. About four minutes of one core.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import direct
import numpy as np

from trivet.alignment import kto
from trivet.core.lessons import Feedback, Preference
from trivet.core.report import bullets, lines, page, section, table
from trivet.town.labellers import Labeller

SHARE = 5
CLOSE = 0.1
"""Of the way between a wrong answer and a right one: what is called about as much, where the interval lies within it."""


def work(out: Path, scale: direct.Scale) -> dict[str, Any]:
    on = direct.bench(out, scale)
    pairs = direct.pairs(on, Labeller("ann", error=0.1))
    replies = split_up(pairs)
    few = fewer(replies, SHARE)
    weight = sum(not one.desirable for one in few) / sum(one.desirable for one in few)
    common: dict[str, Any] = {"recipe": kto, "beta": 0.1, "batch_size": 64}
    lengths = (scale.steps // 4, scale.steps)
    found: dict[str, dict[int, direct.Point]] = {}
    start = direct.point(on, on.start, "start")
    for steps in lengths:
        folders = {
            "dpo": direct.policy(on, f"unpaired-dpo-{steps}", pairs, beta=0.1, steps=steps),
            "kto": direct.policy(on, f"unpaired-kto-{steps}", replies, steps=steps, **common),
            "one in five": direct.policy(
                on, f"unpaired-weighted-{steps}", few, steps=steps, desirable_weight=weight, **common
            ),
            "unweighted": direct.policy(on, f"unpaired-unweighted-{steps}", few, steps=steps, **common),
        }
        for name, folder in folders.items():
            found.setdefault(name, {})[steps] = direct.point(on, folder, f"{name}, {steps} steps")
    last = {name: points[lengths[-1]] for name, points in found.items()}
    return {
        "pairs": len(pairs),
        "thumbs": {name: thumbs(some) for name, some in (("kto", replies), ("one in five", few))},
        "weight": weight,
        "start": start.row,
        "curves": {name: {steps: one.row for steps, one in points.items()} for name, points in found.items()},
        "gain_of_dpo": direct.gap(last["dpo"].gold, start.gold)._asdict(),
        "gaps": {
            f"{one} less {other}": direct.gap(last[one].gold, last[other].gold)._asdict()
            for one, other in (
                ("kto", "dpo"),
                ("one in five", "kto"),
                ("unweighted", "kto"),
                ("one in five", "unweighted"),
            )
        },
    }


def split_up(pairs: Sequence[Preference]) -> list[Feedback]:
    """Both replies of each pair as judged replies of their own, in an order that tells nothing."""
    replies = [
        Feedback(pair.prompt, said, good)
        for pair in pairs
        for said, good in ((pair.chosen, True), (pair.rejected, False))
    ]
    random.Random(direct.SEED).shuffle(replies)
    return replies


def fewer(replies: Sequence[Feedback], share: int) -> list[Feedback]:
    """One in `share` of the desirable replies, and all others."""
    good = [at for at, one in enumerate(replies) if one.desirable]
    kept = set(good[::share])
    return [one for at, one in enumerate(replies) if not one.desirable or at in kept]


def thumbs(replies: Sequence[Feedback]) -> dict[str, int]:
    good = int(np.sum([one.desirable for one in replies]))
    return {"up": good, "down": len(replies) - good}


def findings(figures: dict[str, Any]) -> list[str]:
    told = []
    for name, wanted in (
        ("kto less dpo", "KTO on single replies does as well as DPO on pairs"),
        ("one in five less kto", "a fifth of the thumbs up, weighted, does as well as all of them"),
    ):
        gap = direct.Gap(**figures["gaps"][name])
        if max(abs(gap.low), abs(gap.high)) <= CLOSE:
            came = "came out"
        elif gap.low >= -CLOSE:
            came = "came out, it does no worse"
        elif gap.high < -CLOSE:
            came = "did NOT come out, it does worse"
        elif gap.sign < 0:
            came = f"did NOT come out, it does worse, perhaps by less than {CLOSE:g}"
        else:
            came = "undecided, the interval is too wide"
        told.append(f"{wanted}: {came} ({name}: {gap})")
    gap = direct.Gap(**figures["gaps"]["one in five less unweighted"])
    came = {1: "came out", -1: "did NOT come out, they harm", 0: "did NOT come out, no difference was found"}[gap.sign]
    told.append(f"the weights are what helps: {came} (one in five less unweighted: {gap})")
    return told


def summary(figures: dict[str, Any]) -> str:
    told = [f"{figures['pairs']} pairs; thumbs {figures['thumbs']}; DPO gains {direct.Gap(**figures['gain_of_dpo'])}"]
    for name, curve in figures["curves"].items():
        told += [
            f"{name:12} {steps!s:>3} steps  gold {row['gold']:+.3f}  KL {row['kl']:.2f}" for steps, row in curve.items()
        ]
    return "\n".join([*told, *findings(figures)])


def html(figures: dict[str, Any]) -> str:
    start = figures["start"]["gold"]
    gold = {
        name: [(0, start), *((int(steps), row["gold"]) for steps, row in curve.items())]
        for name, curve in figures["curves"].items()
    }
    rows = [
        (
            name,
            int(steps),
            row["gold"],
            row["kl"],
            row["words"],
            direct.rate(row["complied"]),
            direct.rate(row["answered"]),
        )
        for name, curve in figures["curves"].items()
        for steps, row in curve.items()
    ]
    gaps = [(name, str(direct.Gap(**one))) for name, one in figures["gaps"].items()]
    return page(
        "KTO on single judged replies, DPO on the pairs they came from",
        [
            section("In words", bullets(findings(figures))),
            section("Gold reward", lines(gold, x_label="steps", y_label="gold reward on held-out requests")),
            section("Differences, request by request", table(("", "gold reward"), gaps)),
            section("All points", table(("", "steps", "gold", "KL", "words", "complied", "answered"), rows)),
        ],
        subtitle=f"runs/kto_unpaired.py, {figures['pairs']} pairs",
    )


if __name__ == "__main__":
    direct.command(__doc__, work, summary, html)
