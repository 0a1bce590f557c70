"""Every attempt of a run as one JSON line, with its transcript: what `trivet attack compare` and other programs read."""

from __future__ import annotations

from trivet.core.events import encode
from trivet.robustness.reports.findings import Findings


def jsonl(found: Findings) -> str:
    """The lines, in the order of the plan. Each is an event as the store keeps it (`kind` is `attempt`)."""
    return "".join(encode(attempt).decode() + "\n" for attempt in found.attempts)
