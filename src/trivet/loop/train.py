"""Train: from preference pairs to a challenger, by the alignment pillar's DPO recipe.

The champion is both the start and the reference. The run lives in the turn's folder and resumes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivet.core.lessons import Preference
from trivet.loop.recipe import Training


def train(
    start: str,
    pairs: Sequence[Preference],
    config: Training,
    out: Path,
    *,
    seed: int,
    threads: int,
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> dict[str, Any]:
    """The challenger's folder and the run's last figures. `start` is a model folder or a hub name."""
    from trivet.alignment import preference  # torch

    kept_back = round(len(pairs) * config.heldout_share)
    settings = preference.Config(
        model=start,
        out=str(out),
        beta=config.beta,
        nll_weight=config.nll_weight,
        lr=config.lr,
        epochs=config.epochs,
        batch_size=config.batch_size,
        lora=config.lora,
        max_length=config.max_length,
        dtype=config.dtype,
        seed=seed,
        threads=threads,
        log_every=2,
        save_every=20,
        eval_every=10,
    )
    result = preference.run(settings, pairs[kept_back:], heldout=pairs[:kept_back], progress=progress)
    return {
        "folder": str(result.folder),
        "metrics": str(result.metrics),
        "steps": result.steps,
        "final": dict(result.final),
        "dropped": dict(result.dropped),
    }
