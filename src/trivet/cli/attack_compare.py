"""`trivet attack compare`: two runs, question by question, with a verdict in words."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from trivet.core.report import terminal_table
from trivet.core.store.artefacts import home_or_default, write_json
from trivet.core.store.events import FILE, open_home
from trivet.robustness.compare import Comparison, compare
from trivet.robustness.outcomes import load

_HEADERS = (
    "",
    "pairs",
    "before",
    "after",
    "fell",
    "rose",
    "p (McNemar)",
    "p (Holm)",
    "p (by goal)",
    "80 % sees",
    "verdict",
)


def compared(before: str, after: str, home: Path | None, json_path: Path | None) -> int:
    """Loads, compares, prints and writes; 1 where something is significantly worse, by goal too."""
    folder = home_or_default(home)
    if (folder / FILE).is_file():
        with open_home(folder, readonly=True) as store:
            runs = [load(source, store) for source in (before, after)]
    else:
        runs = [load(source, None) for source in (before, after)]
    found = compare(*runs)
    _print(found)
    if json_path:
        write_json(json_path, found.row())
    if found.worse and not found.failing:
        click.echo("The exit code is 0: what rose on these goals is not shown for others.")
    return int(bool(found.failing))


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _print(found: Comparison) -> None:
    rows = [
        (
            change.name if change.whole else f"  {change.name}",
            change.before.n,
            f"{change.before.rate:.1%}",
            f"{change.after.rate:.1%}",
            change.b,
            change.c,
            _p(change.mcnemar),
            _p(change.adjusted),
            _p(change.p),
            "none" if change.detectable is None else f"+{100 * change.detectable:.1f} points",
            change.verdict,
        )
        for change in found.changes
    ]
    # Piped, a table would be squeezed into 80 columns; its words are more use than its width.
    console = Console() if Console().is_terminal else Console(width=160)
    console.print(terminal_table(_HEADERS, rows, title="What changed (rates of what should not happen)"))
    apart = (
        (found.only_before, "in the first run only"),
        (found.only_after, "in the second run only"),
        (found.errors, "not judged, or met with an empty reply"),
        (found.repeated, "under the key of another"),
    )
    left = ", ".join(f"{count} {where}" for count, where in apart if count)
    click.echo(f"{found.pairs} pairs compared" + (f"; compared with nothing: {left}" if left else ""))
    click.echo(found.words())
