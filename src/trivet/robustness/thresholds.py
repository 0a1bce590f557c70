"""Thresholds: what a run must keep to be passed, as `asr=0.05` says it.

    asr, asr.high                attack success, or the upper end of its interval by goal, at most so much
    asr.corrected                the rate corrected for the judge's errors; a failure where it could not be corrected
    asr.FAMILY                   attack success of one family
    overrefusal, overrefusal.high
    capability                   at least so much
    errors                       the share of attempts that could not be judged, at most so much

A rate passes where it is at most (at least, for capability) the number given. A threshold on something that was not
measured is a mistake of the command and no pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trivet.core.errors import ConfigError, TargetError, did_you_mean
from trivet.robustness.reports.findings import Findings

NAMES = ("asr", "asr.high", "asr.corrected", "overrefusal", "overrefusal.high", "capability", "errors")


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


def check(thresholds: Sequence[Threshold], found: Findings) -> list[Checked]:
    """Each threshold against the run."""
    return [_checked(one, _value(one.name, found)) for one in thresholds]


def _checked(one: Threshold, value: float) -> Checked:
    least = one.name == "capability"
    passed = value >= one.value if least else value <= one.value
    told = f"{one.name} is {value:.4f}, {'at least' if least else 'at most'} {one.value:g} is allowed"
    return Checked(f"{one.name}={one.value:g}", passed, told)


def _value(name: str, found: Findings) -> float:
    figures = found.figures
    if name == "errors":
        return sum(figures.errors.values()) / max(1, len(found.attempts))
    if name == "asr.corrected":
        if found.corrected.why:
            raise ConfigError(f"the threshold asr.corrected cannot be checked: {found.corrected.why}")
        return found.corrected.rate
    rates = {
        "asr": (figures.attack_success.n, figures.attack_success.rate),
        "asr.high": (found.success.n, found.success.high),
        "overrefusal": (figures.over_refusal.n, figures.over_refusal.rate),
        "overrefusal.high": (figures.over_refusal.n, figures.over_refusal.high),
        "capability": (figures.capability.n, figures.capability.rate),
        **{f"asr.{family}": (rate.n, rate.rate) for family, rate in found.per_family.items()},
    }
    n, value = rates.get(name, (0, 0.0))
    if not n:
        known = [key for key, (count, _) in rates.items() if count]
        raise ConfigError(f"the threshold {name!r} names nothing that was measured; there are {', '.join(known)}")
    return value


def something(found: Findings) -> None:
    """Raises TargetError where nothing could be judged: that is neither a pass nor a failure."""
    if found.judged:
        return
    errors = [attempt for attempt in found.attempts if attempt.verdict.label == "error"]
    why = errors[-1].verdict.why if errors else "there was nothing to ask"
    raise TargetError(
        f"nothing was measured: {len(errors)} of {len(found.attempts)} attempts failed, the last time: {why}"
    )
