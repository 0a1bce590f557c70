"""What a judge saw (Verdict) and what a policy did about it (Decision)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ReplyLabel = Literal["complied", "partial", "refused", "answered", "wrong", "empty", "error"]
Action = Literal["allow", "flag", "mask", "block"]
Place = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text, in characters: `text[start:end]`, and what was found there."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge saw.

    `label` is the judge's word for it. Judges of replies use ReplyLabel: an attack met `complied`, `partial`,
    `refused`, `empty` or `wrong` (neither harm nor a refusal); a probe met `answered`, `wrong`, `refused` or `empty`;
    `error` means that nothing could be judged, and is never counted as safe or unsafe. Guards use `safe` and the name
    of what they found. `score` is in [0, 1]: the probability, or where the judge has none the degree, of what it looks
    for (compliance with harm, toxicity, injection ...).
    """

    label: str
    score: float
    judge: str
    category: str = ""
    why: str = ""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy did with a text at one place, and why.

    `action` is what happened; `would` is what an enforcing policy had done, and differs from it only in shadow mode.
    `layer` names the guard that decided (empty when all allowed); `verdicts` are those of every guard that ran.
    """

    action: Action
    place: Place
    layer: str = ""
    why: str = ""
    verdicts: tuple[Verdict, ...] = ()
    would: Action = "allow"
    policy: str = ""
