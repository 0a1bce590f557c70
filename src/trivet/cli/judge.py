"""`trivet judge`: score replies, train the shipped judge, measure any judge against labels, set one right for a target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

_IN = click.Path(path_type=Path, exists=True)
_OUT = click.Path(path_type=Path)


@click.group()
def judge() -> None:
    """Judge replies: did they comply, in part, or refuse; and how far can that judgement be trusted."""


@judge.command()
@click.option("--data", type=_IN, required=True, help="A .jsonl[.gz] with `prompt` (or null) and `response`.")
@click.option("--out", type=_OUT, required=True, help="One row per row read, in order.")
@click.option(
    "--judge", "weights", type=_IN, help="A file of `judge train` or `judge calibrate`; the shipped one if left out."
)
@click.option("--workers", type=click.IntRange(1), help="Processes; as many as there are cores if left out.")
def score(data: Path, out: Path, weights: Path | None, workers: int | None) -> None:
    """Score every reply: {"score": chance that it complies, "complied", "label", "harm"}."""
    import os

    from trivet.core.judges.scoring import rows_of, scored

    out.parent.mkdir(parents=True, exist_ok=True)
    rows, complied = 0, 0
    with out.open("w", encoding="utf-8") as lines:
        for row in scored(rows_of(data), weights, workers or os.cpu_count() or 1):
            lines.write(json.dumps(row) + "\n")
            rows, complied = rows + 1, complied + row["complied"]
    click.echo(f"{rows:,} replies, {complied:,} of them comply, in part or in full")


@judge.command()
@click.option("--data", type=_IN, required=True, help="A folder with judge/*.jsonl.gz, and perhaps preferences/.")
@click.option("--out", type=_OUT, required=True, help="The .npz to write; its card goes beside it.")
@click.option("--json", "json_path", type=_OUT, help="Write the figures here.")
def train(data: Path, out: Path, json_path: Path | None) -> None:
    """Train the judge of replies and measure it on every source that it did not see."""
    from trivet.core.judges import baselines
    from trivet.core.judges.card_page import page
    from trivet.core.judges.labelled import PLAIN_ANSWERS, read_folder
    from trivet.core.judges.training import taught

    rows = read_folder(data)
    made = taught(rows, {"rows": len(rows)}, lambda text: click.echo(text, err=True))
    made.save(out)
    words = baselines.measured(rows)
    partial = sum(row.part for row in rows)
    out.with_name("MODEL_CARD.md").write_text(page(made, words, len(rows), partial, PLAIN_ANSWERS), encoding="utf-8")
    assert made.card is not None
    _told([a.row() for a in (*made.card.agreements, *words)], json_path)


@judge.command("eval")
@click.option("--data", type=_IN, required=True, help="A .jsonl[.gz] with `prompt`, `response` and `label`.")
@click.option(
    "--judge", "name", default="classifier", show_default=True, help="classifier, rules, a file, or a model's spec."
)
@click.option("--card", "card_path", type=_OUT, help="Write the judge's card here.")
@click.option(
    "--limit", type=click.IntRange(1), help="At most so many rows, evenly chosen: for judges that cost money."
)
@click.option("--json", "json_path", type=_OUT, help="Write the figures here.")
def evaluate(data: Path, name: str, card_path: Path | None, limit: int | None, json_path: Path | None) -> None:
    """How often a judge agrees with labels: kappa, AUC, sensitivity and specificity with intervals."""
    import asyncio

    from trivet.core.judges.cards import JudgeCard
    from trivet.core.judges.labelled import read_file
    from trivet.core.judges.measuring import measured

    rows = [row for row in read_file(data) if row.complied is not None]
    if limit and limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    one = _judge(name)
    found, errors = asyncio.run(measured(one, rows))
    if errors:
        click.echo(f"{errors} of {len(rows)} replies got no verdict and are in no figure", err=True)
    if card_path:
        digest = str(getattr(one, "digest", ""))
        JudgeCard.of(str(getattr(one, "name", name)), digest, [found]).save(card_path)
    _told([found.row()], json_path)


@judge.command()
@click.option("--labels", type=_IN, required=True, help="About a hundred rows with `prompt`, `response` and `label`.")
@click.option("--out", type=_OUT, required=True, help="The judge with your thresholds, as a file.")
@click.option("--judge", "weights", type=_IN, help="The judge to start from; the shipped one if left out.")
def calibrate(labels: Path, out: Path, weights: Path | None) -> None:
    """Fit a judge's curve and thresholds to labels of your own target."""
    from trivet.core.judges.calibrate import calibrated
    from trivet.core.judges.classifier import ReplyClassifier
    from trivet.core.judges.labelled import read_file

    start = ReplyClassifier.load(weights) if weights else ReplyClassifier.shipped()
    made = calibrated(start, read_file(labels))
    made.save(out)
    assert made.card is not None
    _told([a.row() for a in made.card.agreements], None)
    click.echo(f"written to {out}; use it with --judge {out}")


def _judge(name: str) -> Any:
    from trivet.core.judges.classifier import ReplyClassifier
    from trivet.core.judges.rubric import Rubric
    from trivet.core.judges.rules import RefusalRules
    from trivet.core.models.resolve import resolve

    if name == "rules":
        return RefusalRules()
    if name == "classifier":
        return ReplyClassifier.shipped()
    return ReplyClassifier.load(name) if name.endswith(".npz") else Rubric(resolve(name), name=name)


def _told(rows: list[dict[str, Any]], json_path: Path | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("source", "judge", "how", "n", "kappa", "AUC", "sensitivity", "specificity")
    for row in rows:
        rates = [f"{100 * row[k]['rate']:.1f} % [{100 * row[k]['low']:.1f}, {100 * row[k]['high']:.1f}]" if row[k]["n"] else "-" for k in ("sensitivity", "specificity")]  # fmt: skip
        table.add_row(
            row["source"], row["judge"], row["how"], str(row["n"]), str(row["kappa"]), str(row["auc"]), *rates
        )
    Console().print(table)
    if json_path:
        json_path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
