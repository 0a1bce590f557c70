"""`trivet guard pii`: personal data in a file of rows, one answer a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trivet.monitoring.guards.pii_figures import Figure


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="A .jsonl[.gz] with `text`, and with `spans` for --eval.",
)
@click.option("--out", type=click.Path(path_type=Path), help="One row per row read, in order.")
@click.option(
    "--eval", "evaluate", is_flag=True, help="Print precision, recall and F1 by type against the rows' own spans."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures of --eval here.")
@click.option(
    "--kinds", help="Types to look for, with commas between; `all` is every one there is.  [default: the guard's]"
)
@click.option("--regions", help="Countries whose numbers are looked for, such as DE,FR.  [default: all]")
@click.option("--minimum", type=float, default=0.5, show_default=True, help="The score from which a finding counts.")
@click.option("--names", type=click.Choice(["presidio"]), help="Also names and places, by this plug-in.")
def pii(
    data: Path,
    out: Path | None,
    evaluate: bool,
    json_path: Path | None,
    kinds: str | None,
    regions: str | None,
    minimum: float,
    names: str | None,
) -> None:
    """Find personal data in every row: {"spans": [{"start", "end", "type", "score"}]}."""
    from trivet.core.errors import ConfigError, DataError
    from trivet.monitoring.guards.pii import EVERY, NAMES, Pii
    from trivet.monitoring.guards.pii_figures import Tally, rows

    if out is None and not evaluate:
        raise ConfigError("nothing to do: give --out FILE, --eval, or both")
    chosen = EVERY if kinds == "all" else kinds.split(",") if kinds else NAMES
    guard = Pii(chosen, regions.split(",") if regions else None, minimum=minimum, names=names)
    tally, count, spans = Tally(), 0, 0
    with _lines(out) as write:
        for count, row in enumerate(rows(data), start=1):
            found = guard.find(row.text)
            spans += len(found)
            write(json.dumps({"spans": [_span(*one) for one in found]}) + "\n")
            if evaluate and row.spans is None:
                raise DataError(
                    f"{data}, line {count}: --eval needs `spans` in every row; mark it, or leave --eval out"
                )
            tally.add(row.spans or (), found)
    click.echo(f"{count:,} rows, {spans:,} findings")
    if evaluate:
        _print(tally.figures())
        if json_path:
            from trivet.core.store.artefacts import write_json

            write_json(json_path, {figure.kind: figure.row() for figure in tally.figures()})


@contextmanager
def _lines(out: Path | None) -> Iterator[Callable[[str], Any]]:
    """What writes to a file that appears when all of it is there."""
    if out is None:
        yield len
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file.write
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _span(start: int, end: int, kind: str, score: float) -> dict[str, Any]:
    return {"start": start, "end": end, "type": kind, "score": round(score, 4)}


def _print(measured: Sequence[Figure]) -> None:
    click.echo(f"{'type':<28}{'marked':>8}{'found':>8}  {'precision':<20}{'recall':<20}{'F1':>6}")
    for figure in measured:
        rates = "".join(
            f"{100 * rate.rate:5.1f} ({100 * rate.low:.0f}-{100 * rate.high:.0f})".ljust(20)
            if rate.n
            else "-".ljust(20)
            for rate in (figure.precision, figure.recall)
        )
        click.echo(f"{figure.kind:<28}{figure.marked:>8}{figure.found:>8}  {rates}{figure.f1:>6.3f}")
