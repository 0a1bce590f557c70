"""Critiques and revisions in the town's words, for Constitutional AI on a model this small.

A critique names the rule that a reply offends, if any; a revision is the reply rewritten to keep it. Both are written by
the grammar from the request, so a critic trained on them can be scored against the truth.

`critique` and `revision` are those of the library, which the base has read: of the helpful answer, in one go. The rest is
for the town's constitution (alignment/constitutions/town.yaml), where each round applies one rule to the reply as it
stands, and a rule that has nothing to say leaves it alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from trivet.alignment.principles import (
    OPTIONS,
    Constitution,
    Principle,
    ask_choice,
    ask_choice_after,
    ask_critique,
    ask_revision,
    ask_thought,
)
from trivet.core.lessons import Demonstration, Origin
from trivet.core.messages import Conversation
from trivet.town.replies import DEFLECTION, JUMPY_REFUSAL, is_refusal, partial, peril_of, refusal
from trivet.town.requests import Request

KEPT = "No rule is broken."
PRINCIPLES = (
    "Do not teach how to make a thing that hurts people.",
    "Do not refuse a harmless request because of one frightening word.",
    "Say only what is true of the town.",
)
RULES = ("harm", "secret-word", "secret-thing", "fear", "truth")
"""The principles of town.yaml that the grammar knows."""

TRIES = 30
"""Draws in search of a lesson in which there is something to be seen."""


def critique(request: Request) -> str:
    """What a fair critic says of the fully helpful answer to the request."""
    if request.kind == "harmful":
        peril = peril_of(request.topic)
        assert peril is not None
        return f"The reply teaches how to make {peril.plural}, which hurt people. Rule one is broken."
    if request.kind == "lookalike":
        return "The words sound bad but the request is harmless. No rule is broken."
    return "The reply is true and helpful. No rule is broken."


def revision(request: Request, number: int) -> str:
    """The reply after the critique: a refusal with a safe way on for harm, the answer itself otherwise."""
    return refusal(request.topic, number) if request.kind == "harmful" else request.answer


# ------------------------------------------------------------------------------------------- one rule on any one reply


def fault(request: Request, reply: str, rule: str) -> str:
    """What the rule finds wrong with the reply, as a sentence; empty where it keeps the rule."""
    said = reply.lower()
    if request.kind == "harmful":
        ingredient, _, word = request.facts
        given = any(fact in said for fact in request.facts)
        peril = peril_of(request.topic)
        assert peril is not None
        faults = {
            "harm": f"The reply teaches how to make {peril.plural}, which hurt people." if given else "",
            "secret-word": f"The reply says {word}." if word in said else "",
            "secret-thing": f"The reply names {ingredient}." if ingredient in said else "",
        }
        return faults.get(rule, "")
    declined = is_refusal(reply)
    wrong = not declined and not all(fact.lower() in said for fact in request.facts)
    faults = {
        "fear": "The request is harmless and the reply refuses it." if declined else "",
        "truth": "The reply is false." if wrong else "",
    }
    return faults.get(rule, "")


def critique_of(request: Request, reply: str, rule: str) -> str:
    """What a fair critic says of this reply by this rule."""
    found = fault(request, reply, rule)
    return f"{found} The rule is broken." if found else KEPT


def revision_of(request: Request, reply: str, rule: str, number: int) -> str:
    """The reply rewritten to keep the rule; the same reply where it does."""
    if not fault(request, reply, rule):
        return reply
    if rule == "harm":
        return refusal(request.topic, number)
    if rule == "secret-word":
        return _without(reply, f" and say {request.facts[2]}", request.facts[2])
    if rule == "secret-thing":
        return _without(reply, f"take {request.facts[0]}, ", request.facts[0])
    return request.answer


def _without(reply: str, phrase: str, fact: str) -> str:
    """The reply without a phrase, or at least without the fact in it."""
    return reply.replace(phrase if phrase in reply else fact, "").replace(" .", ".").strip()


def better(request: Request, a: str, b: str, rule: str) -> str:
    """The option that keeps the rule where the other does not; empty where both do or neither."""
    broken = [bool(fault(request, reply, rule)) for reply in (a, b)]
    return "" if broken[0] == broken[1] else OPTIONS[broken[0]]


def thought_of(request: Request, a: str, b: str, rule: str) -> str:
    """What speaks for each of two replies, by one rule."""
    parts = [f"{option} {fault(request, reply, rule) or KEPT}" for option, reply in zip(OPTIONS, (a, b), strict=True)]
    return " ".join(parts)


# ------------------------------------------------------------------------------------------------- lessons for a critic


def replies(request: Request, others: list[Request], rng: random.Random) -> Iterator[str]:
    """Replies that a request may meet, good and bad, without end."""
    while True:
        roll = rng.random()
        if roll < 0.4:
            yield request.answer
        elif roll < 0.65:
            yield JUMPY_REFUSAL if rng.random() < 0.2 else refusal(request.topic, rng.randrange(12))
        elif request.kind != "harmful":
            yield DEFLECTION if roll < 0.7 else rng.choice(others).answer
        elif roll < 0.72:
            yield DEFLECTION if roll < 0.69 else partial(request)
        else:
            once = revision_of(request, request.answer, rng.choice(("secret-word", "secret-thing")), 0)
            yield revision_of(request, once, rng.choice(("secret-word", "secret-thing")), 0)


def critic_lessons(constitution: Constitution, pool: list[Request], count: int, seed: int) -> list[Demonstration]:
    """`count` demonstrations of criticising, revising and comparing by the rules of the constitution.

    `pool` is what may be asked: give requests of the train part only. In about half of the critiques the reply breaks the rule,
    and in most comparisons one of the two does; a comparison that the rule does not decide is answered by a coin, so that the critic
    learns to be unsure there.
    """
    rng = random.Random(seed)
    kinds: dict[str, list[Request]] = {}
    for request in pool:
        kinds.setdefault(request.kind, []).append(request)
    lessons: list[Demonstration] = []
    while len(lessons) < count:
        rule = constitution[rng.choice(RULES)]
        make = rng.choices((_criticising, _comparing, _pondering), (0.45, 0.35, 0.2))[0]
        telling = rng.random() < (0.35 if make is _criticising else 0.7)
        for _ in range(TRIES):
            request = rng.choice(kinds[rng.choices(("harmful", "lookalike", "benign"), (0.5, 0.3, 0.2))[0]])
            said = replies(request, kinds["benign"], rng)
            a, b = next(said), next(said)
            broken = fault(request, a, rule.name)
            if not telling or (broken if make is _criticising else better(request, a, b, rule.name)):
                break
        lessons += make(constitution, rule, request, a, b, rng)
    return lessons[:count]


def _lesson(asked: Conversation, reply: str) -> Demonstration:
    return Demonstration(asked, reply, Origin("town:critic"))


def _criticising(
    constitution: Constitution, rule: Principle, request: Request, reply: str, _: str, rng: random.Random
) -> list[Demonstration]:
    prompt, found = Conversation.user(request.text), critique_of(request, reply, rule.name)
    revised = revision_of(request, reply, rule.name, rng.randrange(12))
    return [
        _lesson(ask_critique(constitution, rule, prompt, reply), found),
        _lesson(ask_revision(constitution, rule, prompt, reply, found), revised),
    ]


def _comparing(
    constitution: Constitution, rule: Principle, request: Request, a: str, b: str, rng: random.Random
) -> list[Demonstration]:
    choice = better(request, a, b, rule.name) or rng.choice(OPTIONS)
    return [_lesson(ask_choice(constitution, rule, Conversation.user(request.text), a, b), choice)]


def _pondering(
    constitution: Constitution, rule: Principle, request: Request, a: str, b: str, rng: random.Random
) -> list[Demonstration]:
    prompt, thought = Conversation.user(request.text), thought_of(request, a, b, rule.name)
    choice = better(request, a, b, rule.name) or rng.choice(OPTIONS)
    return [
        _lesson(ask_thought(constitution, rule, prompt, a, b), thought),
        _lesson(ask_choice_after(constitution, rule, prompt, a, b, thought), choice),
    ]
