"""`trivet guard`: train the light classifier, measure it, and try a policy on a text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


@click.group()
def guard() -> None:
    """Train, measure and try guards and policies."""


@guard.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder with the tasks, or a .jsonl[.gz] of text and label.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The .npz to write; a model card goes beside it."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option(
    "--false-positives",
    type=click.FloatRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of good texts that may be flagged.",
)
@click.option(
    "--leave-out/--no-leave-out", default=True, show_default=True, help="Also measure with one source left out."
)
def train(data: Path, out: Path, json_path: Path | None, false_positives: float, leave_out: bool) -> None:
    """Train the light classifier and report on its own test part.

    With a folder: the three heads of the shipped classifier from the tasks in it. With one file: a single head `unsafe`
    from rows with `text` and `label` (`unsafe` or 1 is bad), calibrated on a quarter of them.
    """
    from trivet.monitoring.guards.card import write_card
    from trivet.monitoring.guards.classifier import WINDOW, train
    from trivet.monitoring.guards.corpus import CAP
    from trivet.monitoring.guards.lesson import teach

    if data.is_file():
        classifier = train(_pairs(data), false_positives=false_positives)
        report: dict[str, Any] = {"heads": {head.name: vars(head) for head in classifier.heads}}
    else:
        classifier, report = teach(
            data, false_positives=false_positives, leave_out=leave_out, say=lambda t: click.echo(t, err=True)
        )
    classifier.save(out)
    report["bytes"] = out.stat().st_size
    if data.is_dir():
        write_card(out.parent / "MODEL_CARD.md", report, WINDOW, CAP)
        _print_summary(report)
    _write(json_path, report)
    click.echo(f"wrote {out} ({report['bytes'] / 1e6:.2f} MB)")


@guard.command("eval")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="The same folder, or a .jsonl[.gz] of text and label.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="A trained .npz; the shipped one if left out.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def evaluate(data: Path, weights: Path | None, json_path: Path | None) -> None:
    """Measure a classifier: on the test part of a folder of tasks, or on every row of a file (first head)."""
    from trivet.monitoring.guards.classifier import SHIPPED, LightClassifier
    from trivet.monitoring.guards.corpus import Example, load
    from trivet.monitoring.guards.figures import measured

    classifier = LightClassifier.load(weights or SHIPPED)
    heads = [head.name for head in classifier.heads]
    if data.is_file():
        rows = [Example(text, {heads[0]: bad}, data.name, ()) for text, bad in _pairs(data)]
        test = {heads[0]: measured(classifier, heads[0], rows)}
    else:
        rows = [example for example in load(data) if example.part == "test"]
        test = {head: measured(classifier, head, rows) for head in heads}
    report = {"heads": {head.name: vars(head) for head in classifier.heads}, "test": test}
    _print_summary(report)
    _write(json_path, report)


@guard.command()
@click.argument("text")
@click.option("--policy", default="default", show_default=True, help="A packaged policy's name or a YAML file.")
@click.option(
    "--place", type=click.Choice(["input", "output"]), default="input", show_default=True, help="Where the text stands."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the decision here.")
def check(text: str, policy: str, place: Any, json_path: Path | None) -> None:
    """Run a policy on TEXT and show its decision."""
    import msgspec

    from trivet.monitoring.policy import Policy

    result = Policy.load(policy).check(text, place)
    for verdict in result.decision.verdicts:
        click.echo(f"{verdict.judge:<12} {verdict.label:<14} {verdict.score:.3f}  {verdict.why}")
    by = f" by {result.decision.layer}" if result.decision.layer else ""
    click.echo(f"{result.action}{by}" + (f": {result.text}" if result.action == "mask" else ""))
    _write(json_path, {**msgspec.to_builtins(result.decision), "text": result.text})


def _pairs(path: Path) -> Iterator[tuple[str, bool]]:
    from trivet.core.errors import DataError

    bad_words = {"unsafe", "jailbreak", "injected", "toxic", "bad", "harmful", "1", "true"}
    good_words = {"safe", "benign", "clean", "non_toxic", "good", "harmless", "0", "false"}
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                text, label = row.get("text", row.get("document")), str(row["label"]).lower()
                if not isinstance(text, str) or label not in bad_words | good_words:
                    raise ValueError(f"needs a text and a label such as safe or unsafe, has the label {label!r}")
            except (ValueError, KeyError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: {error!r}") from error
            yield text, label in bad_words


def _print_summary(report: dict[str, Any]) -> None:
    def cell(row: dict[str, Any]) -> str:
        return f"{100 * row['rate']:5.1f} % ({100 * row['low']:.1f}-{100 * row['high']:.1f})" if row["n"] else "-"

    click.echo(f"{'head':<11}{'recall':<22}{'false alarms':<22}{'over-refusal':<22}{'AUPRC':<8}{'AUROC':<8}")
    for head, figures in report["test"].items():
        rates = "".join(f"{cell(figures[key]):<22}" for key in ("recall", "false_positives", "over_refusal"))
        areas = "".join(f"{figures.get(key, float('nan')):<8.3f}" for key in ("auprc", "auroc"))
        click.echo(f"{head:<11}{rates}{areas}")


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path:
        from trivet.core.store.artefacts import write_json

        write_json(path, report)
