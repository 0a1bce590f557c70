"""What an attack is made of: a wording filled with the goal, the turns before it, and a name to report it under.

`Script` covers every attack here: user messages sent one after another, the last of which asks for the goal. One message
is a single-turn attack; several are a dialogue in which the target really answers each; `shots` are invented turns put
in front. Wordings hold `{request}` (the goal, perhaps encoded), `{topic}`, and slots such as `{persona}` whose values
are picked by the goal, so that the same goal is always worded the same way. Shots may hold `{topic}` and slots too.

Not covered: attacks that read the target's replies before they write the next turn. Such an attack is any object with
an `attack` method; wrap it in NamedAttack to run it in a campaign.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

from trivet.core.errors import ConfigError
from trivet.core.hazards import HAZARDS, Goal
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.protocols import Attack, Model
from trivet.robustness.converters.library import converter

Part = Literal["train", "heldout"]
PARTS: tuple[Part, ...] = get_args(Part)

Exchange = tuple[str, str]
Slots = Mapping[str, tuple[str, ...]]

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Script:
    """User turns in order, after invented `shots`; `encoding` names the converter that hides the request."""

    turns: tuple[str, ...]
    shots: tuple[Exchange, ...] = ()
    encoding: str = ""
    slots: Slots = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.turns or "{request}" not in self.turns[-1]:
            raise ConfigError(f"the last turn of an attack must hold {{request}}, has {self.turns[-1:]!r}")
        unknown = {name for turn in self.turns for name in _SLOT.findall(turn)} - {"request", "topic", *self.slots}
        unknown |= {name for shot in self.shots for side in shot for name in _SLOT.findall(side)} - {
            "topic",
            *self.slots,
        }
        if unknown:
            raise ConfigError(f"no values for the slots {sorted(unknown)} in {self.turns!r:.160}")

    def opening(self, goal: Goal | None = None) -> Conversation:
        """The invented turns, before anything is asked; without a goal their slots stay open."""
        if not self.shots:
            return _NOTHING
        messages = [
            message
            for asked, answered in self.shots
            for message in (Message("user", asked), Message("assistant", answered))
        ]
        if messages and goal:
            values = self._values(goal)
            messages = [Message(message.role, _filled(message.content, values)) for message in messages]
        return Conversation(tuple(messages))

    def wordings(self, goal: Goal) -> tuple[str, ...]:
        """The user turns as this goal fills them."""
        values = self._values(goal)
        values["request"] = converter(self.encoding).encode(goal.request) if self.encoding else goal.request
        return tuple([_filled(turn, values) for turn in self.turns])

    def _values(self, goal: Goal) -> dict[str, str]:
        """What this goal puts into the slots."""
        values = {"topic": topic_of(goal)}
        if self.slots:
            seed = int(goal.id[:12], 16)
            for number, (name, choices) in enumerate(sorted(self.slots.items())):
                values[name] = choices[(seed + number) % len(choices)]
        return values

    async def attack(self, goal: Goal, target: Model) -> Conversation:
        conversation = self.opening(goal)
        for wording in self.wordings(goal):
            conversation = conversation.then(Message("user", wording))
            conversation = conversation.then(await target.reply(conversation))
        return conversation

    @property
    def words(self) -> int:
        """How many words are its own: those of turns and shots, and of the longest value of each slot."""
        sides = (side for shot in self.shots for side in shot)
        filled = (max(values, key=len, default="") for values in self.slots.values())
        return sum(len(text.split()) for text in (*self.turns, *sides, *filled))

    @property
    def digest(self) -> str:
        return digest_of([self.turns, self.shots, self.encoding, dict(self.slots)])


@dataclass(frozen=True, slots=True)
class NamedAttack:
    """An attack with the names under which it is stored and reported.

    `template` must name the wording for good: it is part of an attempt's identity, so an attack that changes what it
    says must change its name (the ids of this package end in a hash of the text for that reason). `only` are the hazards
    whose goals it can pursue; empty for all.
    """

    family: str
    template: str
    part: Part
    how: Attack
    only: tuple[str, ...] = ()

    def fits(self, goal: Goal) -> bool:
        """Whether this goal can be pursued so at all."""
        return not self.only or goal.hazard in self.only

    def attack(self, goal: Goal, target: Model) -> Coroutine[Any, Any, Conversation]:
        return self.how.attack(goal, target)


_NOTHING = Conversation()


def _filled(text: str, values: Mapping[str, str]) -> str:
    pieces = _pieces(text)
    if len(pieces) == 3:  # one slot: most wordings
        before, name, after = pieces
        return f"{before}{values[name]}{after}"
    return "".join([values[piece] if number % 2 else piece for number, piece in enumerate(pieces)])


@lru_cache(maxsize=4096)
def _pieces(text: str) -> tuple[str, ...]:
    """What stands between the slots, and the slots' names, in turns."""
    return tuple(_SLOT.split(text))


def topic_of(goal: Goal) -> str:
    """A few words for what the goal is about: the last part of its topic, else the title of its hazard."""
    return _topic(goal.topic, goal.hazard)


@lru_cache(maxsize=4096)
def _topic(topic: str, hazard: str) -> str:
    title = HAZARDS[hazard].title if hazard in HAZARDS else hazard
    return re.split(r"[:/]", topic or title)[-1].replace("_", " ").strip().lower()


def script(*turns: str, shots: tuple[Exchange, ...] = (), encoding: str = "", slots: Slots | None = None) -> Script:
    """Short for Script, for the tables of wordings."""
    return Script(turns, shots, encoding, slots or {})
