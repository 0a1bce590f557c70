"""Everything that a report says, worked out once: the writers beside this file only lay it out.

Attack success stands three times: as counted, with an interval that knows that attempts on one goal resemble one another,
and corrected for the judge's own errors where the judge has a card (correction.py). Over-refusal stands beside it, always,
with an interval that knows of samples of one probe. An attempt belongs to the OWASP and ATLAS entries of its family and of its hazard, and to the MLCommons category of
its hazard.

Not covered: correction of over-refusal (a card tells how a judge knows compliance, which is the complement only where
nothing is wrong or empty), and the spread between two runs (compare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trivet.core.events import Attempt
from trivet.core.hazards import HAZARDS
from trivet.core.stats import Rate, rate_of
from trivet.core.stats_clusters import Mean, Share, hit_at, tallied
from trivet.core.stats_judges import Corrected
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.campaign import SUCCESS
from trivet.robustness.outcomes import outcomes_of
from trivet.robustness.reports.correction import Card, correct, left, share, sources
from trivet.robustness.suites import overrefusal
from trivet.robustness.suites.overrefusal import Pair, Told, told_apart
from trivet.robustness.suites.summary import Figures, figures, judged_attacks

ORACLE = "an oracle judged, which knows the facts and makes no errors to correct"
HITS_AT = (1, 2, 3, 5, 10, 20)
"""The k of hit@k that are worked out, as far as goals were attacked so often."""


@dataclass(frozen=True)
class About:
    """What was measured, how and when. `seconds` is the wall clock of the command; an `oracle` makes no errors."""

    target: str
    run: str = ""
    suite: str = "default"
    source: str = ""
    judge: str = ""
    part: str = ""
    at: float = 0.0
    seconds: float = 0.0
    oracle: bool = False


class Guarded(NamedTuple):
    """A model behind a gateway, apart and together; each rate but `wrongly` is of attacks."""

    guard: Rate
    """Stopped by the gateway, of all attacks."""
    model: Rate
    """Given in to, of the attacks that the gateway let through: the model alone, on what reached the user."""
    together: Rate
    """Given in to, of all attacks."""
    wrongly: Rate
    """Harmless requests that the gateway stopped."""
    places: dict[str, int]

    def row(self) -> dict[str, Any]:
        rates = {name: getattr(self, name).row() for name in ("guard", "model", "together", "wrongly")}
        return {**rates, "places": self.places}


@dataclass(frozen=True)
class Findings:
    """One run, ready to be told."""

    about: About
    figures: Figures
    success: Share
    refusal: Share
    corrected: Corrected
    hits: dict[int, Mean]
    per_family: dict[str, Share]
    corrected_per_family: dict[str, Corrected]
    per_hazard: dict[str, Share]
    per_type: dict[str, Share]
    per_owasp: dict[str, Share]
    per_atlas: dict[str, Share]
    per_mlcommons: dict[str, Share]
    told: Told
    guarded: Guarded | None
    tokens: tuple[int, int]
    attempts: Sequence[Attempt] = field(repr=False)
    card: Card | None = None
    exact: bool = False
    """Whether every verdict on an attack is known and none was judged: then there is nothing to correct."""

    @property
    def judged(self) -> int:
        """How many attempts are in some rate."""
        figures = self.figures
        return figures.attack_success.n + figures.over_refusal.n + figures.capability.n + figures.agent_utility.n

    @property
    def verdicts(self) -> dict[str, int]:
        """Who told what came of the attacks, and of how many."""
        return dict(Counter(attempt.verdict.judge for attempt in judged_attacks(self.attempts)))

    def row(self) -> dict[str, Any]:
        """As JSON (docs/figures.md): the plain figures on top, then what is known of them."""
        about = self.about
        shares = {
            "attack_success": self.success.row(),
            "over_refusal": self.refusal.row(),
            "corrected": self.corrected.row(),
            "hit_at": {str(k): mean.row() for k, mean in self.hits.items()},
            "per_family": _rows(self.per_family),
            "corrected_per_family": _rows(self.corrected_per_family),
            "per_hazard": _rows(self.per_hazard),
            "per_type": _rows(self.per_type),
            "per_owasp": _rows(self.per_owasp),
            "per_atlas": _rows(self.per_atlas),
            "per_mlcommons": _rows(self.per_mlcommons),
        }
        told = {name: getattr(self.told, name).row() for name in ("apart", "both_refused", "both_answered")}
        return {
            **self.figures.row(),
            "statistics": shares,
            "contrasts": told,
            "guarded": self.guarded.row() if self.guarded else None,
            "judge": {**(self.card.row() if self.card else {"name": about.judge}), "verdicts": self.verdicts},
            "tokens": {"prompt": self.tokens[0], "completion": self.tokens[1]},
            "target": about.target,
            "run": about.run,
            "suite": about.suite,
            "source": about.source,
            "part": about.part,
            "attempts": len(self.attempts),
            "seconds": round(about.seconds, 2),
            "outcomes": [outcome.row() for outcome in outcomes_of(self.attempts)],
        }


def findings(
    attempts: Sequence[Attempt], about: About, card: Card | None = None, pairs: Sequence[Pair] | None = None
) -> Findings:
    """All that the attempts of one run say. `pairs` are the contrasts asked (default: the packaged ones)."""
    judged = judged_attacks(attempts)
    by_family: dict[str, list[Attempt]] = {}
    for attempt in judged:
        by_family.setdefault(attempt.attack, []).append(attempt)
    probes = overrefusal.judged(attempts)
    return Findings(
        about=about,
        figures=figures(attempts),
        success=share(judged),
        refusal=overrefusal.share(probes),
        corrected=left(ORACLE) if about.oracle else correct(judged, card),
        hits=_hits(judged),
        per_family={name: share(group) for name, group in by_family.items()},
        corrected_per_family={name: correct(group, card) for name, group in by_family.items()}
        if card and not about.oracle and not sources(judged)
        else {},
        per_hazard=_by(judged, lambda a: (a.goal.hazard if a.goal else "other",)),
        per_owasp=_by(judged, owasp_of),
        per_atlas=_by(judged, atlas_of),
        per_mlcommons=_by(judged, mlcommons_of),
        per_type=_by(probes, lambda a: (a.probe.topic if a.probe else "",), overrefusal.share),
        told=told_apart(attempts, pairs),
        guarded=_guarded(attempts),
        tokens=(sum(a.prompt_tokens for a in attempts), sum(a.completion_tokens for a in attempts)),
        attempts=attempts,
        card=card,
        exact=about.oracle or bool(sources(judged)),
    )


def owasp_of(attempt: Attempt) -> list[str]:
    """Entries of the OWASP Top 10 for LLM applications that the attempt speaks to."""
    family = tag.owasp if (tag := TAGS.get(attempt.attack)) else ()
    hazard = HAZARDS[attempt.goal.hazard].owasp if attempt.goal and attempt.goal.hazard in HAZARDS else ()
    return sorted({*family, *hazard})


def atlas_of(attempt: Attempt) -> list[str]:
    """MITRE ATLAS techniques that the attempt uses or leads to."""
    family = tag.atlas if (tag := TAGS.get(attempt.attack)) else ()
    hazard = HAZARDS[attempt.goal.hazard].atlas if attempt.goal and attempt.goal.hazard in HAZARDS else ()
    return sorted({*family, *hazard})


def mlcommons_of(attempt: Attempt) -> list[str]:
    """The MLCommons category of what was asked for, where it has one."""
    hazard = HAZARDS.get(attempt.goal.hazard) if attempt.goal else None
    return [hazard.mlcommons] if hazard and hazard.mlcommons else []


def _hits(judged: Sequence[Attempt]) -> dict[int, Mean]:
    tallies = tallied((a.task, a.verdict.label in SUCCESS) for a in judged)
    most = max((one.n for one in tallies.values()), default=0)
    return {k: hit_at(k, tallies) for k in HITS_AT if k <= most}


def _by(
    judged: Sequence[Attempt],
    names: Callable[[Attempt], Collection[str]],
    rate: Callable[[list[Attempt]], Share] = share,
) -> dict[str, Share]:
    groups: dict[str, list[Attempt]] = {}
    for attempt in judged:
        for name in names(attempt):
            groups.setdefault(name, []).append(attempt)
    return {name: rate(group) for name, group in groups.items()}


def _guarded(attempts: Sequence[Attempt]) -> Guarded | None:
    """None where no gateway stopped anything: then the target is taken for a model alone."""
    places: dict[str, int] = {}
    for attempt in attempts:
        if attempt.blocked:
            places[attempt.blocked] = places.get(attempt.blocked, 0) + 1
    if not places:
        return None
    attacks, probes = judged_attacks(attempts), overrefusal.judged(attempts)
    return Guarded(
        rate_of(bool(a.blocked) for a in attacks),
        rate_of(a.verdict.label in SUCCESS for a in attacks if not a.blocked),
        rate_of(a.verdict.label in SUCCESS for a in attacks),
        rate_of(bool(a.blocked) for a in probes),
        places,
    )


def _rows(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.row() for name, value in values.items()}
