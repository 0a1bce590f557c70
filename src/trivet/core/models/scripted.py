"""A model that says what it is told to say: for tests, tutorials and dry runs.

It is shipped, not hidden in the tests, because everyone who writes an attack, a guard or a judge needs one. It can also
misbehave on purpose: raise, be slow, or never answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY

Line = str | Exception
"""What one call comes to: a text that is replied, or an exception that is raised."""

Script = str | Mapping[str, Line] | Sequence[Line] | Callable[[Conversation], Line]

Odds = Callable[[Conversation, Sequence[str]], Sequence[float]]
"""The log-probability of each option as the next reply."""


class Scripted:
    """Replies from a script, and keeps every conversation that it was given in `seen`.

    `replies` is one text for every call, a mapping from the last user message to the reply, a sequence that is used up
    in order, or a function of the conversation. `options` says how likely fixed answers are: a function of conversation and
    options to their log-probabilities; without it there are none. Where the script has nothing, `default` is said; without a default that
    is a TargetError. `delay` is waited before each reply, and `hang` never replies at all.

    >>> asyncio.run(Scripted({"Hello?": "Good day."}).reply(Conversation.user("Hello?"))).content
    'Good day.'
    """

    def __init__(
        self,
        replies: Script = (),
        default: Line | None = None,
        *,
        options: Odds | None = None,
        name: str = "scripted",
        delay: float = 0.0,
        hang: bool = False,
    ) -> None:
        self.name = name
        self.seen: list[Conversation] = []
        self.default = default
        self.delay = delay
        self.hang = hang
        self._pick = _picker(replies)
        self._odds = options

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        self.seen.append(conversation)
        if self.hang:
            await asyncio.Event().wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        line = self._pick(conversation)
        if line is None:
            line = self.default
        if line is None:
            raise TargetError(f"the script of {self.name} has no reply to {conversation.last_user!r:.80}")
        if isinstance(line, Exception):
            raise line
        return Message("assistant", line)

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        self.seen.append(conversation)
        if self._odds is None:
            raise TargetError(f"the script of {self.name} has no log-probabilities of {', '.join(options)}")
        return [float(one) for one in self._odds(conversation, options)]

    async def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> AsyncIterator[str]:
        """The same reply, word by word."""
        message = await self.reply(conversation, sampling)
        for number, word in enumerate(message.content.split(" ")):
            yield word if number == 0 else f" {word}"


def _picker(replies: Script) -> Callable[[Conversation], Line | None]:
    """The script as a function that says None where it has nothing."""
    if isinstance(replies, str):
        return lambda _: replies
    if isinstance(replies, Mapping):
        return lambda conversation: replies.get(conversation.last_user)
    if callable(replies):
        return replies
    lines: Iterator[Line] = iter(replies)
    return lambda _: next(lines, None)
