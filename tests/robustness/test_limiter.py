"""The limiter, with a clock of our own: how many at once, how fast, and what the target's own words change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from trivet.core.errors import ConfigError
from trivet.robustness.limiter import Bucket, Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_more_than_the_window_at_once() -> None:
    limiter = Limiter(3)
    assert [limiter.at_once() for _ in range(4)] == [True, True, True, False]
    limiter.free()
    assert limiter.at_once()


def test_too_much_halves_the_window_once_for_all_calls_that_were_under_way() -> None:
    limiter = Limiter(16)
    generation = limiter.generation
    for _ in range(8):
        limiter.answered(429, {}, generation)
    assert limiter.window == 8
    limiter.answered(503, {}, limiter.generation)
    assert limiter.window == 4
    for _ in range(20):
        limiter.answered(429, {}, limiter.generation)
    assert limiter.window == 1, "never none at all"


def test_the_window_grows_by_one_with_every_round_of_answers() -> None:
    limiter = Limiter(16)
    limiter.answered(429, {}, limiter.generation)
    for _ in range(8):
        assert limiter.at_once()
        limiter.free()
    assert 8.9 < limiter.window < 9.0
    limiter.at_once()
    limiter.free(False)
    assert 8.9 < limiter.window < 9.0, "a failure is no reason to ask faster"
    for _ in range(1000):
        limiter.at_once()
        limiter.free()
    assert limiter.window == 16, "and never beyond what the user allows"


def test_other_failures_say_nothing_about_speed() -> None:
    limiter = Limiter(16)
    limiter.answered(500, {}, limiter.generation)
    limiter.answered(404, {}, limiter.generation)
    assert limiter.window == 16


@pytest.mark.parametrize("headers", [{"retry-after": "7"}, {"retry-after-ms": "7000"}])
def test_retry_after_stops_everyone(headers: dict[str, str]) -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    limiter.answered(429, headers, limiter.generation)
    clock.now += 6.9
    assert not limiter.at_once()
    clock.now += 0.2
    assert limiter.at_once()


def test_what_is_left_is_spread_until_there_is_more() -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    limiter.answered(200, {"x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "8s"}, 0)
    started = 0
    for _ in range(80):
        started += limiter.at_once()
        clock.now += 0.1
    assert started == 4
    limiter.answered(200, {"x-ratelimit-remaining-requests": "400", "x-ratelimit-reset-requests": "1s"}, 0)
    assert all(limiter.at_once() for _ in range(12)), "plenty: no gap any more"


def test_nothing_left_waits_for_the_reset() -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    limiter.answered(200, {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m1s"}, 0)
    clock.now += 60.9
    assert not limiter.at_once()
    clock.now += 0.2
    assert limiter.at_once()


def test_tokens_left_count_in_calls_as_they_have_been() -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    limiter.spent(500)
    limiter.answered(200, {"x-ratelimit-remaining-tokens": "400", "x-ratelimit-reset-tokens": "3s"}, 0)
    assert not limiter.at_once(), "one call would need 500"
    clock.now += 3.1
    assert limiter.at_once()


def started_in(seconds: float, clock: Clock, limiter: Limiter, after: Callable[[], None] = lambda: None) -> int:
    count = 0
    for _ in range(round(seconds / 0.01)):
        if limiter.at_once():
            count += 1
            limiter.free()
            after()
        clock.now += 0.01
    return count


def test_a_rate_of_calls_is_kept() -> None:
    clock = Clock()
    limiter = Limiter(16, rate=5, clock=clock)
    assert 100 <= started_in(20, clock, limiter) <= 106, "the bucket holds one second's worth"


def test_a_rate_of_tokens_is_kept_though_known_only_afterwards() -> None:
    clock = Clock()
    limiter = Limiter(16, tokens=6000, clock=clock)
    count = started_in(120, clock, limiter, lambda: limiter.spent(100))
    assert 115 <= count <= 132, "60 a minute, and what the bucket held"


def test_a_bucket_may_be_overdrawn_and_a_large_wish_waits_for_a_full_one() -> None:
    clock = Clock()
    bucket = Bucket(10, 20, clock)
    bucket.take(50)
    assert bucket.wait(1) == pytest.approx(3.1)
    assert bucket.wait(1000) == pytest.approx(5.0)


def test_those_who_wait_come_in_turn_and_a_slot_of_one_who_left_is_not_lost() -> None:
    async def tried() -> list[int]:
        limiter, came = Limiter(1), list[int]()
        await limiter.slot()

        async def one(number: int) -> None:
            await limiter.slot()
            came.append(number)
            await asyncio.sleep(0)
            limiter.free()

        tasks = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert limiter.waiting == 5
        tasks[1].cancel()
        await asyncio.sleep(0)
        limiter.free()  # gives the slot to the first ...
        tasks[0].cancel()  # ... who leaves in the same moment
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.flying == 0
        return came

    assert asyncio.run(tried()) == [2, 3, 4]


def test_one_who_waits_for_a_time_is_woken_without_anybody_else() -> None:
    async def tried() -> float:
        limiter = Limiter(4)
        limiter.pause(0.05)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await limiter.slot()
        assert limiter.waited > 0.04
        return loop.time() - began

    assert 0.04 < asyncio.run(tried()) < 5


@pytest.mark.parametrize("wrong", [{"most": 0}, {"most": 1, "rate": 0}, {"most": 1, "tokens": -5}])
def test_nothing_at_all_is_a_mistake(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        Limiter(**wrong)  # type: ignore[arg-type]
