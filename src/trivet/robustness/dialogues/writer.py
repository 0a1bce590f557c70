"""A model that can write an attack and nothing else, as an attacker of these dialogues: the town's models, trained attackers.

Small models know no forms and no JSON. `MessageWriter` asks such a model in its own way, for one message; where a message of the
talk has won a part, that is shown to it as an example. The method's form is filled in around what it writes.

Not covered: choosing a technique (in GOAT every message goes under `plain`), and climbing: each message is written for the goal
itself, so Crescendo with such an attacker is a conversation of attempts. Of a talk it knows no more than its best message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY, Model
from trivet.robustness.dialogues.brief import read, written
from trivet.robustness.learned import Success, asking

Asking = Callable[[Goal, Sequence[Success]], Conversation]
"""How the model is asked for an attack on a goal, after examples."""


class MessageWriter:
    """Give it a temperature above 0 (Attacker's default is 1), or every move of a talk without success is the same."""

    def __init__(self, model: Model, *, asked: Asking = asking, examples: Sequence[Success] = ()) -> None:
        self.model = model
        self.asked = asked
        self.examples = tuple(examples)
        self.name = f"writer-{getattr(model, 'name', type(model).__name__)}"

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        brief = read(conversation)
        goal = Goal(brief.request, topic=brief.topic)
        best = max(brief.played, key=lambda one: one.score, default=None)
        own = [Success(goal, best.message, best.score)] if best is not None and best.score > 0 else []
        said = (await self.model.reply(self.asked(goal, [*self.examples, *own]), sampling)).content.strip()
        if not said:
            return Message("assistant", "")  # read as a move that the attacker did not make
        return Message("assistant", written(brief, said, "written for the goal", technique="plain"))
