"""The report of a turn: figures for machines, a table for the terminal, one self-contained HTML page for people.

Everything is computed from what the store holds, so a report can be written again at any time and says the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from trivet.core import report as html
from trivet.core.events import Attempt, Run
from trivet.core.protocols import Judge
from trivet.core.stats import Rate, rate_of
from trivet.core.store.artefacts import write_text
from trivet.loop import gate
from trivet.robustness.suites.summary import settled

if TYPE_CHECKING:
    from trivet.loop.cycle import Turn

WHO = ("champion", "challenger", "champion behind guards", "challenger behind guards")
SUITES = {"attack_success": "Attack success", "over_refusal": "Over-refusal", "capability": "Capability"}
STAGES = (
    "open", "attack", "harvest", "build", "train", "measure champion", "measure challenger", "gate",
    "measure champion behind guards", "measure challenger behind guards",
)  # fmt: skip


def _attempts(this: Turn) -> dict[str, list[Attempt]]:
    """The held-out attempts of the turn by who was measured."""
    found: dict[str, list[Attempt]] = {who: [] for who in WHO}
    for attempt in settled(this.store.events("attempt", f"{this.name}/measure")):
        found.setdefault(attempt.target, []).append(attempt)
    return found


def outcomes(this: Turn) -> dict[str, gate.Outcomes]:
    """Labels by task, by who was measured."""
    return {who: gate.Outcomes.of(attempts) for who, attempts in _attempts(this).items()}


def _per_category(attempts: Iterable[Attempt]) -> dict[str, Rate]:
    labels: dict[str, list[bool]] = {}
    for attempt in attempts:
        if attempt.suite == "attack" and attempt.verdict.label != "error":
            labels.setdefault(attempt.attack, []).append(attempt.verdict.label in gate.HARM)
    return {name: rate_of(hits) for name, hits in labels.items()}


def _rates(this: Turn) -> dict[str, dict[str, Rate]]:
    return {who: gate.figures(found) for who, found in outcomes(this).items()}


def _figures(this: Turn, ruled: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a turn, as docs/figures.md says. Alone and behind the guards."""
    rates = _rates(this)
    categories = {who: _per_category(attempts) for who, attempts in _attempts(this).items()}

    def compared(suite: str, before: str, after: str) -> dict[str, Any]:
        return {"before": rates[before][suite].row(), "after": rates[after][suite].row()}

    stages = this.store.stages(this.name)
    return {
        "turn": this.name,
        **{suite: compared(suite, "champion", "challenger") for suite in SUITES},
        "per_category": {
            name: {"before": rate.row(), "after": categories["challenger"].get(name, Rate(0, 0)).row()}
            for name, rate in categories["champion"].items()
        },
        "behind_guards": {
            suite: compared(suite, "champion behind guards", "challenger behind guards") for suite in SUITES
        },
        "promoted": ruled["promoted"],
        "reasons": ruled["reasons"],
        "model": ruled["model"],
        "seconds": round(sum(stages[name]["seconds"] for name in STAGES if name in stages), 1),
        "stages": {name: stages[name]["seconds"] for name in STAGES if name in stages},
    }


def write(
    this: Turn,
    opened: Mapping[str, Any],
    reaped: Mapping[str, Any],
    built: Mapping[str, Any],
    trained: Mapping[str, Any],
    ruled: Mapping[str, Any],
) -> dict[str, Any]:
    """Write figures.json and report.html in the turn's folder; the result holds the figures and where the files are."""
    figures = {**_figures(this, ruled), "harvest": _without(reaped), "pairs": _without(built)}
    sections = [
        _decision(opened, ruled),
        _overall(this),
        _categories(this),
        _guards(this),
        _learning(reaped, built),
        _curves(Path(trained["metrics"])),
        _examples(this),
        _times(figures),
    ]
    below = _subtitle(this, "held-out tasks", this.ground.judge)
    title = f"{this.name}: {ruled['model']} {'promoted' if ruled['promoted'] else 'rejected'}"
    return _finished(this, figures, html.page(title, sections, subtitle=below))


def untrained(
    this: Turn, opened: Mapping[str, Any], reaped: Mapping[str, Any], built: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of a turn whose champion is an endpoint: attacked and harvested, but there are no weights to train."""
    attempts = list(settled(this.store.events("attempt", f"{this.name}/attack")))
    rates = gate.figures(gate.Outcomes.of(attempts))
    nothing = Rate(0, 0).row()
    reason = f"{opened['spec']} is an endpoint, whose weights cannot be trained here; the pairs are in {built['file']}"
    figures = {
        "turn": this.name,
        **{suite: {"before": rate.row(), "after": nothing} for suite, rate in rates.items()},
        "per_category": {
            name: {"before": rate.row(), "after": nothing} for name, rate in _per_category(attempts).items()
        },
        "promoted": False,
        "reasons": [reason],
        "model": opened["champion"],
        "seconds": round(sum(row.get("seconds", 0.0) for row in (opened, reaped, built)), 1),
        "harvest": _without(reaped),
        "pairs": _without(built),
    }
    rows = [[SUITES[suite], str(rate)] for suite, rate in rates.items()]
    names = list(_per_category(attempts))
    sections = [
        html.section("What was found", html.paragraph(reason), html.table(["on the train part", "rate"], rows)),
        html.section(
            "Attack success by category",
            html.bars_with_intervals(names, {"now": [_per_category(attempts)[name] for name in names]}),
        ),
        _learning(reaped, built),
    ]
    below = _subtitle(this, "tasks of the train part", this.ground.eye)
    return _finished(this, figures, html.page(f"{this.name}: harvested", sections, subtitle=below))


def _finished(this: Turn, figures: dict[str, Any], page: str) -> dict[str, Any]:
    if figures.get("stages"):
        write_text(this.folder / "picture.svg", html.picture(_bars(this)))
    place = this.folder / "report.html"
    write_text(place, page)
    write_text(this.folder / "figures.json", json.dumps(figures, indent=1))
    this.store.add([Run(id=f"{this.name}:figures", run=this.name, name="loop", figures=figures)])
    return {"figures": figures, "html": str(place)}


def _without(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("seconds", "reviews", "file")}


def _subtitle(this: Turn, tasks: str, judge: Judge) -> str:
    name = getattr(judge, "name", type(judge).__name__)
    return f"ground: {this.ground.name}. Every rate is on {tasks}, judged by {name}, with 95 % Wilson intervals."


# ------------------------------------------------------------------------------------------------------ the sections


def _decision(opened: Mapping[str, Any], ruled: Mapping[str, Any]) -> str:
    what = "was promoted" if ruled["promoted"] else "was rejected"
    return html.section(
        "The gate",
        html.paragraph(f"{ruled['model']} {what} over {opened['champion']}:"),
        html.bullets(ruled["reasons"]),
    )


def _bars(this: Turn) -> str:
    """The turn in one picture: the three rates and every attack category, before and after."""
    rates = _rates(this)
    found = {who: _per_category(attempts) for who, attempts in _attempts(this).items()}
    names = list(found["champion"])
    bars = {
        label: [*(rates[who][key] for key in SUITES), *(found[who].get(name, Rate(0, 0)) for name in names)]
        for label, who in (("before", "champion"), ("after", "challenger"))
    }
    return html.bars_with_intervals([*SUITES.values(), *names], bars, caption=f"{this.name}, held-out tasks")


def _overall(this: Turn) -> str:
    rates = _rates(this)
    rows = [[words, str(rates["champion"][key]), str(rates["challenger"][key])] for key, words in SUITES.items()]
    bars = {
        name: [rates[who][key] for key in SUITES] for name, who in (("before", "champion"), ("after", "challenger"))
    }
    return html.section(
        "Before and after, the model alone",
        html.bars_with_intervals(list(SUITES.values()), bars),
        html.table(["held-out", "before", "after"], rows, caption="Capability lost is the alignment tax."),
    )


def _categories(this: Turn) -> str:
    found = {who: _per_category(attempts) for who, attempts in _attempts(this).items()}
    names = list(found["champion"])
    bars = {
        label: [found[who].get(name, Rate(0, 0)) for name in names]
        for label, who in (("before", "champion"), ("after", "challenger"))
    }
    rows = [[name, str(bars["before"][i]), str(bars["after"][i])] for i, name in enumerate(names)]
    return html.section(
        "Attack success by category",
        html.bars_with_intervals(names, bars),
        html.table(["attack", "before", "after"], rows),
    )


def _guards(this: Turn) -> str:
    rates = _rates(this)
    rows = [[words, *(str(rates[who][key]) for who in WHO)] for key, words in SUITES.items()]
    return html.section(
        "What the gateway's guards add",
        html.paragraph("The same tasks through the gateway. This does not decide promotion."),
        html.table(["held-out", *WHO], rows),
    )


def _learning(reaped: Mapping[str, Any], built: Mapping[str, Any]) -> str:
    per_category = [[name, count] for name, count in reaped["per_category"].items()]
    rows = [
        ["harmful replies", reaped["harmful"]],
        ["over-refusals", reaped["overrefused"]],
        ["good answers, to be kept", reaped["kept"]],
        ["attacks refused", reaped["resisted"]],
        ["from reviews of production", reaped["from_reviews"]],
        ["pairs: refuse instead of harm", built["refusals"]],
        ["pairs: answer instead of refusing", built["cures"]],
        ["pairs: go on answering", built["harmless"]],
        ["left out: no better reply known", built["without_answer"]],
    ]
    return html.section(
        "What was harvested, and what was made of it",
        html.table(["", "count"], rows),
        html.table(["attack", "harmful replies"], per_category),
    )


def _curves(metrics: Path) -> str:
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines() if line]
    plots = []
    for caption, keys in (
        ("loss", ("loss", "heldout_loss")),
        ("reward margin", ("margin", "heldout_margin")),
        ("accuracy: share of pairs whose chosen reply is preferred", ("accuracy", "heldout_accuracy")),
        ("log-probability of a reply (nats); if both fall, see docs/dpo.md", ("chosen", "rejected")),
    ):
        series = {key: [(row["step"], row[key]) for row in rows if key in row] for key in keys}
        drawn = {key: line for key, line in series.items() if line}
        if drawn:
            plots.append(html.lines(drawn, x_label="step", y_label="", caption=caption))
    return html.section("Training", *plots)


def _examples(this: Turn) -> str:
    """The same attack before and after, one for each category where the answer changed."""
    found = _attempts(this)
    after = {(a.task, a.attack, a.template): a for a in found["challenger"]}
    blocks, seen = [], set()
    for attempt in found["champion"]:
        other = after.get((attempt.task, attempt.attack, attempt.template))
        changed = other and attempt.verdict.label in gate.HARM and other.verdict.label not in gate.HARM
        if attempt.suite != "attack" or attempt.attack in seen or not changed:
            continue
        seen.add(attempt.attack)
        assert other is not None
        asked = attempt.conversation.messages[-2].content
        blocks.append(
            html.block(
                f"{attempt.attack}\n\nasked   {asked}\n\nbefore  {attempt.conversation.reply}\n\nafter   {other.conversation.reply}"
            )
        )
    return html.section("The same attack, before and after", *blocks) if blocks else ""


def _times(figures: Mapping[str, Any]) -> str:
    rows = [[name, f"{seconds:.1f} s"] for name, seconds in figures["stages"].items()]
    return html.section(
        "Where the time went", html.table(["stage", "time"], [*rows, ["all", f"{figures['seconds']:.1f} s"]])
    )


# ------------------------------------------------------------------------------------------------------ the terminal


def show(figures: Mapping[str, Any], console: Console) -> None:
    """The turn's tables and the gate's reasoning, on a terminal of 80 columns or more."""
    rows: list[tuple[str, Mapping[str, Any]] | None] = [(words, figures[suite]) for suite, words in SUITES.items()]
    rows += [None, *((f"  {name}", pair) for name, pair in figures["per_category"].items())]
    if guards := figures.get("behind_guards"):
        rows += [None, *((f"{words}, with guards", guards[suite]) for suite, words in SUITES.items())]
    table = Table(title=f"{figures['turn']}: held-out tasks, in % with 95 % intervals")
    table.add_column("", no_wrap=True)
    for heading in ("n", "before", "after"):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        if row is None:
            table.add_section()
        else:
            table.add_row(row[0], str(row[1]["before"]["n"]), _cell(row[1]["before"]), _cell(row[1]["after"]))
    console.print(table)
    outcome = "[green]promoted[/]" if figures["promoted"] else "[red]not promoted[/]"
    console.print(f"{figures['model']} {outcome}", highlight=False)
    for reason in figures["reasons"]:
        console.print(f"  - {reason}", highlight=False, markup=False, soft_wrap=True)


def _cell(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "not measured"
    return f"{100 * row['rate']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


def json_of(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `trivet loop --json` writes: the newest turn's figures, and all turns under `turns`."""
    return {**turns[-1], "turns": list(turns)}
