"""Everything that happens, as one tagged union.

Events are what the store keeps and what the pillars meet in. Each is frozen, carries an `id` that makes storing it twice
the same as storing it once, the time `at` (seconds since the epoch), and the `run` it belongs to ("" for production
traffic). In bytes they are told apart by the field `kind`.
"""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import msgspec

from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.core.verdicts import Decision, Verdict

_UUID_MASK = ~(0xF << 76 | 0x3 << 62)
_UUID_7 = 0x7 << 76 | 0x2 << 62
"""The version and the variant, and the bits that they take."""


def new_id() -> str:
    """An event id for what has no content identity (two equal requests are two exchanges): a UUID of version 7 in hex
    (RFC 9562, section 5.7), milliseconds first and 74 random bits after. New ids then fall on the same page of the store's
    index, where random ones would dirty a page each."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return f"{number & _UUID_MASK | _UUID_7:032x}"


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    id: str = msgspec.field(default_factory=new_id)
    at: float = msgspec.field(default_factory=time.time)
    run: str = ""

    @property
    def kind(self) -> str:
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class Exchange(_Event, frozen=True, kw_only=True, tag="exchange"):
    """One request through the gateway and what was answered.

    `raw` is the model's own reply before output guards, kept only where the privacy settings allow and it differs from
    what was delivered; `user` is a pseudonym.
    """

    conversation: Conversation
    reply: str
    model: str
    decisions: tuple[Decision, ...] = ()
    raw: str | None = None
    user: str = ""
    finish: str = "stop"
    milliseconds: float = 0.0
    error: str = ""


class Attempt(_Event, frozen=True, kw_only=True, tag="attempt"):
    """One attack on one goal, or one probe asked: what was said and how it was judged.

    `suite` is `attack`, `overrefusal`, `capability` or `agent`; `attack` is the family (`direct`, `roleplay` ...) and `template`
    the wording used within it. `blocked` is the place where a gateway stopped it, or "". `seed` tells samples of one attack
    apart. `seconds` is how long the talk took; the tokens are those that the target counted, 0 where it told none; `tries`
    is 1 and one more for each call that had to be repeated.
    """

    suite: Literal["attack", "overrefusal", "capability", "agent"]
    task: str
    conversation: Conversation
    verdict: Verdict
    target: str
    goal: Goal | None = None
    probe: Probe | None = None
    attack: str = ""
    template: str = ""
    turns: int = 1
    blocked: str = ""
    seed: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tries: int = 1


class Complaint(_Event, frozen=True, kw_only=True, tag="complaint"):
    """A user's report on an exchange."""

    exchange: str
    reason: Literal["harmful", "wrongly_refused", "private_data", "inaccurate", "other"]
    comment: str = ""


class Review(_Event, frozen=True, kw_only=True, tag="review"):
    """A person's label on an event. Never overwritten: a second opinion is a second review."""

    event: str
    reviewer: str
    label: Literal["harmful", "fine", "wrongly_blocked", "unsure"]
    comment: str = ""


class Alert(_Event, frozen=True, kw_only=True, tag="alert"):
    """A detector's finding in the stream of events."""

    detector: str
    why: str
    severity: Literal["info", "warning", "critical"] = "warning"
    events: tuple[str, ...] = ()


class Incident(_Event, frozen=True, kw_only=True, tag="incident"):
    """A case that people work on, opened from alerts, complaints or reviews."""

    title: str
    status: Literal["open", "mitigated", "closed"] = "open"
    events: tuple[str, ...] = ()


class Run(_Event, frozen=True, kw_only=True, tag="run"):
    """A command's own record: what ran, with which settings, and the figures it came to."""

    name: str
    settings: dict[str, Any] = {}
    figures: dict[str, Any] = {}


class Promotion(_Event, frozen=True, kw_only=True, tag="promotion"):
    """The gate's answer on a challenger, or a rollback."""

    model: str
    previous: str
    outcome: Literal["promoted", "rejected", "rolled_back"]
    reasons: tuple[str, ...] = ()


Event = Exchange | Attempt | Complaint | Review | Alert | Incident | Run | Promotion

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """An event as JSON bytes with its `kind`."""
    return _encoder.encode(event)


def decode(data: bytes | str) -> Event:
    """The event that `encode` wrote. Raises msgspec.ValidationError when the bytes are not one."""
    return _decoder.decode(data)
