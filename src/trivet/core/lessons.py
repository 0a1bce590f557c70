"""The three things a model learns from: a demonstration, a preference, and feedback on a single reply.

Each says where it came from. A lesson taken from production names the events it was made of, so that an erased
event can be followed into the training sets that hold it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trivet.core.messages import Conversation, digest_of


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a lesson came from: the maker (`hh_harmless_test`, `loop:turn-0001`, `town`) and the events behind it."""

    source: str
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A reply worth imitating. An empty prompt makes it plain text: no chat template, every token learnt."""

    prompt: Conversation
    reply: str
    origin: Origin = field(default=Origin("unknown"), compare=False)


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two replies to one prompt, the one that is better.

    `weight` scales the pair's loss; 1 is an ordinary pair.
    """

    prompt: Conversation
    chosen: str
    rejected: str
    weight: float = 1.0
    origin: Origin = field(default=Origin("unknown"), compare=False)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb up or down on one reply."""

    prompt: Conversation
    reply: str
    desirable: bool
    origin: Origin = field(default=Origin("unknown"), compare=False)


Lesson = Demonstration | Preference | Feedback


def lesson_digest(lesson: Lesson) -> str:
    """The content hash of a lesson, without its origin: the same words are the same lesson."""
    match lesson:
        case Demonstration(prompt, reply):
            return digest_of(["demonstration", prompt.rows(), reply])
        case Preference(prompt, chosen, rejected, weight):
            return digest_of(["preference", prompt.rows(), chosen, rejected, weight])
        case Feedback(prompt, reply, desirable):  # pragma: no branch - the union has no fourth
            return digest_of(["feedback", prompt.rows(), reply, desirable])
