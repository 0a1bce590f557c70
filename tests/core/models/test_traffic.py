"""What an endpoint tells a listener, and what the headers of rate limits say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.models.wire import answer, half, hang_up, said, serving
from trivet.core.errors import Blocked, TargetError
from trivet.core.messages import Conversation
from trivet.core.models.endpoint import Endpoint
from trivet.core.models.traffic import LISTENER, Quota, quotas, retry_after

HELLO = Conversation.user("Hello?")


class Noting:
    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.headers: Mapping[str, str] = {}
        self.tokens: list[tuple[int, int]] = []

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self.statuses.append(status)
        self.headers = headers

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        self.tokens.append((prompt_tokens, completion_tokens))


def listened(url: str) -> tuple[str, Noting]:
    """The reply, or the failure in words, and what was told."""
    noting = Noting()

    async def ask() -> str:
        LISTENER.set(noting)
        try:
            return (await Endpoint(url, "m", backoff=0.001).reply(HELLO)).content
        except TargetError as failure:
            return f"{failure.passing} {failure.retry_after:g} {failure}"

    return asyncio.run(ask()), noting


def test_a_listener_is_told_status_headers_and_usage() -> None:
    body = {"choices": [{"message": {"content": "Good day."}}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    with serving(answer(200, body, x_ratelimit_remaining_requests="7")) as wire:
        text, told = listened(wire.url)
    assert (text, told.statuses, told.tokens) == ("Good day.", [200], [(5, 2)])
    assert told.headers["X-RateLimit-Remaining-Requests"] == "7", "whatever the case"


@pytest.mark.parametrize(
    "usage", [None, "none", {}, {"prompt_tokens": None, "completion_tokens": "2"}, {"prompt_tokens": True}]
)
def test_a_usage_that_is_none(usage: Any) -> None:
    with serving(answer(200, {"choices": [{"message": {"content": "x"}}], "usage": usage})) as wire:
        assert listened(wire.url)[1].tokens == [(0, 0)]


def test_retrying_is_left_to_a_listener() -> None:
    with serving(answer(429, "slow down", retry_after="7"), said("never asked")) as wire:
        text, told = listened(wire.url)
        assert len(wire.asked) == 1
    assert text.startswith("True 7 ")
    assert told.statuses == [429]


@pytest.mark.parametrize(
    ("failing", "passing"), [(hang_up, True), (half, True), (answer(401, ""), False), (answer(500, ""), True)]
)
def test_a_failure_says_whether_it_may_pass(failing: Any, passing: bool) -> None:
    with serving(failing) as wire:
        assert listened(wire.url)[0].startswith(f"{passing} 0 ")


def test_a_block_never_passes() -> None:
    with serving(answer(400, {"error": {"code": "content_filter", "message": "no"}})) as wire:
        text, _ = listened(wire.url)
    assert text.startswith("False 0 ")
    assert not Blocked("x").passing


def test_without_a_listener_nothing_changes() -> None:
    with serving(answer(503, ""), said("At last.")) as wire:
        assert asyncio.run(Endpoint(wire.url, "m", backoff=0.001).reply(HELLO)).content == "At last."


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1.5", 1.5),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("-4", 0.0),
    ],
)
def test_lengths_of_time_as_servers_write_them(reset: str, seconds: float) -> None:
    (quota,) = quotas({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": reset})
    assert quota.unit == "tokens"
    assert quota.remaining == 12
    assert quota.reset == pytest.approx(seconds)


def test_a_time_of_day_is_a_length_of_time_from_now() -> None:
    for then, least in ((time.time() + 900, 800), (time.time() - 900, 0)):
        (quota,) = quotas({"x-ratelimit-remaining": "12", "x-ratelimit-reset": f"{then:.0f}"})
        assert least <= quota.reset <= (901 if least else 0)


def test_every_familiar_set_of_headers_is_read() -> None:
    later = (datetime.now(UTC) + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")
    found = quotas(
        {
            "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "2s",
            "anthropic-ratelimit-tokens-remaining": "300", "anthropic-ratelimit-tokens-reset": later,
            "ratelimit-remaining": "5", "ratelimit-reset": "6",
        }
    )  # fmt: skip
    assert [(quota.unit, quota.remaining) for quota in found] == [("requests", 1), ("tokens", 300), ("requests", 5)]
    assert found[0] == Quota("requests", 1, 2)
    assert 0 < found[1].reset <= 30


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "1"},
        {"x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "some", "x-ratelimit-reset-requests": "1s"},
        {"x-ratelimit-remaining-requests": "nan", "x-ratelimit-reset-requests": "inf"},
        {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "soon"},
        {"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1s and a bit"},
    ],
)
def test_what_is_half_said_or_nonsense_is_no_limit(headers: dict[str, str]) -> None:
    assert quotas(headers) == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "250", "retry-after": "2"}, 0.25),
        ({"retry-after": "nan"}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
