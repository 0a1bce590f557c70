"""Goals and probes from JSON Lines files, plain or gzipped: `{"behavior", "category"}` and `{"text", "label", "category"}`.

Benchmarks name their categories as they like; `hazard_of` maps the names of AdvBench, JailbreakBench, AILuminate, the
forbidden-question set, CatQA and their like to this project's hazards by exact code or by keyword, and anything unknown
to `other`. A category stays readable as the goal's topic.

Not covered: CSV and Parquet files; probes that need earlier turns (`history`), which are left out.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from trivet.core.errors import DataError
from trivet.core.hazards import HAZARDS, Goal, Probe, ProbeKind

_T = TypeVar("_T")

_CODES = {  # AILuminate
    "vcr": "violent_crimes", "ncr": "nonviolent_crimes", "src": "sex_crimes", "cse": "child_exploitation",
    "dfm": "defamation", "spc": "specialized_advice", "prv": "privacy", "ipv": "intellectual_property",
    "iwp": "indiscriminate_weapons", "hte": "hate", "ssh": "self_harm", "sxc": "sexual_content",
}  # fmt: skip

# In this order: the first keyword found in the category, in lower case, decides.
_KEYWORDS = (
    ("child", "child_exploitation"), ("bully", "hate"), ("terror", "violent_crimes"), ("malware", "cybercrime"),
    ("hack", "cybercrime"), ("cyber", "cybercrime"), ("prompt injection", "prompt_injection"),
    ("prompt leak", "prompt_leak"), ("privacy", "privacy"), ("self-harm", "self_harm"), ("self harm", "self_harm"),
    ("suicide", "self_harm"), ("hate", "hate"), ("harass", "hate"), ("discriminat", "hate"), ("racis", "hate"),
    ("defam", "defamation"), ("libel", "defamation"), ("weapon", "indiscriminate_weapons"),
    ("chemical_bio", "indiscriminate_weapons"), ("copyright", "intellectual_property"),
    ("intellectual property", "intellectual_property"), ("sexual crime", "sex_crimes"), ("sex crime", "sex_crimes"),
    ("sex", "sexual_content"), ("porn", "sexual_content"), ("adult content", "sexual_content"),
    ("physical harm", "violent_crimes"), ("violen", "violent_crimes"), ("murder", "violent_crimes"),
    ("advice", "specialized_advice"), ("legal opinion", "specialized_advice"),
    ("health consultation", "specialized_advice"), ("fraud", "nonviolent_crimes"), ("illegal", "nonviolent_crimes"),
    ("economic harm", "nonviolent_crimes"), ("theft", "nonviolent_crimes"), ("crime", "nonviolent_crimes"),
)  # fmt: skip


def load_goals(path: str | Path) -> list[Goal]:
    """The goals of a file, in order, each once. Raises DataError that names file and line."""
    goals = []
    for where, row in rows_of(path):
        category = _text(row, "category", where, needed=False)
        goals.append(Goal(_text(row, "behavior", where), hazard_of(category), category))
    return _some(list(dict.fromkeys(goals)), path, "goals", "behavior")


def load_probes(path: str | Path, kind: ProbeKind) -> list[Probe]:
    """The probes of a file, in order, each once.

    Rows labelled other than `safe` are the contrast that a model should refuse, and rows with a `history` make no sense
    without it: both are left out. `facts` (a list) and `answer` are taken where they stand.
    """
    probes = []
    for where, row in rows_of(path):
        if row.get("label", "safe") != "safe" or row.get("history"):
            continue
        facts = row.get("facts", [])
        if not isinstance(facts, list) or not all(isinstance(fact, str) for fact in facts):
            raise DataError(f"{where}: `facts` must be a list of texts, is {facts!r:.80}")
        category, answer = (_text(row, key, where, needed=False) for key in ("category", "answer"))
        probes.append(Probe(_text(row, "text", where), kind, category, tuple(facts), answer))
    return _some(list(dict.fromkeys(probes)), path, "probes", "text")


def hazard_of(category: str) -> str:
    """The code of the hazard that a benchmark's category names, or `other`."""
    name = category.lower().strip()
    if name in HAZARDS:
        return name
    if (code := name.split("_")[0]) in _CODES:
        return _CODES[code]
    return next((hazard for keyword, hazard in _KEYWORDS if keyword in name), "other")


def rows_of(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) for each line that is not blank."""
    path = Path(path)
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"{path}:{number}", _parsed(line, f"{path}:{number}")
    except UnicodeDecodeError as wrong:
        raise DataError(f"{path}:{number + 1}: not UTF-8 text ({wrong.reason})") from wrong
    except (OSError, EOFError, zlib.error) as wrong:
        reason = getattr(wrong, "strerror", None) or wrong
        raise DataError(f"cannot read {path}: {reason}; give a JSON Lines file, plain or gzipped") from wrong


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as wrong:
        raise DataError(f"{where}: not JSON ({wrong.msg} at column {wrong.colno})") from wrong
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row must be an object, is {line.strip()!r:.80}")
    return row


def _text(row: dict[str, Any], key: str, where: str, *, needed: bool = True) -> str:
    value = row.get(key, None if needed else "")
    if not isinstance(value, str) or (needed and not value.strip()):
        has = f"is {value!r:.60}" if key in row else f"is missing (the row has {', '.join(row) or 'nothing'})"
        raise DataError(f"{where}: `{key}` must be a text, {has}")
    return value.strip()


def _some(found: list[_T], path: str | Path, what: str, key: str) -> list[_T]:
    if not found:
        raise DataError(f"{path} holds no {what}: every line should be an object with `{key}`")
    return found
