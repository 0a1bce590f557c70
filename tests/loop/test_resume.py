"""`kill -9` in each stage, then the same command: the same result, nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loop.conftest import SMALL, Finished
from trivet.core.errors import TargetError
from trivet.core.events import Attempt, Exchange, Review
from trivet.core.messages import Conversation, Message
from trivet.core.models.scripted import Scripted
from trivet.core.protocols import Ground
from trivet.core.store.events import Store, open_home
from trivet.loop import front, harvest
from trivet.loop.recipe import Recipe
from trivet.monitoring.policy import Policy

MOMENTS = (
    "open:end",
    "attack:middle:25",
    "harvest:end",
    "build:end",
    "train:middle:20",  # two steps after the checkpoint
    "measure champion:middle:1",
    "measure challenger:start",
    "gate:end",
    "measure champion behind guards:middle:30",
    "measure challenger behind guards:end",
    "report:end",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trivet.db") as opened:
        yield opened


# --------------------------------------------------------------------------------------------------------- the turn


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_the_same(smooth: Finished, kills: ModuleType, tmp_path: Path) -> None:
    """All of it by content: attempts, exchanges, pairs, weights, promotion, figures. See runs/kill_resume.py."""
    home = tmp_path / "home"
    (home / "guards").mkdir(parents=True)
    for file in (smooth.home / "guards").iterdir():
        (home / "guards" / file.name).write_bytes(file.read_bytes())  # training them takes long and is tested below
    ends, told = kills.series(home, SMALL, MOMENTS)
    assert ends == {**dict.fromkeys(MOMENTS, "killed"), "": "done"}, told
    found = kills.snapshot(home)
    assert kills.differences(kills.snapshot(smooth.home), found) == {}
    for stage in ("attack", "measure champion behind guards", "measure challenger behind guards"):
        assert set(found[stage]["exchanges"].values()) == {1}, "no exchange is recorded twice"
    assert [promotion[1:4] for promotion in found["gate"]["promotions"]] == [
        ("v0", "", "promoted"),
        ("v1", "v0", "promoted"),
    ]


def test_the_comparison_sees_what_it_should(smooth: Finished, kills: ModuleType, tmp_path: Path) -> None:
    """Else the test above could not fail."""
    home = smooth.copy(tmp_path / "home")
    whole = kills.snapshot(home)
    with open_home(home) as store:
        exchange = next(iter(store.events("exchange", "turn-0001/attack")))
        assert isinstance(exchange, Exchange)
        again = {name: getattr(exchange, name) for name in exchange.__struct_fields__} | {"id": "another"}
        store.add([Exchange(**again)])
    weights = home / "turns" / "turn-0001" / "train" / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    pairs = home / "turns" / "turn-0001" / "pairs.jsonl"
    pairs.write_text("".join(reversed(pairs.read_text(encoding="utf-8").splitlines(True))), encoding="utf-8")
    told = kills.differences(whole, kills.snapshot(home))
    assert {stage: [words.split(":")[0] for words in parts] for stage, parts in told.items()} == {
        "attack": ["exchanges"],
        "build": ["pairs"],
        "train": ["weights"],
    }


# --------------------------------------------------------------------------------------------- what makes it the same


def test_the_order_of_arrival_does_not_matter(smooth: Finished, store: Store) -> None:
    run = "turn-0001/attack"
    with open_home(smooth.home, readonly=True) as full:
        attempts = list(full.events("attempt", run))
        as_it_was = harvest.gather(full, run)
    random.Random(1).shuffle(attempts)
    store.add(attempts)
    assert harvest.gather(store, run) == as_it_was


def test_reviews_that_come_after_counting_wait_for_the_next_turn(store: Store) -> None:
    store.add(Exchange(id=f"x{n}", conversation=Conversation.user(f"q{n}"), reply="r", model="m") for n in range(2))
    store.add([Review(event="x0", reviewer="ann", label="harmful")])
    counted = harvest.reviews_used(harvest.gather(store, "run"))
    store.add([Review(event="x1", reviewer="ann", label="harmful")])
    resumed = harvest.gather(store, "run", only=counted)
    assert harvest.reviews_used(resumed) == counted == ["x0"]
    assert harvest.reviews_used(harvest.gather(store, "run", before=counted)) == ["x1"]


def test_a_question_that_a_run_asks_again_is_one_exchange(store: Store) -> None:
    async def ask(endpoint: Any, texts: list[str]) -> list[Message]:
        try:
            return [await endpoint.reply(Conversation.user(text)) for text in texts]
        finally:
            await endpoint.aclose()

    for mode in ("shadow", "enforce"):
        for _ in range(2):
            with front.behind_gateway(
                Scripted("Yes."), Policy.from_parts([]), store, run="turn/x", mode=mode, concurrency=2
            ) as endpoint:
                asyncio.run(ask(endpoint, ["one?", "two?", "one?"]))
    told = [event for event in store.events("exchange") if isinstance(event, Exchange)]
    assert sorted(event.conversation.last_user for event in told) == ["one?", "one?", "two?", "two?"], "once per mode"


def test_an_exchange_that_failed_does_not_hide_the_one_that_succeeds(store: Store) -> None:
    async def ask(endpoint: Any) -> None:
        try:
            with suppress(TargetError):
                await endpoint.reply(Conversation.user("one?"))
        finally:
            await endpoint.aclose()

    for script in ([TargetError("out")] * 9, ["Yes."]):
        with front.behind_gateway(
            Scripted(script), Policy.from_parts([]), store, run="turn/x", mode="shadow", concurrency=2
        ) as endpoint:
            endpoint.retries = 0
            asyncio.run(ask(endpoint))
    told = [event for event in store.events("exchange") if isinstance(event, Exchange)]
    assert [(event.reply, event.finish) for event in told] == [("", "error"), ("Yes.", "stop")]


def test_guards_are_kept_whole_or_not_at_all(
    town: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Callable[..., Recipe]
) -> None:
    class Dying:
        def save(self, path: Path) -> None:
            path.write_bytes(b"PK half of")
            raise KeyboardInterrupt

    monkeypatch.setattr(front, "train", lambda rows, name: Dying())
    with pytest.raises(KeyboardInterrupt):
        front.guards_of(town, tmp_path)
    assert list((tmp_path / "guards").glob("*.npz")) == []


def test_attempts_of_one_content_have_one_id(smooth: Finished) -> None:
    with open_home(smooth.home, readonly=True) as store:
        attempts = [event for event in store.events("attempt") if isinstance(event, Attempt)]
    content = [(a.run, a.suite, a.task, a.attack, a.template, a.target) for a in attempts]
    assert len(set(content)) == len(content)
