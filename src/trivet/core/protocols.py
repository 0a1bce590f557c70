"""The five words that everything is made of, and the ground they meet on.

Each protocol has one method, and anything with that method fits: no base classes, no registration. A guard is a Judge
given a place and a deadline; a multi-turn orchestrator is an Attack that takes longer; a trained attacker is a Model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trivet.core.events import Alert, Event
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.verdicts import Verdict

GREEDY = Sampling()


@runtime_checkable
class Model(Protocol):
    """A voice: continues a conversation with one assistant message. Raises TargetError when it cannot."""

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message: ...


@runtime_checkable
class Judge(Protocol):
    """An eye: says what the last message of a conversation is. `about` is what had been asked for, where known."""

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict: ...


class Attack(Protocol):
    """A way to pursue a goal against a target: returns the conversation as the target saw and answered it.

    The attack does not judge itself and does not store anything; the campaign does both.
    """

    async def attack(self, goal: Goal, target: Model) -> Conversation: ...


class Reward(Protocol):
    """A number per finished conversation, higher is better; shape in: n conversations, out: n floats."""

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]: ...


class Detector(Protocol):
    """Streaming statistics over events, without I/O."""

    def observe(self, event: Event) -> Alert | None: ...


@dataclass(frozen=True)
class Split:
    """One part of a ground: what attackers want, what users want, what users want that looks alarming."""

    goals: tuple[Goal, ...]
    benign: tuple[Probe, ...]
    lookalikes: tuple[Probe, ...]


@dataclass(frozen=True)
class Ground:
    """Everything a turn of the loop needs to know about the world in which a model is tested.

    `train` is what may be attacked, harvested and learnt from; `heldout` is what is measured, and shares no text with
    it. `judge` decides the reported figures (an oracle where the ground has one), `eye` labels the harvest, as
    production would: it must not be the oracle. `refusal(goal, n)` words the n-th way to decline a goal with a safe
    way on; `guard_rows` are (text, unsafe) pairs on which a light guard may be trained, from the train part only.
    `knows_encodings` are the names of converters that models on this ground can read; empty where nobody knows.
    """

    name: str
    train: Split
    heldout: Split
    judge: Judge
    eye: Judge
    refusal: Callable[[Goal, int], str]
    guard_rows: tuple[tuple[str, bool], ...] = ()
    blocklist: tuple[str, ...] = ()
    knows_encodings: tuple[str, ...] = ()
