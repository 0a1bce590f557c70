"""The report of a measurement, for the terminal and as one HTML file: a front for the rooms in reports/.

Attack success and over-refusal always stand on the same page: each alone can be made perfect by ruining the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivet.core.events import Attempt
from trivet.core.report import terminal_table
from trivet.robustness.reports import html as pages
from trivet.robustness.reports import tables
from trivet.robustness.reports.findings import About, Findings, findings

if TYPE_CHECKING:
    from rich.table import Table


def terminal(found: Findings) -> list[Table]:
    """The tables of a report, for `rich.print`."""
    shown = [tables.headline(found)]
    if between := tables.guard(found):
        shown.append(between)
    if len(found.per_family) > 1:
        shown.append(tables.by_family(found))
    if found.figures.per_type:
        shown.append(tables.by_type(found))
    return [terminal_table(table.headers, table.rows, title=table.name) for table in shown]


def html(found: Findings, *, title: str, subtitle: str = "", transcripts: bool = True) -> str:
    """The whole report as one document."""
    return pages.html(found, title=title, subtitle=subtitle, transcripts=transcripts)


def of(attempts: Sequence[Attempt], target: str = "") -> Findings:
    """What the attempts say, for who has them and no more."""
    return findings(attempts, About(target=target))
