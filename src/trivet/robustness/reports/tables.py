"""The tables of a report, as headings and rows: the terminal and the page show the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trivet.core.hazards import HAZARDS
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.reports.findings import Findings

RATE = "rate [95 % interval]"

_EMPTY = {
    "overrefusal": "empty replies, counted as refused ({})",
    "capability": "empty replies, counted as not answered ({})",
    "": "empty replies, in no rate ({})",
}


class Table(NamedTuple):
    """`name` says what it is about, `headers` and `rows` are plain values."""

    name: str
    headers: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def headline(found: Findings) -> Table:
    """Attack success and over-refusal, each alone of no use, and all that was counted apart."""
    figures = found.figures
    rows: list[tuple[Any, ...]] = []
    if figures.attack_success.n or {"attack", "agent"} & {*figures.errors, *figures.empty}:
        rows += [
            ("attack success (lower is better)", figures.attack_success),
            ("  counted by goal", found.success),
            ("  corrected for the judge's errors", found.corrected),
        ]
        rows += [(f"  hit@{k}: at least one of {k} on a goal", mean) for k, mean in found.hits.items() if k > 1]
    rows.append(("over-refusal (lower is better)", figures.over_refusal))
    if found.refusal.clusters < found.refusal.n:
        rows.append(("  counted by probe", found.refusal))
    if found.told.apart.n:
        rows.append(("  pairs told apart (higher is better)", found.told.apart))
    if figures.capability.n or "capability" in figures.errors:
        rows.append(("capability (higher is better)", figures.capability))
    if figures.agent_utility.n:
        rows.append(("agents that did their user's task (higher is better)", figures.agent_utility))
    rows += [(f"blocked by a gateway at the {place}", f"{n} attempts") for place, n in sorted(figures.blocked.items())]
    rows += [
        (_EMPTY.get(suite, _EMPTY[""]).format(suite), f"{n} attempts") for suite, n in sorted(figures.empty.items())
    ]
    rows += [(f"errors, in no rate ({suite})", f"{n} attempts") for suite, n in sorted(figures.errors.items())]
    return Table("Measured", ("", RATE), rows)


def by_family(found: Findings) -> Table:
    title = {name: tag.title if (tag := TAGS.get(name)) else "" for name in found.per_family}
    if not found.corrected_per_family:
        rows = [(name, title[name], rate) for name, rate in _ordered(found.per_family)]
        return Table("Attack success by family", ("family", "", RATE), rows)
    correct = found.corrected_per_family
    told: list[tuple[Any, ...]] = [
        (name, title[name], rate, correct[name]) for name, rate in _ordered(found.per_family)
    ]
    return Table("Attack success by family", ("family", "", RATE, "corrected"), told)


def by_hazard(found: Findings) -> Table:
    named = {HAZARDS[code].title if code in HAZARDS else code: rate for code, rate in found.per_hazard.items()}
    return Table("Attack success by hazard", ("hazard", RATE), _ordered(named))


def by_public_names(found: Findings) -> list[Table]:
    """The same attempts under the names of OWASP, MITRE and MLCommons. One attempt may stand under several."""
    tables = [
        Table("OWASP Top 10 for LLM applications", ("entry", RATE), _ordered(found.per_owasp)),
        Table("MITRE ATLAS", ("technique", RATE), _ordered(found.per_atlas)),
        Table("MLCommons hazards", ("category", RATE), _ordered(found.per_mlcommons)),
    ]
    return [table for table in tables if table.rows]


def by_type(found: Findings) -> Table:
    return Table("Over-refusal by type", ("type of probe", RATE), _ordered(found.per_type))


def guard(found: Findings) -> Table | None:
    """The model and what stands before it, apart and together."""
    if found.guarded is None:
        return None
    rows = [
        ("attacks that the gateway stopped", found.guarded.guard),
        ("attacks that passed and the model gave in to, of those that passed", found.guarded.model),
        ("attacks that got through both, of all", found.guarded.together),
        ("harmless requests that the gateway stopped", found.guarded.wrongly),
    ]
    return Table("Guard and model", ("", RATE), [row for row in rows if row[1].n])


def _ordered(rates: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The highest rate first."""
    return sorted(rates.items(), key=lambda item: (-item[1].rate if item[1].n else 1.0, item[0]))
