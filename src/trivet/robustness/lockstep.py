"""A group of attacks in step, so that a model that can batch is given whole batches, always the same ones.

A batch on a real network changes the last bits of a number with its composition, and now and then a word with them. So
which conversations are answered together must not depend on timing: everyone in the group waits until all who are still
running have asked, then all are answered at once, in the order of the group. Single-turn attacks leave after the first
round, dialogues go on among themselves. A round that is answered is in the journal: a group that was killed in its last
round goes through the earlier ones again without the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.batch import reply_all
from trivet.core.protocols import Model
from trivet.robustness.journal import Journal, NoJournal, asked


class Lockstep:
    """Serves `members`, named by their ids, who each ask (`ask`) any number of times and then leave (`leave`) once."""

    def __init__(
        self, model: Model, members: Sequence[str], sampling: Sampling, journal: Journal | NoJournal | None = None
    ) -> None:
        self.model = model
        self.members = members
        self.sampling = sampling
        self.journal = journal
        self._running = len(members)
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
        number = 0
        while True:
            await self._complete.wait()
            self._complete.clear()
            if not self._running:
                return
            asking, self._asked = [self._asked[member] for member in sorted(self._asked)], {}
            answers = await self._answers([conversation for conversation, _ in asking], number)
            number += 1
            for (_, reply), answer in zip(asking, answers, strict=True):
                if reply.done():
                    continue  # its member was cancelled meanwhile
                if isinstance(answer, TargetError):
                    reply.set_exception(answer)
                else:
                    reply.set_result(answer)

    async def _answers(self, conversations: Sequence[Conversation], number: int) -> Sequence[Message | TargetError]:
        """What the model says to this round, or has said to it before. A round with a failure is asked anew as a whole."""
        if self.journal is None:
            return await reply_all(self.model, conversations, self.sampling)
        # The group is stored in one transaction, so its first member stands for all of it.
        first, name = self.members[0], f"{asked(conversations)}.{len(self.members)}.{number}"
        known = self.journal.recall(first, name)
        if known is not None and len(known.replies) == len(conversations):
            return [Message("assistant", text) for text in known.replies]
        answers = await reply_all(self.model, conversations, self.sampling)
        texts = [answer.content for answer in answers if isinstance(answer, Message)]
        if len(texts) == len(answers) and all(_is_unicode(text) for text in texts):
            self.journal.note(first, name, texts)
        return answers


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
