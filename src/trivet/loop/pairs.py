"""Preference pairs on disk: JSON Lines in the form that other trainers read too, each with its origin."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from trivet.core.errors import DataError
from trivet.core.lessons import Origin, Preference
from trivet.core.messages import Conversation


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


def read_pairs(path: Path) -> list[Preference]:
    """What `write_pairs` wrote. Raises DataError that names file and line."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            origin = Origin(row["origin"]["source"], tuple(row["origin"]["events"]))
            pairs.append(
                Preference(Conversation.parse(row["prompt"]), row["chosen"], row["rejected"], row["weight"], origin)
            )
        except (json.JSONDecodeError, KeyError, TypeError) as wrong:
            raise DataError(f"{path} line {number}: not a preference pair ({wrong})") from wrong
    return pairs
