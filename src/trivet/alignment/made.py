"""From the lineage of a constitutional run to lessons: demonstrations, preferences, and figures about both.

Everything here is a function of the rows, in the order of the prompts, so files written again are the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trivet.alignment.ai_labels import position_bias
from trivet.alignment.lineage import Row
from trivet.core.errors import TargetError
from trivet.core.messages import Conversation
from trivet.core.store.artefacts import write_text


@dataclass(frozen=True)
class Result:
    """Where a finished run left its lessons. `steps` counts the rows of lineage behind them; None where a kind was not made."""

    folder: Path
    steps: int
    metrics: Path
    final: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    demonstrations: Path | None = None
    preferences: Path | None = None


class Made(NamedTuple):
    """What became of one prompt: the reply and its revisions in order, its label, and what prevented more.

    `label` is None where none was wanted or the two replies are one and the same.
    """

    prompt: Conversation
    chain: tuple[Row, ...] = ()
    label: Row | TargetError | None = None
    failure: TargetError | None = None

    def then(self, row: Row | TargetError) -> Made:
        return self._replace(failure=row) if isinstance(row, TargetError) else self._replace(chain=(*self.chain, row))

    @property
    def text(self) -> str:
        """The reply as it stands: an empty revision leaves the one before it."""
        revisions = [row["revision"] for row in self.chain[1:] if row["revision"]]
        return str(revisions[-1] if revisions else self.chain[0]["reply"])

    def at(self, number: int) -> str:
        """The reply after so many rounds."""
        return self._replace(chain=self.chain[: number + 1]).text


def written(
    folder: Path,
    source: str,
    made: Sequence[Made],
    *,
    rounds: int,
    learn: Literal["final", "all"],
    labelled: bool,
    repeated: int = 0,
) -> Result:
    """Write the lessons and the figures; raises the first failure where all replies or all labels failed."""
    whole = [one for one in made if not one.failure]
    unlabelled = [one.label for one in whole if isinstance(one.label, TargetError)]
    if not whole or len(unlabelled) == len(whole):
        raise next(one.failure for one in made if one.failure) if not whole else unlabelled[0]
    metrics = [_round(whole, number) for number in range(1, rounds + 1)]
    dropped = {"failed": len(made) - len(whole), "repeated": repeated}
    final: dict[str, float] = {"prompts": float(len(whole))}
    demonstrations = preferences = None
    if rounds:
        rows = [row for one in whole for row in _demonstrations(one, source, learn)]
        demonstrations = _lines(folder / "demonstrations.jsonl", rows)
        dropped["empty"] = sum(not one.text.strip() for one in whole)
        final |= {"demonstrations": len(rows), "changed": _share(one.at(0) != one.text for one in whole)}
    if labelled:
        labels = [one.label for one in whole if isinstance(one.label, dict)]
        apart = [label for label in labels if label["chance"] != 0.5 and all(text.strip() for text in label["replies"])]
        turns = {one.prompt.digest: one.prompt for one in whole}
        preferences = _lines(folder / "preferences.jsonl", [_pair(label, turns, source) for label in apart])
        dropped |= {
            "unlabelled": len(unlabelled),
            "identical": sum(one.label is None for one in whole),
            "tied_or_empty": len(labels) - len(apart),
        }
        metrics.append(_about(labels))
        final |= {"preferences": len(apart), **{name: value for name, value in metrics[-1].items() if name != "labels"}}
    rows_behind = sum(len(one.chain) for one in whole) + 2 * sum(isinstance(one.label, dict) for one in whole)
    return Result(
        folder, rows_behind, _lines(folder / "metrics.jsonl", metrics), final, dropped, demonstrations, preferences
    )


def _round(made: Sequence[Made], number: int) -> dict[str, Any]:
    """How far a round went: replies that it changed, revisions that came back empty, words left."""
    rows = [one.chain[number] for one in made]
    return {
        "round": number,
        "changed": _share(one.at(number - 1) != one.at(number) for one in made),
        "empty": _share(not row["revision"] for row in rows),
        "words": round(sum(len(one.at(number).split()) for one in made) / len(made), 4),
    }


def _about(labels: Sequence[Row]) -> dict[str, Any]:
    """How sure the labels are (distance from 1/2), and by how much the first place is favoured."""
    questions = [question for label in labels for question in label["questions"]]
    if not questions:
        return {"labels": 0}
    sure = sum(abs(label["chance"] - 0.5) for label in labels) / len(labels)
    return {"labels": len(labels), "sureness": round(sure, 6), "position_bias": round(position_bias(questions), 6)}


def _demonstrations(one: Made, source: str, learn: str) -> list[dict[str, Any]]:
    """The last revision, or each text that a round arrived at, once."""
    numbers = range(1, len(one.chain)) if learn == "all" else [len(one.chain) - 1]
    texts = {one.at(number): number for number in reversed(numbers)}
    return [
        {"prompt": one.prompt.rows(), "completion": text, "origin": _origin(source, one.chain[: number + 1])}
        for text, number in sorted(texts.items(), key=lambda item: item[1])
        if text.strip()
    ]


def _pair(label: Row, turns: dict[str, Conversation], source: str) -> dict[str, Any]:
    """A label as a pair whose chosen reply is the likelier to be better."""
    chance, (a, b) = label["chance"], label["replies"]
    chosen, rejected = (a, b) if chance > 0.5 else (b, a)
    return {
        "prompt": turns[label["prompt"]].rows(),
        "chosen": chosen,
        "rejected": rejected,
        "chance": max(chance, 1 - chance),
        "origin": {"source": f"constitution:{source}", "events": [*label["parents"], label["id"]]},
    }


def _origin(source: str, chain: Iterable[Row]) -> dict[str, Any]:
    return {"source": f"constitution:{source}", "events": [row["id"] for row in chain]}


def _share(outcomes: Iterable[bool]) -> float:
    found = list(outcomes)
    return round(sum(found) / len(found), 6)


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
