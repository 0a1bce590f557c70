"""The three things a model learns from: a demonstration, a preference, and feedback on a single reply.

Each says where it came from. A lesson taken from production names the events it was made of, so that an erased
event can be followed into the training sets that hold it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from trivet.core.errors import DataError
from trivet.core.messages import Conversation, digest_of


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a lesson came from: the maker (`hh_harmless_test`, `loop:turn-0001`, `town`) and the events behind it.

    A lesson read from a file has that file's name as its source and says the `line` (or row, from 1); 0 is none.
    """

    source: str
    events: tuple[str, ...] = ()
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A reply worth imitating. An empty prompt makes it plain text: no chat template, every token learnt."""

    prompt: Conversation
    reply: str
    origin: Origin = field(default=Origin("unknown"), compare=False)


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two replies to one prompt, the one that is better.

    `weight` scales the pair's loss; 1 is an ordinary pair. `margin` is by how much the reward of the better reply should
    lead at least (Llama 2, 2307.09288, section 3.2.2). `chance` is the probability that the chosen reply is the better
    one: 1 where the label is certain, 1/2 where it says nothing.
    """

    prompt: Conversation
    chosen: str
    rejected: str
    weight: float = 1.0
    margin: float = 0.0
    chance: float = 1.0
    origin: Origin = field(default=Origin("unknown"), compare=False)

    def __post_init__(self) -> None:
        if not isfinite(self.margin):
            raise DataError(f"a preference has the margin {self.margin!r}; it must be a finite number")
        if not 0 <= self.chance <= 1:
            raise DataError(f"a preference has the chance {self.chance!r}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb up or down on one reply."""

    prompt: Conversation
    reply: str
    desirable: bool
    origin: Origin = field(default=Origin("unknown"), compare=False)


Lesson = Demonstration | Preference | Feedback


def lesson_digest(lesson: Lesson) -> str:
    """The content hash of a lesson, without its origin: the same words are the same lesson.

    Margin and chance count only where they are set, so that the digests of older pairs stay what they were.
    """
    match lesson:
        case Demonstration(prompt, reply):
            return digest_of(["demonstration", prompt.rows(), reply])
        case Preference(prompt, chosen, rejected, weight, margin, chance):
            soft = [] if (margin, chance) == (0.0, 1.0) else [margin, chance]
            return digest_of(["preference", prompt.rows(), chosen, rejected, weight, *soft])
        case Feedback(prompt, reply, desirable):  # pragma: no branch - the union has no fourth
            return digest_of(["feedback", prompt.rows(), reply, desirable])
