"""`trivet guard`: train the guards, measure them, score rows with them, and try a policy on a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trivet.cli.guard_pii import pii
from trivet.cli.guard_score import score
from trivet.cli.guard_train import evaluate, train


@click.group()
def guard() -> None:
    """Train, measure and try guards and policies."""


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


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path:
        from trivet.core.store.artefacts import write_json

        write_json(path, report)


for command in (train, evaluate, score, pii):
    guard.add_command(command)
