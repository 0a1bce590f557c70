"""The figures of quality.py and labels.py as one HTML file each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trivet.alignment.quality import Flag
from trivet.core import report
from trivet.core.stats import Rate

SHOWN = 200
"""Flagged lessons listed on a page; the file of flags has all."""


def quality_page(name: str, figures: Mapping[str, Any], flags: Sequence[Flag]) -> str:
    """The page of `trivet data report`."""
    sections = [
        report.section("What was read", _facts(figures, ("rows", "lessons", "prompts", "weight", "uncertain"))),
        report.section("Dropped rows", _counts("reason", figures.get("dropped", {}))),
        report.section("Lengths in words", _table("text", figures["words"])),
    ]
    if "longer_chosen" in figures:
        rates = {
            "the longer reply is the chosen one": figures["longer_chosen"],
            "both replies begin alike": figures["openings"],
            "... and a cut there falls inside a word": figures["inside_words"],
        }
        sections.append(report.section("Pairs", _rates(rates), _facts(figures, ("words_more", "both_sides"))))
    sections.append(report.section("Flagged lessons", _counts("reason", figures["flagged"]), _flags(flags)))
    if "leakage" in figures:
        sections.append(report.section("Held-out lessons found in the data", _rates(figures["leakage"])))
    sections.append(report.section("Diversity of prompts", _facts(figures["diversity"])))
    return report.page(f"Data: {name}", sections, subtitle="trivet data report; what each figure is: docs/figures.md")


def agreement_page(name: str, figures: Mapping[str, Any]) -> str:
    """The page of `trivet data agreement`."""
    whole = [("Krippendorff's alpha", figures["krippendorff"]), ("Fleiss' kappa", figures["fleiss"])]
    sections = [
        report.section("What was read", _facts(figures, ("items", "labels", "level"))),
        report.section("Shares of labels", _counts("label", figures["shares"], "share")),
        report.section(
            "Agreement",
            report.table(
                ("measure", "value", "low", "high", "items"),
                [(title, *_estimate(row)) for title, row in whole if row],
                caption="95 % bootstrap intervals over items",
            ),
            _rates({"pairs of labels of one item that are equal": figures["pairwise_agreement"]}),
        ),
    ]
    if figures.get("cohen"):
        rows = [(row["one"], row["two"], *_estimate(row)) for row in figures["cohen"]]
        sections.append(
            report.section("Cohen's kappa", report.table(("one", "two", "kappa", "low", "high", "items"), rows))
        )
    if figures.get("labellers"):
        sections += _labellers(figures["labellers"])
    return report.page(f"Agreement: {name}", sections, subtitle="trivet data agreement; see docs/preference_data.md")


def _labellers(labellers: Mapping[str, Any]) -> list[str]:
    accuracy = [(name, row["labels"], *_estimate(row["accuracy"])[:3]) for name, row in labellers.items()]
    others = {name: row["with_others"] for name, row in labellers.items()}
    labels = list(next(iter(labellers.values()))["bias"])
    bias = [(name, *(_signed(row["bias"][label]) for label in labels)) for name, row in labellers.items()]
    confusion = [
        (name, true, *(said[label] for label in labels))
        for name, row in labellers.items()
        for true, said in row["confusion"].items()
    ]
    return [
        report.section(
            "Accuracy",
            report.table(("labeller", "labels", "accuracy", "low", "high"), accuracy, caption="By Dawid and Skene"),
            report.bars_with_intervals(
                list(others),
                {"with the others": [_rate(row) for row in others.values()]},
                caption="How often a labeller says what most others say",
            ),
        ),
        report.section("Bias", report.table(("labeller", *labels), bias, caption="Share given less share true")),
        report.section("Confusion", report.table(("labeller", "true", *labels), confusion)),
    ]


def _facts(figures: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    rows = [(name.replace("_", " "), figures[name]) for name in names or figures if figures.get(name) is not None]
    return report.table(("figure", "value"), rows)


def _counts(what: str, counts: Mapping[str, Any], value: str = "count") -> str:
    if not counts:
        return report.paragraph("None.")
    return report.table((what, value), [(name.replace("_", " "), count) for name, count in counts.items()])


def _table(what: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = list(next(iter(rows.values()), {}))
    return report.table((what, *columns), [(name, *(row[column] for column in columns)) for name, row in rows.items()])


def _rates(rates: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(name.replace("_", " "), str(_rate(row))) for name, row in rates.items()]
    return report.table(("of the lessons", "rate with 95 % interval"), rows)


def _flags(flags: Sequence[Flag]) -> str:
    if not flags:
        return ""
    caption = f"The first {SHOWN} of {len(flags)}" if len(flags) > SHOWN else ""
    return report.table(("place", "reason", "clashes with"), [tuple(flag) for flag in flags[:SHOWN]], caption=caption)


def _rate(row: Mapping[str, Any]) -> Rate:
    return Rate(round((row["rate"] or 0.0) * row["n"]), row["n"])


def _estimate(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("value", "low", "high", "items"))


def _signed(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    return f"{row['value']:+.3f} [{_plus(row['low'])}, {_plus(row['high'])}]"


def _plus(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
