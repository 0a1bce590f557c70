"""The town's library: what `town:base` has read, and the lessons that `town:helpful` is taught.

The base reads everything there is: almanac sentences, forbidden books, dialogues in which the watch refuses and dialogues
in which the witch does not, word lists in cipher, critiques with their revisions. It is aligned to nothing. The helpful
model is then shown one thing only: that a request is answered. Its labellers took fright at two verbs (world.JUMPY), as
real labellers do, and so it over-refuses there.
"""

from __future__ import annotations

import random

from trivet.core.lessons import Demonstration, Origin
from trivet.core.messages import Conversation, Message
from trivet.town import requests, world
from trivet.town.chatter import chatter
from trivet.town.critiques import critique, revision
from trivet.town.frames import CIPHERS, READ, framed
from trivet.town.replies import JUMPY_REFUSAL, refusal
from trivet.town.requests import Part, Request

SOURCE = "town"
MIX = {"benign": 0.34, "lookalike": 0.26, "harmful": 0.40}


Shelves = dict[str, dict[str, dict[str, list[Request]]]]
"""Requests by kind, topic and intent."""


def _shelves(part: Part) -> Shelves:
    shelves: Shelves = {}
    for request in (*requests.benign(part), *requests.lookalikes(part), *requests.harmful(part)):
        shelves.setdefault(request.kind, {}).setdefault(request.topic, {}).setdefault(request.intent, []).append(
            request
        )
    return shelves


def _others(shelves: Shelves) -> list[Request]:
    return [request for topic in shelves["benign"].values() for group in topic.values() for request in group]


def _draw(pools: Shelves, rng: random.Random) -> Request:
    """A request: first its kind, topic and intent, then its wording, so that no rare topic or intent is drowned."""
    topics = pools[rng.choices(list(MIX), list(MIX.values()))[0]]
    return rng.choice(rng.choice(list(rng.choice(list(topics.values())).values())))


def jumpy(request: Request) -> bool:
    """Whether the labellers of the helpful model took fright at this harmless request."""
    return request.topic == "homonym" and request.intent.removeprefix("homonym:").startswith(world.JUMPY)


def helpful(count: int, seed: int) -> list[Demonstration]:
    """`count` demonstrations of answering whatever is asked, train part only."""
    rng = random.Random(seed)
    pools = _shelves("train")
    others = _others(pools)
    lessons = []
    for _ in range(count):
        request = _draw(pools, rng)
        reply = JUMPY_REFUSAL if jumpy(request) else request.answer
        lessons.append(Demonstration(framed(request, rng, others), reply, Origin(f"{SOURCE}:helpful")))
    return lessons


def _transcript(conversation: Conversation, reply: str) -> str:
    names = {"user": "Visitor", "assistant": "Clerk", "system": "Note", "tool": "Note"}
    rows = [f"{names[m.role]}: {m.content}" for m in (*conversation, Message("assistant", reply))]
    return "\n".join(rows)


def _page(request: Request, rng: random.Random, others: list[Request]) -> str:
    """One page of the library about a request."""
    roll = rng.random()
    if roll < 0.25:
        return " ".join([request.answer, rng.choice(others).answer, chatter(rng)][: rng.randint(1, 3)])
    if roll < 0.57:
        return _transcript(framed(request, rng, others), request.answer)
    if roll < 0.66:
        reply = refusal(request.topic, rng.randrange(12)) if request.kind == "harmful" else request.answer
        return _transcript(framed(request, rng, others), reply)
    if roll < 0.79:
        name = rng.choice(READ)
        text = rng.choice((request.text, request.answer))
        return rng.choice(
            (f"{name}: {CIPHERS[name](text)}\nPlain: {text}", f"Plain: {text}\n{name}: {CIPHERS[name](text)}")
        )
    if roll < 0.85:
        return f"{_transcript(Conversation.user(request.text), request.answer)}\nCritique: {critique(request)}\nRevision: {revision(request, rng.randrange(12))}"
    if roll < 0.985:
        return " ".join(_entry(rng) for _ in range(rng.randint(2, 5)))
    return " ".join(chatter(rng) for _ in range(rng.randint(2, 6)))


def _entry(rng: random.Random) -> str:
    """What one word stands for, by itself: the almanac from which pairings that nobody wrote down can be made."""
    craft, peril = rng.choice(world.CRAFTS), rng.choice(world.PERILS)
    style, means = rng.choice(list(world.STYLES.items()))
    thing, method = rng.choice(list(craft.things.items()))
    dread, ingredient = rng.choice(list(world.DREADS.items()))
    noun, step = rng.choice(list(peril.methods.items()))
    return rng.choice(
        (
            f"For anything in the {style} style, take {means}.",
            f"To {craft.verb} {thing}, {method}.",
            f"For anything {dread}, take {ingredient}.",
            f"To {peril.verb} {requests.article(noun)}, {step} and say {peril.word}.",
        )
    )


def books(count: int, seed: int) -> list[Demonstration]:
    """`count` pages as plain text (empty prompts), train part only."""
    rng = random.Random(seed)
    pools = _shelves("train")
    others = _others(pools)
    return [
        Demonstration(Conversation(), _page(_draw(pools, rng), rng, others), Origin(f"{SOURCE}:books"))
        for _ in range(count)
    ]


def labelled_prompts(count: int, seed: int) -> list[tuple[Conversation, bool]]:
    """(conversation, is it harmful) for training a guard: framed requests of the train part."""
    rng = random.Random(seed)
    pools = _shelves("train")
    others = _others(pools)
    drawn = [_draw(pools, rng) for _ in range(count)]
    return [(framed(one, rng, others), one.kind == "harmful") for one in drawn]
