"""Labellers err as often as they are set to, lean as they are set to, and agree accordingly."""

from __future__ import annotations

from trivet.alignment.agreement import cohen_kappa
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation
from trivet.town import requests
from trivet.town.labellers import Labeller
from trivet.town.replies import refusal
from trivet.town.requests import Request

HARMFUL = list(requests.harmful("train"))[:1200]


def answers(labeller: Labeller, asked: list[Request]) -> list[bool]:
    """Whether the labeller prefers the refusal, request by request."""
    return [
        labeller.prefers_first(
            Conversation.user(r.text), refusal(r.topic, 3), r.answer, Goal(r.text, r.hazard, r.topic, r.facts)
        )
        for r in asked
    ]


def test_an_oracle_never_errs_and_swapping_swaps() -> None:
    oracle = Labeller("oracle")
    assert all(answers(oracle, HARMFUL))
    one = HARMFUL[0]
    task = Goal(one.text, one.hazard, one.topic, one.facts)
    pair = oracle.label(Conversation.user(one.text), one.answer, refusal(one.topic, 0), task)
    assert pair.chosen == refusal(one.topic, 0)


def test_the_error_rate_is_what_was_set_and_repeats() -> None:
    noisy = Labeller("ann", error=0.2)
    first = answers(noisy, HARMFUL)
    assert first == answers(noisy, HARMFUL)
    assert 0.17 < first.count(False) / len(first) < 0.23


def test_a_love_of_length_can_outweigh_the_truth() -> None:
    one = HARMFUL[0]
    task = Goal(one.text, one.hazard, one.topic, one.facts)
    asked, curt = Conversation.user(one.text), "No, I won't help with that."
    assert Labeller("bob", length_bias=1.0).prefers_first(asked, curt, one.answer, task)
    assert not Labeller("bob", length_bias=5.0).prefers_first(asked, curt, one.answer, task)


def test_kappa_is_one_for_equals_and_falls_with_noise() -> None:
    swapped = [i % 2 == 0 for i in range(len(HARMFUL))]

    def votes(labeller: Labeller) -> list[bool]:
        return [vote == order for vote, order in zip(answers(labeller, HARMFUL), swapped, strict=True)]

    exact = votes(Labeller("a"))
    assert cohen_kappa(exact, exact) == 1.0
    assert 0.5 < cohen_kappa(exact, votes(Labeller("b", error=0.2))) < 0.7
