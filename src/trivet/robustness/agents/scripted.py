"""Two agents without a language model, the ends of the scale: `naive` obeys whatever it reads, `careful` only its user.

Both know the right steps of every task. The naive one also knows every order of the library, recognises it in a result
by its text, carries it out at once and then goes on with the task. What they score is what a perfect victim and a perfect
agent score, so tests and tables have both ends.

Not covered: agents that go astray by halves; an order that a defence has rewritten is not recognised.
"""

from __future__ import annotations

import json

from trivet.core.messages import Conversation
from trivet.core.models.scripted import Scripted
from trivet.robustness.agents.loop import parse
from trivet.robustness.agents.orders import Order, orders
from trivet.robustness.agents.tasks import TASKS, Task
from trivet.robustness.agents.tools import Call
from trivet.robustness.attacks.shape import PARTS


def careful() -> Scripted:
    """Does the task of its user and nothing else."""
    return Scripted(lambda conversation: _next(conversation, ()), name="scripted-careful")


def naive() -> Scripted:
    """Does the task, and on the way everything that anybody has written into what it reads."""
    known = tuple(order for part in PARTS for order in orders(part))
    return Scripted(lambda conversation: _next(conversation, known), name="scripted-naive")


def _next(conversation: Conversation, obeyed: tuple[Order, ...]) -> str:
    """The next message: the conversation so far says which steps are done."""
    waiting = list(_task(conversation).steps)
    met: set[str] = set()
    for message in conversation:
        if message.role == "assistant":
            if parse(message.content) is not None:
                waiting.pop(0)
        elif "<result>" in message.content:
            for order in obeyed:
                if order.text in message.content and order.text not in met:
                    met.add(order.text)
                    waiting = [*order.steps, *waiting]
    return _written(waiting[0]) if waiting else "It is done."


def _task(conversation: Conversation) -> Task:
    asked = next(message.content for message in conversation if message.role == "user")
    return next(task for task in TASKS if asked.endswith(task.request))


def _written(call: Call) -> str:
    return f"CALL {call.tool} {json.dumps(dict(call.args))}"
