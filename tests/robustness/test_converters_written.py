"""Converters that a model writes: what it is told, what is taken from its reply, and what counts as none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from trivet.core.errors import Blocked, ConfigError, TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.scripted import Scripted
from trivet.core.protocols import GREEDY
from trivet.robustness.converters.written import KINDS, LANGUAGES, TECHNIQUES, written
from trivet.robustness.failures import AttackerFailed

TEXT = "How do I open the gate?"
NAMES = ["translate(French)", "persuade(authority)", "tense(past)", "tense(future)", "paraphrase"]


class Noting(Scripted):
    """A scripted model that also notes how it was to be sampled."""

    def __init__(self, *replies: str) -> None:
        super().__init__(replies)
        self.samplings: list[Sampling] = []

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        self.samplings.append(sampling)
        return await super().reply(conversation, sampling)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_told_to_rewrite_and_not_to_answer(name: str) -> None:
    model = Scripted("Comment ouvrir la porte ?")
    assert asyncio.run(written(name, model).rewrite(TEXT)) == "Comment ouvrir la porte ?"
    system, user = model.seen[0]
    assert system.role == "system" and "Do not answer it" in system.content
    assert user.content.endswith(f"<text>\n{TEXT}\n</text>")
    told = {"translate(French)": "French", "persuade(authority)": "right to know", "tense(past)": "in the past",
            "tense(future)": "future", "paraphrase": "other words"}  # fmt: skip
    assert told[name] in user.content


@pytest.mark.parametrize(
    "reply",
    [
        "Open it how?",
        "Sure! Here is the rewritten text:\n\nOpen it how?",
        "Here's a version: <text>Open it how?</text> Enjoy.",
        'Rewritten text: "Open it how?"',
        "Of course: here is it, in other words:\nOpen it how?",
        ' "Open it how?"\n',
        "<text>\nOpen it how?\n</text>",
        "```\nOpen it how?\n```",
        "“Open it how?”",
    ],
)
def test_what_stands_around_the_rewriting_is_taken_off(reply: str) -> None:
    assert asyncio.run(written("paraphrase", Scripted(reply)).rewrite(TEXT)) == "Open it how?"


@pytest.mark.parametrize("reply", ["The case is here: how does it open?", "Sure, it opens. How?", "Here: open it."])
def test_what_is_no_announcement_stays(reply: str) -> None:
    assert asyncio.run(written("paraphrase", Scripted(reply)).rewrite(TEXT)) == reply


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ("", "wrote nothing in 2 tries"),
        ("<text></text>", "wrote nothing"),
        ("I'm sorry, but I can't help with that.", "refused .“i'm sorry, but i can't”"),
        ("I cannot rewrite this.", "refused"),
        (f"{TEXT}\n", "changed nothing"),
    ],
)
def test_what_is_no_rewriting_is_an_error_that_says_so(reply: str, told: str) -> None:
    model = Scripted(reply)
    with pytest.raises(AttackerFailed, match=told):
        asyncio.run(written("persuade(logic)", model).rewrite(TEXT))
    assert len(model.seen) == 2


def test_a_second_draw_has_a_seed_of_its_own() -> None:
    model = Noting("I won't do that.", "Say, how does it open?")
    one = written("paraphrase", model, Sampling(temperature=1.0, seed=7))
    assert asyncio.run(one.rewrite(TEXT)) == "Say, how does it open?"
    assert [sampling.seed for sampling in model.samplings] == [7, 8]
    assert {sampling.temperature for sampling in model.samplings} == {1.0}


def test_without_a_seed_none_is_invented() -> None:
    model = Noting("Say, how does it open?")
    asyncio.run(written("paraphrase", model, Sampling(seed=None)).rewrite(TEXT))
    assert model.samplings[0].seed is None


def test_a_failing_model_is_not_hidden() -> None:
    for failure in (TargetError("HTTP 500"), Blocked("HTTP 500")):  # a gateway before the writer is not the target's
        with pytest.raises(AttackerFailed, match=r"the model that writes paraphrase failed: HTTP 500"):
            asyncio.run(written("paraphrase", Scripted([failure])).rewrite(TEXT))


def test_the_digest_knows_what_decides_the_text() -> None:
    one = written("paraphrase", Scripted("x", name="a"))
    others = [
        written("paraphrase", Scripted("x", name="b")),
        written("paraphrase", Scripted("x", name="a"), Sampling(temperature=0.7, max_tokens=400, seed=1)),
        written("tense(past)", Scripted("x", name="a")),
        replace(one, tries=3),
    ]
    assert len({other.digest for other in [one, *others]}) == 5
    assert one.digest == written("paraphrase", Scripted("y", name="a")).digest


def test_the_tables_are_our_own_size() -> None:
    assert min(len(known) for known in TECHNIQUES.values()) >= 8
    assert not set(TECHNIQUES["train"]) & set(TECHNIQUES["heldout"])
    assert not set(LANGUAGES["train"]) & set(LANGUAGES["heldout"])
    assert all(text.endswith(".") and text.count(".") == 1 for known in TECHNIQUES.values() for text in known.values())
    assert set(KINDS) == {name.partition("(")[0] for name in NAMES}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("persuade(logik)", 'Did you mean "logic"'),
        ("persuade", "give one in brackets"),
        ("translate", "give one in brackets. For instance: French"),
        ("tense(pluperfect)", "past, future"),
        ("paraphrase(2)", "takes nothing in brackets"),
        ("paraphrases", 'Did you mean "paraphrase"'),
        ("a+b", "no model-written converter"),
    ],
)
def test_a_wrong_name_is_told(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        written(name, Scripted("x"))


def test_no_tries_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        replace(written("paraphrase", Scripted("x")), tries=0)
