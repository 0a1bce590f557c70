"""How likely fixed answers are: from a script, from a local model's own scoring, from an endpoint's likeliest tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from alignment.tiny import tiny_folder
from core.models.wire import answer, said, serving
from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.endpoint import Endpoint
from trivet.core.models.local import LocalModel
from trivet.core.models.options import along, chances, distinct, option_logprobs, steps_in
from trivet.core.models.scripted import Scripted

AB = ("(A)", "(B)")
ASKED = Conversation.user("Which?")
TALKS = [Conversation.user("the lamp " * count + "why") for count in (1, 9, 3, 20, 2)]


def test_chances_are_a_softmax() -> None:
    assert chances([log(0.6), log(0.2)]) == pytest.approx([0.75, 0.25])
    assert chances([-1000.0, -1000.0 + log(3)]) == pytest.approx([0.25, 0.75])
    assert chances([float("-inf"), -3.0]) == [0.0, 1.0]
    for nothing in ([float("-inf")] * 2, []):
        with pytest.raises(ValueError, match="no option is possible"):
            chances(nothing)


@pytest.mark.parametrize("options", [("yes", "yes!"), ("a", "a"), (" ", "b"), ("only",)])
def test_options_that_cannot_be_told_apart(options: Sequence[str]) -> None:
    with pytest.raises(ValueError, match=r"told apart|compared"):
        distinct(options)


# ------------------------------------------------------------------------------------------- a script, any model


def test_a_script_says_how_likely() -> None:
    model = Scripted(options=lambda talk, options: [-float(len(talk.last_user)), -1.0][: len(options)])
    found = asyncio.run(option_logprobs(model, [ASKED, Conversation.user("b")], AB, concurrency=1))
    assert found == [[-6.0, -1.0], [-1.0, -1.0]] and model.seen == [ASKED, Conversation.user("b")]


def test_what_cannot_be_told_is_told() -> None:
    [failure] = asyncio.run(option_logprobs(Scripted("x"), [ASKED], AB))
    assert isinstance(failure, TargetError) and "no log-probabilities of (A), (B)" in str(failure)

    class Mute:
        async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> None:
            raise AssertionError

    with pytest.raises(TargetError, match="Mute cannot tell how likely an answer is; count votes"):
        asyncio.run(option_logprobs(Mute(), [ASKED], AB))


# ----------------------------------------------------------------------------------------------- a model on this machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("options"), seed=4)


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel(folder, max_batch=4)


def by_hand(model: LocalModel, folder: Path, talk: Conversation, option: str) -> float:
    """log P of the option's tokens after the opened reply, by one plain forward pass of transformers."""
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    opened = model.tokenizer.apply_chat_template(talk.rows(), add_generation_prompt=True, tokenize=False)
    start = model.tokenizer(opened, add_special_tokens=False, return_tensors="pt")["input_ids"]
    whole = model.tokenizer(opened + option, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logps = theirs(whole).logits[0].log_softmax(-1)
    at = torch.arange(start.shape[1] - 1, whole.shape[1] - 1)
    return float(logps[at, whole[0, at + 1]].sum())


@pytest.mark.parametrize("options", [AB, ("the lamp", "a ferry when bread is warm", "?")])
def test_a_local_model_scores_as_teacher_forcing_does(model: LocalModel, folder: Path, options: Sequence[str]) -> None:
    found = asyncio.run(option_logprobs(model, TALKS, options))
    for talk, numbers in zip(TALKS, found, strict=True):
        assert numbers == pytest.approx([by_hand(model, folder, talk, option) for option in options], abs=1e-4)
        assert asyncio.run(model.option_logprobs(talk, options)) == pytest.approx(numbers, abs=1e-5)


def test_options_of_one_token_need_one_pass(model: LocalModel, folder: Path) -> None:
    [numbers] = model.all_option_logprobs(TALKS[:1], ("a", "b"))
    assert numbers == pytest.approx([by_hand(model, folder, TALKS[0], option) for option in "ab"], abs=1e-4)


def test_a_conversation_that_is_too_long_harms_no_neighbour(model: LocalModel) -> None:
    long_talk = Conversation.user("the lamp by the well " * 200)
    found = asyncio.run(option_logprobs(model, [*TALKS, long_talk, TALKS[0]], AB))
    assert isinstance(found[5], TargetError) and "shorten it" in str(found[5])
    assert [*found[:5], found[6]] == [
        pytest.approx(one, abs=1e-5) for one in model.all_option_logprobs([*TALKS, TALKS[0]], AB)
    ]


def test_a_template_without_marks_is_followed(tmp_path: Path) -> None:
    """The plain template puts a space before the reply; the options are scored with it."""
    plain = LocalModel(tiny_folder(tmp_path, template=None))
    _, tails = plain._options(ASKED, AB)
    assert [plain.tokenizer.decode(tail) for tail in tails] == [" (A)", " (B)"]


def test_a_template_that_goes_on_elsewhere_is_an_error(tmp_path: Path) -> None:
    shifted = (
        "{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}{% if add_generation_prompt %}BOT:{% endif %}"
    )
    odd = LocalModel(tiny_folder(tmp_path, template=shifted))
    [failure] = asyncio.run(option_logprobs(odd, [ASKED], AB))
    assert isinstance(failure, TargetError) and "does not go on where it opens a reply" in str(failure)


# ------------------------------------------------------------------------------------------------------- an endpoint


def tokens(*rows: tuple[str, dict[str, float]], text: str = "(A)") -> dict[str, Any]:
    """A chat completion whose tokens come with their likeliest alternatives."""
    content = [
        {
            "token": token,
            "logprob": shown[token],
            "top_logprobs": [{"token": t, "logprob": v} for t, v in shown.items()],
        }
        for token, shown in rows
    ]
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message, "logprobs": {"content": content}, "finish_reason": "stop"}]}


def ask(reply: dict[str, Any], options: Sequence[str] = AB) -> list[float]:
    with serving(answer(200, reply)) as wire:
        found = asyncio.run(Endpoint(wire.url, "m").option_logprobs(ASKED, options))
    assert wire.asked[0]["logprobs"] is True and wire.asked[0]["top_logprobs"] == 20
    assert wire.asked[0]["temperature"] == 0 and wire.asked[0]["max_tokens"] == 8
    return found


def test_an_endpoint_is_followed_along_its_reply() -> None:
    """`(` first, then A or B: the numbers of the docstring."""
    found = ask(tokens(("(", {"(": -0.1, "I": -3.0}), ("A", {"A": -0.2, "B": -1.7}), (")", {")": 0.0})))
    assert found == pytest.approx([-0.3, -1.8])


def test_options_that_are_one_token_each() -> None:
    assert ask(tokens(("(B", {"(A": -2.0, "(B": -0.15}))) == pytest.approx([-2.0, -0.15])
    assert ask(tokens(("yes,", {"yes,": -0.5, "No": -4.0, "no": -1.5})), ("yes", "no")) == pytest.approx([-0.5, -1.5])


def test_ways_to_spell_one_option_are_added_and_white_space_is_passed_over() -> None:
    found = ask(tokens(("\n", {"\n": -0.1}), (" (A", {" (A": log(0.5), "(A": log(0.2), "(B)": log(0.3)})))
    assert [exp(one + 0.1) for one in found] == pytest.approx([0.7, 0.3])


def test_an_option_that_is_not_shown_gets_the_least_number_shown() -> None:
    assert ask(tokens(("(A)", {"(A)": -0.01, "Well": -5.0, "I": -6.5}))) == pytest.approx([-0.01, -6.5])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (
            {"choices": [{"message": {"content": "(A)"}}]},
            "sends no log-probabilities; ask one that does, or count votes",
        ),
        ({"choices": [{"message": {"content": "(A)"}, "logprobs": None}]}, "sends no log-probabilities"),
        ({"choices": [{"message": {"content": "(A)"}, "logprobs": {"content": [{"token": 1}]}}]}, "no log-prob"),
        (tokens(("Both", {"Both": -0.1, "I": -3.0})), "the reply 'Both' begins with none of"),
        (tokens(("(", {"(": -0.1})), r"did not choose: the reply '\(' begins with none"),
        ({"error": "out of memory"}, "out of memory"),
    ],
)
def test_an_endpoint_that_does_not_choose(reply: dict[str, Any], why: str) -> None:
    with pytest.raises(TargetError, match=why):
        ask(reply)


def test_many_questions_to_an_endpoint_lose_only_the_broken_one() -> None:
    good, bad = answer(200, tokens(("(A", {"(A": -0.1, "(B": -2.4}))), said("(A)")
    with serving(good, bad, good) as wire:
        found = asyncio.run(option_logprobs(Endpoint(wire.url, "m"), [ASKED] * 3, AB, concurrency=1))
    assert [isinstance(one, TargetError) for one in found] == [False, True, False]


@pytest.mark.parametrize("shown", [None, []])
def test_a_reply_without_alternatives_tells_nothing(shown: Any) -> None:
    assert steps_in({"logprobs": {"content": [{"token": "(A", "logprob": -0.2, "top_logprobs": shown}]}}) == []


def test_the_token_that_was_said_counts_even_where_it_is_not_listed() -> None:
    row = {"token": "(A", "logprob": -9.0, "top_logprobs": [{"token": "(B", "logprob": -0.1}]}
    assert along(steps_in({"logprobs": {"content": [row]}}), AB) == [-9.0, -0.1]
