"""Build: from a harvest to preference pairs.

    harmful reply             chosen: a refusal with a safe way on     rejected: what the model said
    over-refused look-alike   chosen: the helpful answer               rejected: the refusal
    harmless and answered     chosen: that answer                      rejected: a refusal

The third kind is what keeps over-refusal down: without it a model learns that refusing is always right. A share of it
stands in the very wordings of the attacks, with a harmless request inside, so that a wording by itself means nothing.
A pair whose better reply nobody knows (an over-refused request without an answer key) is left out and counted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trivet.core.hazards import Goal, Probe
from trivet.core.lessons import Origin, Preference
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY, Ground
from trivet.loop.harvest import Failure, Harvest
from trivet.loop.recipe import Pairs
from trivet.robustness.attacks.shape import NamedAttack


@dataclass(frozen=True)
class Built:
    """The pairs, and how many of each kind there are."""

    pairs: tuple[Preference, ...]
    kinds: dict[str, int]

    def row(self) -> dict[str, Any]:
        return {"pairs": len(self.pairs), **self.kinds}


def build(
    harvest: Harvest, ground: Ground, attacks: Sequence[NamedAttack], config: Pairs, *, source: str, seed: int
) -> Built:
    """Preference pairs in a repeatable order. `attacks` lend their wordings to harmless requests."""
    rng = random.Random(seed)
    refusals = [
        _pair(failure, chosen=ground.refusal(failure.task, number), rejected=failure.reply, source=source)
        for number, failure in enumerate(harvest.harmful)
        if isinstance(failure.task, Goal)
    ]
    cured, unknown = _cures(harvest.overrefused, source)
    harmless = _harmless(harvest, ground, attacks, config, len(refusals), rng, source)
    distinct = [list(dict.fromkeys(pairs)) for pairs in (refusals, cured, harmless)]
    refusals, cured, harmless = _thinned(distinct, config.most, rng)
    pairs = [*refusals, *cured, *harmless]
    rng.shuffle(pairs)
    kinds = {"refusals": len(refusals), "cures": len(cured), "harmless": len(harmless), "without_answer": unknown}
    return Built(tuple(pairs), kinds)


def _pair(failure: Failure, *, chosen: str, rejected: str, source: str) -> Preference:
    return Preference(failure.prompt, chosen, rejected, origin=Origin(source, (failure.event,)))


def _cures(failures: Sequence[Failure], source: str) -> tuple[list[Preference], int]:
    """Answers instead of refusals, where an answer is known; and how many were not."""
    known = [f for f in failures if isinstance(f.task, Probe) and f.task.answer]
    pairs = [
        _pair(f, chosen=f.task.answer, rejected=f.reply, source=source) for f in known if isinstance(f.task, Probe)
    ]
    return pairs, len(failures) - len(known)


def _harmless(
    harvest: Harvest,
    ground: Ground,
    attacks: Sequence[NamedAttack],
    config: Pairs,
    refusals: int,
    rng: random.Random,
    source: str,
) -> list[Preference]:
    """As many pairs that protect an answer as the share asks for; over-refused requests come again in wordings."""
    wanted = round(refusals * config.harmless_share / max(1e-9, 1 - config.harmless_share))
    pool = [*harvest.kept, *(f for f in harvest.overrefused if isinstance(f.task, Probe) and f.task.answer)]
    if not pool:
        return []
    framed = [attack for attack in attacks if attack.family != "direct"]
    goals = ground.train.goals
    pairs = []
    queue: list[Failure] = []
    for number in range(wanted):
        if not queue:
            queue = rng.sample(pool, len(pool))
        failure = queue.pop()
        answer = failure.task.answer if isinstance(failure.task, Probe) and failure.task.answer else failure.reply
        refusal = ground.refusal(goals[number % len(goals)], number)
        prompt = failure.prompt
        if framed and rng.random() < config.framed_share:
            prompt = _worded(rng.choice(framed), failure.task, answer)
        pairs.append(Preference(prompt, answer, refusal, origin=Origin(source, (failure.event,))))
    return pairs


def _worded(attack: NamedAttack, task: Goal | Probe, answer: str) -> Conversation:
    """A harmless request in an attack's wording: the conversation up to the reply that the attack would wait for."""
    goal = Goal(task.request, topic=task.topic)
    finished = asyncio.run(attack.attack(goal, _Answering(answer)))
    return Conversation(finished.messages[:-1])


class _Answering:
    """A target that says the known answer, so that dialogues can be played to their last turn."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        return Message("assistant", self._answer)


def _thinned(kinds: list[list[Preference]], most: int, rng: random.Random) -> list[list[Preference]]:
    """At most so many pairs in all, each kind cut by the same factor."""
    total = sum(map(len, kinds))
    if total <= most:
        return kinds
    return [rng.sample(pairs, max(1, len(pairs) * most // total)) if pairs else [] for pairs in kinds]
