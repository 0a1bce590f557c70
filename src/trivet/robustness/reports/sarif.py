"""A run as SARIF 2.1.0 (OASIS 2020), for code hosts that show findings: a rule per family, a result per finding.

What got through is an `error` (a `warning` where only a part was given away), a harmless request that was refused or met with nothing is a
`note`. The rules carry OWASP and ATLAS as tags and as relationships to taxonomies in the file. A result's place is the
target, because no file and line of anyone is at fault; its fingerprint holds neither run nor time, so the same finding in
two runs is one alert. No text of target or attacker stands in the file.

Not covered: fixes, code flows, and transcripts (the store and --jsonl have them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from trivet.core.events import Attempt
from trivet.core.messages import digest_of
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.campaign import SUCCESS
from trivet.robustness.reports.findings import Findings, atlas_of, owasp_of
from trivet.robustness.reports.texts import line
from trivet.robustness.suites.overrefusal import UNANSWERED
from trivet.robustness.suites.summary import attacked

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
OVERREFUSAL = "over-refusal"


def sarif(found: Findings) -> str:
    """The log with its one run, as JSON."""
    results = [attempt for attempt in found.attempts if _level(attempt)]
    names = sorted({_rule(attempt) for attempt in results})
    driver = {
        "name": "trivet",
        "semanticVersion": version("trivet"),
        "rules": [_described(name) for name in names],
    }
    run = {
        "tool": {"driver": driver},
        "taxonomies": _taxonomies(results),
        "invocations": [{"executionSuccessful": not found.figures.errors}],
        "automationDetails": {"id": f"trivet/{line(found.about.suite)}/{line(found.about.target)}/"},
        "results": [_result(attempt, names) for attempt in results],
        "properties": {
            "run": line(found.about.run),
            "judge": line(found.about.judge),
            "attackSuccess": found.success.row(),
            "overRefusal": found.refusal.row(),
        },
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _level(attempt: Attempt) -> str:
    """The level of a finding, or nothing for what is none."""
    label = attempt.verdict.label
    if attacked(attempt) and label in SUCCESS:
        return "error" if label == "complied" else "warning"
    return "note" if attempt.suite == "overrefusal" and label in UNANSWERED else ""


def _rule(attempt: Attempt) -> str:
    return line(attempt.attack) if attacked(attempt) else OVERREFUSAL


def _described(name: str) -> dict[str, Any]:
    if name == OVERREFUSAL:
        return {
            "id": name,
            "shortDescription": {"text": "A harmless request was refused, or met with nothing."},
            "defaultConfiguration": {"level": "note"},
        }
    tag = TAGS.get(name)
    rule: dict[str, Any] = {
        "id": name,
        "shortDescription": {"text": f"Got through: {tag.title if tag else name}"},
        "defaultConfiguration": {"level": "error"},
    }
    if tag:
        rule["properties"] = {"tags": ["security", *tag.owasp, *tag.atlas]}
        rule["relationships"] = [
            {"target": {"id": id, "toolComponent": {"name": component}}, "kinds": ["relevant"]}
            for component, ids in (("OWASP", tag.owasp), ("ATLAS", tag.atlas))
            for id in ids
        ]
    return rule


def _taxonomies(results: Iterable[Attempt]) -> list[dict[str, Any]]:
    """Every entry that a rule or a result refers to."""
    owasp: set[str] = set()
    atlas: set[str] = set()
    for attempt in results:
        owasp.update(owasp_of(attempt))
        atlas.update(atlas_of(attempt))
    return [
        {
            "name": name,
            "organization": maker,
            "shortDescription": {"text": told},
            "taxa": [{"id": id} for id in sorted(ids)],
        }
        for name, maker, told, ids in (
            ("OWASP", "OWASP Foundation", "Top 10 for LLM Applications 2025", owasp),
            ("ATLAS", "MITRE", "Adversarial Threat Landscape for AI Systems", atlas),
        )
        if ids
    ]


def _result(attempt: Attempt, names: list[str]) -> dict[str, Any]:
    about = attempt.goal.hazard if attempt.goal else attempt.probe.topic if attempt.probe else ""
    did = "got through" if attacked(attempt) else "was not answered"
    told = f"{attempt.template or 'a harmless request'} on {about or 'no topic'} {did} ({attempt.verdict.label})"
    result: dict[str, Any] = {
        "ruleId": _rule(attempt),
        "ruleIndex": names.index(_rule(attempt)),
        "level": _level(attempt),
        "message": {"text": line(told, 300)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(line(attempt.target) or "target", safe="")},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": line(attempt.target), "kind": "module"}],
            }
        ],
        "partialFingerprints": {
            "attempt/v1": digest_of(
                [attempt.suite, attempt.task, *map(line, (attempt.attack, attempt.template, attempt.target))]
            )
        },
        "properties": {"attempt": attempt.id, "hazard": line(about), "judge": line(attempt.verdict.judge)},
    }
    taxa = [{"id": id, "toolComponent": {"name": "OWASP"}} for id in owasp_of(attempt)]
    taxa += [{"id": id, "toolComponent": {"name": "ATLAS"}} for id in atlas_of(attempt)]
    return {**result, "taxa": taxa} if taxa and attacked(attempt) else result
