"""`trivet eval`: a model's three figures in one table: attack success, over-refusal, capability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trivet.cli.attack import as_overrides, output_options
from trivet.core.config import load
from trivet.robustness.measure import Config


@click.command("eval")
@click.option("--model", "target", help="The model: town:NAME, hf:NAME_OR_PATH, a folder, registry:champion ...")
@output_options
def eval(
    recipe: Path | None, overrides: tuple[str, ...], home: Path | None,
    json_path: Path | None, html_path: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Measure a model: attack success on held-out templates, over-refusal, capability.

    Without --goals it is measured on the town, by the town's oracle; with them by refusal rules and the packaged probes.
    """
    from trivet.cli.attack_measure import Outputs, measured

    config = load(Config, recipe, [*as_overrides(given), *overrides])
    measured("eval", config, home, Outputs(json=json_path, html=html_path))
