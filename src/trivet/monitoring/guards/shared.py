"""What every text guard needs: the text to look at, and a way not to hold up the event loop with a long one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trivet.core.messages import Conversation
from trivet.core.verdicts import Verdict

INLINE = 4096
"""Characters up to which a cheap guard may run on the event loop: most texts of that length take it well under a millisecond."""


def newest(conversation: Conversation) -> str:
    """The text of the last message: what a guard judges."""
    return conversation.messages[-1].content if conversation.messages else ""


async def aside(scan: Callable[[str], Verdict], text: str) -> Verdict:
    """`scan(text)`, in a thread when the text is long, so that a deadline can pass and others are served meanwhile."""
    return scan(text) if len(text) <= INLINE else await asyncio.to_thread(scan, text)
