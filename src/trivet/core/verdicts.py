"""What a judge saw (Verdict) and what a policy did about it (Decision)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

ReplyLabel = Literal["complied", "partial", "refused", "answered", "wrong", "empty", "error"]
Action = Literal["allow", "flag", "review", "mask", "rewrite", "block"]
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
    for (compliance with harm, toxicity, injection ...). `message` is the place in its conversation of the message that
    was judged, where a policy judged several; -1 is the last.
    """

    label: str
    score: float
    judge: str
    category: str = ""
    why: str = ""
    spans: tuple[Span, ...] = ()
    message: int = -1


class Cost(NamedTuple):
    """How long a layer took, waiting included."""

    layer: str
    microseconds: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy did with a text at one place, and why.

    `action` is the strongest thing that happened; `would` is what an enforcing policy had done, and differs from it only
    where layers are in shadow. `layer` names the guard that decided (empty when all allowed), `why` its rule and never
    the text; `verdicts` are those of every guard that ran. `review` says that a person should look, whatever else
    happened. `cost` takes no part in comparing: two decisions are equal when they decided alike.
    """

    action: Action
    place: Place
    layer: str = ""
    why: str = ""
    verdicts: tuple[Verdict, ...] = ()
    would: Action = "allow"
    policy: str = ""
    review: bool = False
    cost: tuple[Cost, ...] = field(default=(), compare=False)

    @property
    def deciding(self) -> Verdict | None:
        """The verdict that the decision rests on: its score and its spans say how sure and where."""
        return next((verdict for verdict in self.verdicts if verdict.judge == self.layer), None)
