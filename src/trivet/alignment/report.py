"""The report of a run: its curves on one page, and in plain words what in them should worry its owner.

Works on metrics.jsonl alone, so a run of any recipe has one, also a run that is still going. Not covered: judgement. The
warnings are rules of thumb about numbers; that none is printed does not mean that the model is good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivet.alignment import monitor
from trivet.alignment.files import write_file
from trivet.core.report import bullets, lines, page, paragraph, section, table

SHOWN_TOGETHER = (
    ("Loss", ("loss", "heldout_loss", "nll")),
    ("How often the better reply is preferred", ("accuracy", "heldout_accuracy")),
    ("Margin", ("margin", "heldout_margin")),
    (
        "Log-probability against the reference",
        ("chosen_shift", "rejected_shift", "desirable_shift", "undesirable_shift"),
    ),
    ("Reward", ("reward", "gold", "watched", "heldout_reward")),
    ("KL to the reference", ("kl", "drift", "heldout_drift")),
    ("Entropy", ("entropy",)),
    ("Clipped", ("clip_fraction", "value_clip_fraction")),
    ("Explained variance of the value", ("explained_variance",)),
    ("Length of replies, tokens", ("length",)),
    ("Forgotten and retained", ("forget_nll", "retain_nll")),
    ("Gradient norm", ("grad_norm",)),
)
"""Curves that belong on shared axes; whatever else a recipe logs is in the table of last figures."""


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl, without a last line that is not whole yet."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def write_report(out: Path, settings: Mapping[str, Any], *, watched: Sequence[str] = ("gold",)) -> Path:
    """OUT/report.html from OUT/metrics.jsonl; `watched` names the rewards that were measured and not trained on."""
    text = report(read_metrics(out / "metrics.jsonl"), settings, title=f"Run {out.name}", watched=watched)
    write_file(out / "report.html", lambda path: path.write_text(text, encoding="utf-8"))
    return out / "report.html"


def report(
    rows: Sequence[Mapping[str, float]],
    settings: Mapping[str, Any],
    *,
    title: str,
    watched: Sequence[str] = ("gold",),
) -> str:
    """The page as HTML."""
    told = warnings(rows, watched)
    last = {name: value for row in rows for name, value in row.items()}
    parts = [
        section("What to look at", bullets(told) if told else paragraph("None of the rules of thumb below fires."))
    ]
    for heading, names in SHOWN_TOGETHER:
        series = {name: curve(rows, name) for name in names if any(name in row for row in rows)}
        if series:
            parts.append(section(heading, lines(series, x_label="step")))
    if any("kl" in row and "reward" in row for row in rows):
        parts.append(section("Reward, distance and length", *monitor.figures(rows, watched=watched)))
    parts.append(section("Last figures", table(("figure", "value"), [*last.items()])))
    parts.append(
        section("Settings", table(("setting", "value"), [(name, str(value)) for name, value in settings.items()]))
    )
    return page(title, parts, subtitle="Trivet alignment")


def curve(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """(step, value) of one figure."""
    return [(float(row["step"]), float(row[name])) for row in rows if name in row]


def warnings(rows: Sequence[Mapping[str, float]], watched: Sequence[str] = ("gold",)) -> list[str]:
    """What a person should know about these curves, in plain words."""
    return [told for rule in (_displaced, _overfitted, _collapsed) if (told := rule(rows))] + [
        *monitor.review(rows, watched=watched).values()
    ]


def _ends(rows: Sequence[Mapping[str, float]], name: str) -> tuple[float, float] | None:
    """The means over the first and the last fifth of a curve that has at least five points."""
    values = [value for _, value in curve(rows, name)]
    if len(values) < 5:
        return None
    part = max(1, len(values) // 5)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def _displaced(rows: Sequence[Mapping[str, float]]) -> str:
    chosen, margin = _ends(rows, "chosen_shift"), _ends(rows, "margin")
    if chosen and margin and chosen[1] < min(-1.0, chosen[0]) and margin[1] > margin[0]:
        return (
            f"The chosen replies themselves have become less likely (by {-chosen[1]:.3g} nats each) while the margin grew: the "
            "model learns what not to say (likelihood displacement). Lower lr, take fewer epochs, or set nll_weight."
        )
    return ""


def _overfitted(rows: Sequence[Mapping[str, float]]) -> str:
    heldout = [value for _, value in curve(rows, "heldout_loss")]
    if len(heldout) >= 3 and heldout[-1] > 1.05 * min(heldout):
        return f"The held-out loss rose from {min(heldout):.4g} to {heldout[-1]:.4g}: train for fewer steps."
    return ""


def _collapsed(rows: Sequence[Mapping[str, float]]) -> str:
    retain = _ends(rows, "retain_nll")
    if retain and retain[1] > retain[0] + 1.0:
        return (
            f"What was to be kept is being lost too: its loss per token rose from {retain[0]:.3g} to {retain[1]:.3g}. Stop "
            "earlier, lower lr, or weigh the retained part more."
        )
    return ""
