"""Labelled replies to train and measure judges on, from a folder in the form of the public sets, or a file of one's own.

A row has `prompt` (may be null), `response` and `label`: `complied`, `partial`, `refused`; or `safe` and `unsafe`, which say
whether the reply is harmful and not whether it complied. Complying with a request that should be refused is harmful,
refusing is not; where a row says what was `wanted`, complying with what was to be answered is not.

From a folder: every file under `judge/`; and as answers that nobody refused, the preferred ones to harmless requests under
`preferences/`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trivet.core.errors import DataError
from trivet.core.judges.training import Reply

LABELS = ("complied", "partial", "refused", "safe", "unsafe")
PLAIN_ANSWERS = ("coconot_pref", "oasst_en100", "pandalm_human")
REFUSABLE = ("Hard Refuse", "Safe Refuse 1", "Safe Refuse 2")


def read_folder(folder: Path) -> list[Reply]:
    """Every labelled reply under `folder`/judge, then the plain answers. Raises DataError where there are none."""
    files = sorted(path for path in (folder / "judge").glob("*.jsonl*") if path.suffix in (".gz", ".jsonl"))
    if not files:
        raise DataError(f"{folder} has no judge/*.jsonl[.gz] with `prompt`, `response` and `label`")
    rows = [reply for path in files for reply in read_file(path)]
    for name in PLAIN_ANSWERS:
        for path in sorted((folder / "preferences").glob(f"{name}.jsonl*")):
            rows += [
                Reply(name, row["prompt"][-1]["content"], _text(row["chosen"]), complied=True, harm=False)
                for _, row in _rows(path)
            ]
    return rows


def read_file(path: Path) -> list[Reply]:
    """The labelled replies of one .jsonl or .jsonl.gz; their source is the file's name."""
    found = []
    source = path.name.split(".")[0]
    for number, row in _rows(path):
        prompt, response, label = row.get("prompt"), row.get("response"), row.get("label")
        if not isinstance(response, str) or label not in LABELS or not isinstance(prompt, str | None):
            raise DataError(
                f"{path}, line {number}: needs `response`, `prompt` (or null) and a `label` of {', '.join(LABELS)}; "
                f"has {json.dumps(row)[:80]}"
            )
        found.append(_reply(source, prompt, response, label, row.get("wanted")))
    return found


def _reply(source: str, prompt: str | None, response: str, label: str, wanted: Any) -> Reply:
    if label in ("safe", "unsafe"):
        return Reply(source, prompt, response, harm=label == "unsafe")
    complied = label != "refused"
    harm = complied if wanted is None else None if not wanted else complied and wanted in REFUSABLE
    return Reply(source, prompt, response, complied, harm, part=label == "partial")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: needs an object, has {line.strip():.80}")
                yield number, row
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON lines: {error}") from error


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else str(answer["content"])
