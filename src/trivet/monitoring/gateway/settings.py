"""How a gateway behaves: one frozen value, given when the application is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trivet.core.messages import Sampling
from trivet.monitoring.gateway.connection import Patience
from trivet.monitoring.gateway.origin import LOOPBACK
from trivet.monitoring.privacy import Record


@dataclass(frozen=True)
class Settings:
    """`sampling` fills in what a request to a model of this process leaves out; `hosts` are the names it answers to."""

    record: Record = "masked"
    on_record_failure: Literal["closed", "open"] = "closed"
    durable: bool = True
    max_body_bytes: int = 4 << 20
    """A longer request is refused with 413."""
    max_in_flight: int = 512
    """Requests at a time; one more is told to come again (503, Retry-After)."""
    max_waiting_events: int = 20_000
    """Events that may wait to be written; then requests are refused rather than memory filled."""
    upstream_seconds: float = 120.0
    """For a whole reply, and between two pieces of a streamed one."""
    parallel_input: bool = False
    """Ask the model while the input is still being checked; nothing goes to the client before the verdict. Not where the
    model's tools act on the world: a request that is then blocked has been begun."""
    reask: bool = True
    """Ask once more, with what was wrong, where a reply breaks the format that the request asked for."""
    restore: bool = False
    """Put the caller's own data, which the input's masks took out, back into the reply. A guard may say so of its own
    masks (`reversible`)."""
    blocked_in_band: bool = False
    """Tell of a blocked whole reply in the API's own reply (`finish_reason: content_filter`) instead of by status 400."""
    unchecked_media: bool = False
    """Let pass images, audio and files, which no guard reads."""
    allow_shadow_header: bool = False
    console: bool = True
    hosts: tuple[str, ...] = LOOPBACK
    sampling: Sampling = Sampling()
    patience: Patience = Patience()
    tracing: bool = False
    """OpenTelemetry spans (`pip install 'trivet[otel]'`); where they go is the SDK's own configuration."""
