"""An attacker without a language model: it chooses and combines our own templates by what happened so far.

It is a `Model` and reads the same instructions as any other attacker, so that every method of this folder runs on a laptop
without a network, and an attacker with a language model can be measured against it at equal budgets. The choice is a
bandit: a Beta posterior per technique over the scores that it had in this talk (Thompson sampling). A template that won a
part is kept and wrapped in another; behind a filter, it takes techniques that hide the words. In a climbing dialogue it
walks the ladders of `escalation` and changes the ladder where the target declines.

Seed and talk decide what it says, and nothing else does, so interrupted campaigns resume as they were. With `remember` it
also learns from one goal to the next; then the order of the goals matters.

Not covered: anything that needs reading the reply. It knows scores, refusals and blocks, and never what was said.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.protocols import GREEDY
from trivet.robustness.attacks.library import attacks
from trivet.robustness.attacks.shape import Part, Script
from trivet.robustness.dialogues.brief import Brief, Played, read, written
from trivet.robustness.dialogues.toolbox import TECHNIQUES, wordings

KEEP = 10_000
"""Messages whose technique is remembered until their score is told."""

_HIDES = frozenset(one.name for one in TECHNIQUES if one.hides)


class Choice(NamedTuple):
    """The next message and what it is made of."""

    techniques: tuple[str, ...]
    template: str
    message: str
    ladder: str = ""


class TemplateAttacker:
    """`encodings` are those that the target can read (None: all). `name` changes with everything that it may say."""

    def __init__(
        self, part: Part, *, encodings: Sequence[str] | None = None, seed: int = 0, remember: bool = False
    ) -> None:
        self.part = part
        self.seed = seed
        self.remember = remember
        self.wins: dict[str, float] = {}
        self.tries: dict[str, int] = {}
        self._sent: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        found = wordings(part, None if encodings is None else tuple(encodings))
        self._arms = {name: texts for name, texts in found.items() if texts}
        ladders = [attack.how for attack in attacks(part, ["escalation"])]
        self._ladders = [how for how in ladders if isinstance(how, Script)]
        probe = [text("R", "T") for texts in self._arms.values() for text in texts.values()]
        self.name = f"templates-{part}-{digest_of([probe, [how.digest for how in self._ladders], seed, remember])[:6]}"

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        asked = read(conversation)
        dice = random.Random(f"{self.seed} {conversation.digest} {sampling.seed}")
        choice = self._step(asked, dice) if "question" in asked.keys else self._single(asked, dice)
        self._sent[choice.message] = choice.techniques
        if len(self._sent) > KEEP:
            self._sent.popitem(last=False)
        notes = {"technique": choice.techniques[0], "techniques": "+".join(choice.techniques)}
        notes |= {"template": choice.template, "ladder": choice.ladder}
        return Message(
            "assistant", written(asked, choice.message, f"{choice.template} after {len(asked.played)} moves", **notes)
        )

    def told(self, goal: str, message: str, score: float) -> None:
        """How a message did; kept only with `remember`."""
        if self.remember:
            for name in self._sent.get(message, ()):
                self.wins[name] = self.wins.get(name, 0.0) + score
                self.tries[name] = self.tries.get(name, 0) + 1

    def _single(self, asked: Brief, dice: random.Random) -> Choice:
        """A message that stands by itself."""
        best = max(asked.played, key=lambda one: one.score, default=None)
        outer = self._fresh(asked, dice)
        if best is not None and best.score > 0 and dice.random() < 0.7:
            return self._around(_chosen(best), outer, asked)
        if (
            len(asked.played) > 2 and asked.played[-1].declined and dice.random() < 0.3
        ):  # two disguises, one in the other
            inner = self._fresh(asked, dice, apart_from=outer[0])
            return self._around(self._filled(inner, asked), outer, asked)
        return self._filled(outer, asked)

    def _filled(self, arm: tuple[str, str], asked: Brief) -> Choice:
        return Choice((arm[0],), "/".join(arm), self._arms[arm[0]][arm[1]](asked.request, asked.topic))

    def _around(self, inner: Choice, outer: tuple[str, str], asked: Brief) -> Choice:
        message = self._arms[outer[0]][outer[1]](inner.message, asked.topic)
        return Choice((outer[0], *inner.techniques), f"{'/'.join(outer)}({inner.template})", message)

    def _fresh(self, asked: Brief, dice: random.Random, apart_from: str = "") -> tuple[str, str]:
        """Thompson sampling over the techniques that have a template left for this talk."""
        used = {_chosen(one).template for one in asked.played}
        filtered = bool(asked.played) and asked.played[-1].blocked
        left = {
            (name, template)
            for name, texts in self._arms.items()
            for template in texts
            if f"{name}/{template}" not in used and name != apart_from
        }
        hidden = {one for one in left if one[0] in _HIDES} if filtered else set()
        names = sorted({name for name, _ in hidden or left})
        if not names:  # everything has been said once: say it in another order
            return self._fresh(replace(asked, played=()), dice, apart_from)
        name = max(names, key=lambda one: self._draw(one, asked.played, dice))
        return name, dice.choice(sorted(template for owner, template in hidden or left if owner == name))

    def _draw(self, technique: str, played: Sequence[Played], dice: random.Random) -> float:
        mine = [one.score for one in played if technique in _chosen(one).techniques]
        won = sum(mine) + self.wins.get(technique, 0.0)
        lost = len(mine) + self.tries.get(technique, 0) - won
        return dice.betavariate(1.0 + won, 1.0 + max(0.0, lost))

    def _step(self, asked: Brief, dice: random.Random) -> Choice:
        """The next rung. Accepted turns climb; a declined one changes the ladder; beyond the top, single messages."""
        accepted = sum(not (one.declined or one.blocked) for one in asked.played)
        first = int(_chosen(asked.played[0]).ladder) if asked.played else dice.randrange(len(self._ladders))
        number = (first + len(asked.played) - accepted) % len(self._ladders)
        turns = self._ladders[number].wordings(Goal(asked.request, topic=asked.topic))
        asked_for_all = any(asked.request in one.message for one in asked.played)
        if accepted >= len(turns) - 1 and asked_for_all:
            return self._single(asked, dice)._replace(ladder=str(first))
        rung = min(accepted, len(turns) - 1)
        return Choice(("climb",), f"ladder-{number:02d}-{rung}", turns[rung], str(first))


def _chosen(one: Played) -> Choice:
    """What an earlier move was made of: its notes say so."""
    own = one.own
    return Choice(tuple(own["techniques"].split("+")), own["template"], one.message, own["ladder"])
