"""The frozen values: equal by content, identified by content, and strict about what they are made of."""

from __future__ import annotations

import dataclasses
import time
import uuid

import msgspec
import pytest

from trivet.core.errors import Blocked, DataError, TargetError, TrivetError, UserError, did_you_mean
from trivet.core.events import (
    Alert,
    Attempt,
    Complaint,
    Event,
    Exchange,
    Incident,
    Promotion,
    Review,
    Run,
    decode,
    encode,
    new_id,
)
from trivet.core.hazards import HAZARDS, Goal, Probe
from trivet.core.lessons import Demonstration, Feedback, Lesson, Origin, Preference, lesson_digest
from trivet.core.messages import Conversation, Message, digest_of, digest_of_texts, text_of
from trivet.core.models.scripted import Scripted
from trivet.core.protocols import Model
from trivet.core.verdicts import Decision, Span, Verdict

ASKED = Conversation.user("Where is the mill?", system="You are kind.")


def test_message_refuses_an_unknown_role() -> None:
    with pytest.raises(DataError, match="'robot'; the roles are system, user, assistant, tool"):
        Message("robot", "beep")  # type: ignore[arg-type]


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ASKED.messages[0].content = "x"  # type: ignore[misc]


def test_conversation_is_built_by_then() -> None:
    answered = ASKED.then(Message("assistant", "By the river."))
    assert len(ASKED) == 2 and len(answered) == 3
    assert [message.role for message in answered] == ["system", "user", "assistant"]
    assert answered.reply == "By the river." and ASKED.reply == ""
    assert answered.last_user == "Where is the mill?"
    assert Conversation().reply == Conversation().last_user == ""
    assert Conversation.user("x").rows() == [{"role": "user", "content": "x"}]


def test_conversation_digest_is_its_content() -> None:
    assert ASKED.digest == Conversation.parse(ASKED.rows()).digest
    assert ASKED.digest != Conversation.user("Where is the mill?").digest
    # Pinned, because the ids in existing stores depend on it: sha256 of '[{"content":"x","role":"user"}]'.
    assert Conversation.user("x").digest == "7c5139ff349b5009ca51b90118aa039f"


@pytest.mark.parametrize("row", [{"role": "user"}, {"content": "x"}, "words", {"role": "user", "content": 5}])
def test_parse_names_the_turn_at_fault(row: object) -> None:
    with pytest.raises(DataError, match="turn 2 needs `role` and `content`"):
        Conversation.parse([{"role": "user", "content": "x"}, row])  # type: ignore[list-item]


def test_text_of_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "input_text", "text": "b"}]
    assert (text_of(parts), text_of(None), text_of("c")) == ("ab", "", "c")


LESSONS: list[Lesson] = [
    Demonstration(ASKED, "There."),
    Preference(ASKED, "There.", "No."),
    Preference(ASKED, "There.", "No.", weight=2.0),
    Preference(ASKED, "There.", "No.", margin=2.0),
    Preference(ASKED, "There.", "No.", chance=0.75),
    Feedback(ASKED, "There.", True),
    Feedback(ASKED, "There.", False),
]


def test_lessons_are_told_apart_by_content() -> None:
    assert len({lesson_digest(lesson) for lesson in LESSONS}) == len(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_origin_is_no_part_of_a_lesson(lesson: Lesson) -> None:
    moved = dataclasses.replace(lesson, origin=Origin("elsewhere", ("e1",)))
    assert moved == lesson and lesson_digest(moved) == lesson_digest(lesson)


def test_a_certain_pair_keeps_the_digest_it_always_had() -> None:
    """Stores and caches know pairs by it; a field that came later must not rename them."""
    pair = Preference(ASKED, "There.", "No.", weight=2.0)
    assert lesson_digest(pair) == digest_of(["preference", ASKED.rows(), "There.", "No.", 2.0])


@pytest.mark.parametrize("field", [{"margin": float("nan")}, {"chance": -0.1}, {"chance": 1.5}])
def test_a_preference_refuses_what_is_no_margin_or_chance(field: dict[str, float]) -> None:
    with pytest.raises(DataError, match=next(iter(field))):
        Preference(ASKED, "There.", "No.", **field)


def test_an_origin_says_its_line_where_it_has_one() -> None:
    assert (str(Origin("set", line=3)), str(Origin("town"))) == ("set:3", "town")


def test_goals_and_probes_have_content_ids() -> None:
    assert Goal("x").id == Goal("x", facts=("f",)).id != Goal("x", "privacy").id
    assert Probe("x").id != Probe("x", "lookalike").id != Goal("x").id
    assert all(code == hazard.code for code, hazard in HAZARDS.items())


VERDICT = Verdict("complied", 0.9, "rules", spans=(Span(0, 2, "x"),))
EVENTS: list[Event] = [
    Exchange(
        conversation=ASKED, reply="There.", model="m", decisions=(Decision("block", "input", verdicts=(VERDICT,)),)
    ),
    Attempt(
        suite="attack", task="t", conversation=ASKED, verdict=VERDICT, target="m", goal=Goal("x"), probe=Probe("y")
    ),
    Complaint(exchange="e", reason="harmful"),
    Review(event="e", reviewer="r", label="fine"),
    Alert(detector="d", why="w"),
    Incident(title="t"),
    Run(name="r", settings={"a": [1]}),
    Promotion(model="m", previous="", outcome="promoted"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_events_survive_bytes(event: Event) -> None:
    assert decode(encode(event)) == event
    assert f'"kind":"{event.kind}"' in encode(event).decode()


def test_a_new_id_is_a_uuid_of_version_7_and_later_ones_sort_later() -> None:
    before = time.time_ns() // 1_000_000
    first = [uuid.UUID(new_id()) for _ in range(500)]
    time.sleep(0.002)
    later = new_id()
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in first)
    assert len(set(first)) == 500
    assert all(before <= one.int >> 80 <= time.time_ns() // 1_000_000 for one in first)
    assert later > max(one.hex for one in first)


def test_decode_refuses_other_things() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode('{"kind": "wedding"}')


def test_the_tree_of_errors() -> None:
    assert UserError.exit_code == 2 and TrivetError.exit_code == 1
    blocked = Blocked("no", "output")
    assert isinstance(blocked, TargetError) and blocked.place == "output" and Blocked("no").place == "input"


def test_did_you_mean() -> None:
    assert did_you_mean("hepl", ["help", "serve"]) == ' Did you mean "help"?'
    assert did_you_mean("zzz", ["help"]) == ""


def test_protocol_is_structural() -> None:
    assert isinstance(Scripted("x"), Model)


@pytest.mark.parametrize("texts", [[], [""], ["goal", 'a "b"\\\n\t\x00\x1f\x7f', "é ツ 😀", "\u2028"]])
def test_texts_have_the_digest_of_their_list(texts: list[str]) -> None:
    assert digest_of_texts(texts) == digest_of(texts)
