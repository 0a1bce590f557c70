"""What passes between a model's client and whoever paces it: status, headers and usage of every answer.

A model replies with a message and nothing else. Whoever asks a whole campaign of it also wants what the server said beside
the message: how much it will bear, how long to wait, how many tokens that was. So it listens, through a context variable,
because wrappers may stand between it and the client. A client that finds a listener also leaves retrying to it:
it marks the TargetError as one that may pass (`passing`, `retry_after`) and raises it after one try.

Not covered: what a client does not tell. Of ours, `Endpoint` tells everything; a model in this process tells nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol


class Listener(Protocol):
    """Who paces a model."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """A server answered one request; called for failures too."""

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """What one reply cost, by the server's own count."""


LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


class Quota(NamedTuple):
    """What a server says is left of one allowance, and in how many seconds it is full again."""

    unit: str
    remaining: float
    reset: float


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that the server asks for, in any form of the header; 0 where it asks for none."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return max(0.0, milliseconds / 1000)
    given = headers.get("retry-after", "")
    if (seconds := _number(given)) is not None:
        return max(0.0, seconds)
    try:
        then = parsedate_to_datetime(given).timestamp()
        now = parsedate_to_datetime(headers["date"]).timestamp()
    except (ValueError, KeyError):
        return 0.0
    return max(0.0, then - now)


_NAMES = (
    ("requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("requests", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("tokens", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("requests", "x-ratelimit-remaining", "x-ratelimit-reset"),
    ("requests", "ratelimit-remaining", "ratelimit-reset"),
)


def quotas(headers: Mapping[str, str]) -> list[Quota]:
    """The allowances that the headers name whole: how much is left, and until when. Half-named ones are left out."""
    found = []
    for unit, remaining, reset in _NAMES:
        left = _number(headers.get(remaining, ""))
        seconds = _duration(headers.get(reset, "")) if left is not None else None
        if left is not None and seconds is not None:
            found.append(Quota(unit, max(0.0, left), seconds))
    return found


_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH = 1e9
"""A number beyond this is a time of day and not a length of time."""


def _duration(text: str) -> float | None:
    """`1m30s`, `20ms`, `1.5`, seconds since the epoch, or an ISO time: as seconds from now."""
    text = text.strip()
    if (number := _number(text)) is not None:
        return max(0.0, number - time.time() if number > _EPOCH else number)
    parts = _PARTS.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - time.time())
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if -_FAR < number < _FAR else None  # `nan` and `inf` are numbers to Python


_FAR = 1e12
