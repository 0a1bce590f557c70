"""Preference pairs on disk: JSON Lines in the form that other trainers read too (`alignment.sources` reads it), with origins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trivet.core.lessons import Preference
from trivet.core.store.artefacts import write_text


def write_pairs(path: Path, pairs: Iterable[Preference]) -> None:
    """Whole or not at all."""
    write_text(path, "".join(json.dumps(_row(pair), ensure_ascii=False) + "\n" for pair in pairs))


def _row(pair: Preference) -> dict[str, Any]:
    return {
        "prompt": pair.prompt.rows(),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "weight": pair.weight,
        "origin": {"source": pair.origin.source, "events": list(pair.origin.events)},
    }
