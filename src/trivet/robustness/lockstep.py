"""A group of attacks in step, so that a model that can batch is given whole batches, always the same ones.

A batch on a real network changes the last bits of a number with its composition, and now and then a word with them. So
which conversations are answered together must not depend on timing: everyone in the group waits until all who are still
running have asked, then all are answered at once, in the order of the group. Single-turn attacks leave after the first
round, dialogues go on among themselves.
"""

from __future__ import annotations

import asyncio

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.batch import reply_all
from trivet.core.protocols import Model


class Lockstep:
    """Serves `members` who each ask (`ask`) any number of times and then leave (`leave`) once."""

    def __init__(self, model: Model, members: int, sampling: Sampling) -> None:
        self.model = model
        self.sampling = sampling
        self._running = members
        self._asked: dict[int, tuple[Conversation, asyncio.Future[Message]]] = {}
        self._complete = asyncio.Event()

    async def ask(self, member: int, conversation: Conversation) -> Message:
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[member] = (conversation, reply)
        self._look()
        return await reply

    def leave(self) -> None:
        self._running -= 1
        self._look()

    def _look(self) -> None:
        if len(self._asked) >= self._running:
            self._complete.set()

    async def serve(self) -> None:
        """Answers round after round until everyone has left."""
        while True:
            await self._complete.wait()
            self._complete.clear()
            if not self._running:
                return
            asked, self._asked = [self._asked[member] for member in sorted(self._asked)], {}
            answers = await reply_all(self.model, [conversation for conversation, _ in asked], self.sampling)
            for (_, reply), answer in zip(asked, answers, strict=True):
                if reply.done():
                    continue  # its member was cancelled meanwhile
                if isinstance(answer, TargetError):
                    reply.set_exception(answer)
                else:
                    reply.set_result(answer)
