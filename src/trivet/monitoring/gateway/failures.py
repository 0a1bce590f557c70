"""What is said of a failure: to the client without addresses or traces, to the record with our own words."""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.errors import Blocked, TargetError
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.pool import Late
from trivet.monitoring.gateway.wire import Refused

PASSED_ON = frozenset({400, 404, 405, 409, 413, 415, 422})
"""What an upstream says about the request itself, which the client can mend."""


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of an answer: `{"error": {...}}`, or a plain string there."""
    try:
        error = msgspec.json.decode(body).get("error")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return {}
    return error if isinstance(error, dict) else {"message": error}


def failure(error: Exception) -> Refused:
    """How a failure of the model behind is told to the client: without addresses or traces."""
    if isinstance(error, Blocked):
        return wire.filtered(error.place, "upstream")
    if is_late(error):
        return Refused(504, "The model behind the gateway did not answer in time.", kind="server_error", code="timeout")
    return Refused(502, "The model behind the gateway failed.", kind="server_error", code="upstream_error")


def is_late(error: Exception) -> bool:
    return isinstance(error, (Late, TimeoutError)) or isinstance(error.__cause__, TimeoutError)


def finish(error: Exception) -> str:
    return "content_filter" if isinstance(error, Blocked) else "error"


def said(error: Exception) -> str:
    """For the record: our own errors with their words (see `kept_error`), foreign ones by type alone."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, TargetError) else name
