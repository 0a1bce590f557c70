"""`trivet guard score`: the trained guards on a file of rows, one answer a row."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option(
    "--task",
    type=click.Choice(["prompts_safety", "jailbreak", "injection", "toxicity"]),
    required=True,
    help="What the rows are asked for.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="A .jsonl[.gz] with `text`, or `document` for injection.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="One row per row read, in order.")
@click.option("--policy", default="default", show_default=True, help="The policy whose layers decide `flagged`.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes, one core each; as many as there are cores if left out."
)
def score(task: str, data: Path, out: Path, policy: str, workers: int | None) -> None:
    """Score every row: {"score": 0..1, "flagged": under the policy, "layer": that decided}."""
    import os

    from trivet.monitoring.guards.scoring import KINDS, scored, texts_of
    from trivet.monitoring.policy import Policy

    kind, rows, flagged = KINDS[task], 0, 0
    rules = Policy.load(policy)
    cores = workers or os.cpu_count() or 1
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as lines:
        for row in scored(texts_of(data, kind.fields), kind, policy, cores):
            lines.write(json.dumps(row) + "\n")
            rows, flagged = rows + 1, flagged + row["flagged"]
    click.echo(f"{rows:,} rows, {flagged:,} flagged under the policy {rules.name} {rules.version}")
