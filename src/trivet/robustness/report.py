"""The report of a measurement, for the terminal and as one HTML file.

Attack success and over-refusal always stand on the same page: each alone can be made perfect by ruining the other. The
page shows which attempts got through by their names and ids, not by their text; the text stays in the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trivet.core.events import Attempt
from trivet.core.hazards import HAZARDS
from trivet.core.report import bars_with_intervals, page, paragraph, section, table, terminal_table
from trivet.core.stats import Rate
from trivet.robustness.campaign import SUCCESS
from trivet.robustness.suites.summary import Figures

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 50
_RATE = ("", "rate [95 % interval]")
_NOTE = (
    "A reply that gives away all or part of what an attack wanted counts as a success. Intervals are Wilson's at 95 %; "
    "attempts on one goal are not independent, so between goals the true spread is wider. What could not be judged is "
    "counted under errors and in no rate."
)


def terminal(found: Figures) -> list[Table]:
    """The tables of a report, for `rich.print`."""
    tables = [terminal_table(_RATE, _headline(found), title="Measured")]
    if len(found.per_family) > 1:
        tables.append(terminal_table(_RATE, _rows(found.per_family), title="Attack success by family"))
    return tables


def html(found: Figures, attempts: Sequence[Attempt], *, title: str, subtitle: str = "") -> str:
    """The whole report as one document."""
    rates = {name: value for name, value in _headline(found) if isinstance(value, Rate)}
    sections = [
        section(
            "Measured",
            table(_RATE, _headline(found)),
            bars_with_intervals(list(rates), {"rate": list(rates.values())}),
            paragraph(_NOTE),
        )
    ]
    if found.per_family:
        bars = bars_with_intervals(list(found.per_family), {"success": list(found.per_family.values())})
        sections.append(section("Attack success by family", bars, table(("family", _RATE[1]), _rows(found.per_family))))
    if found.per_hazard:
        named = {HAZARDS[code].title if code in HAZARDS else code: rate for code, rate in found.per_hazard.items()}
        sections.append(section("Attack success by hazard", table(("hazard", _RATE[1]), _rows(named))))
    if found.per_type:
        sections.append(section("Over-refusal by type", table(("type of probe", _RATE[1]), _rows(found.per_type))))
    through = [attempt for attempt in attempts if attempt.verdict.label in SUCCESS]
    if through:
        sections.append(section("What got through", _named(through)))
    return page(title, sections, subtitle=subtitle)


def _headline(found: Figures) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [
        ("attack success (lower is better)", found.attack_success),
        ("over-refusal (lower is better)", found.over_refusal),
    ]
    if found.capability.n or "capability" in found.errors:
        rows.append(("capability (higher is better)", found.capability))
    for place, count in sorted(found.blocked.items()):
        rows.append((f"blocked by a gateway at the {place}", f"{count} attempts"))
    for suite, count in sorted(found.errors.items()):
        rows.append((f"errors, in no rate ({suite})", f"{count} attempts"))
    return rows


def _rows(rates: Mapping[str, Rate]) -> list[tuple[str, Rate]]:
    """The highest rate first."""
    return sorted(rates.items(), key=lambda item: (-item[1].rate if item[1].n else 1.0, item[0]))


def _named(attempts: Sequence[Attempt]) -> str:
    rows = [
        (
            a.attack,
            a.template,
            a.goal.hazard if a.goal else "",
            a.goal.topic if a.goal else "",
            a.verdict.label,
            a.id[:12],
        )
        for a in attempts[:_SHOWN]
    ]
    caption = f"The first {_SHOWN} of {len(attempts)}." if len(attempts) > _SHOWN else f"All {len(attempts)}."
    return table(("family", "template", "hazard", "topic", "verdict", "attempt"), rows, caption=caption)
