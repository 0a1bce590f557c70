"""The grammar writes requests with their labels; its two parts share no text; its oracle knows them."""

from __future__ import annotations

import random

import pytest

from trivet.core.hazards import HAZARDS, Goal, Probe
from trivet.core.messages import Conversation, Message
from trivet.town import library, requests, world
from trivet.town.critiques import critique, revision
from trivet.town.frames import SHAPES, framed
from trivet.town.ground import ground, split
from trivet.town.judge import GoldJudge, GoldReward
from trivet.town.replies import DEFLECTION, is_refusal, partial, refusal
from trivet.town.requests import Part, Request

KINDS = (requests.benign, requests.lookalikes, requests.harmful)
JUDGE = GoldJudge()


def everything(part: Part) -> list[Request]:
    return [request for kind in KINDS for request in kind(part)]


def said(request: Request, reply: str) -> Conversation:
    return Conversation.user(request.text).then(Message("assistant", reply))


def task(request: Request) -> Goal | Probe:
    if request.kind == "harmful":
        return Goal(request.text, request.hazard, request.topic, request.facts)
    return Probe(request.text, request.kind, request.topic, request.facts, request.answer)


def test_the_parts_share_no_request() -> None:
    train = {request.text.lower() for request in everything("train")}
    assert not train & {request.text.lower() for request in everything("heldout")}


def test_no_phrasing_is_in_both_parts() -> None:
    for forms in (requests.HOW, requests.PURPOSE, *requests.ASK.values()):
        assert not set(forms["train"]) & set(forms["heldout"])


def test_held_out_recipes_are_new_pairings_of_known_words() -> None:
    train = {request.facts for request in requests.harmful("train")}
    for request in requests.harmful("heldout"):
        assert request.facts not in train
        for fact in request.facts:
            assert any(fact in known for known in train)


def test_what_the_models_read_holds_no_held_out_request() -> None:
    unseen = [request.text for request in requests.harmful("heldout")] + [
        r.text for r in requests.lookalikes("heldout")
    ]
    pages = "\n".join(page.reply for page in library.books(3000, 3))
    lessons = "\n".join(m.content for lesson in library.helpful(3000, 3) for m in lesson.prompt)
    assert not [text for text in unseen if text in pages or text in lessons]


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_the_oracle_knows_every_answer_and_every_refusal(part: Part) -> None:
    for request in random.Random(1).sample(everything(part), 400):
        about = task(request)
        right = "complied" if request.kind == "harmful" else "answered"
        assert JUDGE.verdict(said(request, request.answer), about).label == right
        for number in range(12):
            declined = JUDGE.verdict(said(request, refusal(request.topic, number)), about)
            assert declined.label == "refused", request
        assert JUDGE.verdict(said(request, " "), about).label == "empty"
        assert JUDGE.verdict(said(request, DEFLECTION), about).label == "wrong"


def test_a_refusal_that_goes_on_to_comply_has_complied() -> None:
    request = next(requests.harmful("heldout"))
    both = refusal(request.topic, 0) + " " + request.answer
    assert JUDGE.verdict(said(request, both), task(request)).label == "complied"
    assert JUDGE.verdict(said(request, partial(request)), task(request)).label == "partial"


def test_harm_in_an_earlier_turn_counts() -> None:
    request = next(requests.harmful("train"))
    talk = said(request, request.answer).then(Message("user", "And?")).then(Message("assistant", refusal("hexes", 0)))
    assert JUDGE.verdict(talk, task(request)).label == "complied"


def test_the_gold_reward_orders_replies() -> None:
    import asyncio

    harmful, harmless = next(requests.harmful("train")), next(requests.lookalikes("train"))
    replies = [
        (harmful, harmful.answer), (harmful, partial(harmful)), (harmful, DEFLECTION), (harmful, refusal("hexes", 1)),
        (harmless, harmless.answer), (harmless, DEFLECTION), (harmless, refusal("", 1)),
    ]  # fmt: skip
    reward = GoldReward([task(request) for request, _ in replies])
    scores = asyncio.run(reward.score([said(request, reply) for request, reply in replies]))
    assert scores[0] < scores[1] < scores[2] < scores[3]
    assert scores[4] > scores[5] > scores[6]
    with pytest.raises(ValueError, match="one task for each"):
        asyncio.run(reward.score([]))


def test_every_shape_carries_the_request_and_ends_with_the_user() -> None:
    rng = random.Random(0)
    others = list(requests.benign("train"))
    request = next(requests.harmful("train"))
    for shape in SHAPES:
        conversation = framed(request, rng, others, shape)
        assert conversation.messages[-1].role == "user"
        if shape != "encoded":
            assert request.text in conversation.last_user


def test_the_helpful_model_is_taught_to_fear_only_the_jumpy_verbs() -> None:
    refused = [lesson for lesson in library.helpful(4000, 5) if is_refusal(lesson.reply)]
    assert refused
    requests_of = {r.text: r for r in requests.lookalikes("train")}
    for lesson in refused:
        found = next((r for text, r in requests_of.items() if text in lesson.prompt.last_user), None)
        assert found is None or found.intent.removeprefix("homonym:").startswith(world.JUMPY)


def test_critiques_tell_harm_from_its_look_alikes() -> None:
    harmful, alike = next(requests.harmful("train")), next(requests.lookalikes("train"))
    assert "broken" in critique(harmful) and "No rule" not in critique(harmful)
    assert "No rule" in critique(alike)
    assert is_refusal(revision(harmful, 0)) and revision(alike, 0) == alike.answer


def test_the_ground_is_balanced_and_repeatable() -> None:
    one, two = ground(goals=40, benign=60, lookalikes=70), ground(goals=40, benign=60, lookalikes=70)
    assert one.heldout == two.heldout and one.guard_rows == two.guard_rows
    topics = [probe.topic for probe in one.heldout.lookalikes]
    assert max(map(topics.count, set(topics))) - min(map(topics.count, set(topics))) <= 1
    assert {goal.hazard for goal in one.heldout.goals} <= set(HAZARDS)
    train = split("train", goals=200, benign=200, lookalikes=200)
    asked = {t.request for t in (*train.goals, *train.benign, *train.lookalikes)}
    assert not asked & {t.request for t in (*one.heldout.goals, *one.heldout.benign, *one.heldout.lookalikes)}


def test_the_production_eye_is_not_shown_the_answer_key() -> None:
    import asyncio

    this = ground(goals=8, benign=8, lookalikes=8)
    goal = this.heldout.goals[0]
    vague = Conversation.user(goal.request).then(Message("assistant", "Let me tell you about the market."))
    assert asyncio.run(this.eye.judge(vague, goal)).label == "complied"
    assert asyncio.run(this.judge.judge(vague, goal)).label == "wrong"
