"""`trivet data`: look at a data set before a model learns from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trivet.core.errors import ConfigError

if TYPE_CHECKING:
    from trivet.alignment.sources import Reading

LESSONS = ("preferences", "demonstrations", "feedback", "prompts")
FORMS = (*LESSONS, "goals", "probes")
LEAKS = {
    "lesson": "the same lesson",
    "prompt": "the same prompt",
    "opening": "the same opening",
    "reply": "the same reply",
    "near_prompt": "a near prompt",
}
VARIED = {"vendi": "Vendi", "distinct_2": "distinct-2", "self_overlap": "self-overlap"}
LEVELS = ("nominal", "ordinal", "interval", "ratio")

SOURCE = """A source is a .jsonl, .json (.gz) or .parquet file, a folder of Hugging Face or hf:OWNER/NAME; a folder or
name with several splits takes :SPLIT at its end."""


@click.group()
def data() -> None:
    """Look at data sets and check them, row by row."""


def _form(default: str | None) -> Callable[..., Any]:
    told = "What the rows are meant to be."
    return click.option("--as", "form", type=click.Choice(LESSONS), default=default, required=not default, help=told)


def _json(what: str) -> Callable[..., Any]:
    told = f"Write {what} here (docs/figures.md)."
    return click.option("--json", "json_path", type=click.Path(path_type=Path), help=told)


def _html() -> Callable[..., Any]:
    return click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a page here.")


@data.command(epilog=SOURCE)
@click.argument("file")
@click.option("--as", "form", type=click.Choice(FORMS), required=True, help="What the rows are meant to be.")
@click.option("--strict", is_flag=True, help="Stop at the first row that nothing can be learnt from.")
@click.option("--show", default=0, type=click.IntRange(0), help="Print so many of the rows as they are understood.")
@_json("the counts")
def check(file: str, form: str, strict: bool, show: int, json_path: Path | None) -> None:
    """Read every row; the first one that cannot be read is named by line and reason."""
    if form in LESSONS:
        from trivet.alignment import sources

        reading = sources.read(file, form, strict=strict)
        found: Sequence[Any] = reading.lessons
        _tell(file, form, reading)
        counts = {"rows": reading.rows, "lessons": len(found), "dropped": reading.dropped, "drops": _drops(reading)}
    else:
        from trivet.robustness.goals import load_goals, load_probes

        found = load_goals(file) if form == "goals" else load_probes(file, "benign")
        click.echo(f"{file}: {len(found)} {form}")
        counts = {"rows": len(found), "lessons": len(found), "dropped": {}, "drops": []}
    for one in found[:show]:
        click.echo(f"  {one}")
    if json_path:
        from trivet.core.store.artefacts import write_json

        write_json(json_path, counts)


@data.command("import", epilog=SOURCE)
@click.argument("source")
@_form(None)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where to write (.jsonl, .jsonl.gz).")
@click.option("--rename", multiple=True, metavar="OURS=THEIRS", help="A field and its name in the source; repeatable.")
@click.option("--votes", is_flag=True, help="Turn `votes` into the chance that the chosen reply is better.")
@click.option("--skip", is_flag=True, help="Drop and count rows that cannot be read instead of stopping.")
@_json("the counts")
def import_(
    source: str, form: str, out: Path, rename: tuple[str, ...], votes: bool, skip: bool, json_path: Path | None
) -> None:
    """Write a data set in Trivet's own form: one lesson a line, with the row it came from."""
    from trivet.alignment import canonical, sources
    from trivet.core.store.artefacts import write_json

    if votes and form != "preferences":
        raise ConfigError(f"--votes is for preferences, not for {form}; leave it out")
    reading = sources.read(source, form, skip=skip, votes=votes, rename=_names(rename))
    _tell(source, form, reading)
    canonical.write(out, reading.lessons)
    click.echo(f"written to {out}")
    if json_path:
        counts = {"rows": reading.rows, "lessons": len(reading.lessons), "dropped": reading.dropped}
        write_json(json_path, {**counts, "drops": _drops(reading), "out": str(out)})


@data.command(epilog=SOURCE)
@click.argument("source", nargs=-1, required=True)
@_form("preferences")
@click.option("--heldout", multiple=True, help="A set that nothing is learnt from, to be looked for here; repeatable.")
@click.option("--skip", is_flag=True, help="Drop and count rows that cannot be read instead of stopping.")
@click.option("--flags", type=click.Path(path_type=Path), help="Write every flagged lesson here, one a line.")
@_json("the figures")
@_html()
def report(
    source: tuple[str, ...],
    form: str,
    heldout: tuple[str, ...],
    skip: bool,
    flags: Path | None,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """Lengths, repeats, contradictions, leaks and leanings of data sets."""
    from trivet.alignment import data_page, quality, sources
    from trivet.core.store.artefacts import write_json, write_text

    readings = [sources.read(one, form, skip=skip) for one in source]
    for name, reading in zip(source, readings, strict=True):
        _tell(name, form, reading)
    lessons, places = _together(readings)
    found, flagged = quality.figures(lessons, places)
    dropped: dict[str, int] = {}
    for reading in readings:
        for reason, count in reading.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    found = {"rows": sum(reading.rows for reading in readings), "dropped": dropped, **found}
    if heldout:
        unseen, theirs = _together([sources.read(one, form, skip=skip) for one in heldout])
        found["leakage"], leaks = quality.leakage(lessons, unseen, (places, theirs))
        flagged += [flag._replace(reason=f"leaked_{flag.reason}") for flag in leaks]
    _show(found)
    if flags:
        import json

        write_text(flags, "".join(json.dumps(flag._asdict(), ensure_ascii=False) + "\n" for flag in flagged))
    if json_path:
        write_json(json_path, found)
    if html_path:
        write_text(html_path, data_page.quality_page(", ".join(source), found, flagged))


@data.command(epilog=SOURCE)
@click.argument("source")
@click.option("--fields", default="item,labeller,label", show_default=True, help="Their names in the source.")
@click.option("--level", type=click.Choice(LEVELS), default="nominal", show_default=True, help="What labels measure.")
@click.option("--order", help="All labels from low to high, with commas, where they are ranks by name.")
@click.option("--draws", default=1000, show_default=True, type=click.IntRange(100), help="Bootstrap draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--consensus", type=click.Path(path_type=Path), help="Write each item's likeliest label and its chance.")
@_json("the figures")
@_html()
def agreement(
    source: str,
    fields: str,
    level: Any,
    order: str | None,
    draws: int,
    seed: int,
    consensus: Path | None,
    json_path: Path | None,
    html_path: Path | None,
) -> None:
    """How far several labellers agree, and how each of them errs and leans.

    Rows are item, labeller and label, or pairs with `votes`: {labeller: label}, or [for chosen, for rejected, ties].
    """
    from trivet.alignment import data_page, labels
    from trivet.core.store.artefacts import write_json, write_text

    names = [name.strip() for name in fields.split(",")]
    if len(names) != 3:
        raise ConfigError(f"--fields is {fields!r}; it must be three names, as item,labeller,label")
    ranks = [name.strip() for name in order.split(",")] if order else None
    if ranks and level in ("interval", "ratio"):
        raise ConfigError(f"--order gives ranks, and the {level} level needs numbers; use --level ordinal")
    found = labels.read(source, names, ranks, level=level)
    if consensus and isinstance(found, labels.Votes):
        raise ConfigError("--consensus needs labels by name; counts of votes do not say who voted")
    told = labels.figures(found, level, draws=draws, seed=seed)
    _show_agreement(told)
    if consensus and isinstance(found, labels.Labels):
        import json

        rows = labels.consensus_rows(found)
        write_text(consensus, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    if json_path:
        write_json(json_path, told)
    if html_path:
        write_text(html_path, data_page.agreement_page(source, told))


def _together(readings: Sequence[Reading[Any]]) -> tuple[list[Any], list[str]]:
    """The lessons of several sources, and their places where their origins do not say them."""
    lessons = [lesson for reading in readings for lesson in reading.lessons]
    if all(hasattr(lesson, "origin") for lesson in lessons):
        return lessons, []
    return lessons, [f"{reading.name}:{line}" for reading in readings for line in reading.lines]


def _names(given: Sequence[str]) -> dict[str, str]:
    names = {}
    for one in given:
        ours, sign, theirs = one.partition("=")
        if not (sign and ours and theirs):
            raise ConfigError(f"--rename is {one!r}; it must be OURS=THEIRS, as chosen=better_answer")
        names[ours] = theirs
    return names


def _tell(source: str, form: str, reading: Reading[Any]) -> None:
    from trivet.alignment.sources import places

    click.echo(f"{source}: {reading.rows} rows, {len(reading.lessons)} {form}, {len(reading.drops)} rows dropped")
    for line in places(reading.drops):
        click.echo(f"  dropped: {line}")


def _drops(reading: Reading[Any]) -> list[dict[str, Any]]:
    return [drop._asdict() for drop in reading.drops]


def _show(found: Mapping[str, Any]) -> None:
    click.echo(f"{found['lessons']} lessons to {found['prompts']} prompts")
    for name, row in found["words"].items():
        click.echo(
            f"  words, {name:12} mean {row['mean']:.1f}  median {row['median']:.0f}  5-95 % {row['p5']:.0f}-{row['p95']:.0f}"
        )
    if "longer_chosen" in found:
        click.echo(f"  longer reply chosen  {_rate(found['longer_chosen'])}")
        click.echo(f"  replies begin alike  {_rate(found['openings'])}, inside a word {_rate(found['inside_words'])}")
    click.echo("flagged: " + ", ".join(f"{count} {reason}" for reason, count in found["flagged"].items()))
    for name, row in found.get("leakage", {}).items():
        click.echo(f"  held out, {LEAKS[name]:18} {_rate(row)}")
    varied = found["diversity"]
    told = [f"{title} {varied[name]:.3g}" for name, title in VARIED.items() if varied[name] is not None]
    if told:
        click.echo(f"prompts: {', '.join(told)} (Vendi score of {varied['vendi_texts']} texts)")


def _show_agreement(told: Mapping[str, Any]) -> None:
    click.echo(f"{told['items']} items, {told['labels']} labels: " + ", ".join(map(str, told["categories"])))
    click.echo(f"  Krippendorff's alpha ({told['level']})  {_estimate(told['krippendorff'])}")
    click.echo(
        f"  Fleiss' kappa  {_estimate(told['fleiss']) if told['fleiss'] else 'undefined: items differ in how many labels they have'}"
    )
    if told.get("fleiss_as_named") is not None:
        click.echo(
            f"    (with the winner counted as `chosen` throughout, Fleiss' would be {told['fleiss_as_named']:.3f})"
        )
    click.echo(f"  equal pairs of labels  {_rate(told['pairwise_agreement'])}")
    if "unanimous" in told:
        click.echo(
            f"  all agree  {_rate(told['unanimous'])}, chosen without a majority  {_rate(told['against_chosen'])}"
        )
        return
    if told["cohen"] is None:
        click.echo("  Cohen's kappa is left out: there are too many labellers to compare every two")
    for row in told["cohen"] or ():
        click.echo(f"  Cohen's kappa  {row['one']}, {row['two']}  {_estimate(row)} on {row['items']} items")
    if not told["labellers"]:
        click.echo("  who errs how cannot be told from fewer than three labellers")
    for name, row in told["labellers"].items():
        leans = max(row["bias"].items(), key=lambda item: item[1]["value"] or 0.0)
        click.echo(
            f"  {name}: {row['labels']} labels, accuracy {_estimate(row['accuracy'])}, with most others "
            f"{_rate(row['with_others'])}, most over-used label {leans[0]} {leans[1]['value'] or 0.0:+.3f}"
        )


def _rate(row: Mapping[str, Any]) -> str:
    if row["rate"] is None:
        return "none measured"
    return f"{row['rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}] n={row['n']}"


def _estimate(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    bounds = "no interval" if row["low"] is None else f"{row['low']:.3f}, {row['high']:.3f}"
    return f"{row['value']:.3f} [{bounds}]"
