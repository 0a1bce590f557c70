"""Where a run's figures go besides its own metrics.jsonl: TensorBoard, Weights & Biases, MLflow.

The writers are accelerate's. A tracker that is asked for and not installed stops the run before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trivet.core.errors import ConfigError, did_you_mean

KNOWN = {"tensorboard": "TensorBoardTracker", "wandb": "WandBTracker", "mlflow": "MLflowTracker"}


def trackers(names: str, out: Path, settings: Mapping[str, Any]) -> list[Callable[[Mapping[str, float]], None]]:
    """A writer for each name in `names` (commas between); each takes a row of metrics with its `step`.

    Raises ConfigError for a name that is not known or a package that is missing.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    return [_tracker(name, out, settings) for name in wanted]


def _tracker(name: str, out: Path, settings: Mapping[str, Any]) -> Callable[[Mapping[str, float]], None]:
    if name not in KNOWN:
        raise ConfigError(f'track: "{name}" is not known; use {", ".join(KNOWN)}.{did_you_mean(name, KNOWN)}')
    if find_spec(name) is None:
        raise ConfigError(f"track: {name} is not installed; install it with: pip install {name}")
    from accelerate import PartialState, tracking

    PartialState()  # accelerate's writers ask it which process is the main one
    kind = getattr(tracking, KNOWN[name])
    writer = kind(out.name, logging_dir=str(out / name)) if kind.requires_logging_directory else kind(out.name)
    writer.start()
    writer.store_init_configuration(
        {key: value for key, value in settings.items() if isinstance(value, (str, int, float))}
    )

    def write(row: Mapping[str, float]) -> None:
        writer.log({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    return write
