"""The target as one attempt hears it: paced, retried, counted, and never asked again what it has answered already.

`Line` is what all attempts of a campaign share on their way to the target; `Voice` is one attempt's end of it and fits the
Model protocol, so an attack talks to it as to any model. A reply is in the journal before the attack hears it. What an
earlier process heard comes from there, without a call.

A failure that may pass (429, 5xx, a cut connection) is tried again after an exponential pause with full jitter, or the longer
one that the target asked for; the slot is free meanwhile, and the time limit of the attempt stands still while it waits.
What is no reply at all, another kind of object or text that is not Unicode, is a failure of the target.

Not covered: retries of a failure that its client does not mark as passing, which is recorded and asked again by the next run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from trivet.core.errors import Blocked, TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.traffic import LISTENER
from trivet.core.protocols import GREEDY, Model
from trivet.robustness.budget import CHARACTERS, Spent, estimate
from trivet.robustness.journal import Journal, NoJournal, asked
from trivet.robustness.limiter import Limiter

MAX_PAUSE = 20.0
"""The longest pause between two tries, in seconds; only the target itself may ask for more."""


AT_ONCE = 0.0002
"""Seconds within which only a function of this process answers."""


@dataclass
class Line:
    """The way to one target. `patience` is the longest that the target may ask to be left alone, at once and in all."""

    target: Model
    limiter: Limiter
    journal: Journal | NoJournal
    spent: Spent = field(default_factory=Spent)
    retries: int = 3
    backoff: float = 0.5
    patience: float = 600.0


class Voice:
    """The target in one attempt. `heard` is how far the talk has come, and the counts are of what it took."""

    __slots__ = (
        "_ask",
        "_last",
        "_left",
        "_line",
        "_names",
        "_pauses",
        "completion_tokens",
        "expired",
        "failures",
        "id",
        "prompt_tokens",
        "sampling",
        "tries",
        "turns",
        "until",
    )

    def __init__(
        self,
        id: str,
        line: Line,
        sampling: Sampling,
        ask: Callable[[Conversation], Coroutine[Any, Any, Message]] | None = None,
    ) -> None:
        self.id = id
        self.sampling = sampling
        self.turns = self.prompt_tokens = self.completion_tokens = self._pauses = 0
        self.tries = 1
        self.until = inf
        """When the attempt must have ended, by `time.perf_counter`."""
        self.expired = False
        self.failures: tuple[TargetError, ...] = ()
        """What the target failed with. What else an attack ends with is of the attacker's own making."""
        self._line = line
        self._ask = ask
        self._last: tuple[Conversation, Message | None] = _NOTHING
        self._names: dict[str, int] | None = None

    @property
    def heard(self) -> Conversation:
        conversation, message = self._last
        return conversation if message is None else conversation.then(message)

    @heard.setter
    def heard(self, conversation: Conversation) -> None:
        self._last = conversation, None

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        """The target's next message. Sampling is the campaign's, whatever an attack would like."""
        self._last = conversation, None
        try:
            if self._ask is None:
                message = await self._answered(conversation)
            else:
                message = _checked(await self._ask(conversation))
                self._count(conversation, message, 0, 0)
        except TargetError as failure:
            self.failures += (failure,)
            raise
        self._last = conversation, message
        self.turns += 1
        return message

    def failed(self, failure: BaseException) -> bool:
        """Whether the target is behind a failure of an attack, or whoever else the attack asks."""
        at: BaseException | None = failure
        while at is not None:
            if any(at is one for one in self.failures):
                return True
            at = at.__cause__ or at.__context__
        return False

    async def _answered(self, conversation: Conversation) -> Message:
        """What the target says to this, or has said to it before."""
        journal, name = self._line.journal, self._name(conversation)
        known = journal.recall(self.id, name)
        if known is not None:
            message = Message("assistant", known.replies[0])
            self._count(conversation, message, known.prompt_tokens, known.completion_tokens)
            return message
        call = _Call(self._line.limiter)
        began = time.perf_counter()
        try:
            message = await self._try(conversation, call)
        except TargetError as failure:
            message = await self._again(conversation, call, failure)
        prompt, completion = call.prompt_tokens, call.completion_tokens
        hasty = time.perf_counter() - began < AT_ONCE
        journal.note(self.id, name, (message.content,), prompt, completion, hasty=hasty)
        self._count(conversation, message, prompt, completion)
        return message

    def _name(self, conversation: Conversation) -> str:
        """What the journal knows this call by."""
        name = asked((conversation,))
        if self._names is None:
            self._names = {name: 1}
            return name
        nth = self._names.get(name, 0)
        self._names[name] = nth + 1
        return f"{name}.{nth}" if nth else name

    async def _again(self, conversation: Conversation, call: _Call, failure: TargetError) -> Message:
        """The target's answer after a failure, with as many tries as it takes and is worth.

        A call that is refused for being too much is no failure of the target: it is tried again for as long as the target may
        ask for patience, however often.
        """
        tried, tries, began = int(not call.busy), 1, time.perf_counter()
        while True:
            waited = time.perf_counter() - began
            worth = waited < self._line.patience if call.busy else tried <= self._line.retries
            if not failure.passing or not worth or isinstance(failure, Blocked):
                raise failure
            if failure.retry_after > self._line.patience:
                raise TargetError(
                    f"{failure}; it asked to be left alone for {failure.retry_after:.0f} s: repeat the command later"
                ) from failure
            longest = min(MAX_PAUSE, self._line.backoff * 2 ** min(tries - 1, 16))
            await self._waiting(asyncio.sleep(max(random.uniform(0, longest), failure.retry_after)))
            self.tries += 1
            try:
                return await self._try(conversation, call)
            except TargetError as again:
                failure = again
            tries, tried = tries + 1, tried + (not call.busy)

    async def _try(self, conversation: Conversation, call: _Call) -> Message:
        line = self._line
        limiter = line.limiter
        if not limiter.at_once():
            await self._waiting(limiter.slot())
        call.generation, call.busy = limiter.generation, False
        well = False
        listening = LISTENER.set(call)
        try:
            message = _checked(await line.target.reply(conversation, self.sampling))
            well = True
        finally:
            LISTENER.reset(listening)
            limiter.free(well)
        return message

    async def _waiting(self, something: Awaitable[None]) -> None:
        """Waits with the time limit of the attempt standing still: the time is that of the target, not of the queue."""
        if not self._pauses:
            self._left, self.until = self.until - time.perf_counter(), inf
        self._pauses += 1
        try:
            await something
        finally:
            self._pauses -= 1
            if not self._pauses:
                self.until = time.perf_counter() + self._left

    def _count(self, conversation: Conversation, message: Message, prompt: int, completion: int) -> None:
        """Adds up what this reply took: by the target's count, else by an estimate that stays out of the record."""
        line = self._line
        if prompt or completion:
            self.prompt_tokens += prompt
            self.completion_tokens += completion
            line.spent.add(prompt, completion, False)
        else:
            prompt, completion = estimate(conversation), len(message.content) // CHARACTERS + 1
            line.spent.add(prompt, completion, True)
        line.limiter.spent(prompt + completion)


_NOTHING: tuple[Conversation, Message | None] = (Conversation(), None)


class _Call:
    """Listens to one call: a model's client tells it what the server said beside the reply (traffic.py)."""

    __slots__ = ("_limiter", "busy", "completion_tokens", "generation", "prompt_tokens")

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.generation = self.prompt_tokens = self.completion_tokens = 0
        self.busy = False

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self.busy = status == 429
        self._limiter.answered(status, headers, self.generation)

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens


def _checked(message: Message) -> Message:
    """The message, if it is one that can be kept."""
    if type(message) is not Message or message.role != "assistant" or type(message.content) is not str:
        raise TargetError(f"the target answered with {message!r:.80}, which is no message of an assistant")
    if not message.content.isascii():
        try:
            message.content.encode()
        except UnicodeEncodeError as error:
            raise TargetError(f"the target answered with text that is not Unicode: {error.reason}") from error
    return message
