"""The arms race on a terminal and as a page: a ladder for every round, and the table of all attackers against all targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from trivet.core import report as html

DISTINCT = "different successful attacks per 100 queries"
COLUMNS = ("attacker", "queries to learn", "success", DISTINCT, "clusters", "self-BLEU", "spread")


def show(figures: Mapping[str, Any], console: Console) -> None:
    """All tables, for a terminal of 100 columns or more."""
    for one in figures["rounds"]:
        table = Table(title=f"Round {one['round']}: attackers of {one['target']} on held-out goals, 95 % intervals")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "attacker" else "right")
        for row in ladder_rows(one):
            table.add_row(*row)
        console.print(table)
        for name, gap in one["gaps"].items():
            sure = "" if gap["sure"] else " (within chance)"
            console.print(f"  {name}: {gap['gap']:+.1f} [{gap['low']:.1f}, {gap['high']:.1f}]{sure}", highlight=False)
        outcome = "[green]promoted[/]" if one["promoted"] else "[red]not promoted[/]"
        console.print(f"{one['challenger']} {outcome}", highlight=False)
        for reason in one["reasons"]:
            console.print(f"  - {reason}", highlight=False, markup=False, soft_wrap=True)
    headers, rows = table_of(figures)
    table = Table(title="Attack success in % on held-out goals, every attacker against every target")
    for at, header in enumerate(headers):
        table.add_column(header, justify="right" if at else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def ladder_rows(one: Mapping[str, Any]) -> list[list[str]]:
    """The rungs of a round, as the columns above."""
    rows = []
    for name, row in one["ladder"].items():
        many = row["distinct_per_100"]
        rows.append(
            [
                name,
                str(one["queries"].get(name, "")),
                percent(row["success"]),
                f"{many['value']:.1f} [{max(0.0, many['low']):.1f}, {many['high']:.1f}]",
                str(row["clusters"]),
                _number(row["self_bleu"]),
                _number(row["spread"]),
            ]
        )
    return rows


def table_of(figures: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: one row for each attacker, then over-refusal and capability; a column for each target."""
    versions: Sequence[Mapping[str, Any]] = figures["versions"]
    headers = ["", *(version["target"] for version in versions)]
    rows = [
        [name, *(percent(version["attack_success"][name]) for version in versions)] for name in figures["attackers"]
    ]
    rows.append(["over-refusal", *(percent(version["over_refusal"]) for version in versions)])
    rows.append(["capability", *(percent(version["capability"]) for version in versions)])
    return headers, rows


def page(figures: Mapping[str, Any]) -> str:
    """The same as one HTML file, with attacks that worked."""
    sections = []
    for one in figures["rounds"]:
        leads = [
            f"{name}: {gap['gap']:+.1f} [{gap['low']:.1f}, {gap['high']:.1f}]" for name, gap in one["gaps"].items()
        ]
        what = "was promoted" if one["promoted"] else "was not promoted"
        sections.append(
            html.section(
                f"Round {one['round']}: against {one['target']}",
                html.table(COLUMNS, ladder_rows(one)),
                html.bullets(leads),
                html.paragraph(f"{one['challenger']} {what}:"),
                html.bullets(one["reasons"]),
                *(
                    html.block(f"{name}\n\ngoal    {shown['goal']}\n\nattack  {shown['text']}")
                    for name, some in one["examples"].items()
                    for shown in some[:1]
                ),
            )
        )
    headers, rows = table_of(figures)
    lines = {
        name: [
            (float(at), 100 * version["attack_success"][name]["rate"]) for at, version in enumerate(figures["versions"])
        ]
        for name in figures["attackers"]
    }
    sections.append(
        html.section(
            "Every attacker against every target",
            html.table(
                headers, rows, caption="Attack success on held-out goals; the last two rows are harmless requests."
            ),
            html.lines(lines, x_label="version of the target", y_label="%", caption="Old attackers do not come back"),
        )
    )
    return html.page(
        "The arms race", sections, subtitle="Held-out goals, judged by the ground's judge, 95 % intervals."
    )


def percent(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "not measured"
    return f"{100 * row['rate']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
