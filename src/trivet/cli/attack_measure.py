"""One measurement from the command line: resolve, measure, print, write, and say how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from trivet.cli.attack_ground import Asked, cases_file, ground
from trivet.core.errors import DataError, ModelNotFound, StoreError
from trivet.core.events import Attempt, Review, Run
from trivet.core.messages import digest_of
from trivet.core.models.resolve import model_folder, resolve
from trivet.core.protocols import Model
from trivet.core.store.artefacts import home_or_default, write_json, write_text
from trivet.core.store.events import Store, open_home
from trivet.robustness import report, thresholds
from trivet.robustness.budget import BudgetSpent
from trivet.robustness.measure import Config, by_canaries, jobs, measure, run_name, scenarios
from trivet.robustness.plan import Job
from trivet.robustness.progress import Status
from trivet.robustness.reports.avid import avid
from trivet.robustness.reports.correction import NO_CARD
from trivet.robustness.reports.findings import About, Findings, findings
from trivet.robustness.reports.jsonl import jsonl
from trivet.robustness.reports.junit import junit
from trivet.robustness.reports.sarif import sarif
from trivet.robustness.suites import catalogue, regression

NAME = "attack"
"""The name of the Run events that measurements leave in the store."""


class Outputs(NamedTuple):
    """The files that are written; None for those that are not."""

    json: Path | None = None
    html: Path | None = None
    jsonl: Path | None = None
    junit: Path | None = None
    sarif: Path | None = None
    avid: Path | None = None


class Kept(NamedTuple):
    """What a run did to the regression cases: those that came back, and the names of those that never went."""

    regressed: tuple[regression.Case, ...] = ()
    known: frozenset[str] = frozenset()


class Measured(NamedTuple):
    """What a measurement came to. `series` is the same for all runs that ask the same of the same target."""

    code: int
    findings: Findings
    series: str
    regressed: tuple[regression.Case, ...] = ()


def measured(
    verb: str,
    config: Config,
    home: Path | None,
    outputs: Outputs,
    limits: Sequence[str] = (),
    *,
    keep_cases: bool = False,
    stamp: str = "",
) -> Measured:
    """Resolves what the recipe names, measures, prints and writes. A `stamp` makes a run of its own, asked anew."""
    started = time.monotonic()
    home = home_or_default(home)
    wanted_limits = thresholds.parse(limits)
    asked = ground(config, home)
    suite = catalogue.suite(config.suite)
    wanted, agents = jobs(config, asked.material), scenarios(config)
    thresholds.allowed(wanted_limits, wanted, bool(agents), _uncorrected(asked, wanted))
    if keep_cases or suite.cases:
        regression.load(cases_file(config, home))  # a file that cannot be read is found now, not when all is done
    target = resolve(config.target, home=home)
    if hasattr(target, "concurrency"):
        target.concurrency = config.concurrency
    name = getattr(target, "name", "") if config.target.startswith("registry:") else config.target
    series = run_name(verb, config, wanted, name, *_fingerprints(config, asked, home), *[s.name for s in agents])
    if suite.cases and not config.run:
        stamp = stamp or now()  # what was fixed yesterday is asked again today
    run = f"{series}@{stamp}" if stamp else series
    with open_home(home) as store, _shown_progress(run, len(wanted)) as (progress, watch):
        spent = ""
        try:
            done = asyncio.run(
                measure(
                    config, wanted, target, asked.judge, store,
                    run=run, name=name, progress=progress, watch=watch, agents=agents, player=_player(config, suite),
                )
            )  # fmt: skip
        except BudgetSpent as stop:
            done, spent = stop.attempts, str(stop)
        about = About(
            name, run, config.suite, asked.source, getattr(asked.judge, "name", type(asked.judge).__name__), config.part,
            time.time(), time.monotonic() - started, asked.oracle,
        )  # fmt: skip
        found = findings(done, about, asked.card, asked.pairs)
        if not found.judged:
            _write(found, outputs, (), Kept())  # the errors are of use to whoever looks
        thresholds.something(found)
        checked = thresholds.check(wanted_limits, found)
        try:
            kept = _cases(config, home, suite, found, store, keep_cases)
        except (DataError, StoreError):
            _write(found, outputs, checked, Kept())  # a file of cases that cannot be kept costs no report
            raise
        _remember(store, found, series)
    try:
        _write(found, outputs, checked, kept)
    finally:
        _print(found, asked.source)
    if spent:
        click.echo(spent, err=True)
    for one in checked:
        click.echo(f"{'passed' if one.passed else 'FAILED'}: {one.told}")
    for case in kept.regressed:
        where = f"first seen {case.day} on {case.model}, case {case.id[:12]}"
        click.echo(f"FAILED: regressed: {case.family} on {case.goal.hazard} ({where})")
    failed = bool(kept.regressed) or not all(one.passed for one in checked)
    return Measured(2 if spent else int(failed), found, series, kept.regressed)


def _player(config: Config, suite: catalogue.Suite) -> Model | None:
    """Who works with tools where the target to practise on is measured as an agent: one that obeys whatever it reads."""
    if config.target != "scripted" or not suite.scenarios:
        return None
    from trivet.robustness.agents.scripted import naive

    return naive()


def _uncorrected(asked: Asked, wanted: Sequence[Job]) -> str:
    """Why attack success cannot be corrected, as far as that can be known before anything is asked."""
    known = all(by_canaries(job) or job.task.facts for job in wanted if job.suite == "attack")
    return "" if asked.oracle or asked.card or known else NO_CARD


def _cases(config: Config, home: Path, suite: catalogue.Suite, found: Findings, store: Store, keep: bool) -> Kept:
    """Brings the cases up to date, and says what came of them."""
    if not keep and not suite.cases:
        return Kept()
    path = cases_file(config, home)
    before = regression.load(path)
    cases = regression.updated(before, found.attempts) if suite.cases else regression.grown(before, found.attempts)
    reviews = [event for event in store.events("review") if isinstance(event, Review)]
    cases = regression.reviewed(cases, _reviewed(store, reviews), reviews)
    if cases != before:
        regression.save(path, cases)
    if not suite.cases:
        if new := len(cases) - len(before):
            click.echo(f"{new} new regression cases in {path}")
        return Kept()
    counts = {status: sum(case.status == status for case in cases) for status in ("open", "fixed", "regressed")}
    click.echo(", ".join(f"{count} {status}" for status, count in counts.items()) + f" of {len(cases)} cases in {path}")
    return Kept(
        tuple(case for case in cases if case.status == "regressed"),
        frozenset(case.name for case in cases if case.status == "open"),
    )


def _reviewed(store: Store, reviews: Sequence[Review]) -> list[Attempt]:
    found = [store.get(review.event) for review in reviews]
    return [event for event in found if isinstance(event, Attempt)]


def _remember(store: Store, found: Findings, series: str) -> None:
    """A Run event, by which later runs of the series find this one. The same run with the same figures is one event."""
    about = found.about
    figures = found.figures.row()
    store.add(
        [
            Run(
                id=digest_of(["run", about.run, figures]),
                run=about.run,
                name=NAME,
                settings={"target": about.target, "suite": about.suite, "source": about.source, "series": series,
                          "judge": about.judge},
                figures=figures,
            )
        ]
    )  # fmt: skip


def _print(found: Findings, source: str) -> None:
    about = found.about
    click.echo(f"{about.target} on {source}: {len(found.attempts)} attempts, suite {about.suite}, run {about.run}")
    console = Console()
    for table in report.terminal(found):
        console.print(table)


def _write(found: Findings, to: Outputs, checked: Sequence[thresholds.Checked], kept: Kept) -> None:
    """Writes what can be written; a file that cannot be does not cost the others, and ends the command after them."""
    about = found.about
    faults: list[StoreError] = []
    if to.json:
        rows: dict[str, Any] = {
            **found.row(),
            "thresholds": [{"name": one.name, "passed": one.passed, "told": one.told} for one in checked],
            "regressed": [case.id for case in kept.regressed],
        }
        with _noted(faults):
            write_json(to.json, rows)
    texts = (
        (
            to.html,
            lambda: report.html(found, title=f"Trivet: {about.target}", subtitle=f"{about.source}, run {about.run}"),
        ),
        (to.jsonl, lambda: jsonl(found)),
        (to.junit, lambda: junit(found, checked, kept.known)),
        (to.sarif, lambda: sarif(found)),
        (to.avid, lambda: avid(found)),
    )
    for path, text in texts:
        if path:
            with _noted(faults):
                write_text(path, text())
    if faults:
        raise faults[0]


@contextmanager
def _noted(faults: list[StoreError]) -> Iterator[None]:
    try:
        yield
    except StoreError as fault:
        faults.append(fault)


def now() -> str:
    """A stamp that no other run of this home has."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")


def _fingerprints(config: Config, asked: Asked, home: Path) -> list[str]:
    """What else makes a run another run: the files of a local model, who judges, and what was named in place of the usual."""
    named = [asked.source, config.judge] if config.judge != "auto" else []
    return [_fingerprint(config.target, home), *filter(None, [getattr(asked.judge, "digest", "")]), *named]


def _fingerprint(spec: str, home: Path) -> str:
    """Changes when the files of a local model do, so that a model trained anew is measured anew."""
    try:
        folder = Path(model_folder(spec, home))
    except ModelNotFound:
        return ""
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return digest_of([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])


@contextmanager
def _shown_progress(run: str, total: int) -> Iterator[tuple[Any, Any]]:
    """A line on stderr where that is a terminal, and a word on what had been done before."""
    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("attempts", total=total)
        first = True

        def tell(done: int, total: int, successes: int) -> None:
            nonlocal first
            if first and done:
                console.print(f"{done} of {total} attempts are stored already (run {run})", markup=False)
            first = False
            bar.update(shown, completed=done, total=total)

        def watch(status: Status) -> None:
            bar.update(shown, completed=status.done, total=status.total, description=status.line())

        yield tell, watch
