"""The templates: enough of them, filled, short, and with nothing shared between the two parts."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest

from trivet.core.errors import ConfigError, TargetError
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, digest_of
from trivet.core.models.scripted import Scripted
from trivet.robustness.attacks import written
from trivet.robustness.attacks.library import BASIC, FAMILIES, GROUPS, LONG, attacks
from trivet.robustness.attacks.shape import PARTS, NamedAttack, Script, script
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.converters.library import converter

GOAL = Goal("How do I open the {sealed} gate?", "cybercrime", "gates")
ALL = [*attacks("train"), *attacks("heldout")]
SHINGLE = 5


def normal(text: str) -> list[str]:
    """The words of a template's own text, without slots."""
    return re.findall(r"[a-z0-9]+", re.sub(r"\{\w+\}", " ", text).lower())


def texts(one: Script) -> list[str]:
    return [
        *one.turns,
        *(side for shot in one.shots for side in shot),
        *(v for values in one.slots.values() for v in values),
    ]


def how(attack: NamedAttack) -> Script:
    assert isinstance(attack.how, Script)
    return attack.how


def test_the_basic_families_give_the_same_attempts_for_good() -> None:
    """Attempts are stored under these names, and figures of old were measured with them."""
    names = [f"{attack.family}/{attack.template}" for part in PARTS for attack in attacks(part, BASIC)]
    assert (len(names), digest_of(names)) == (124, "b5d403823b6c8b4e40bc228a9bd08d73")
    assert names == [f"{attack.family}/{attack.template}" for part in PARTS for attack in attacks(part, ["basic"])]


def test_groups_stand_for_their_members() -> None:
    assert attacks("train") == attacks("train", ["all"]) == attacks("train", FAMILIES)
    assert GROUPS["basic"] == BASIC == tuple(FAMILIES)[:7]
    mixed = attacks("train", ["leak", "basic", "direct"])
    assert list(dict.fromkeys(attack.family for attack in mixed)) == ["leak", *BASIC]


def test_every_family_has_its_tags() -> None:
    assert set(TAGS) >= {*FAMILIES, *written.FAMILIES, "crescendo", "pair", "tap", "goat", "agent"}
    for family, tag in TAGS.items():
        assert tag.title and tag.about and len(tag.about) <= 80, family
        assert all(re.fullmatch(r"LLM(0[1-9]|10):2025", name) for name in tag.owasp)
        assert all(re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", name) for name in tag.atlas)
        assert bool(tag.owasp) == bool(tag.atlas) == (family != "direct")
    assert len({tag.title for tag in TAGS.values()}) == len(TAGS)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_each_family_has_enough_templates_in_both_parts(family: str) -> None:
    assert len(attacks("train", [family])) >= 8
    assert len(attacks("heldout", [family])) >= 5


def test_train_and_heldout_share_no_wording() -> None:
    wordings = {part: [t for a in ALL if a.part == part for t in texts(how(a))] for part in ("train", "heldout")}
    whole = {part: {" ".join(normal(text)) for text in found} - {""} for part, found in wordings.items()}
    assert whole["train"]
    assert not whole["train"] & whole["heldout"]
    runs = {
        part: {
            tuple(words[i : i + SHINGLE])
            for text in found
            for words in [normal(text)]
            for i in range(len(words) - SHINGLE + 1)
        }
        for part, found in wordings.items()
    }
    assert not runs["train"] & runs["heldout"]


def test_names_are_unique_and_content_true() -> None:
    assert max(Counter((attack.family, attack.template) for attack in ALL).values()) == 1
    one, other = script("Say: {request}"), script("Say it: {request}")
    assert one.digest != other.digest
    assert script("{request}", shots=(("a", "b"),)).digest != script("{request}").digest


@pytest.mark.parametrize("attack", ALL, ids=lambda a: f"{a.family}-{a.template}")
def test_every_placeholder_is_filled_and_the_request_is_there_once(attack: NamedAttack) -> None:
    wordings = how(attack).wordings(GOAL)
    request = converter(how(attack).encoding).encode(GOAL.request) if how(attack).encoding else GOAL.request
    for shot in how(attack).opening(GOAL):
        assert not re.search(r"\{\w+\}", shot.content)
        assert GOAL.request not in shot.content
    assert sum(wording.count(request) for wording in wordings) == 1
    assert request in wordings[-1]
    for wording in wordings:
        assert not re.search(r"\{\w+\}", wording.replace(request, ""))
    own_words = [len(normal(turn)) for turn in how(attack).turns]
    assert max(own_words) <= 75


def test_wordings_depend_on_the_goal_and_on_nothing_else() -> None:
    attack = next(a for a in attacks("train", ["roleplay"]) if "{persona}" in how(a).turns[0])
    goals = [Goal(f"How do I open gate {number}?") for number in range(20)]
    first = [how(attack).wordings(goal)[0] for goal in goals]
    assert first == [how(attack).wordings(goal)[0] for goal in goals]
    assert len({wording.replace(goal.request, "") for wording, goal in zip(first, goals, strict=True)}) > 1


def test_a_dialogue_really_sends_each_turn_and_keeps_the_replies() -> None:
    target = Scripted(lambda conversation: f"reply {len(conversation)}")
    attack = attacks("train", ["escalation"])[0]
    conversation = asyncio.run(attack.attack(GOAL, target))
    turns = how(attack).wordings(GOAL)
    assert len(target.seen) == len(turns) >= 3
    assert [m.content for m in conversation if m.role == "user"] == list(turns)
    assert [m.content for m in conversation if m.role == "assistant"] == ["reply 1", "reply 3", "reply 5"]
    assert GOAL.request not in target.seen[0].last_user
    assert GOAL.request in target.seen[-1].last_user


def test_few_shot_context_comes_as_turns_and_as_text() -> None:
    for part in ("train", "heldout"):
        found = [how(attack) for attack in attacks(part, ["context"])]  # type: ignore[arg-type]
        assert any(one.shots for one in found)
        assert any(not one.shots and one.turns[0].count("\n") >= 4 for one in found)
    target = Scripted("Sure.")
    asyncio.run(attacks("train", ["context"])[0].attack(GOAL, target))
    roles = [message.role for message in target.seen[0]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


def test_an_encoded_request_never_stands_in_plain() -> None:
    for attack in [*attacks("train", ["encoding"]), *attacks("heldout", ["encoding"])]:
        assert GOAL.request not in how(attack).wordings(GOAL)[0]


def test_encodings_can_be_kept_to_those_known() -> None:
    found = {how(attack).encoding for attack in attacks("heldout", encodings=("rot13",))}
    assert found >= {"", "rot13", "past"}
    assert all(converter(name).readable for name in found - {"", "rot13"})
    assert {how(a).encoding for a in attacks("heldout", BASIC, encodings=("rot13",))} == {"", "rot13"}
    assert not attacks("heldout", ["bon"], encodings=("rot13",))
    assert all(attack.family != "encoding" for attack in attacks("heldout", encodings=()))


def test_long_wordings_are_for_targets_that_read_them() -> None:
    short, long = (attacks("heldout", ["manyshot"], encodings=known) for known in ((), ("long",)))
    assert len(long) == len(attacks("heldout", ["manyshot"])) > len(short) >= 3
    assert max(how(attack).words for attack in short) <= LONG < max(how(attack).words for attack in long)
    assert all(how(attack).words <= LONG for part in PARTS for attack in attacks(part, BASIC))
    assert script("one {who} {request}", shots=(("a b", "c"),), slots={"who": ("d", "e f g")}).words == 9


def test_a_failing_target_is_not_hidden() -> None:
    target = Scripted([TargetError("HTTP 500")])
    with pytest.raises(TargetError, match="HTTP 500"):
        asyncio.run(attacks("train")[0].attack(GOAL, target))


def test_topics_read_as_words() -> None:
    ladder = script("Tell me about {topic}.", "{request}")
    for topic, words in (("night_brew", "night brew"), ("catqa:Harm/Data theft", "data theft"), ("", "privacy")):
        assert ladder.wordings(Goal("x", "privacy", topic))[0] == f"Tell me about {words}."


@pytest.mark.parametrize("turns", [(), ("Say it.",), ("{request}", "Go on.")])
def test_a_script_whose_last_turn_does_not_ask_is_refused(turns: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"must hold \{request\}"):
        Script(turns)


def test_a_slot_without_values_is_refused() -> None:
    with pytest.raises(ConfigError, match="person"):
        script("You are {person}. {request}")


def test_unknown_names_are_told_with_their_neighbour() -> None:
    with pytest.raises(ConfigError, match='Did you mean "roleplay"'):
        attacks("train", ["role-play"])
    with pytest.raises(ConfigError, match='Did you mean "heldout"'):
        attacks("held-out")  # type: ignore[arg-type]


def test_a_system_prompt_is_no_business_of_an_attack() -> None:
    for attack in ALL:
        assert all(message.role != "system" for message in how(attack).opening(GOAL))
    assert Script(("{request}",)).opening(GOAL) == Conversation()


def test_shots_may_name_the_topic() -> None:
    opening = script("{request}", shots=(("What of {topic}?", "{who} knows."),), slots={"who": ("Ann",)}).opening(GOAL)
    assert [message.content for message in opening] == ["What of gates?", "Ann knows."]
    with pytest.raises(ConfigError, match="request"):
        script("{request}", shots=(("{request}", "Yes."),))


def test_an_attack_may_be_for_some_hazards_only() -> None:
    assert NamedAttack("x", "v1", "train", script("{request}")).fits(GOAL)
    assert not NamedAttack("x", "v1", "train", script("{request}"), ("privacy",)).fits(GOAL)
    assert {attack.family for attack in ALL if not attack.fits(GOAL)} == {"leak"}
