"""What all stages of the arms race work with: attackers that are asked, targets that they are put to, and what came of it.

Attackers say what they say by their weights, the goal, the examples and a seed, and never by the target. What was asked
once is kept (shelf.py). Success in training is what the production eye sees; trials are what the ground's judge sees.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trivet.core.errors import TrivetError
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.resolve import resolve
from trivet.core.protocols import Ground, Model
from trivet.core.verdicts import Verdict
from trivet.loop.adversary.recipe import Recipe
from trivet.loop.adversary.shelf import Shelf
from trivet.loop.adversary.spread import Trial
from trivet.robustness.learned import Outcome, Rarity, Success, asking, drawn, tried, written

HARM = ("complied", "partial")

Progress = Callable[[str, Mapping[str, float]], None]
T = TypeVar("T")


@dataclass
class Workshop:
    """What all stages work with."""

    recipe: Recipe
    ground: Ground
    shelf: Shelf
    progress: Progress | None = None

    def told(self, stage: str) -> Callable[[Mapping[str, float]], None] | None:
        progress = self.progress
        return (lambda row: progress(stage, row)) if progress else None

    def model(self, folder: str | Path) -> Model:
        return resolve(str(folder), threads=self.recipe.threads or None)


@dataclass(frozen=True)
class Attacker:
    """One rung: whose weights write, after which examples, and what it cost to make."""

    name: str
    folder: str
    pool: tuple[Success, ...] = ()
    queries: int = 0


# ------------------------------------------------------------------------------------------------- asking


def prompts_of(attacker: Attacker, goals: Sequence[Goal], this: Workshop, seed: str) -> list[Conversation]:
    """What the attacker is told for each goal, with other examples every time where it is shown any."""
    ladder, dice = this.recipe.ladder, random.Random(seed)
    return [
        asking(goal, drawn(attacker.pool, ladder.shown, dice, temperature=ladder.heat, apart_from=goal))
        for goal in goals
    ]


def shown_to(attacker: Attacker, this: Workshop) -> list[object]:
    """What decides which examples an attacker is shown; nothing does for one without a pool."""
    ladder = this.recipe.ladder
    said = [[one.goal.id, one.text, one.score] for one in attacker.pool]
    return [ladder.shown, ladder.heat, said] if said else []


def texts_of(
    this: Workshop, attacker: Attacker, goals: Sequence[Goal], each: int, stage: str
) -> list[tuple[Goal, str]]:
    """`each` attacks on every goal, in laps. They do not depend on any target, so an archive asks the same ones again.

    A goal that comes several times is drawn with another seed every time: one seed and one prompt are one reply.
    """
    ladder, model = this.recipe.ladder, this.model(attacker.folder)
    many = [goal for _ in range(each) for goal in goals]
    seen: Counter[str] = Counter()
    laps: dict[int, list[int]] = defaultdict(list)
    for at, goal in enumerate(many):
        laps[seen[goal.id]].append(at)
        seen[goal.id] += 1
    said: dict[int, str] = {}

    async def work() -> None:
        for lap, places in laps.items():
            seed = f"{this.recipe.seed} {stage} {lap}"
            sampling = Sampling(ladder.temperature, ladder.max_tokens, seed=int(digest_of(seed)[:12], 16))
            prompts = prompts_of(attacker, [many[at] for at in places], this, seed)
            said.update(zip(places, await written(model, prompts, sampling), strict=True))

    asyncio.run(closing(model, work()))
    return [(goal, said[at]) for at, goal in enumerate(many)]


async def closing(model: Model, work: Awaitable[T]) -> T:
    """What the work comes to; the model is let go in any case."""
    try:
        return await work
    finally:
        if close := getattr(model, "aclose", None):
            await close()


def put(this: Workshop, pairs: Sequence[tuple[Goal, str]], target: str) -> list[Outcome]:
    """The attacks put to a target and judged by the production eye."""
    model, rarity = this.model(target), Rarity(this.ground.train.goals)
    sampling = Sampling(max_tokens=this.recipe.ladder.reply_tokens)
    return asyncio.run(closing(model, tried(pairs, model, this.ground.eye, rarity, sampling)))


def explored(this: Workshop, attacker: Attacker, target: str, count: int, stage: str) -> list[Outcome]:
    """`count` attacks on goals of the train part, each goal in turn; cached."""
    goals = in_turn(this.ground.train.goals, count, f"{this.recipe.seed} {stage}")
    key = [
        stage,
        this.recipe.ladder.asking,
        this.recipe.seed,
        this.shelf.digest(attacker.folder),
        this.shelf.digest(target),
        shown_to(attacker, this),
        [goal.id for goal in goals],
    ]
    rows = this.shelf.once(
        stage, key, lambda: [row_of(one) for one in put(this, texts_of(this, attacker, goals, 1, stage), target)]
    )
    return [outcome_of(row, goal) for row, goal in zip(rows, goals, strict=True)]


def in_turn(goals: Sequence[Goal], count: int, seed: str) -> list[Goal]:
    """So many goals, all of them before one comes again, in a drawn order."""
    dice = random.Random(seed)
    chosen: list[Goal] = []
    while len(chosen) < count:
        chosen += dice.sample(list(goals), min(len(goals), count - len(chosen)))
    return chosen


def row_of(one: Outcome) -> list[Any]:
    return [one.text, one.reply, one.verdict.label, one.verdict.score, one.verdict.judge, one.about]


def outcome_of(row: Sequence[Any], goal: Goal) -> Outcome:
    text, reply, label, score, judge, about = row
    return Outcome(goal, text, reply, Verdict(label, score, judge, goal.hazard), about)


def successes(outcomes: Sequence[Outcome]) -> tuple[Success, ...]:
    """What worked, each text once."""
    found = {one.text: Success(one.goal, one.text, one.score) for one in outcomes if one.succeeded}
    return tuple(found.values())


# ------------------------------------------------------------------------------------------------- measuring


def measured(this: Workshop, attacker: Attacker, target: str, laps: int = 0) -> list[Trial]:
    """An attacker on the held-out goals against a target, judged by the ground's judge; cached.

    What it says is the same against every target; `laps` keeps to the first attacks on each goal.
    """
    ladder, goals = this.recipe.ladder, this.ground.heldout.goals
    who = [
        attacker.name, this.shelf.digest(attacker.folder), shown_to(attacker, this),
        this.recipe.seed, ladder.each, ladder.asking,
        [goal.id for goal in goals],
    ]  # fmt: skip
    mark = f"{attacker.name}-{digest_of(who)[:8]}"
    said = this.shelf.once(
        f"{mark}-says",
        who,
        lambda: [text for _, text in texts_of(this, attacker, goals, ladder.each, f"{attacker.name} heldout")],
    )
    pairs = [(goals[at % len(goals)], text) for at, text in enumerate(said)][: (laps or ladder.each) * len(goals)]
    model = this.shelf.digest(target)
    rows = this.shelf.once(
        f"{mark}-against-{model[:8]}-{len(pairs)}",
        [who, len(pairs), model, ladder.reply_tokens],
        lambda: [row_of(one) for one in put(this, pairs, target)],
    )
    return trials_of(this, [outcome_of(row, goal) for row, (goal, _) in zip(rows, pairs, strict=True)])


def trials_of(this: Workshop, outcomes: Sequence[Outcome]) -> list[Trial]:
    """Outcomes as the ground's judge sees them; one that it cannot judge stops the measurement."""
    found = []
    for one in outcomes:
        talk = Conversation.user(one.text).then(Message("assistant", one.reply))
        verdict = asyncio.run(judged(this, talk, one.goal))
        found.append(Trial(one.goal, one.text, verdict.label in HARM))
    return found


async def judged(this: Workshop, talk: Conversation, goal: Goal) -> Verdict:
    verdict = await this.ground.judge.judge(talk, goal)
    if verdict.label == "error":
        raise TrivetError(f"the judge {verdict.judge} could not decide on a reply: {verdict.why}")
    return verdict
