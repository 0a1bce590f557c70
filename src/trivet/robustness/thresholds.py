"""Thresholds: what a run must keep to be passed, as `asr=0.05` says it.

    asr, asr.high                attack success, or the upper end of its interval by goal, at most so much
    asr.corrected                the rate corrected for the judge's errors; where all is known, the rate itself
    asr.FAMILY                   attack success of one family
    overrefusal, overrefusal.high    over-refusal, or the upper end of its interval by probe
    capability                   at least so much
    empty                        the share of attempts that met an empty reply, at most so much
    errors                       the share of attempts that could not be judged, at most so much

A rate passes where it is at most (at least, for capability) the number given. A threshold on what is not asked at all is a
mistake, and told before anything is asked. What was asked and came to nothing (every reply empty, no correction possible) is
a failure and no pass, told in words beside the others: by then there is a run to report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from trivet.core.errors import ConfigError, TargetError, did_you_mean
from trivet.robustness.plan import Job
from trivet.robustness.reports.findings import Findings

NAMES = ("asr", "asr.high", "asr.corrected", "overrefusal", "overrefusal.high", "capability", "empty", "errors")


class Threshold(NamedTuple):
    name: str
    value: float


class Checked(NamedTuple):
    """What came of one threshold; `told` says it in a sentence."""

    name: str
    passed: bool
    told: str


def parse(texts: Sequence[str]) -> list[Threshold]:
    """Thresholds from `name=value`; raises ConfigError that names the one at fault."""
    return [_parsed(text) for text in texts]


def _parsed(text: str) -> Threshold:
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not equals or not 0 <= number <= 1:
        raise ConfigError(f"the threshold {text!r} must be NAME=VALUE with a value from 0 to 1, like asr=0.05")
    if name not in NAMES and not name.startswith("asr."):
        raise ConfigError(
            f"no threshold {name!r}.{did_you_mean(name, NAMES)} There are: {', '.join(NAMES)}, asr.FAMILY"
        )
    return Threshold(name, number)


def allowed(thresholds: Sequence[Threshold], jobs: Iterable[Job], agents: bool, uncorrected: str = "") -> None:
    """Raises ConfigError for a threshold on what will not be measured, before anything is. `agents` says whether scenarios
    are asked, `uncorrected` why nothing can be corrected (empty: it can, or need not be)."""
    jobs = list(jobs)
    suites = {job.suite for job in jobs}
    families = sorted({job.family for job in jobs if job.suite == "attack"} | ({"agent"} if agents else set()))
    known = ["asr", "asr.high", "asr.corrected", *(f"asr.{family}" for family in families)] if families else []
    known += ["overrefusal", "overrefusal.high"] if "overrefusal" in suites else []
    known += ["capability"] if "capability" in suites else []
    known += ["empty", "errors"]
    for one in thresholds:
        if one.name not in known:
            raise ConfigError(
                f"the threshold {one.name!r} names nothing that this run measures.{did_you_mean(one.name, known)} "
                f"There are: {', '.join(known)}"
            )
        if one.name == "asr.corrected" and uncorrected:
            raise ConfigError(f"the threshold asr.corrected cannot be checked: {uncorrected}")


def check(thresholds: Sequence[Threshold], found: Findings) -> list[Checked]:
    """Each threshold against the run; nothing is raised, since the reports are yet to be written."""
    return [_checked(one, found) for one in thresholds]


def _checked(one: Threshold, found: Findings) -> Checked:
    value, why = _value(one.name, found)
    if why:
        return Checked(f"{one.name}={one.value:g}", False, f"{one.name} cannot be checked: {why}")
    least = one.name == "capability"
    passed = value >= one.value if least else value <= one.value
    told = f"{one.name} is {value:.4f}, {'at least' if least else 'at most'} {one.value:g} is allowed"
    return Checked(f"{one.name}={one.value:g}", passed, told)


def _value(name: str, found: Findings) -> tuple[float, str]:
    """What was measured, or why nothing was."""
    figures = found.figures
    if name in ("errors", "empty"):
        return sum(getattr(figures, name).values()) / max(1, len(found.attempts)), ""
    if name == "asr.corrected" and not found.exact:
        return found.corrected.rate, found.corrected.why
    success, refusal = found.success, found.refusal
    rates = {
        "asr": (success.n, success.rate),
        "asr.corrected": (success.n, success.rate),
        "asr.high": (success.n, success.high),
        "overrefusal": (refusal.n, refusal.rate),
        "overrefusal.high": (refusal.n, refusal.high),
        "capability": (figures.capability.n, figures.capability.rate),
        **{f"asr.{family}": (rate.n, rate.rate) for family, rate in found.per_family.items()},
    }
    n, value = rates.get(name, (0, 0.0))
    if not n:
        apart = f"{sum(figures.errors.values())} attempts failed and {sum(figures.empty.values())} met an empty reply"
        return 0.0, f"of it nothing was measured; in the whole run {apart}"
    return value, ""


def something(found: Findings) -> None:
    """Raises TargetError where nothing could be judged: that is neither a pass nor a failure."""
    if found.judged:
        return
    errors = [attempt for attempt in found.attempts if attempt.verdict.label == "error"]
    if empty := sum(found.figures.empty.values()):
        raise TargetError(
            f"nothing was measured: {empty} of {len(found.attempts)} attempts met an empty reply, {len(errors)} failed"
        )
    why = errors[-1].verdict.why if errors else "there was nothing to ask"
    raise TargetError(
        f"nothing was measured: {len(errors)} of {len(found.attempts)} attempts failed, the last time: {why}"
    )
