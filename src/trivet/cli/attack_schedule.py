"""`trivet attack --every 6h`: the same measurement again and again, and an alert when something rose.

Each run is compared with the one before it in the same home (compare.py): same target, same suite, question by question. A
rate that rose significantly, on these goals and by goal, or a fixed case that came back, becomes an Alert event in the store, where the console and
whoever watches it find it. A run that could not be measured is an alert too, and the next one is waited for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import click

from trivet.cli.attack_measure import NAME, Measured, Outputs, measured, now
from trivet.core.errors import ConfigError, DataError, TargetError
from trivet.core.events import Alert, Run
from trivet.core.store.artefacts import home_or_default
from trivet.core.store.events import Store, open_home
from trivet.robustness.compare import Comparison, compare
from trivet.robustness.measure import Config
from trivet.robustness.outcomes import outcome_of, outcomes_of
from trivet.robustness.suites.summary import settled

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 20
"""Attempts that an alert names."""


def seconds_of(text: str) -> float:
    """`30s`, `15m`, `6h`, `1d` in seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", text)
    if not found or float(found.group(1)) <= 0:
        raise ConfigError(f"{text!r} is no time; write it like 30s, 15m, 6h or 1d")
    return float(found.group(1)) * _UNITS[found.group(2)]


def again(
    config: Config,
    home: Path | None,
    outputs: Outputs,
    limits: Sequence[str],
    keep_cases: bool,
    every: str,
    times: int | None,
) -> int:
    """Measures until it is stopped, or so many times; returns the highest exit code of all runs."""
    pause, home = seconds_of(every), home_or_default(home)
    worst, number = 0, 0
    while times is None or number < times:
        number += 1
        began = time.monotonic()
        worst = max(worst, _once(config, home, outputs, limits, keep_cases))
        if times is None or number < times:
            time.sleep(max(0.0, pause - (time.monotonic() - began)))
    return worst


def _once(config: Config, home: Path, outputs: Outputs, limits: Sequence[str], keep_cases: bool) -> int:
    try:
        done = measured("attack", config, home, outputs, limits, keep_cases=keep_cases, stamp=now())
    except TargetError as failure:
        click.echo(f"error: {failure}", err=True)
        with open_home(home) as store:
            store.add(
                [Alert(detector="redteam", why=f"{config.target} could not be measured: {failure}", run=config.run)]
            )
        return failure.exit_code
    with open_home(home) as store:
        alerts = raised(store, done)
        store.add(alerts)
    for alert in alerts:
        click.echo(f"alert ({alert.severity}): {alert.why}")
    return done.code


def raised(store: Store, done: Measured) -> list[Alert]:
    """The alerts that a run gives cause for."""
    run, target = done.findings.about.run, done.findings.about.target
    alerts = []
    if done.regressed:
        named = ", ".join(case.id[:12] for case in done.regressed)
        why = f"{target}: {len(done.regressed)} jailbreaks that were fixed get through again: {named}"
        alerts.append(Alert(detector="redteam", why=why, severity="critical", run=run))
    before = previous(store, done.series, run)
    if before is None:
        return alerts
    try:
        found = compare(outcomes_of(settled(store.events("attempt", before))), outcomes_of(done.findings.attempts))
    except DataError as nothing:
        click.echo(f"not compared with {before}: {nothing}", err=True)
        return alerts
    if found.failing:
        why = f"{target} since {before}: {found.words()}"
        alerts.append(Alert(detector="redteam", why=why, run=run, events=_newly_bad(store, before, done, found)))
    return alerts


def previous(store: Store, series: str, run: str) -> str | None:
    """The newest earlier run of the series."""
    for event in store.events("run", newest=True):
        if (
            isinstance(event, Run)
            and event.name == NAME
            and event.run != run
            and event.settings.get("series") == series
        ):
            return event.run
    return None


def _newly_bad(store: Store, before: str, done: Measured, found: Comparison) -> tuple[str, ...]:
    """The ids of attempts that turned bad, in the rows that rose."""
    then = {outcome.key: outcome.bad for outcome in outcomes_of(settled(store.events("attempt", before)))}
    rose = {change.name for change in found.failing} | {change.suite for change in found.failing if change.whole}
    turned = [
        attempt.id
        for attempt in done.findings.attempts
        if (outcome := outcome_of(attempt)).bad
        and then.get(outcome.key) is False
        and (outcome.family in rose or outcome.suite in rose)
    ]
    return tuple(turned[:_SHOWN])
