"""SimPO's replies are shorter than DPO's where both earn the same gold reward, when labellers like long replies.

    python runs/simpo_length.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

DPO adds up log-probabilities over a reply, so what makes a reply longer can earn as much as what makes it better; SimPO takes
their mean (Meng et al. 2024, arXiv:2405.14734), ORPO too (arXiv:2403.07691). One labeller likes long replies, so that seven words
more make up for a third of the step from a wrong answer to a right one, and errs in a tenth of the answers; pairs of equal gold
reward are asked about as well, and there length alone decides. The same pairs teach DPO, SimPO and ORPO, stopped after three
numbers of steps; a labeller who does not lean teaches DPO for comparison.

A policy that learns also gets better, and right answers have a length of their own; so methods are compared where the interval
of their difference in gold reward holds 0: all such couples of stops, past the first, are listed with the difference in
words, request by request. About seven minutes of one core.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import direct
import numpy as np

from trivet.core.report import bullets, lines, page, section, table
from trivet.town.labellers import Labeller

LEANS = Labeller("lou", error=0.1, length_bias=1.0)
FAIR = Labeller("lou", error=0.1)
STEPS = (10, 30, 90)
METHODS: dict[str, dict[str, Any]] = {
    "DPO": {"loss": "dpo", "beta": 0.1},
    "SimPO": {"loss": "simpo", "beta": 2.5, "gamma": 1.4},
    "ORPO": {"loss": "orpo", "beta": 0.5},
}


def work(out: Path, scale: direct.Scale) -> dict[str, Any]:
    on = direct.bench(out, scale)
    lengths = (2, 4) if scale is direct.QUICK else STEPS
    leaning, fair = (direct.pairs(on, who, apart=False) for who in (LEANS, FAIR))
    start = direct.point(on, on.start, "start")
    points: dict[str, dict[int, direct.Point]] = {}
    for name, settings in METHODS.items():
        for steps in lengths:
            folder = direct.policy(on, f"length-{name.lower()}-{steps}", leaning, steps=steps, **settings)
            points.setdefault(name, {})[steps] = direct.point(on, folder, f"{name}, {steps} steps")
    for steps in lengths:
        folder = direct.policy(on, f"length-fair-{steps}", fair, steps=steps, **METHODS["DPO"])
        points.setdefault("DPO, fair labels", {})[steps] = direct.point(on, folder, f"DPO, fair, {steps} steps")
    return {
        "pairs": len(leaning),
        "longer_chosen": {name: longer_chosen(some) for name, some in (("leaning", leaning), ("fair", fair))},
        "start": start.row,
        "curves": {name: {steps: one.row for steps, one in curve.items()} for name, curve in points.items()},
        "equals": {
            "SimPO": equals(points["SimPO"], points["DPO"]),
            "ORPO": equals(points["ORPO"], points["DPO"]),
        },
        "bias": {steps: direct.gap(points["DPO"][steps].words, points["DPO, fair labels"][steps].words)._asdict() for steps in lengths},
    }  # fmt: skip


def longer_chosen(pairs: list[Any]) -> float:
    """The share of pairs in which the longer reply was chosen, of those in which one is longer."""
    more = [len(pair.chosen.split()) - len(pair.rejected.split()) for pair in pairs]
    return float(np.mean([count > 0 for count in more if count]))


def equals(method: dict[int, direct.Point], dpo: dict[int, direct.Point]) -> list[dict[str, Any]]:
    """Couples of stops with no difference in gold reward that could be told, and the method's words less DPO's."""
    found = []
    for (steps, one), (others, other) in product(list(method.items())[1:], list(dpo.items())[1:]):
        gold = direct.gap(one.gold, other.gold)
        if not gold.sign:
            words = direct.gap(one.words, other.words)._asdict()
            found.append({"steps": steps, "dpo_steps": others, "gold": gold._asdict(), "words": words})
    return found


def findings(figures: dict[str, Any]) -> list[str]:
    told = []
    for name, couples in figures["equals"].items():
        wanted = f"{name}'s replies are shorter than DPO's at equal gold reward"
        signs = [direct.Gap(**one["words"]).sign for one in couples]
        if not couples:
            came = "undecided, no two stops earn the same"
        elif all(sign < 0 for sign in signs):
            came = "came out"
        elif any(sign < 0 for sign in signs):
            came = "came out in part" if not any(sign > 0 for sign in signs) else "mixed"
        else:
            came = "did NOT come out"
        listed = "; ".join(
            f"{one['steps']} steps, DPO {one['dpo_steps']}: gold {direct.Gap(**one['gold'])}, words {direct.Gap(**one['words'])}"
            for one in couples
        )
        told.append(f"{wanted}: {came}" + (f" ({listed})" if listed else ""))
    signs = [direct.Gap(**one).sign for one in figures["bias"].values()]
    came = "came out" if signs[-1] > 0 else "did NOT come out"
    listed = ", ".join(f"{direct.Gap(**one)} after {steps} steps" for steps, one in figures["bias"].items())
    told.append(
        f"a labeller who likes long replies makes DPO's longer: {came} (words less those with fair labels: {listed})"
    )
    return told


def summary(figures: dict[str, Any]) -> str:
    longer, start = figures["longer_chosen"], figures["start"]
    told = [
        f"{figures['pairs']} pairs; the longer reply is chosen in {longer['leaning']:.0%} (fair labels {longer['fair']:.0%})",
        f"{'start':18}            gold {start['gold']:+.3f}           words {start['words']:.1f}",
    ]
    for name, curve in figures["curves"].items():
        told += [
            f"{name:18} {steps!s:>3} steps  gold {row['gold']:+.3f}  KL {row['kl']:5.2f}  words {row['words']:.1f}"
            for steps, row in curve.items()
        ]
    return "\n".join([*told, *findings(figures)])


def html(figures: dict[str, Any]) -> str:
    start = (figures["start"]["gold"], figures["start"]["words"])
    series = {
        name: [start, *((row["gold"], row["words"]) for row in curve.values())]
        for name, curve in figures["curves"].items()
    }
    rows = [
        (name, int(steps), row["gold"], row["kl"], row["words"], row["tokens"])
        for name, curve in figures["curves"].items()
        for steps, row in curve.items()
    ]
    return page(
        "Length and reward: DPO, SimPO and ORPO on labels that lean towards long replies",
        [
            section("In words", bullets(findings(figures))),
            section("From the start outwards", lines(series, x_label="gold reward", y_label="words a reply")),
            section("All points", table(("", "steps", "gold", "KL", "words", "tokens"), rows)),
        ],
        subtitle=f"runs/simpo_length.py, {figures['pairs']} pairs",
    )


if __name__ == "__main__":
    direct.command(__doc__, work, summary, html)
