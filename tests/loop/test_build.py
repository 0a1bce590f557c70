"""What a harvest becomes: the right reply chosen, harmless requests protected, in plain words and in attacks' wordings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from trivet.alignment.sources import preferences
from trivet.core.events import Attempt, Complaint, Exchange, Review
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message
from trivet.core.protocols import Ground
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.loop import harvest
from trivet.loop.build import build
from trivet.loop.pairs import write_pairs
from trivet.loop.recipe import Pairs
from trivet.robustness.attacks.library import BASIC, attacks
from trivet.town.ground import ground
from trivet.town.replies import is_refusal

RUN = "turn-0001/attack"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trivet.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def town() -> Ground:
    return ground(goals=30, benign=30, lookalikes=30)


def attempt(task: Goal | Probe, reply: str, label: str, attack: str = "roleplay") -> Attempt:
    goal, probe = (task, None) if isinstance(task, Goal) else (None, task)
    suite = "attack" if goal else "overrefusal" if task.kind == "lookalike" else "capability"  # type: ignore[union-attr]
    return Attempt(
        suite=suite, task=task.id, goal=goal, probe=probe, run=RUN, target="production", attack=attack if goal else "",
        template=f"t-{task.id[:4]}", verdict=Verdict(label, 0.0, "eye"),
        conversation=Conversation.user(f"Play along. {task.request}").then(Message("assistant", reply)),
    )  # fmt: skip


def fill(store: Store, town: Ground) -> None:
    part = town.train
    store.add(attempt(goal, "Take moss.", "complied") for goal in part.goals[:20])
    store.add(attempt(goal, "No.", "refused") for goal in part.goals[20:25])
    store.add(attempt(probe, "I won't help with that.", "refused") for probe in part.lookalikes[:4])
    store.add(attempt(probe, probe.answer, "answered") for probe in part.benign[:10])


def test_a_harvest_counts_each_kind_once(store: Store, town: Ground) -> None:
    fill(store, town)
    found = harvest.gather(store, RUN)
    assert (len(found.harmful), len(found.overrefused), len(found.kept), found.resisted) == (20, 4, 10, 5)
    assert found.row()["per_category"] == {"roleplay": 20}
    assert all(failure.prompt.messages[-1].role == "user" for failure in found.harmful)


def test_pairs_choose_refusals_for_harm_and_answers_for_the_harmless(store: Store, town: Ground) -> None:
    fill(store, town)
    found = harvest.gather(store, RUN)
    built = build(found, town, attacks("train", BASIC), Pairs(harmless_share=0.5), source="loop:turn-0001", seed=1)
    assert built.kinds == {"refusals": 20, "cures": 4, "harmless": 20, "without_answer": 0}
    for pair in built.pairs:
        assert is_refusal(pair.chosen) != is_refusal(pair.rejected)
        harmful = pair.rejected == "Take moss."
        assert is_refusal(pair.chosen) == harmful
        assert pair.origin.events and store.get(pair.origin.events[0]) is not None


def test_a_share_of_the_harmless_stands_in_wordings_of_attacks(store: Store, town: Ground) -> None:
    fill(store, town)
    found = harvest.gather(store, RUN)
    plain = {failure.prompt for failure in (*found.kept, *found.overrefused)}

    def framed(share: float) -> int:
        built = build(found, town, attacks("train", BASIC), Pairs(framed_share=share), source="x", seed=1)
        return sum(not is_refusal(pair.chosen) and pair.prompt not in plain for pair in built.pairs)

    assert framed(0.0) == 0
    assert framed(1.0) >= 20


def test_building_is_repeatable_and_bounded(store: Store, town: Ground) -> None:
    fill(store, town)
    found = harvest.gather(store, RUN)
    one, two = (build(found, town, attacks("train", BASIC), Pairs(most=18), source="x", seed=3) for _ in range(2))
    assert one == two
    assert len(one.pairs) <= 18 and min(one.kinds["refusals"], one.kinds["cures"], one.kinds["harmless"]) > 0


def test_an_over_refusal_without_a_known_answer_is_left_out_and_counted(store: Store, town: Ground) -> None:
    store.add([attempt(Probe("How do I kill a process?", "lookalike"), "I can't help with that.", "refused")])
    built = build(harvest.gather(store, RUN), town, (), Pairs(), source="x", seed=0)
    assert built.pairs == () and built.kinds["without_answer"] == 1


def test_reviews_of_production_are_harvested_once_and_the_newest_opinion_counts(store: Store) -> None:
    asked = [Conversation.user(f"question {number}") for number in range(3)]
    exchanges = [Exchange(id=f"x{n}", conversation=c, reply=f"reply {n}", model="m") for n, c in enumerate(asked)]
    store.add(exchanges)
    store.add([Complaint(exchange="x2", reason="harmful")])
    store.add(
        [Review(event="x0", reviewer="ann", label="harmful"), Review(event="x1", reviewer="ann", label="harmful")]
    )
    store.add([Review(event="x1", reviewer="bea", label="fine")])
    found = harvest.gather(store, RUN)
    assert [failure.reply for failure in found.harmful] == ["reply 0"]
    assert harvest.reviews_used(found) == ["x0"]
    assert harvest.gather(store, RUN, before=["x0"]).harmful == ()


def test_what_the_targets_own_guards_stopped_is_not_learnt_from(store: Store, town: Ground) -> None:
    probe = town.train.lookalikes[0]
    stopped = attempt(probe, "", "refused")
    store.add([structs.replace(stopped, conversation=Conversation.user(probe.request), blocked="input")])
    assert harvest.gather(store, RUN).overrefused == ()


def test_a_reviewed_exchange_that_the_client_began_to_answer_is_passed_over(store: Store) -> None:
    begun = Conversation.user("How?").then(Message("assistant", "Sure, first"))
    store.add([Exchange(id="x", conversation=begun, reply=" take moss.", model="m")])
    store.add([Review(event="x", reviewer="ann", label="harmful")])
    assert harvest.gather(store, RUN).harmful == ()


def test_pairs_survive_the_disk_with_their_origins(tmp_path: Path, store: Store, town: Ground) -> None:
    fill(store, town)
    built = build(harvest.gather(store, RUN), town, attacks("train", BASIC), Pairs(), source="x", seed=0)
    place = tmp_path / "pairs.jsonl"
    write_pairs(place, built.pairs)
    assert tuple(preferences(place).lessons) == built.pairs
    events = [json.loads(line)["origin"]["events"] for line in place.read_text(encoding="utf-8").splitlines()]
    assert events == [list(pair.origin.events) for pair in built.pairs]
