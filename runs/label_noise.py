"""Wrong labels: does DPO lose more by them than a reward model with PPO, and do cDPO and rDPO help?

    python runs/label_noise.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

One set of pairs, of which a labeller gets 0, 10, 20 and 30 % wrong (the flips of a smaller share are among those of a larger).
Each set teaches DPO; DPO with smoothed labels (cDPO) and robust DPO (rDPO, Chowdhury et al. 2024, arXiv:2403.00409), both told
the share; and a reward model, against which a short PPO is run. The gold reward of replies to held-out requests is compared
with that of the same method on labels without errors, request by request; and DPO's loss with PPO's. How often the reward model
follows gold on held-out replies of the start policy is told too. Where wrong labels make a method better, other
things than their harm move the runs, their chance among them, and nothing is concluded. About ten minutes of one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import direct
import lab
import numpy as np

from trivet.alignment.rewards import TrainedReward
from trivet.core.lessons import Preference
from trivet.core.messages import Message
from trivet.core.report import bullets, lines, page, section, table
from trivet.core.stats import rate_of
from trivet.town.labellers import Labeller

ERRORS = (0.0, 0.1, 0.2, 0.3)
STEPS, ROUNDS = 45, 16
"""About one pass over the pairs; and as many rounds as bring PPO about as far on right labels (told in the figures)."""


def work(out: Path, scale: direct.Scale) -> dict[str, Any]:
    few = scale is direct.QUICK
    on = direct.bench(out, scale)
    steps, rounds = (2, 1) if few else (STEPS, ROUNDS)
    said = lab.draw(on.start, on.heldout, scale.drawn, seed=direct.SEED, kept=out / "unseen.json")
    unseen = lab.compared(said, [Labeller("oracle")], per_task=2, seed=direct.SEED)
    points: dict[str, dict[float, direct.Point]] = {name: {} for name in ("DPO", "cDPO", "rDPO", "RM + PPO")}
    follows, wrong = {}, {}
    right = direct.pairs(on, Labeller("nell"))
    start = direct.point(on, on.start, "start")
    for error in (0.0, 0.3) if few else ERRORS:
        pairs = direct.pairs(on, Labeller("nell", error=error))
        wrong[error] = rate_of(one.chosen != other.chosen for one, other in zip(pairs, right, strict=True)).row()
        plain = direct.policy(on, f"noise-dpo-{error:g}", pairs, beta=0.1, steps=steps)
        points["DPO"][error] = direct.point(on, plain, f"DPO, {error:.0%} wrong")
        for name, loss in (("cDPO", "dpo"), ("rDPO", "rdpo")) if error else ():
            folder = direct.policy(
                on, f"noise-{name.lower()}-{error:g}", pairs, beta=0.1, steps=steps, loss=loss, label_smoothing=error
            )
            points[name][error] = direct.point(on, folder, f"{name}, {error:.0%} wrong")
        judge = direct.rewarded(on, f"noise-reward-{error:g}", pairs)
        follows[error] = follows_gold(judge, unseen)
        folder = direct.ppo_policy(on, f"noise-ppo-{error:g}", judge, beta=0.05, rounds=rounds)
        points["RM + PPO"][error] = direct.point(on, folder, f"RM + PPO, {error:.0%} wrong")
    for name in ("cDPO", "rDPO"):  # with no errors to allow for both are DPO
        points[name] = {0.0: points["DPO"][0.0], **points[name]}
    return {
        "pairs": len(right),
        "wrong": wrong,
        "start": start.row,
        "follows_gold": follows,
        "curves": {name: {error: one.row for error, one in curve.items()} for name, curve in points.items()},
        "lost": {
            name: {error: direct.gap(one.gold, curve[0.0].gold)._asdict() for error, one in curve.items() if error}
            for name, curve in points.items()
        },
        "more_lost": {error: more_lost(points, error)._asdict() for error in points["DPO"] if error},
        "helped": {
            name: {
                error: direct.gap(one.gold, points["DPO"][error].gold)._asdict()
                for error, one in points[name].items()
                if error
            }
            for name in ("cDPO", "rDPO")
        },
    }


def more_lost(points: dict[str, dict[float, direct.Point]], error: float) -> direct.Gap:
    """What errors cost DPO less what they cost PPO, both negative where they cost."""
    dpo, other = points["DPO"], points["RM + PPO"]
    return direct.gap(dpo[error].gold - dpo[0.0].gold, other[error].gold - other[0.0].gold)


def follows_gold(judge: Path, unseen: list[Preference]) -> dict[str, Any]:
    """How often the reward model's order of two replies is that of the gold reward."""
    talks = [pair.prompt.then(Message("assistant", said)) for pair in unseen for said in (pair.chosen, pair.rejected)]
    found = np.asarray(TrainedReward(judge).rewards(talks)).reshape(-1, 2)
    return rate_of(found[:, 0] > found[:, 1]).row()


def gains_by_errors(figures: dict[str, Any]) -> list[str]:
    """Where DPO or PPO earns more with wrong labels than with right ones, which is not the harm that is looked for."""
    return [
        f"{name} {direct.Gap(**one)} at {float(error):.0%}"
        for name in ("DPO", "RM + PPO")
        for error, one in figures["lost"][name].items()
        if direct.Gap(**one).sign > 0
    ]


def findings(figures: dict[str, Any]) -> list[str]:
    told = []
    chance = gains_by_errors(figures)
    if chance:
        told.append(
            f"wrong labels made a method better beyond the noise of requests ({', '.join(chance)}): what else moves a training "
            "run, its chance among it, is larger than what is looked for, and one seed cannot tell"
        )
    for error, one in figures["more_lost"].items():
        gap = direct.Gap(**one)
        came = {-1: "came out", 0: "did NOT come out, no difference", 1: "did NOT come out, PPO loses more"}[gap.sign]
        if chance:
            came = "undecided"
        lost = {name: direct.Gap(**figures["lost"][name][error]) for name in ("DPO", "RM + PPO")}
        told.append(
            f"DPO loses more than RM + PPO with {float(error):.0%} wrong: {came} "
            f"(DPO {lost['DPO']}, RM + PPO {lost['RM + PPO']}, difference {gap})"
        )
    for name, row in figures["helped"].items():
        signs = {error: direct.Gap(**one) for error, one in row.items()}
        helped = [f"{float(error):.0%}" for error, one in signs.items() if one.sign > 0]
        harmed = [f"{float(error):.0%}" for error, one in signs.items() if one.sign < 0]
        came = "came out at " + ", ".join(helped) if helped else "did NOT come out"
        harm = f", it harms at {', '.join(harmed)}" if harmed else ""
        listed = ", ".join(f"{one} at {float(error):.0%}" for error, one in signs.items())
        told.append(f"{name} does better than DPO on wrong labels: {came}{harm} ({listed})")
    return told


def summary(figures: dict[str, Any]) -> str:
    told = [f"{figures['pairs']} pairs; start gold {figures['start']['gold']:+.3f}"]
    for name, curve in figures["curves"].items():
        told += [
            f"{name:9} {float(error):4.0%} wrong  gold {row['gold']:+.3f} +- {row['gold_error']:.3f}  KL {row['kl']:5.2f}"
            for error, row in curve.items()
        ]
    told += [
        f"reward model, {float(error):.0%} wrong: follows gold in {direct.rate(row)}"
        for error, row in figures["follows_gold"].items()
    ]
    return "\n".join([*told, *findings(figures)])


def html(figures: dict[str, Any]) -> str:
    gold = {
        name: [(float(error), row["gold"]) for error, row in curve.items()] for name, curve in figures["curves"].items()
    }
    rows = [
        (
            name,
            f"{float(error):.0%}",
            row["gold"],
            row["kl"],
            direct.rate(row["complied"]),
            direct.rate(row["answered"]),
        )
        for name, curve in figures["curves"].items()
        for error, row in curve.items()
    ]
    judges = [
        (f"{float(error):.0%}", direct.rate(figures["wrong"][error]), direct.rate(row))
        for error, row in figures["follows_gold"].items()
    ]
    return page(
        "Wrong labels: DPO, its robust forms, and PPO against a reward model",
        [
            section("In words", bullets(findings(figures))),
            section("Gold reward on held-out requests", lines(gold, x_label="share of labels that are wrong")),
            section("The reward models", table(("labeller errs", "labels wrong", "order is gold's"), judges)),
            section("All points", table(("", "wrong", "gold", "KL", "complied", "answered"), rows)),
        ],
        subtitle=f"runs/label_noise.py, {figures['pairs']} pairs",
    )


if __name__ == "__main__":
    direct.command(__doc__, work, summary, html)
