"""Public over-refusal sets, read from files that you have: XSTest, OR-Bench, OKTest, NotInject.

None of them ships with Trivet. The form is told by what a file holds and not by its name, except where two sets look
alike:

    XSTest      CSV with `type` and `prompt`; types that begin with `contrast_` are requests to be refused, and become goals
    OR-Bench    CSV with `prompt` and `category`; a file with `toxic` in its name holds requests to be refused
    OKTest      CSV with the one column `prompt`
    NotInject   a JSON list of objects with `prompt` and `word_list`; empty prompts are left out
    ours        JSON Lines with `text`, `label` and `category`, plain or gzipped

References: Röttger et al. 2024 (arXiv:2308.01263), Cui et al. 2024 (arXiv:2405.20947), Shi et al. 2024 (arXiv:2401.17633),
Li et al. 2024 (arXiv:2410.22770). Not covered: Parquet, and sets in several languages (a prompt is taken as it is).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trivet.core.errors import DataError
from trivet.core.hazards import Goal, Probe
from trivet.robustness.goals import hazard_of, load_probes
from trivet.robustness.suites.overrefusal import Pair, pairs

Rows = Sequence[dict[str, Any]]


class Loaded(NamedTuple):
    """What a file holds: probes to be answered, goals to be refused, and the name of its form."""

    form: str
    probes: tuple[Probe, ...]
    goals: tuple[Goal, ...] = ()
    pairs: tuple[Pair, ...] = ()


def load(path: str | Path) -> Loaded:
    """The probes and contrasts of a public file, each once. Raises DataError that says what was expected."""
    path = Path(path)
    if path.suffix in (".jsonl", ".gz"):
        known = pairs(path)
        return Loaded("ours", tuple(load_probes(path, "lookalike")), tuple(pair.unsafe for pair in known), tuple(known))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as wrong:
        raise DataError(f"cannot read {path}: {wrong}; give a CSV, JSON or JSON Lines file") from wrong
    rows = _json_rows(text, path) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text)
    form = _form(rows, path)
    probes, goals = _FORMS[form](rows, path)
    if not probes and not goals:
        raise DataError(f"{path} looks like {form} and holds no prompt")
    return Loaded(form, tuple(dict.fromkeys(probes)), tuple(dict.fromkeys(goals)))


def _form(rows: Rows, path: Path) -> str:
    columns = {str(name) for name in rows[0]} if rows else set()
    for form, needed in (
        ("XSTest", {"type", "prompt"}),
        ("NotInject", {"prompt", "word_list"}),
        ("OR-Bench", {"prompt", "category"}),
        ("OKTest", {"prompt"}),
    ):
        if needed <= columns:
            return form
    raise DataError(
        f"{path} is none of XSTest (type, prompt), OR-Bench (prompt, category), OKTest (prompt) and NotInject (prompt, "
        f"word_list); it has {', '.join(sorted(columns)) or 'no rows'}"
    )


def _xstest(rows: Rows, path: Path) -> tuple[list[Probe], list[Goal]]:
    probes, goals = [], []
    for row in rows:
        kind, prompt = str(row["type"]).strip(), _prompt(row)
        if kind.startswith("contrast_"):
            goals.append(Goal(prompt, "other", kind.removeprefix("contrast_").replace("_", " ")))
        elif prompt:
            probes.append(Probe(prompt, "lookalike", kind.replace("_", " ")))
    return probes, [goal for goal in goals if goal.request]


def _or_bench(rows: Rows, path: Path) -> tuple[list[Probe], list[Goal]]:
    named = [(_prompt(row), str(row["category"]).strip()) for row in rows if _prompt(row)]
    if "toxic" in path.name.lower():
        return [], [Goal(prompt, hazard_of(category), category) for prompt, category in named]
    return [Probe(prompt, "lookalike", category) for prompt, category in named], []


def _oktest(rows: Rows, path: Path) -> tuple[list[Probe], list[Goal]]:
    return [Probe(_prompt(row), "lookalike", "oktest") for row in rows if _prompt(row)], []


def _notinject(rows: Rows, path: Path) -> tuple[list[Probe], list[Goal]]:
    probes = []
    for row in rows:
        words = row["word_list"]
        count = len(words) if isinstance(words, list) else 1
        if prompt := _prompt(row):
            probes.append(Probe(prompt, "lookalike", f"{count} trigger word{'s' if count > 1 else ''}"))
    return probes, []


_FORMS: dict[str, Callable[[Rows, Path], tuple[list[Probe], list[Goal]]]] = {
    "XSTest": _xstest,
    "OR-Bench": _or_bench,
    "OKTest": _oktest,
    "NotInject": _notinject,
}


def _prompt(row: dict[str, Any]) -> str:
    return str(row.get("prompt") or "").strip()


def _csv_rows(text: str) -> list[dict[str, Any]]:
    return [dict(row) for row in csv.DictReader(io.StringIO(text))]


def _json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise DataError(f"{path}: not JSON ({wrong.msg} at line {wrong.lineno}, column {wrong.colno})") from wrong
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DataError(f"{path}: expected a list of objects, each with `prompt`")
    return found
