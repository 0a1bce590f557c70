"""Preference pairs on disk: JSON Lines in the form that other trainers read too (`alignment.sources` reads it), with origins."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from trivet.core.lessons import Preference


def write_pairs(path: Path, pairs: Iterable[Preference]) -> None:
    """Whole or not at all: written beside its place and renamed."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = {
                "prompt": pair.prompt.rows(),
                "chosen": pair.chosen,
                "rejected": pair.rejected,
                "weight": pair.weight,
                "origin": {"source": pair.origin.source, "events": list(pair.origin.events)},
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
