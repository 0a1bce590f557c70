"""Failures that are nobody's answer: of the model that writes an attack, and of the defence before an agent.

Both are a TargetError, so that a campaign records an error and goes on, and neither is ever a Blocked: what stopped the
attacker's own model is no gateway of the target, and must not be counted as the target having held.

Not covered: the judge that steers a dialogue (dialogues/search.py says so in its own words).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trivet.core.errors import TargetError


class AttackerFailed(TargetError):  # noqa: N818
    """The attacker, not the target, came to nothing: the attempt says nothing about the target."""


class DefenceFailed(TargetError):  # noqa: N818
    """What stands between an agent and what it reads has failed: nothing was shown, and the attempt ends."""


@contextmanager
def attacking(who: str) -> Iterator[None]:
    """Whatever the model fails of that is asked within, Blocked included, is the attacker's failure. `who` opens the message.

    >>> with attacking("the writer"):
    ...     raise TargetError("HTTP 500")
    Traceback (most recent call last):
        ...
    trivet.robustness.failures.AttackerFailed: the writer failed: HTTP 500
    """
    try:
        yield
    except AttackerFailed:
        raise
    except TargetError as failure:
        raise AttackerFailed(f"{who} failed: {failure}") from failure
