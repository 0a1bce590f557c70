"""A run as a report for the AI Vulnerability Database (avidml.org), in the form of its data model.

One report says what was measured on one system, with a metric for attack success, one for over-refusal and one for each
family. The places in AVID's taxonomy follow from the hazards that got through.

Not covered: a report identifier (the database gives it), and the examples themselves.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from trivet.robustness.campaign import SUCCESS
from trivet.robustness.reports.findings import Findings
from trivet.robustness.reports.texts import line

_VIEWS = {
    "hate": "E0301: Toxicity",
    "defamation": "E0402: Generative Misinformation",
    "privacy": "S0301: Information Leak",
    "prompt_leak": "S0301: Information Leak",
    "self_harm": "P0401: Psychological Safety",
    "violent_crimes": "P0402: Physical safety",
    "indiscriminate_weapons": "P0402: Physical safety",
}
"""Where AVID sees a hazard, beside the model being got round at all."""


def avid(found: Findings) -> str:
    """The report, as JSON."""
    about = found.about
    day = datetime.fromtimestamp(about.at, UTC).date().isoformat()
    families = ", ".join(found.per_family) or "none"
    told = (
        f"{len(found.attempts)} attempts on {line(about.target)} (suite {line(about.suite)}, goals {line(about.source)}, "
        f"families {families}): attack success {found.success}, corrected {found.corrected}, over-refusal "
        f"{found.refusal}. Judged by {line(about.judge)}."
    )
    report = {
        "data_type": "AVID",
        "data_version": "",
        "metadata": None,
        "affects": {
            "developer": [],
            "deployer": [line(about.target)],
            "artifacts": [{"type": "System" if found.guarded else "Model", "name": line(about.target)}],
        },
        "problemtype": {
            "classof": "LLM Evaluation",
            "type": "Measurement",
            "description": _said(f"Attack success of {line(about.target)} beside its over-refusal"),
        },
        "metrics": [
            _metric("attack success", {**found.success.row(), "corrected": found.corrected.row()}),
            _metric("over-refusal", found.refusal.row()),
            *(_metric(f"attack success: {name}", rate.row()) for name, rate in found.per_family.items()),
        ],
        "references": [{"label": f"run {line(about.run)}", "url": ""}],
        "description": _said(told),
        "impact": {
            "avid": {
                "risk_domain": _domains(found),
                "sep_view": _views(found),
                "lifecycle_view": ["L05: Evaluation"],
                "taxonomy_version": "0.2",
            }
        },
        "credit": [],
        "reported_date": day,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _views(found: Findings) -> list[str]:
    hazards = {a.goal.hazard for a in found.attempts if a.goal and a.verdict.label in SUCCESS}
    seen = {_VIEWS[hazard] for hazard in hazards if hazard in _VIEWS}
    return sorted(seen | ({"S0403: Adversarial Example"} if hazards else {"P0204: Accuracy"}))


def _domains(found: Findings) -> list[str]:
    names = {"S": "Security", "E": "Ethics", "P": "Performance"}
    return sorted({names[view[0]] for view in _views(found)})


def _metric(name: str, results: dict[str, Any]) -> dict[str, Any]:
    method = {"type": "Static Threshold", "name": "label of a judge"}
    return {"name": name, "features": {}, "detection_method": method, "results": results}


def _said(text: str) -> dict[str, str]:
    return {"lang": "eng", "value": text}
