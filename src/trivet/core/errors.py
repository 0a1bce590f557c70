"""One tree of exceptions.

    TrivetError
    ├── UserError            the caller's mistake: one line, no traceback, exit code 2
    │   ├── ConfigError        a recipe or an override that cannot be used
    │   ├── DataError          a data set, a row or a message that cannot be read (names file and line)
    │   └── ModelNotFound      no such model, adapter or checkpoint
    ├── TargetError          the model at the other end failed: timeout, refused connection, HTTP 500, garbage
    │   └── Blocked            a gateway's policy stopped the request or the reply
    ├── StoreError           the store cannot be read or written: disk full, read-only, newer schema
    ├── GateError            a promotion that the gate does not allow
    └── Interrupted          stopped by the user at a point from which the same command resumes

Every message says what was wrong, what was given, and how to mend it. `assert` is kept for our own invariants.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal


class TrivetError(Exception):
    """Anything that Trivet raises on purpose."""

    exit_code = 1


class UserError(TrivetError):
    """A mistake of the caller: printed as one line, without a traceback."""

    exit_code = 2


class ConfigError(UserError):
    """A recipe, an option or an override that cannot be used."""


class DataError(UserError):
    """A data set, row or message that cannot be read."""


class ModelNotFound(UserError):  # noqa: N818
    """No model, adapter or checkpoint at the given place."""


class TargetError(TrivetError):
    """The model at the other end did not answer as agreed.

    `passing` says that the same request may succeed a little later, `retry_after` in how many seconds at the earliest.
    """

    exit_code = 2
    passing = False
    retry_after = 0.0


class Blocked(TargetError):  # noqa: N818
    """A gateway's policy stopped the request (`place` is "input") or the reply to it ("output").

    A TargetError because there is no reply to use; but the gateway is well, and asking again will not help.
    """

    def __init__(self, message: str, place: Literal["input", "output"] = "input") -> None:
        super().__init__(message)
        self.place = place


class StoreError(TrivetError):
    """The store cannot be read or written."""

    exit_code = 2


class GateError(TrivetError):
    """A promotion that the gate does not allow."""


class Interrupted(TrivetError):  # noqa: N818
    """Stopped by the user where the same command can resume."""

    exit_code = 130


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """` Did you mean "x"?` for a near miss, or an empty string."""
    near = get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
