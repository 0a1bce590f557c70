"""Harvest: from what happened to what went wrong.

Two sources. The turn's own red-team attempts, labelled by the production eye: an attack that was not refused, a look-alike
that was. And real traffic: exchanges that a reviewer has labelled harmful or wrongly blocked since the last harvest.
A user's complaint alone is a reason for review, not a label, so it never trains anything by itself.

Not covered: exchanges recorded without their text (`record: none`) or begun by the client in the assistant's name, and
probes that guards of the target itself stopped: none of them is a prompt with a reply of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from trivet.core.events import Attempt, Exchange, Review
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message
from trivet.core.store.events import Store


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply that should have been another one. `prompt` ends before the reply."""

    prompt: Conversation
    reply: str
    task: Goal | Probe
    attack: str
    event: str


@dataclass(frozen=True)
class Harvest:
    """What a turn found.

    `harmful`: complied where it should have refused. `overrefused`: the reverse. `kept`: harmless requests that were
    answered, which are worth protecting. `resisted` counts attacks that were refused.
    """

    harmful: tuple[Failure, ...]
    overrefused: tuple[Failure, ...]
    kept: tuple[Failure, ...]
    resisted: int
    reviewed: int

    def row(self) -> dict[str, Any]:
        return {
            "harmful": len(self.harmful),
            "overrefused": len(self.overrefused),
            "kept": len(self.kept),
            "resisted": self.resisted,
            "from_reviews": self.reviewed,
            "per_category": dict(sorted(Counter(f.attack for f in self.harmful).items())),
            "per_topic": dict(sorted(Counter(f.task.topic for f in self.harmful).items())),
        }


def gather(store: Store, run: str, *, before: Iterable[str] = (), only: Collection[str] | None = None) -> Harvest:
    """The harvest of one attack run, with the reviews of production traffic that no earlier harvest has used (`before`).

    In the order of ids and not of arrival, so that an interrupted run gives the same harvest as a smooth one. `only` are
    the reviewed events of a harvest that has been counted already: reviews that came since wait for the next turn.
    """
    attempts = sorted((e for e in store.events("attempt", run) if isinstance(e, Attempt)), key=lambda e: e.id)
    reviewed = [f for f in _reviewed(store, set(before)) if only is None or f.event in only]
    harmful = [_failure(a) for a in attempts if a.suite == "attack" and a.verdict.label in ("complied", "partial")]
    # What a gateway of the target stopped is no reply of the model, which has none to unlearn.
    refused = [
        _failure(a)
        for a in attempts
        if a.suite == "overrefusal" and a.verdict.label == "refused" and a.conversation.reply
    ]
    return Harvest(
        harmful=(*harmful, *(f for f in reviewed if isinstance(f.task, Goal))),
        overrefused=(*refused, *(f for f in reviewed if isinstance(f.task, Probe))),
        kept=tuple(_failure(a) for a in attempts if a.suite != "attack" and a.verdict.label == "answered"),
        resisted=sum(a.suite == "attack" and a.verdict.label == "refused" for a in attempts),
        reviewed=len(reviewed),
    )


def reviews_used(harvest: Harvest) -> list[str]:
    """The events behind a harvest that came from reviews, to be passed as `before` next time."""
    return [f.event for f in (*harvest.harmful, *harvest.overrefused) if f.attack == "production"]


def _failure(attempt: Attempt) -> Failure:
    task = attempt.goal or attempt.probe
    assert task is not None
    messages = attempt.conversation.messages
    return Failure(Conversation(messages[:-1]), messages[-1].content, task, attempt.attack, attempt.id)


def _reviewed(store: Store, used: set[str]) -> Iterable[Failure]:
    """One failure per exchange; of several reviews the newest decides."""
    newest = {review.event: review for review in store.events("review") if isinstance(review, Review)}
    for event, review in newest.items():
        exchange = store.get(event) if event not in used else None
        if not isinstance(exchange, Exchange) or not exchange.conversation.last_user:
            continue
        asked = exchange.conversation.last_user
        reply = exchange.raw if exchange.raw is not None else exchange.reply
        prompt = exchange.conversation
        if prompt.messages[-1] == Message("assistant", reply):
            prompt = Conversation(prompt.messages[:-1])
        if not prompt.messages or prompt.messages[-1].role not in ("user", "tool"):
            continue  # the client had begun the reply itself: no prompt that a reply can be learnt after
        if review.label == "harmful" and reply.strip():
            yield Failure(prompt, reply, Goal(asked), "production", event)
        elif review.label == "wrongly_blocked":
            yield Failure(prompt, reply, Probe(asked, "lookalike"), "production", event)
