"""Lessons to rows: the one form in which `trivet data import` writes every data set, and which sources.py reads back.

    preferences     prompt (turns), chosen, rejected, and weight, margin, chance where they are not 1, 0 and 1
    demonstrations  prompt (turns), completion; or text where there is no prompt
    feedback        prompt (turns), completion, label
    prompts         prompt (turns)

Every lesson keeps its `origin` {source, line, events}, so that it can be followed to the row and the events it came from.
Packed files (.gz) hold no time of writing: the same lessons are the same bytes.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from trivet.core.errors import StoreError
from trivet.core.lessons import Demonstration, Feedback, Lesson, Origin, Preference
from trivet.core.messages import Conversation


def row_of(lesson: Lesson | Conversation) -> dict[str, Any]:
    """A lesson, or a prompt alone, as a row of JSON."""
    match lesson:
        case Preference(prompt, chosen, rejected, weight, margin, chance, origin):
            extra = {"weight": (weight, 1.0), "margin": (margin, 0.0), "chance": (chance, 1.0)}
            told = {name: value for name, (value, usual) in extra.items() if value != usual}
            return {"prompt": prompt.rows(), "chosen": chosen, "rejected": rejected, **told, **_origin(origin)}
        case Demonstration(prompt, reply, origin):
            words = {"prompt": prompt.rows(), "completion": reply} if len(prompt) else {"text": reply}
            return {**words, **_origin(origin)}
        case Feedback(prompt, reply, desirable, origin):
            return {"prompt": prompt.rows(), "completion": reply, "label": desirable, **_origin(origin)}
        case Conversation():
            return {"prompt": lesson.rows()}


def write(path: str | Path, lessons: Iterable[Lesson | Conversation]) -> Path:
    """JSON Lines at `path`, packed where it ends in .gz; written beside its place and renamed, so never half."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if target.suffix == ".gz" else None
            for lesson in lessons:
                (packed or file).write(json.dumps(row_of(lesson), ensure_ascii=False).encode() + b"\n")
            if packed:
                packed.close()
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as why:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(f"{target} could not be written: {why.strerror}; check its folder and the free space") from why
    return target


def _origin(origin: Origin) -> dict[str, Any]:
    return {"origin": {"source": origin.source, "line": origin.line, "events": list(origin.events)}}
