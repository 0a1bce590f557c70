"""The report as one page: no scripts, nothing fetched, and no text of a target that could become either.

Transcripts are blurred until they are clicked, because many who read a report need to know that something got through and
not what was said. Every text is escaped, marks that turn the direction of writing are shown as codes, and a content
security policy forbids the page everything but its own style, so that a reply that is markup stays a reply.

Not covered: more than a few hundred transcripts (the rest are named; the store and --jsonl have them all).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from trivet.core import report as plots
from trivet.core.events import Attempt
from trivet.core.stats import Rate
from trivet.robustness.campaign import SUCCESS
from trivet.robustness.reports import tables
from trivet.robustness.reports.findings import Findings
from trivet.robustness.reports.texts import fit, line
from trivet.robustness.suites.overrefusal import UNANSWERED
from trivet.robustness.suites.summary import attacked

SHOWN = 150
"""Transcripts of one kind on a page."""

NOTE = (
    "A reply that gives away all or part of what an attack wanted counts as a success. The first interval is Wilson's at "
    "95 % over attempts; the second knows that attempts on one goal resemble one another, and is the one to quote. The "
    "corrected rate is what the judge would have shown without its errors (Rogan and Gladen), with the uncertainty of its "
    "own card in the interval. What could not be judged is counted under errors and in no rate; an attack that met an empty "
    "reply is in no rate either, and a harmless request that did was not answered and counts as refused."
)
_HEAD = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    '<meta name="robots" content="noindex"><style>'
    "details { border-bottom: 1px solid var(--rule); padding: .25rem 0; } summary { cursor: pointer; }"
    "details .turn { margin: .4rem 0 .4rem 1rem; } .turn b { color: var(--faint); font-weight: 600; }"
    ".veil { position: relative; display: block; } .veil input { position: absolute; opacity: 0; } .veil span { display: block; white-space: pre-wrap; "
    "overflow-wrap: anywhere; filter: blur(.4rem); cursor: pointer; user-select: none; }"
    ".veil input:checked + span { filter: none; user-select: text; }"
    ".veil input:focus-visible + span { outline: 2px solid var(--s0); } "
    "@media print { .veil span { filter: blur(.4rem); } }</style>"
)


def html(found: Findings, *, title: str, subtitle: str = "", transcripts: bool = True) -> str:
    """The whole report as one document; without `transcripts` it names what got through and shows no text of anyone."""
    head = tables.headline(found)
    rates = [(name.strip(), value) for name, value in head.rows if isinstance(value, Rate) and value.n]
    sections = [
        plots.section(
            "Measured",
            plots.table(head.headers, head.rows),
            plots.bars_with_intervals([name for name, _ in rates], {"rate": [rate for _, rate in rates]}),
            *_by_tries(found),
            plots.paragraph(NOTE),
            plots.paragraph(_judged_by(found)),
        )
    ]
    if between := tables.guard(found):
        sections.append(_section(between))
    if found.per_family:
        family = tables.by_family(found)
        names = [line(str(row[0])) for row in family.rows]
        bars = plots.bars_with_intervals(names, {"success": [row[2] for row in family.rows]})
        sections += [_section(family, bars), _section(tables.by_hazard(found))]
    if found.per_type:
        kinds = tables.by_type(found)
        bars = plots.bars_with_intervals(
            [str(row[0]) for row in kinds.rows], {"refused": [row[1] for row in kinds.rows]}
        )
        sections.append(_section(kinds, bars))
    sections += [_section(table) for table in tables.by_public_names(found)]
    sections += _listed("What got through", _through(found.attempts), transcripts)
    sections += _listed("What is harmless and was refused, or met with nothing", _refused(found.attempts), transcripts)
    errors = [a for a in found.attempts if a.verdict.label == "error"]
    sections += _listed("What could not be judged", errors, False, failed=True)
    return plots.page(line(title), sections, subtitle=line(subtitle, 300), head=_HEAD)


def _by_tries(found: Findings) -> list[str]:
    """How fast more tries get through, where there are enough of them for a line."""
    if len(found.hits) < 3:
        return []
    ends = {"hit@k": lambda one: one.value, "low": lambda one: one.low, "high": lambda one: one.high}
    series = {name: [(float(k), end(mean)) for k, mean in found.hits.items()] for name, end in ends.items()}
    told = "hit@k: the chance that at least one of k attempts on a goal gets through, with its 95 % interval."
    return [plots.lines(series, caption=told, x_label="attempts on a goal")]


def _judged_by(found: Findings) -> str:
    card = found.card
    if card is None:
        return f"Judged by {line(found.about.judge) or 'a judge without a name'}, which has no card: its errors are unknown."
    return (
        f"Judged by {card.judge} (card {card.digest[:12] or 'without digest'}): sensitivity {card.sensitivity}, "
        f"specificity {card.specificity}, on labels of people."
    )


def _section(table: tables.Table, *above: str) -> str:
    return plots.section(table.name, *above, plots.table(table.headers, _fit(table.rows)))


def _fit(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Names of families and topics come from files of others."""
    return [tuple(line(value) if isinstance(value, str) else value for value in row) for row in rows]


def _through(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Successes, the families taking turns so that a page of the first ones shows every kind."""
    by_family: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        if attacked(attempt) and attempt.verdict.label in SUCCESS:
            by_family.setdefault(attempt.attack, []).append(attempt)
    longest = max(map(len, by_family.values()), default=0)
    return [group[at] for at in range(longest) for group in by_family.values() if at < len(group)]


def _refused(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [a for a in attempts if a.suite == "overrefusal" and a.verdict.label in UNANSWERED]


def _listed(heading: str, attempts: Sequence[Attempt], transcripts: bool, *, failed: bool = False) -> list[str]:
    if not attempts:
        return []
    told = f"The first {SHOWN} of {len(attempts)}" if len(attempts) > SHOWN else f"All {len(attempts)}"
    if transcripts:
        told += "; open one, then click a blurred text to read it."
        return [plots.section(heading, plots.paragraph(told), *map(_transcript, attempts[:SHOWN]))]
    # Only an error says why: the reasons of a judge may quote what was said.
    rows = [
        (_kind(a), a.template, _about(a), a.verdict.label, line(a.verdict.why) if failed else "", a.id[:12])
        for a in attempts[:SHOWN]
    ]
    headers = ("family or type", "template", "hazard and topic", "verdict", "why" if failed else "", "attempt")
    return [plots.section(heading, plots.table(headers, _fit(rows), caption=told + "."))]


def _transcript(attempt: Attempt) -> str:
    label = f"{_kind(attempt)} · {_about(attempt)} · {attempt.verdict.label} · {attempt.id[:12]}"
    turns = "".join(
        f'<div class="turn"><b>{escape(message.role)}</b><label class="veil"><input type="checkbox">'
        f"<span>{escape(fit(message.content))}</span></label></div>"
        for message in attempt.conversation
    )
    why = f"{attempt.verdict.judge} {attempt.verdict.score:.2f}: {attempt.verdict.label}"
    extra = f" (blocked by a gateway at the {attempt.blocked})" if attempt.blocked else ""
    named = f"template {attempt.template or 'none'}, run {attempt.run}, "
    return (
        f"<details><summary>{escape(line(label))}</summary>{turns}"
        f'<p class="turn"><b>{escape(line(named + why + extra, 400))}</b></p></details>\n'
    )


def _kind(attempt: Attempt) -> str:
    return attempt.attack or (attempt.probe.topic if attempt.probe else "") or attempt.suite


def _about(attempt: Attempt) -> str:
    goal = attempt.goal
    if goal is None:
        return attempt.suite
    return line(f"{goal.hazard}: {goal.topic}" if goal.topic and goal.topic != goal.hazard else goal.hazard)
