"""DPO's frontier: how much gold reward a policy gains for how far it has gone from where it began.

    python runs/dpo_frontier.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

On the same pairs, labelled by one who errs in a tenth of the answers: DPO with beta .03, .1, .3 and 1, stopped after three
numbers of steps; and PPO with two betas against a reward model on those pairs, stopped after two numbers of rounds. Each is
measured by the gold reward of its own replies to held-out requests and KL to the start policy on those same replies.

Held against the figures (Rafailov et al. 2023, arXiv:2305.18290, figure 2; the form after Gao et al. 2022, arXiv:2210.10760):
the gain rises concavely in d = sqrt(KL), fitted as  gain = d (a - b d)  through the start;  a smaller beta goes further;  at
equal d DPO gains no less than PPO. About nine minutes of one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import direct
import numpy as np

from trivet.core.report import bullets, lines, page, section, table
from trivet.core.stats import Z95
from trivet.town.labellers import Labeller

BETAS = (0.03, 0.1, 0.3, 1.0)
STEPS = (10, 30, 90)
PPO_BETAS, PPO_ROUNDS = (0.02, 0.1), (10, 25)
DRAWS, FEWEST = 400, 4


def work(out: Path, scale: direct.Scale) -> dict[str, Any]:
    few = scale is direct.QUICK
    on = direct.bench(out, scale)
    pairs = direct.pairs(on, Labeller("ann", error=0.1))
    start = direct.point(on, on.start, "start")
    found: list[dict[str, Any]] = []

    def add(method: str, beta: float, length: int, folder: Path) -> None:
        one = direct.point(on, folder, f"{method}, beta {beta:g}, {length}")
        gain = direct.gap(one.gold, start.gold)
        distance = sqrt(max(0.0, one.row["kl"]))
        found.append(
            {"method": method, "beta": beta, "length": length, "d": distance, "gain": gain._asdict(), **one.row}
        )

    for beta in BETAS[::2] if few else BETAS:
        for steps in (2, 4) if few else STEPS:
            add("DPO", beta, steps, direct.policy(on, f"dpo-{beta:g}-{steps}", pairs, beta=beta, steps=steps))
    judge = direct.rewarded(on, "frontier-reward", pairs)
    for beta in PPO_BETAS[:1] if few else PPO_BETAS:
        for rounds in (1, 2) if few else PPO_ROUNDS:
            add("PPO", beta, rounds, direct.ppo_policy(on, f"ppo-{beta:g}-{rounds}", judge, beta=beta, rounds=rounds))
    fits = {method: fitted([row for row in found if row["method"] == method])._asdict() for method in ("DPO", "PPO")}
    return {"pairs": len(pairs), "start": start.row, "points": found, "fits": fits}


class Fit(NamedTuple):
    """gain = d (a - b d), least squares; the interval of b is a bootstrap over the points, which share their requests.

    With fewer than four points there is no interval.
    """

    a: float
    b: float
    b_low: float | None
    b_high: float | None
    r2: float
    largest: float


def fitted(points: Sequence[dict[str, Any]]) -> Fit:
    d = np.asarray([row["d"] for row in points])
    gain = np.asarray([row["gain"]["mean"] for row in points])
    a, b = coefficients(d, gain)
    low, high = interval_of_b(d, gain) if len(points) >= FEWEST else (None, None)
    left = float(((gain - d * (a - b * d)) ** 2).sum())
    spread = float(((gain - gain.mean()) ** 2).sum())
    r2 = 1 - left / spread if spread else 0.0
    return Fit(round(a, 4), round(b, 4), low, high, round(r2, 4), round(float(d.max()), 4))


def interval_of_b(d: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    dice = np.random.default_rng(direct.SEED)
    draws = (dice.integers(len(d), size=len(d)) for _ in range(DRAWS))
    bs = [coefficients(d[some], gain[some])[1] for some in draws if len(set(some)) > 2]
    low, high = np.quantile(bs, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)


def coefficients(d: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    found, *_ = np.linalg.lstsq(np.stack((d, -(d**2)), axis=1), gain, rcond=None)
    return float(found[0]), float(found[1])


def findings(figures: dict[str, Any]) -> list[str]:
    """What came out, claim by claim, whatever it was."""
    fit, points = figures["fits"]["DPO"], figures["points"]
    concave = fit["a"] > 0 and fit["b_low"] is not None and fit["b_low"] > 0
    around = (
        f"b in [{fit['b_low']:.3f}, {fit['b_high']:.3f}]"
        if fit["b_low"] is not None
        else "too few points for an interval"
    )
    told = [
        f"DPO's gain is concave in sqrt(KL): {_came(concave)} (gain = d ({fit['a']:.3f} - {fit['b']:.3f} d), {around}, "
        f"R2 {fit['r2']:.2f}, up to d = {fit['largest']:.2f})"
    ]
    dpo = [row for row in points if row["method"] == "DPO"]
    best = max(dpo, key=lambda row: row["gain"]["mean"])
    far = max(dpo, key=lambda row: row["d"])
    turned = best["gain"]["low"] > far["gain"]["high"]
    told.append(
        f"the gain never falls on the way out: {_came(not turned)} (largest {best['gain']['mean']:+.3f} at d {best['d']:.2f}, "
        f"furthest {far['gain']['mean']:+.3f} at d {far['d']:.2f})"
    )
    for length in sorted({row["length"] for row in dpo}):
        row = sorted((row for row in dpo if row["length"] == length), key=lambda row: row["beta"])
        falls = [one["kl"] - other["kl"] for one, other in pairwise(row)]
        noise = [Z95 * sqrt(one["kl_error"] ** 2 + other["kl_error"] ** 2) for one, other in pairwise(row)]
        sure = sum(fall > wide for fall, wide in zip(falls, noise, strict=True))
        told.append(
            f"a smaller beta goes further, after {length} steps: {_came(all(fall > 0 for fall in falls) and sure > 0)} (KL "
            + ", ".join(f"{one['kl']:.2f} at beta {one['beta']:g}" for one in row)
            + f"; {sure} of {len(falls)} steps beyond noise)"
        )
    other = [row for row in points if row["method"] == "PPO"]
    within = [row for row in other if row["d"] <= fit["largest"]]
    ahead = [direct.Gap(**row["gain"]) for row in within]
    curve = [row["d"] * (fit["a"] - fit["b"] * row["d"]) for row in within]
    if within:
        came = all(gain.low <= at for gain, at in zip(ahead, curve, strict=True))
        told.append(
            f"at equal d DPO gains no less than PPO, beyond noise: {_came(came)} (PPO's points lie "
            + ", ".join(
                f"{gain.mean - at:+.3f} +- {gain.high - gain.mean:.3f}" for gain, at in zip(ahead, curve, strict=True)
            )
            + " from DPO's curve)"
        )
    return told


def _came(out: bool) -> str:
    return "came out" if out else "did NOT come out"


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    gain = direct.Gap(**row["gain"])
    return (row["method"], row["beta"], row["length"], row["kl"], row["kl_error"], row["d"], str(gain), row["words"])


HEADS = ("method", "beta", "steps or rounds", "KL", "its error", "sqrt(KL)", "gold gain", "words")


def summary(figures: dict[str, Any]) -> str:
    told = [
        f"{m:4} beta {beta:<5g} {length:3}  KL {kl:6.2f} +- {error:.2f}  d {d:5.2f}  gain {gain}"
        for m, beta, length, kl, error, d, gain, _ in map(_row, figures["points"])
    ]
    return "\n".join([*told, *findings(figures)])


def html(figures: dict[str, Any]) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for row in figures["points"]:
        series.setdefault(f"{row['method']} {row['beta']:g}", [(0.0, 0.0)]).append((row["d"], row["gain"]["mean"]))
    fit = figures["fits"]["DPO"]
    reach = np.linspace(0, fit["largest"], 40)
    form = {"DPO, fitted": [(float(d), float(d * (fit["a"] - fit["b"] * d))) for d in reach]}
    dpo = {name: line for name, line in series.items() if name.startswith("DPO")}
    ppo = {name: line for name, line in series.items() if name.startswith("PPO")}
    axes = {"x_label": "sqrt(KL) to the start, nats a reply", "y_label": "gold reward gained"}
    return page(
        "DPO's frontier of reward and KL",
        [
            section("In words", bullets(findings(figures))),
            section("By beta, from the start outwards", lines({**dpo, **form}, **axes)),
            section("PPO on the same pairs", lines({**form, **ppo}, **axes)),
            section("All points", table(HEADS, [_row(row) for row in figures["points"]])),
        ],
        subtitle=f"runs/dpo_frontier.py, {figures['pairs']} pairs",
    )


if __name__ == "__main__":
    direct.command(__doc__, work, summary, html)
