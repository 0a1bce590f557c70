"""`trivet guard train` and `trivet guard eval`: the two trained stages, made and measured."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder with the tasks, or a .jsonl[.gz] of text and label.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="light: the .npz to write; encoder: the folder. A model card goes beside it or into it.",
)
@click.option(
    "--stage",
    type=click.Choice(["light", "encoder"]),
    default="light",
    show_default=True,
    help="light: hashed n-grams, minutes. encoder: a small transformer, needs trivet[train].",
)
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="encoder: a folder of a BERT encoder to start from.",
)
@click.option(
    "--light", type=click.Path(path_type=Path), help="encoder: the light stage to join; the shipped one if left out."
)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="encoder: passes over the rows.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option(
    "--false-positives",
    type=click.FloatRange(0, 0.5),
    default=0.01,
    show_default=True,
    help="Share of good texts that may be flagged.",
)
@click.option("--leave-out/--no-leave-out", default=True, show_default=True, help="Also measure with sources left out.")
def train(
    data: Path,
    out: Path,
    stage: str,
    start: Path | None,
    light: Path | None,
    epochs: int,
    json_path: Path | None,
    false_positives: float,
    leave_out: bool,
) -> None:
    """Train a stage of the guards and report on its own test part.

    With a folder: the heads of the shipped guards from the tasks in it. With one file (light stage only): a single head
    `unsafe` from rows with `text` and `label` (`unsafe` or 1 is bad), calibrated on a quarter of them.
    """
    from trivet.core.errors import UserError

    if stage == "encoder":
        if start is None or data.is_file():
            raise UserError("--stage encoder needs --start FOLDER (a BERT encoder) and --data FOLDER (the tasks)")
        report = _encoder(data, out, start, light, epochs, false_positives, leave_out)
    else:
        report = _light(data, out, false_positives, leave_out)
    _write(json_path, report)


def _light(data: Path, out: Path, false_positives: float, leave_out: bool) -> dict[str, Any]:
    from trivet.monitoring.guards.classifier import WINDOW
    from trivet.monitoring.guards.classifier import train as train_light
    from trivet.monitoring.learning.card import write_card
    from trivet.monitoring.learning.corpus import CAP
    from trivet.monitoring.learning.lesson import teach

    if data.is_file():
        classifier = train_light(_pairs(data), false_positives=false_positives)
        report: dict[str, Any] = {"heads": {head.name: vars(head) for head in classifier.heads}}
    else:
        classifier, report = teach(data, false_positives=false_positives, leave_out=leave_out, say=_say)
    classifier.save(out)
    report["bytes"] = out.stat().st_size
    if data.is_dir():
        write_card(out.parent / "MODEL_CARD.md", report, WINDOW, CAP)
        _print_summary(report["test"])
    click.echo(f"wrote {out} ({report['bytes'] / 1e6:.2f} MB)")
    return report


def _encoder(
    data: Path, out: Path, start: Path, light: Path | None, epochs: int, false_positives: float, leave_out: bool
) -> dict[str, Any]:
    from trivet.monitoring.guards.classifier import SHIPPED, LightClassifier
    from trivet.monitoring.learning.encoder_card import write_encoder_card
    from trivet.monitoring.learning.encoder_lesson import deepen
    from trivet.monitoring.learning.encoder_training import Settings

    classifier = LightClassifier.load(light or SHIPPED)
    report = deepen(
        data,
        classifier,
        Settings(start=start, epochs=epochs),
        out,
        false_positives=false_positives,
        leave_out=leave_out,
        say=_say,
    )
    report["bytes"] = sum(file.stat().st_size for file in out.iterdir())
    write_encoder_card(out / "MODEL_CARD.md", report)
    _print_summary(report["test"])
    click.echo(f"wrote {out} ({report['bytes'] / 1e6:.1f} MB)")
    return report


@click.command("eval")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="The same folder, or a .jsonl[.gz] of text and label.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="A trained .npz alone, or an encoder's folder; both stages as shipped if left out.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures here.")
def evaluate(data: Path, weights: Path | None, json_path: Path | None) -> None:
    """Measure the guards: on the test part of a folder of tasks, or on every row of a file (first head).

    The figures are those of the model cards: at the shipped threshold and at fixed shares of false alarms, with 95 %
    intervals, in sum and per source.
    """
    from trivet.monitoring.guards.cascade import Cascade
    from trivet.monitoring.guards.classifier import SHIPPED, LightClassifier
    from trivet.monitoring.learning.corpus import Example, load
    from trivet.monitoring.learning.encoder_lesson import measured as measured_task
    from trivet.monitoring.learning.figures import measured

    report: dict[str, Any]
    if data.is_file() or (weights and weights.is_file()):
        classifier = LightClassifier.load(weights or SHIPPED)
        names = [head.name for head in classifier.heads]
        if data.is_file():
            rows = [Example(text, {names[0]: bad}, data.name, ()) for text, bad in _pairs(data)]
            test = {names[0]: measured(classifier, names[0], rows)}
        else:
            rows = [example for example in load(data) if example.part == "test"]
            test = {head: measured(classifier, head, rows) for head in names}
        report = {"heads": {head.name: vars(head) for head in classifier.heads}, "test": test}
    else:
        cascade = Cascade.load(SHIPPED, weights) if weights else Cascade.shipped()
        rows = [example for example in load(data) if example.part == "test"]
        report = {"test": {task.name: measured_task(cascade, task.name, rows) for task in cascade.tasks}}
    _print_summary(report["test"])
    _print_sources(report["test"])
    _write(json_path, report)


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


def _say(text: str) -> None:
    click.echo(text, err=True)


def _cell(row: dict[str, Any]) -> str:
    return f"{100 * row['rate']:5.1f} % ({100 * row['low']:.1f}-{100 * row['high']:.1f})" if row["n"] else "-"


_RATES = ("recall", "false_positives", "over_refusal", "recall_at_1%", "recall_at_5%")


def _print_summary(test: dict[str, Any]) -> None:
    heads = ("head", "recall", "false alarms", "over-refusal", "recall at 1 %", "recall at 5 %")
    titles = "".join(name.ljust(11 if name == "head" else 21) for name in heads)
    click.echo(f"{titles}F1     AUPRC  AUROC")
    for head, figures in test.items():
        rates = "".join(_cell(figures[key]).ljust(21) if key in figures else "-".ljust(21) for key in _RATES)
        areas = "".join(f"{figures.get(key, float('nan')):<7.3f}" for key in ("f1", "auprc", "auroc"))
        click.echo(f"{head:<11}{rates}{areas}")


def _print_sources(test: dict[str, Any]) -> None:
    for head, figures in test.items():
        click.echo(f"\n{head}: share flagged per source")
        for row in sorted(figures["per_source"], key=lambda r: (not r["bad"], r["source"])):
            click.echo(f"  {'bad ' if row['bad'] else 'good'} {row['source']:<44}{_cell(row)} n={row['n']}")


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path:
        from trivet.core.store.artefacts import write_json

        write_json(path, report)
