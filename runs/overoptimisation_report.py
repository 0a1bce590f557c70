"""What runs/overoptimisation.py found, held against the claims of the literature, as tables, as a page and as JSON.

Each claim has a rule that is written here and nowhere else, so that "came out" means the same for every run. Rules take
the luck of the prompts into account where they can; what another seed, other labels or another town would say they cannot
know.
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from trivet.alignment.overoptimisation import Fall, Fit
from trivet.core.report import bullets, lines, page, paragraph, section, table

Found = dict[str, dict[str, Any]]

GOOD_FIT = 0.9
"""The R^2 from which a form is said to fit."""


class Claim(NamedTuple):
    text: str
    came_out: bool
    figures: str

    @property
    def here(self) -> str:
        return "came out" if self.came_out else "did not come out"


def claims(found: dict[str, Any]) -> list[Claim]:
    """Gao et al. 2022 (arXiv:2210.10760) on best of n and RL, Coste et al. 2023 (arXiv:2310.02743) on ensembles."""
    sizes = found["scale"]["pairs"]
    errs, leans = ({size: found["alone"][f"{who}, {size} pairs"] for size in sizes} for who in ("errs", "leans"))
    loose, more, held, worst = found["ppo"].values()
    runs = {sizes[0]: loose, sizes[-1]: more}
    return [
        *best_of_n_claims(errs, "labels that err"),
        *best_of_n_claims(leans, "labels that also lean"),
        *ensemble_claims(found["joined"], sizes[0]),
        *ppo_claims(runs, errs[sizes[0]]),
        penalty_claim(held, loose),
        Claim(
            "PPO: the worst of several models ends higher than one of them, by 2 errors",
            worst["end"] - loose["end"] > 2 * worst["fall"].error,
            f"gold at the end {worst['end']:.3f} against {loose['end']:.3f}, error {worst['fall'].error:.3f}",
        ),
    ]


def best_of_n_claims(by_size: dict[int, dict[str, Any]], labels: str) -> list[Claim]:
    small, large = (by_size[size]["tops"] for size in (min(by_size), max(by_size)))
    later = float((large > small).mean())
    tops = [one["fit"].top for one in by_size.values()]
    return [
        *(
            Claim(
                f"best of n, {labels}, {size} pairs: gold turns over (its fall is above 0 by 2 errors)",
                one["fall"].sure,
                f"gold {one['gold'][0]:.3f}, best {one['gold'].max():.3f}, end {one['gold'][-1]:.3f}; fall {_pm(one['fall'])}",
            )
            for size, one in by_size.items()
        ),
        Claim(
            f"best of n, {labels}: R = d (a - b d) fits (R^2 of {GOOD_FIT} and more)",
            all(one["fit"].r2 >= GOOD_FIT for one in by_size.values()),
            "; ".join(f"{size} pairs {one['fit'].r2:.3f}" for size, one in by_size.items()),
        ),
        Claim(
            f"best of n, {labels}: gold's best grows with the pairs (in order)",
            all(a < b for a, b in pairwise(float(one["gold"].max()) for one in by_size.values())),
            "; ".join(f"{size} pairs {one['gold'].max():.3f}" for size, one in by_size.items()),
        ),
        Claim(
            f"best of n, {labels}: d* grows with the pairs (in order, and from first to last in 95 % of resamples)",
            all(a < b for a, b in pairwise(tops)) and later >= 0.95,
            "; ".join(f"{size} pairs {_top(one['fit'])}" for size, one in by_size.items()) + f"; in {later:.0%}",
        ),
    ]


def ensemble_claims(joined: Found, size: int) -> list[Claim]:
    return [
        Claim(
            f"best of n, labels that err: members joined by {how} beat one of them at the largest n, by 2 errors ({size} pairs)",
            one["gain"].sure,
            f"gold {_pm(one['gain'])}; d* {_top(one['fit'])}; fall {_pm(one['fall'])}",
        )
        for how, one in (
            (name.partition(", ")[2], one) for name, one in joined.items() if name.startswith(f"{size} pairs")
        )
    ]


def ppo_claims(runs: dict[int, dict[str, Any]], best_of: dict[str, Any]) -> list[Claim]:
    small = runs[min(runs)]
    tops = [one["fit"].top for one in runs.values()]
    return [
        *(
            Claim(
                f"PPO, {size} pairs: gold turns over while the proxy rises (its fall is above 0 by 2 errors)",
                one["fall"].sure and one["proxy"][-1] > one["proxy"][0],
                f"gold {one['gold'][0]:.3f}, best {one['best']:.3f}, end {one['end']:.3f}; fall {_pm(one['fall'])}; "
                f"proxy {one['proxy'][0]:.2f} to {one['proxy'][-1]:.2f}",
            )
            for size, one in runs.items()
        ),
        Claim(
            f"PPO: R = d (a - b log d) fits (R^2 of {GOOD_FIT} and more)",
            all(one["fit"].r2 >= GOOD_FIT for one in runs.values()),
            "; ".join(
                f"{size} pairs {one['fit'].r2:.3f} (best of n's form {one['other'].r2:.3f})"
                for size, one in runs.items()
            ),
        ),
        Claim(
            "PPO: d* grows with the pairs",
            tops[0] < tops[-1],
            "; ".join(f"{size} pairs {_top(one['fit'])}" for size, one in runs.items()),
        ),
        Claim(
            "PPO spends more KL than best of n to reach its top (smallest model)",
            small["fit"].top > best_of["fit"].top,
            f"d* {_top(small['fit'])} against {_top(best_of['fit'])}",
        ),
    ]


def penalty_claim(held: dict[str, Any], loose: dict[str, Any]) -> Claim:
    apart = apart_at_equal_kl(held, loose)
    return Claim(
        "PPO: a KL penalty stops early and leaves gold at equal KL where it was (within 2 errors)",
        max(held["d"]) < max(loose["d"]) and abs(apart) < 2 * held["error"],
        f"furthest d {max(held['d']):.2f} against {max(loose['d']):.2f}; gold at equal KL {apart:+.3f}, error {held['error']:.3f}",
    )


def apart_at_equal_kl(held: dict[str, Any], loose: dict[str, Any]) -> float:
    """The mean of held's gold less loose's at the same d (between its points), where loose has been."""
    order = np.argsort(loose["d"])
    x, y = np.asarray(loose["d"])[order], np.asarray(loose["gold"])[order]
    there = [(d, value) for d, value in zip(held["d"][1:], held["gold"][1:], strict=True) if d <= x[-1]]
    return float(np.mean([value - np.interp(d, x, y) for d, value in there])) if there else float("nan")


# ---------------------------------------------------------------------------------------------------------- the report


def _pm(one: Fall) -> str:
    return f"{one.mean:+.3f} ± {one.error:.3f}"


def _top(one: Fit) -> str:
    return f"{one.top:.2f}" + ("" if one.inside or not isfinite(one.top) else " (not reached)")


def tables(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[Any]]]]:
    """Caption, headers and rows of what is printed and stands in the report; ± is one standard error over prompts."""
    at = [at for at, n in enumerate(found["sizes"]) if n in (1, 4, 16, 64, 256)]
    named = [f"gold, n = {found['sizes'][i]}" for i in at]

    def row(name: str, one: dict[str, Any], *rest: str) -> list[Any]:
        curve = [f"{one['gold'][i]:.3f}" for i in at]
        return [name, *rest, *curve, one["best_n"], _pm(one["fall"]), _top(one["fit"]), f"{one['fit'].r2:.3f}"]

    tail = [*named, "best n", "fall", "d*", "R^2"]
    alone = [row(name, one, f"{one['accuracy']:.1%}") for name, one in found["alone"].items()]
    several = [row(name, one, _pm(one["gain"])) for name, one in found["joined"].items()]
    runs = [
        [name, *(f"{one[key]:.3f}" for key in ("best", "end")), f"{one['proxy'][0]:.2f} to {one['proxy'][-1]:.2f}",
         f"{max(one['d']):.2f}", f"{one['fit'].a:.3f}", f"{one['fit'].b:.3f}", _top(one["fit"]), f"{one['fit'].r2:.3f}"]
        for name, one in found["ppo"].items()
    ]  # fmt: skip
    return [
        ("Best of n by one reward model", ["labels", "orders as gold", *tail], alone),
        ("Best of n by several, labels that err", ["joined", "gain over one at the end", *tail], several),
        ("PPO", ["reward", "best gold", "gold at the end", "proxy", "furthest d", "a", "b", "d*", "R^2"], runs),
        (
            "What the policies say in the end",
            ["reward", "request", "reply"],
            [[name, *pair] for name, one in found["ppo"].items() for pair in one["says"]],
        ),
        (
            "Claims",
            ["claim", "here", "figures"],
            [[claim.text, claim.here, claim.figures] for claim in found["claims"]],
        ),
    ]


def html(found: dict[str, Any]) -> str:
    d = found["d"]

    def curves(rows: Found, key: str) -> dict[str, list[tuple[float, float]]]:
        return {name: list(zip(one.get("d", d), one[key], strict=True)) for name, one in rows.items()}

    def fitted(rows: Found) -> dict[str, list[tuple[float, float]]]:
        pairs = {}
        for name, one in rows.items():
            places = sorted(one.get("d", d))
            pairs[f"{name}: measured"] = sorted(zip(one.get("d", d), one["gold"], strict=True))
            pairs[f"{name}: fitted"] = [(x, one["gold"][0] + one["fit"].at(x)) for x in places]
        return pairs

    def plot(series: dict[str, list[tuple[float, float]]], caption: str) -> str:
        return lines(series, x_label="d = sqrt(KL)", y_label="reward", caption=caption)

    errs = {name: one for name, one in found["alone"].items() if name.startswith("errs")}
    leans = {name: one for name, one in found["alone"].items() if name.startswith("leans")}
    size = found["scale"]["pairs"][0]
    small = {name: one for name, one in found["joined"].items() if name.startswith(f"{size} pairs")}
    told = [f"{claim.text}: {claim.here}. {claim.figures}." for claim in found["claims"]]
    shown = {caption: table(headers, rows) for caption, headers, rows in tables(found)}
    runs = dict(list(found["ppo"].items())[:2])
    limits = (
        "A small invented town, one seed, replies of one sentence: evidence about shapes, not about real models. "
        "Best of n's KL is an upper bound, since replies repeat."
    )
    return page(
        "Over-optimisation in the town",
        [
            section("What came out", bullets(told)),
            section("Best of n", plot(curves(errs, "gold"), "Gold, labels that err"),
                    plot(curves(leans, "gold"), "Gold, labels that also lean to long replies"),
                    plot(curves(found["alone"], "proxy"), "The proxies, in units of their own spread"),
                    plot(fitted(dict(list(leans.items())[:3])), "Measured and fitted, labels that lean"),
                    shown["Best of n by one reward model"]),
            section("Ensembles", plot(curves(small | {"one model": errs[f"errs, {size} pairs"]}, "gold"), "Gold, smallest models"),
                    shown["Best of n by several, labels that err"]),
            section("PPO", plot(curves(found["ppo"], "gold"), "Gold, held-out requests"),
                    plot(curves(found["ppo"], "proxy"), "The proxy that was trained on"),
                    plot(fitted(runs), "Measured and fitted"), shown["PPO"], shown["What the policies say in the end"]),
            section("What this is not", paragraph(limits)),
        ],
        subtitle="runs/overoptimisation.py",
    )  # fmt: skip


def plain(value: Any) -> Any:
    """For JSON: what is measured prompt by prompt is left out, numbers are rounded, and what is not finite is a word."""
    if isinstance(value, Claim):
        return {"claim": value.text, "came_out": value.came_out, "figures": value.figures}
    if isinstance(value, Fit):
        return plain(
            {"form": value.form, "a": value.a, "b": value.b, "r2": value.r2, "top": value.top, "inside": value.inside}
        )
    if isinstance(value, Fall):
        return plain(value._asdict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in ("by_prompt", "tops")}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 5) if isfinite(value) else str(float(value))
    return value
