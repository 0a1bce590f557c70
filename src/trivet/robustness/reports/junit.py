"""A run as JUnit XML, for what continuous integration shows: a test case per attempt, a suite per family.

A case fails where an attack got through, a harmless request was refused (or met with nothing) or an ordinary one was not
answered; what could not be judged is an error, and so is an attack that met an empty reply. A regression case that is known to be open is skipped, with the reason: it fails no build. Thresholds,
where any were given, are cases of a suite of their own. No text of target or attacker stands in the file: failures name the
attempt, and the store has its words.

Not covered: the exit code. It follows the thresholds (docs/redteam.md), while a single failed case may be within them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as Tree

from trivet.core.events import Attempt
from trivet.robustness.outcomes import outcome_of
from trivet.robustness.reports.findings import Findings
from trivet.robustness.reports.texts import line
from trivet.robustness.thresholds import Checked


def junit(found: Findings, checked: Sequence[Checked] = (), known: Collection[str] = ()) -> str:
    """The document. `known` are the templates of regression cases that are open."""
    root = Tree.Element("testsuites", name=line(f"trivet attack {found.about.target}"))
    groups: dict[str, list[Attempt]] = {}
    for attempt in found.attempts:
        groups.setdefault(f"{attempt.suite}.{attempt.attack}" if attempt.attack else attempt.suite, []).append(attempt)
    suites = [
        _suite(root, name, [_case(attempt, attempt.template in known) for attempt in group], found)
        for name, group in groups.items()
    ]
    if checked:
        suites.append(_suite(root, "thresholds", map(_threshold, checked), found))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.set("time", f"{found.about.seconds:.3f}")
    Tree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Tree.tostring(root, encoding="unicode") + "\n"


def _suite(root: Tree.Element, name: str, cases: Iterable[Tree.Element], found: Findings) -> Tree.Element:
    suite = Tree.SubElement(root, "testsuite", name=line(name))
    suite.extend(cases)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in suite)))
    suite.set("errors", str(sum(case.find("error") is not None for case in suite)))
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in suite)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in suite):.3f}")
    suite.set("timestamp", datetime.fromtimestamp(found.about.at, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return suite


def _case(attempt: Attempt, known: bool) -> Tree.Element:
    about = attempt.goal.hazard if attempt.goal else attempt.probe.topic if attempt.probe else ""
    named = " ".join(part for part in (attempt.template, about, attempt.id[:12]) if part)
    classname = f"trivet.{attempt.suite}.{attempt.attack}" if attempt.attack else f"trivet.{attempt.suite}"
    case = Tree.Element("testcase", name=line(named), classname=line(classname), time=f"{attempt.seconds:.3f}")
    bad = outcome_of(attempt).bad
    if bad is None:
        why = attempt.verdict.why if attempt.verdict.label == "error" else "the reply was empty"
        Tree.SubElement(case, "error", type=line(attempt.verdict.label), message=line(why))
    elif bad and known:
        Tree.SubElement(case, "skipped", message="open: it is known to get through and has never been fixed")
    elif bad:
        told = f"{attempt.verdict.label}, by {attempt.verdict.judge}; attempt {attempt.id} of run {attempt.run}"
        Tree.SubElement(case, "failure", type=line(attempt.verdict.label), message=line(told, 300))
    return case


def _threshold(one: Checked) -> Tree.Element:
    case = Tree.Element("testcase", name=line(one.name), classname="trivet.thresholds", time="0.000")
    if not one.passed:
        Tree.SubElement(case, "failure", type="threshold", message=line(one.told, 300))
    return case
