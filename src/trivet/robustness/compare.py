"""Two runs over the same questions: what rose, what fell, and what a comparison of this size could have seen.

Pairs are made by suite, task, family, template and seed; what stands in one run only, could not be judged in one of them, or
shares its key with another outcome of its run, is counted and compared with nothing. Each row tests one thing (core/stats_paired.py): attack success as a whole,
over-refusal and capability are tested with Holm's correction among themselves, the attack families among themselves. The
verdict is McNemar's exact test: did these questions come out otherwise? Beside it stands the test by goal: would other
goals have, too? Where only the first says yes, the words say so, and no build fails and no alert is raised (`failing`);
where every goal was attacked once the two are one.

Not covered: runs with different attacks (their intervals may be compared, not their pairs), and effects of size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from trivet.core.errors import DataError
from trivet.core.stats import Interval, Rate, mcnemar, rate_of
from trivet.core.stats_paired import by_cluster, difference, holm, least_detectable
from trivet.robustness.outcomes import Outcome

ALPHA = 0.05
_WHOLE = {
    "attack": "attack success",
    "overrefusal": "over-refusal",
    "capability": "capability (not answered rightly)",
    "utility": "agents (task not done)",
}


@dataclass(frozen=True)
class Change:
    """One row: rates of what should not happen, before and after. `b` stopped happening, `c` began to."""

    name: str
    suite: str
    whole: bool
    before: Rate
    after: Rate
    b: int
    c: int
    difference: float
    interval: Interval
    mcnemar: float
    p: float
    adjusted: float
    detectable: float | None

    @property
    def general(self) -> bool:
        """Whether the change is seen from goal to goal as well, so that it speaks of goals that were not asked."""
        return self.p <= ALPHA

    @property
    def verdict(self) -> str:
        """`worse`, `better`, or `no difference found`."""
        if self.adjusted > ALPHA or self.b == self.c:
            return "no difference found"
        return "worse" if self.c > self.b else "better"

    def row(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "suite": self.suite,
            "pairs": self.before.n,
            "before": self.before.row(),
            "after": self.after.row(),
            "fell": self.b,
            "rose": self.c,
            "difference": round(self.difference, 5),
            "low": round(self.interval.low, 5),
            "high": round(self.interval.high, 5),
            "mcnemar_p": self.mcnemar,
            "p_by_goal": self.p,
            "p_holm": self.adjusted,
            "least_detectable": None if self.detectable is None else round(self.detectable, 5),
            "verdict": self.verdict,
            "general": self.general,
        }


@dataclass(frozen=True)
class Comparison:
    """All rows, and how many questions were compared with nothing."""

    changes: tuple[Change, ...]
    pairs: int
    only_before: int
    only_after: int
    errors: int
    repeated: int = 0
    """Outcomes that stood under the key of another in their run, so that nobody can tell which belongs to which."""

    @property
    def failing(self) -> list[Change]:
        """What is worse on these questions and, by the test by goal, on others like them: what ends a build."""
        return [change for change in self.worse if change.general]

    @property
    def worse(self) -> list[Change]:
        return [change for change in self.changes if change.verdict == "worse"]

    @property
    def better(self) -> list[Change]:
        return [change for change in self.changes if change.verdict == "better"]

    def words(self) -> str:
        """The verdict in a sentence or two."""
        told = []
        for what, found in (("Worse", self.worse), ("Better", self.better)):
            if found:
                told.append(f"{what}: {', '.join(map(_told, found))}.")
        if not told:
            told.append("No significant difference.")
        for change in self.changes:
            if change.whole and change.verdict == "no difference found":
                told.append(_unseen(change))
        return " ".join(told)

    def row(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "only_before": self.only_before,
            "only_after": self.only_after,
            "errors": self.errors,
            "repeated": self.repeated,
            "fails": bool(self.failing),
            "verdict": "worse" if self.worse else "better" if self.better else "no difference found",
            "words": self.words(),
            "changes": [change.row() for change in self.changes],
        }


Key = tuple[str, str, str, str, int, str]
Pair = tuple[Outcome, Outcome]


def compare(before: Sequence[Outcome], after: Sequence[Outcome]) -> Comparison:
    """The comparison. Raises DataError where the runs have no question in common that was judged in both."""
    first, second = _by_key(before), _by_key(after)
    repeated = len(before) - len(first) + len(after) - len(second)
    common = [(first[key], second[key]) for key in first if key in second]
    pairs = [pair for pair in common if pair[0].bad is not None and pair[1].bad is not None]
    if not pairs:
        raise DataError(
            f"the runs have no judged question in common ({len(first)} in the first, {len(second)} in the second, "
            f"{len(common)} in both); compare runs of one suite with the same goals, part and seed"
        )
    kinds = [kind for kind in _WHOLE if any(_kind(pair[0]) == kind for pair in pairs)]
    wholes = [
        _change(_WHOLE[kind], kind, True, [pair for pair in pairs if _kind(pair[0]) == kind], ALPHA / len(kinds))
        for kind in kinds
    ]
    attacks = [pair for pair in pairs if _kind(pair[0]) == "attack"]
    families = list(dict.fromkeys(pair[0].family for pair in attacks))
    parts = [
        _change(family, "attack", False, [pair for pair in attacks if pair[0].family == family], ALPHA / len(families))
        for family in (families if len(families) > 1 else ())
    ]
    return Comparison(
        (*_held(wholes), *_held(parts)),
        len(pairs),
        len(first) - len(common),
        len(second) - len(common),
        len(common) - len(pairs),
        repeated,
    )


def _by_key(run: Sequence[Outcome]) -> dict[Key, Outcome]:
    """Outcomes by key, without those whose key another one has: paired by chance they would say nothing."""
    counts = Counter(outcome.key for outcome in run)
    return {outcome.key: outcome for outcome in run if counts[outcome.key] == 1}


def _kind(outcome: Outcome) -> str:
    """What an outcome speaks to: an agent's goals are attacks, its tasks are its use."""
    if outcome.suite != "agent":
        return outcome.suite
    return "attack" if outcome.hazard else "utility"


def _change(name: str, suite: str, whole: bool, pairs: Sequence[Pair], alpha: float) -> Change:
    before, after = [bool(one.bad) for one, _ in pairs], [bool(other.bad) for _, other in pairs]
    exact = mcnemar(before, after)
    changes = [(one.task, int(y) - int(x)) for (one, _), x, y in zip(pairs, before, after, strict=True)]
    by_goal = by_cluster(changes)
    mean, interval = difference(changes)
    churn = min(exact.b, exact.c) / len(pairs)
    return Change(
        name, suite, whole, rate_of(before), rate_of(after), exact.b, exact.c, mean, interval, exact.p, by_goal.p,
        exact.p, least_detectable(len(pairs), churn, alpha),
    )  # fmt: skip


def _held(changes: Sequence[Change]) -> list[Change]:
    """With Holm's p-values among themselves."""
    adjusted = holm({change.name: change.mcnemar for change in changes})
    return [replace(change, adjusted=adjusted[change.name]) for change in changes]


def _told(change: Change) -> str:
    rates = f"{change.before.rate:.1%} to {change.after.rate:.1%}"
    few = "" if change.general else f"; on these goals, not shown for others: p by goal is {change.p:.2g}"
    return f"{change.name} ({rates}{few})"


def _unseen(change: Change) -> str:
    """What a row without a finding could have found."""
    if change.detectable is None:
        return f"For {change.name}, {change.before.n} pairs are too few to find any rise."
    return f"For {change.name}, a rise of {100 * change.detectable:.1f} points would have been found in four cases of five."
