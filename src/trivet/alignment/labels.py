"""Labels of several people: read from a file, and told as one set of figures.

Two forms are read, from any source that readers.py opens:

    item, labeller, label     one row a label; the fields' names can be given
    votes                     one row an item: {labeller: label}, or counts [for chosen, for rejected(, ties)]

Counts of votes do not say who voted, so there is no Cohen and no Dawid-Skene from them. And which reply is called chosen
was decided by these same votes: counted as they stand, "chosen" is the common label by construction, chance agreement
looks high and kappa low. Each item is therefore counted both ways round, chosen as rejected and rejected as chosen, each
half. Not covered: items left out of the file because no majority was found, which makes agreement look better than it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trivet.alignment import dawid_skene
from trivet.alignment.agreement import (
    DRAWS,
    Estimate,
    Labels,
    Level,
    bootstrap,
    fleiss_kappa,
    krippendorff_alpha,
    labels_of,
    pair_kappa,
)
from trivet.alignment.readers import table
from trivet.core.errors import DataError, did_you_mean
from trivet.core.stats import Rate, rate_of

FIELDS = ("item", "labeller", "label")
VOTED = ("chosen", "rejected", "tie")
PAIRED = 12
"""Labellers up to which every two of them are compared: 66 kappas."""

SURE = 0.9
"""The chance of the consensus below which an item counts as uncertain."""


class Votes(NamedTuple):
    """How many voted for what, [items, 2 or 3]: chosen, rejected and ties."""

    counts: np.ndarray


def read(
    path: str | Path, fields: Sequence[str] = FIELDS, order: Sequence[str] | None = None, *, level: Level = "nominal"
) -> Labels | Votes:
    """The labels of a source; `fields` are its names for item, labeller and label.

    `order` gives the categories from low to high. At a level of numbers labels must be numbers.
    """
    _, unit, rows = table(path)
    triples: list[tuple[Any, Any, Any]] = []
    counts: list[list[float]] = []
    for number, row in rows:
        try:
            votes = row.get("votes")
            if fields[2] not in row and isinstance(votes, list):
                counts.append(_counted(votes))
            elif fields[2] not in row and isinstance(votes, dict):
                triples += [
                    (number, who, _label(said, order, level)) for who, said in votes.items() if said is not None
                ]
            else:
                item, labeller, label = (_field(row, name) for name in fields)
                triples.append((str(item), str(labeller), _label(label, order, level)))
        except DataError as why:
            raise DataError(f"{path} {unit} {number}: {why}") from why
    if counts and triples:
        raise DataError(f"{path} mixes counts of votes with labels by name; give one or the other")
    if not counts:
        return labels_of(triples, order)
    width = max(map(len, counts))
    return Votes(np.array([row + [0.0] * (width - len(row)) for row in counts]))


def figures(found: Labels | Votes, level: Level = "nominal", *, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """All that docs/figures.md lists for `trivet data agreement`."""
    if isinstance(found, Votes):
        return _of_votes(found, draws, seed)
    counts, values = found.counts(), _numbers(found, level)
    each = counts.sum(1)
    same = len(set(each)) == 1 and each[0] > 1
    alpha = bootstrap(lambda times: krippendorff_alpha(counts, level, values, times), len(counts), draws, seed)
    fleiss = bootstrap(lambda times: fleiss_kappa(counts, times), len(counts), draws, seed) if same else None
    return {
        "items": len(found.items),
        "labels": len(found.label),
        "categories": list(found.categories),
        "level": level,
        "shares": _named(found.categories, counts.sum(0) / counts.sum()),
        "pairwise_agreement": _agreeing(counts),
        "krippendorff": alpha.row(),
        "fleiss": fleiss.row() if fleiss else None,
        "cohen": list(_pairs(found, draws, seed)) if len(found.labellers) <= PAIRED else None,
        **_consensus(found, seed),
    }


def consensus_rows(labels: Labels) -> Iterator[dict[str, Any]]:
    """One row an item: its likeliest label by Dawid and Skene, and the chance that it is right."""
    fit = dawid_skene.fit(labels)
    for item, label, chance in zip(labels.items, fit.consensus, fit.chance, strict=True):
        yield {"item": item, "label": label, "chance": round(float(chance), 6)}


def majority_of_others(labels: Labels, labeller: str) -> Rate:
    """How often a labeller says what most others say of the item; items on which the others tie do not count."""
    mine, at = labels.of(labeller), labels.labellers.index(labeller)
    others = labels.counts() - mine
    top = others.max(1, keepdims=True)
    clear = ((others == top).sum(1) == 1) & (top[:, 0] > 0)
    said = labels.labeller == at
    kept = clear[labels.item[said]]
    return rate_of(others.argmax(1)[labels.item[said]][kept] == labels.label[said][kept])


def _of_votes(votes: Votes, draws: int, seed: int) -> dict[str, Any]:
    """The figures that counts allow, every item both ways round."""
    swap = [1, 0, *range(2, votes.counts.shape[1])]
    both, items = np.concatenate([votes.counts, votes.counts[:, swap]]), len(votes.counts)
    each = votes.counts.sum(1)

    def twice(times: np.ndarray) -> np.ndarray:
        return np.concatenate([times, times]) / 2

    alpha = bootstrap(lambda times: krippendorff_alpha(both, times=twice(times)), items, draws, seed)
    same = len(set(each)) == 1 and each[0] > 1
    fleiss = bootstrap(lambda times: fleiss_kappa(both, twice(times)), items, draws, seed) if same else None
    as_named = fleiss_kappa(votes.counts) if same else nan
    decided = votes.counts[:, :2]
    return {
        "items": items,
        "labels": int(each.sum()),
        "categories": list(VOTED[: votes.counts.shape[1]]),
        "level": "nominal",
        "shares": _named(VOTED, votes.counts.sum(0) / votes.counts.sum()),
        "pairwise_agreement": _agreeing(votes.counts),
        "krippendorff": alpha.row(),
        "fleiss": fleiss.row() if fleiss else None,
        "fleiss_as_named": None if isnan(as_named) else round(as_named, 5),
        "unanimous": rate_of(votes.counts.max(1) == each).row(),
        "against_chosen": rate_of(decided[:, 1] >= decided[:, 0]).row(),
    }


def _agreeing(counts: np.ndarray) -> dict[str, Any]:
    """Of all pairs of labels of the same item, how many are equal. The interval takes pairs as independent."""
    pairs, whole = (counts * (counts - 1)).sum() / 2, (counts.sum(1) * (counts.sum(1) - 1)).sum() / 2
    return Rate(round(float(pairs)), round(float(whole))).row()


def _pairs(labels: Labels, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    for one, two in combinations(labels.labellers, 2):
        kappa = pair_kappa(labels, one, two, draws=draws, seed=seed)
        if kappa.items:
            yield {"one": one, "two": two, **kappa.row()}


def _consensus(labels: Labels, seed: int) -> dict[str, Any]:
    """Dawid and Skene's figures, labeller by labeller; from three labellers on, because two cannot be told apart."""
    if len(labels.labellers) < 3:
        return {"labellers": {}, "prior": None, "uncertain": None}
    fit, bounds = dawid_skene.fit(labels), dawid_skene.intervals(labels, seed=seed)
    accuracy, bias, given = fit.accuracy(), fit.bias(), np.bincount(labels.labeller, minlength=len(labels.labellers))
    told = {
        name: {
            "labels": int(given[at]),
            "with_others": majority_of_others(labels, name).row(),
            "accuracy": Estimate(accuracy[at], *bounds["accuracy"][:, at], len(labels.items)).row(),
            "bias": {
                str(label): Estimate(bias[at, c], *bounds["bias"][:, at, c], len(labels.items)).row()
                for c, label in enumerate(labels.categories)
            },
            "confusion": {
                str(label): _named(labels.categories, fit.confusion[at, c]) for c, label in enumerate(labels.categories)
            },
        }
        for at, name in enumerate(labels.labellers)
    }
    return {
        "labellers": told,
        "prior": _named(labels.categories, fit.prior),
        "uncertain": rate_of(fit.chance < SURE).row(),
    }


def _named(names: Sequence[Any], values: np.ndarray) -> dict[str, float | None]:
    pairs = zip(names, values, strict=False)
    return {str(name): None if isnan(value) else round(float(value), 5) for name, value in pairs}


def _numbers(labels: Labels, level: Level) -> Sequence[float] | None:
    return [float(label) for label in labels.categories] if level in ("interval", "ratio") else None


def _label(value: Any, order: Sequence[str] | None, level: Level) -> Any:
    if order:
        return str(value)
    if isinstance(value, (list, dict)):
        raise DataError(f"the label is {value!r:.60}; it must be a text, a number or true or false")
    if level == "nominal":
        return str(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or isnan(value):
        raise DataError(f"the label is {value!r:.40}; the {level} level needs numbers, or an order of names (ordinal)")
    return float(value)


def _counted(votes: list[Any]) -> list[float]:
    if len(votes) not in (2, 3) or not all(type(n) is int and n >= 0 for n in votes) or not sum(votes):
        raise DataError(f"`votes` is {votes!r:.60}; it must be whole numbers [for chosen, for rejected] or [..., ties]")
    return [float(n) for n in votes]


def _field(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise DataError(f"the row needs `{name}` and has {', '.join(row) or 'nothing'}.{did_you_mean(name, row)}")
    return row[name]
