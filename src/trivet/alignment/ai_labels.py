"""Preferences by AI feedback: how likely is the first of two replies the better one, in a model's own judgement?

Bai et al. 2022 (arXiv:2212.08073), section 4.1. The model is shown a conversation, two replies as options (A) and (B), and
a principle's question. The two options' log-probabilities, normalised, are a soft label:

    p = P((A)) / (P((A)) + P((B)))

Models favour a place, so every question is asked in both orders, and the chance of a reply is the mean of its two numbers.
Over several principles it is the mean of theirs. With a chain of thought the model writes its reasons first and its choice
then follows from them almost surely, right or wrong; such numbers are clamped to [0.4, 0.6] before they are averaged.

A departure: the paper asks in one order. Not covered: calibration of the model's judgement beyond clamping; correction for
length or style, which judges are known to reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trivet.alignment.principles import (
    OPTIONS,
    Constitution,
    Principle,
    ask_choice,
    ask_choice_after,
    ask_thought,
)
from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.batch import reply_all
from trivet.core.models.options import chances, option_logprobs
from trivet.core.protocols import Model

VOTE_TOKENS = 16


class Pair(NamedTuple):
    """Two replies to one prompt, in the order in which their names stand: a, b."""

    prompt: Conversation
    a: str
    b: str


@dataclass(frozen=True)
class Judging:
    """How pairs are judged.

    `how` logprobs reads the options' probabilities, votes counts `votes` sampled answers. `thoughts` asks for reasons
    before the choice; `clamp` then bounds each number.
    """

    how: Literal["logprobs", "votes"] = "logprobs"
    votes: int = 8
    thoughts: bool = False
    clamp: tuple[float, float] = (0.4, 0.6)
    thinking: Sampling = Sampling()
    seed: int = 0
    concurrency: int = 16


class _Asked(NamedTuple):
    """One question: a pair (by number), a principle, and whether the replies stand in their order or swapped."""

    number: int
    rule: Principle
    swapped: bool
    prompt: Conversation
    first: str
    second: str


async def judged(
    judge: Model,
    constitution: Constitution,
    pairs: Sequence[Pair],
    rules: Sequence[Sequence[Principle]],
    judging: Judging,
) -> list[dict[str, Any] | TargetError]:
    """For each pair `{"chance": P(a is better), "questions": [...]}`, or the TargetError that prevented it.

    `rules[i]` are the principles by which pair i is judged. Each question names its principle, whether the replies were
    swapped, the probability of the reply shown first (clamped where thoughts are on), and the thought.
    """
    asked = [
        _Asked(number, rule, swapped, pair.prompt, *((pair.b, pair.a) if swapped else (pair.a, pair.b)))
        for number, (pair, chosen) in enumerate(zip(pairs, rules, strict=True))
        for rule in chosen
        for swapped in (False, True)
    ]
    thoughts = await _thoughts(judge, constitution, asked, judging)
    ready = [at for at, thought in enumerate(thoughts) if not isinstance(thought, TargetError)]
    talks = [_choice(constitution, asked[at], thoughts[at]) for at in ready]  # type: ignore[arg-type]
    firsts: list[float | TargetError] = [thought if isinstance(thought, TargetError) else 0.5 for thought in thoughts]
    for at, first in zip(ready, await _firsts(judge, talks, judging), strict=True):
        held = judging.thoughts and not isinstance(first, TargetError)
        firsts[at] = clamped(first, judging.clamp) if held else first  # type: ignore[arg-type]
    return [_answer(number, asked, thoughts, firsts) for number in range(len(pairs))]


def _choice(constitution: Constitution, one: _Asked, thought: str) -> Conversation:
    if thought:
        return ask_choice_after(constitution, one.rule, one.prompt, one.first, one.second, thought)
    return ask_choice(constitution, one.rule, one.prompt, one.first, one.second)


async def _thoughts(
    judge: Model, constitution: Constitution, asked: Sequence[_Asked], judging: Judging
) -> list[str | TargetError]:
    """The reasons for each question; empty where none are wanted."""
    if not judging.thoughts:
        return [""] * len(asked)
    talks = [ask_thought(constitution, one.rule, one.prompt, one.first, one.second) for one in asked]
    replies = await reply_all(judge, talks, judging.thinking, concurrency=judging.concurrency)
    return [_thought(reply) for reply in replies]


def _thought(reply: Message | TargetError) -> str | TargetError:
    if isinstance(reply, TargetError):
        return reply
    return reply.content.strip() or TargetError("the judge gave no reasons before its choice")


async def _firsts(judge: Model, talks: Sequence[Conversation], judging: Judging) -> list[float | TargetError]:
    """P(the reply shown first) for each question."""
    if judging.how == "votes":
        return await _by_votes(judge, talks, judging)
    numbers = await option_logprobs(judge, talks, OPTIONS, concurrency=judging.concurrency)
    return [one if isinstance(one, TargetError) else chances(one)[0] for one in numbers]


async def _by_votes(judge: Model, talks: Sequence[Conversation], judging: Judging) -> list[float | TargetError]:
    """The same by sampling: at temperature 1 the share of (A) estimates the model's own probability."""
    rounds = [
        await reply_all(
            judge, talks, Sampling(1.0, VOTE_TOKENS, seed=judging.seed + n), concurrency=judging.concurrency
        )
        for n in range(judging.votes)
    ]
    return [share(answers) for answers in zip(*rounds, strict=True)]


def share(answers: Sequence[Message | TargetError]) -> float | TargetError:
    """The share of (A) among the answers that name an option; a TargetError where none does."""
    named = [first for answer in answers if isinstance(answer, Message) and (first := _named(answer.content))]
    if named:
        return named.count(OPTIONS[0]) / len(named)
    failure = next((answer for answer in answers if isinstance(answer, TargetError)), None)
    return failure or TargetError(f"none of {len(answers)} votes names one of {', '.join(OPTIONS)}")


def _named(text: str) -> str:
    """The option that is named first, or an empty text."""
    places = {option: place for option in OPTIONS if (place := text.find(option)) >= 0}
    return min(places, key=lambda option: places[option]) if places else ""


def clamped(chance: float, bounds: tuple[float, float]) -> float:
    """The chance within its bounds."""
    return min(max(chance, bounds[0]), bounds[1])


def chance_of(questions: Sequence[Mapping[str, Any]]) -> float:
    """P(a is better): over both orders and all principles the weighted mean of the chance that each question gives it.

    By hand: (A) has 0.9 in order and 0.3 swapped, where a is (B): (0.9 + 0.7) / 2 = 0.8.
    """
    whole = sum(one["weight"] for one in questions)
    return float(
        sum(one["weight"] * (1 - one["first"] if one["swapped"] else one["first"]) for one in questions) / whole
    )


def position_bias(questions: Sequence[Mapping[str, Any]]) -> float:
    """By how much the place (A) is favoured: the mean chance of the reply shown first, less 1/2; 0 is fair."""
    return float(sum(one["first"] for one in questions) / len(questions) - 0.5)


def _answer(
    number: int, asked: Sequence[_Asked], thoughts: Sequence[str | TargetError], firsts: Sequence[float | TargetError]
) -> dict[str, Any] | TargetError:
    questions = []
    for at, one in enumerate(asked):
        if one.number != number:
            continue
        first, thought = firsts[at], thoughts[at]
        if isinstance(first, TargetError):
            return first
        row = {"principle": one.rule.name, "weight": one.rule.weight, "swapped": one.swapped, "first": first}
        questions.append({**row, "thought": thought} if thought else row)
    return {"chance": chance_of(questions), "questions": questions}
