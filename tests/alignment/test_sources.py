"""Data sets: the forms that are read, and what is said about rows that cannot be."""

from __future__ import annotations

import gzip
import json
import os
import random
from itertools import combinations
from pathlib import Path

import pytest

from trivet.alignment import sources
from trivet.core.errors import DataError
from trivet.core.lessons import Demonstration, Feedback, Origin, Preference
from trivet.core.messages import Conversation, Message

ASK = Conversation.user("why")
TURN = [{"role": "user", "content": "why"}]
SAID = [{"role": "assistant", "content": "so"}]


def written(folder: Path, *rows: object, name: str = "set.jsonl") -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    data = text.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": TURN, "chosen": "so", "rejected": "no", "kind": "x", "id": 1},
        {"prompt": "why", "chosen": "so", "rejected": "no"},
        {"prompt": TURN, "chosen": SAID, "rejected": [{"role": "assistant", "content": "no"}]},
        {"chosen": TURN + SAID, "rejected": [*TURN, {"role": "assistant", "content": "no"}]},
        {"chosen": "\n\nHuman: why\n\nAssistant: so", "rejected": "\n\nHuman: why\n\nAssistant: no"},
    ],
)
@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz"])
def test_forms_of_preferences(tmp_path, row, name):
    (lesson,), dropped = sources.preferences(written(tmp_path, row, "", name=name))
    assert lesson == Preference(ASK, "so", "no") and lesson.origin.source == "set" and not dropped


def test_transcripts_that_share_the_reply_s_first_words_are_cut_at_the_turn(tmp_path):
    """Where a cut through characters would move `Paris is ` into the prompt."""
    same = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: Paris is "
    (lesson,), _ = sources.preferences(written(tmp_path, {"chosen": same + "big", "rejected": same + "bad"}))
    assert len(lesson.prompt) == 3 and (lesson.chosen, lesson.rejected) == ("Paris is big", "Paris is bad")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"prompt": "why", "completion": "so"}, [Demonstration(ASK, "so")]),
        ({"prompt": TURN, "completion": SAID}, [Demonstration(ASK, "so")]),
        ({"prompt": "why", "response": "so"}, [Demonstration(ASK, "so")]),
        ({"text": "a tale"}, [Demonstration(Conversation(), "a tale")]),
        (
            {"messages": TURN + SAID + TURN + SAID},
            [
                Demonstration(ASK, "so"),
                Demonstration(
                    Conversation((Message("user", "why"), Message("assistant", "so"), Message("user", "why"))), "so"
                ),
            ],
        ),
    ],
)
def test_forms_of_demonstrations(tmp_path, row, wanted):
    assert sources.demonstrations(written(tmp_path, row)).lessons == wanted


def test_forms_of_feedback(tmp_path):
    path = written(tmp_path, {"prompt": "why", "completion": "so", "label": True})
    assert sources.feedback(path).lessons == [Feedback(ASK, "so", True)]


def test_what_teaches_nothing_is_counted(tmp_path):
    good = {"prompt": "why", "chosen": "so", "rejected": "no"}
    path = written(
        tmp_path,
        good,
        {**good, "chosen": " "},
        {**good, "chosen": "no"},
        {**good, "rejected": "so\n"},
        {**good, "prompt": ""},
        {**good, "prompt": [*TURN, *TURN]},
    )
    lessons, dropped = sources.preferences(path)
    assert len(lessons) == 1 and dropped == {"empty": 2, "identical": 2, "not_alternating": 1}
    found = sources.read(path, "preferences")
    assert [drop.line for drop in found.drops] == [2, 3, 4, 5, 6] and found.rows == 6
    assert list(sources.places(found.drops, 1)) == [
        "2 empty (2, ...)",
        "2 identical (3, ...)",
        "1 not_alternating (6)",
    ]


@pytest.mark.parametrize(
    ("talk", "told"),
    [
        ("ua|au", "turn 3 is assistant after assistant, where user or tool"),
        ("uu", "turn 2 is user after user, where assistant"),
        ("a", "turn 1 is assistant at the beginning, where system or user"),
        ("t", "turn 1 is tool at the beginning"),
        ("us", "turn 2 is system after user"),
        ("ss", "turn 2 is system after system"),
        ("sa", "turn 2 is assistant after system, where user must stand"),
        ("ut", "turn 2 is tool after user"),
        ("uatu", "turn 4 is user after tool, where tool or assistant"),
    ],
)
def test_roles_that_do_not_take_turns_are_named_by_line_and_turn(tmp_path, talk, told):
    role = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    turns = [{"role": role[letter], "content": "x"} for letter in talk.replace("|", "")]
    path = written(tmp_path, {"messages": TURN + SAID}, {"messages": turns})
    found = sources.read(path, "demonstrations")
    assert len(found.lessons) == 1 and found.drops[0][:2] == (2, "not_alternating") and told in found.drops[0].told
    with pytest.raises(DataError, match=f"set.jsonl line 2: `messages` {told}"):
        sources.read(path, "demonstrations", strict=True)


def test_system_first_and_tools_after_the_assistant_are_in_order(tmp_path):
    roles = ("system", "user", "assistant", "tool", "tool", "assistant", "user", "assistant")
    turns = [{"role": role, "content": role} for role in roles]
    assert len(sources.read(written(tmp_path, {"messages": turns}), "demonstrations", strict=True).lessons) == 3


def test_rows_that_cannot_be_read_are_skipped_where_that_is_asked_for(tmp_path):
    path = written(tmp_path, {"prompt": "why"}, {"prompt": "why", "chosen": "so", "rejected": "no"})
    found = sources.read(path, "preferences", skip=True)
    assert len(found.lessons) == 1 and found.drops[0].reason == "unreadable" and "needs `chosen`" in found.drops[0].told


def test_lessons_know_their_line(tmp_path):
    path = written(tmp_path, "", {"prompt": "why", "chosen": "so", "rejected": "no"})
    assert sources.preferences(path).lessons[0].origin == Origin("set", line=2)


@pytest.mark.parametrize("word", ["Human: yes", "he said Human: no", "\nHuman: x", "a\n\nhuman: x", "a\n\n Human: x"])
def test_only_a_mark_at_the_start_of_a_paragraph_begins_a_turn(tmp_path, word):
    head = f"\n\nHuman: {word}\n\nAssistant: {word} b\n\nHuman: c\n\nAssistant:"
    (lesson,), _ = sources.preferences(written(tmp_path, {"chosen": head + f" {word}", "rejected": head + " no"}))
    assert [message.role for message in lesson.prompt] == ["user", "assistant", "user"]
    assert lesson.prompt.messages[1].content == f"{word} b".strip() and lesson.chosen == word.strip()


def by_characters(chosen: str, rejected: str) -> str:
    """The prompt as a cut after the longest common beginning gives it, less a space at its end."""
    same = next(
        (at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    return chosen[: same - 1 if chosen[same - 1] == " " else same]


def test_turns_keep_whole_what_a_cut_through_characters_damages(tmp_path):
    """Dialogues drawn at random, a third of whose replies begin alike; the cut by turns must give back every one."""
    dice = random.Random(7)
    words = ["I", "I'm", "it", "its", "no", "not", "now", "sorry", "sore", "Human:", "yes"]
    rows, wanted, damaged = [], [], 0
    for _ in range(300):
        said = [" ".join(dice.choices(words, k=dice.randint(1, 6))) for _ in range(2 * dice.randint(0, 2) + 1)]
        won, lost = (" ".join(dice.choices(words, k=dice.randint(2, 5))) for _ in range(2))
        head = (
            "".join(f"\n\n{('Human', 'Assistant')[at % 2]}: {text}" for at, text in enumerate(said)) + "\n\nAssistant:"
        )
        if won != lost:
            rows.append({"chosen": f"{head} {won}", "rejected": f"{head} {lost}"})
            wanted.append((said, won, lost))
            damaged += by_characters(rows[-1]["chosen"], rows[-1]["rejected"]) != head
    lessons, dropped = sources.preferences(written(tmp_path, *rows))
    assert [([m.content for m in one.prompt], one.chosen, one.rejected) for one in lessons] == wanted and not dropped
    assert damaged > len(rows) / 10


@pytest.mark.filterwarnings("ignore")  # whatever TRL and what it loads deprecate
def test_trl_cuts_through_characters_and_damages_what_turns_keep_whole(tmp_path):
    cut = pytest.importorskip("trl.data_utils").extract_prompt
    head = "\n\nHuman: where is it\n\nAssistant:"
    replies = [("I'm here", "I am here"), ("It is", "Its own"), ("yes", "no"), ("Paris is big", "Paris is bad")]
    rows = [{"chosen": f"{head} {won}", "rejected": f"{head} {lost}"} for won, lost in replies]
    assert [cut(row)["prompt"] for row in rows] == [by_characters(**row) for row in rows]
    assert [cut(row)["prompt"] == head for row in rows] == [False, False, True, False]
    lessons, _ = sources.preferences(written(tmp_path, *rows))
    assert [(one.chosen, one.rejected) for one in lessons] == replies


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "\n\nHuman: why\n\nAssistant:", "chosen": " so", "rejected": " no"},
        {"prompt": "why", "chosen": TURN + SAID, "rejected": [*TURN, {"role": "assistant", "content": "no"}]},
        {"prompt": TURN, "chosen": "\n\nAssistant: so", "rejected": "no"},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "why"}]}], "chosen": "so", "rejected": "no"},
    ],
)
def test_more_forms_of_preferences(tmp_path, row):
    (lesson,), _ = sources.preferences(written(tmp_path, row))
    assert (lesson.prompt, lesson.chosen.strip(), lesson.rejected.strip()) == (ASK, "so", "no")


def test_margin_chance_and_weight_are_read(tmp_path):
    row = {"prompt": "why", "chosen": "so", "rejected": "no", "weight": 2, "margin": -1, "chance": 0.5}
    assert sources.preferences(written(tmp_path, row)).lessons == [Preference(ASK, "so", "no", 2.0, -1.0, 0.5)]


def test_a_ranked_list_gives_all_its_pairs_and_they_weigh_as_one(tmp_path):
    row = {"prompt": "why", "replies": ["b", "d", "a", "c"], "ranks": [2, 4, 1, 3]}
    lessons, _ = sources.preferences(written(tmp_path, row))
    assert sorted((one.chosen, one.rejected) for one in lessons) == sorted(combinations("abcd", 2))
    assert {one.weight for one in lessons} == {1 / 6}
    scored = {"prompt": TURN, "replies": [SAID, "b", "c"], "scores": [0.5, 0.5, 9], "weight": 3}
    lessons, _ = sources.preferences(written(tmp_path, scored))
    assert [(one.chosen, one.rejected, one.weight) for one in lessons] == [("c", "so", 1.5), ("c", "b", 1.5)]


@pytest.mark.parametrize(
    ("row", "chosen", "chance"),
    [([2, 1, 1], "so", 0.625), ([0, 3], "no", 1.0), ([1, 1, 5], "so", 0.5)],
)
def test_votes_become_a_chance_where_that_is_asked_for(tmp_path, row, chosen, chance):
    path = written(tmp_path, {"prompt": "why", "chosen": "so", "rejected": "no", "votes": row})
    (lesson,) = sources.read(path, "preferences", votes=True).lessons
    assert (lesson.chosen, lesson.chance) == (chosen, chance)
    assert sources.preferences(path).lessons[0].chance == 1.0


@pytest.mark.parametrize("votes", [None, [1], [0, 0], [-1, 2], ["1", 2], [1, 2, 3, 4]])
def test_votes_that_are_none_are_named(tmp_path, votes):
    path = written(tmp_path, {"prompt": "why", "chosen": "so", "rejected": "no", "votes": votes})
    with pytest.raises(DataError, match="line 1: `votes`"):
        sources.read(path, "preferences", votes=True)


def test_pairs_are_feedback_and_anything_has_a_prompt(tmp_path):
    pair = {"prompt": "why", "chosen": "so", "rejected": "no"}
    assert sources.feedback(written(tmp_path, pair)).lessons == [Feedback(ASK, "so", True), Feedback(ASK, "no", False)]
    implicit = {"chosen": TURN + SAID, "rejected": [*TURN, {"role": "assistant", "content": "no"}]}
    rows = [{"prompt": "why"}, pair, implicit, {"messages": TURN}, {"messages": TURN + SAID}]
    assert sources.prompts(written(tmp_path, *rows)).lessons == [ASK] * 5


def test_fields_of_other_names_can_be_renamed(tmp_path):
    path = written(tmp_path, {"question": "why", "good": "so", "bad": "no", "chosen": 3})
    names = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    assert sources.read(path, "preferences", rename=names).lessons == [Preference(ASK, "so", "no")]
    with pytest.raises(DataError, match=r'line 1: .*needs `god`.*Did you mean "good"'):
        sources.read(path, "preferences", rename={**names, "chosen": "god"})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"prompt": "why", ', "not JSON"),
        ("[1, 2]", "must be an object"),
        ({"prompt": "why", "chosen": "so"}, "needs `rejected` and has prompt, chosen"),
        ({"prompt": "why", "chosen": "so", "rejcted": "no"}, 'Did you mean "rejcted"'),
        ({"prompt": 7, "chosen": "so", "rejected": "no"}, "`prompt` is 7"),
        ({"prompt": TURN + SAID, "chosen": "so", "rejected": "no"}, "`prompt` ends with the assistant"),
        ({"prompt": [{"role": "king", "content": "x"}], "chosen": "so", "rejected": "no"}, "the role 'king'"),
        ({"prompt": [{"content": "x"}], "chosen": "so", "rejected": "no"}, "the role None"),
        ({"prompt": [{"role": "user"}], "chosen": "so", "rejected": "no"}, "`prompt` turn 1"),
        ({"prompt": TURN, "chosen": TURN, "rejected": "no"}, r"`chosen` must be one assistant turn .*\(user\)"),
        ({"prompt": TURN, "chosen": None, "rejected": "no"}, "`chosen` is None"),
        ({"chosen": "the sky is blue", "rejected": "the sky is green"}, "give `prompt`"),
        ({"chosen": TURN + SAID, "rejected": [{"role": "user", "content": "who"}, *SAID]}, "differ before their last"),
        ({"chosen": TURN, "rejected": TURN}, "with one assistant turn at the end"),
        ({"prompt": "why", "chosen": "so", "rejected": "no", "weight": -1}, "`weight` is -1"),
        ({"prompt": "why", "chosen": "so", "rejected": "no", "weight": True}, "`weight` is True"),
        ({"prompt": "why", "chosen": "so", "rejected": "no", "margin": "1"}, "`margin` is '1'"),
        ({"prompt": "why", "chosen": "so", "rejected": "no", "margin": float("nan")}, "`margin` is nan"),
        ({"prompt": "why", "chosen": "so", "rejected": "no", "chance": 0.4}, "`chance` is 0.4.*swap"),
        ({"prompt": "why", "replies": ["a"], "ranks": [1]}, "at least two replies"),
        ({"prompt": "why", "replies": ["a", "b"]}, "need `ranks`"),
        ({"prompt": "why", "replies": ["a", "b"], "ranks": [1]}, "a list of 2 numbers"),
        ({"prompt": "who", "chosen": TURN + SAID, "rejected": "no"}, "repeats a prompt that is not"),
        ({"prompt": [{"role": "system", "content": "x"}], "chosen": "so", "rejected": "no"}, "ends with the system"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}], "chosen": "a", "rejected": "b"}, "only text"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, row, why):
    path = written(tmp_path, {"prompt": "why", "chosen": "so", "rejected": "no"}, row)
    with pytest.raises(DataError, match=rf"set.jsonl line 2: .*{why}"):
        sources.preferences(path)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"messages": TURN}, "no assistant turn"),
        ({"text": 3}, "`text` is 3"),
        ({"prompt": "why"}, "needs `completion`"),
    ],
)
def test_demonstrations_that_cannot_be_read_are_named(tmp_path, row, why):
    with pytest.raises(DataError, match=f"line 1: .*{why}"):
        sources.demonstrations(written(tmp_path, row))


def test_labels_must_be_true_or_false(tmp_path):
    with pytest.raises(DataError, match="`label` is 1"):
        sources.feedback(written(tmp_path, {"prompt": "why", "completion": "so", "label": 1}))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="there is no data set"):
        sources.preferences(tmp_path / "none.jsonl")
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 999)[:-12])
    with pytest.raises(DataError, match=r"torn.jsonl.gz line \d+"):
        sources.demonstrations(tmp_path / "torn.jsonl.gz")
    (tmp_path / "latin.jsonl").write_bytes('{"text": "löß"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        sources.demonstrations(tmp_path / "latin.jsonl")


def public(name: str) -> Path:
    folder = Path(os.environ.get("TRIVET_DATA", Path(__file__).parents[3] / "shared" / "data")) / "preferences"
    if not folder.is_dir():
        pytest.skip("the public data sets are not here; set TRIVET_DATA")
    return folder / name


def test_the_public_preference_sets_are_read_whole():
    for path in sorted(public("").glob("*.jsonl.gz")):
        lessons, dropped = sources.preferences(path)
        assert len(lessons) > 200 and sum(dropped.values()) < len(lessons) / 20, path.name


def test_public_dialogues_come_back_whole_from_transcripts(tmp_path):
    """Written as transcripts and read again: not one pair is damaged; the other cut damages every fifth."""
    lessons, _ = sources.preferences(public("hh_harmless_test.jsonl.gz"))
    names, rows, damaged = {"user": "Human", "assistant": "Assistant"}, [], 0
    for one in lessons:
        head = "".join(f"\n\n{names[m.role]}: {m.content}" for m in one.prompt) + "\n\nAssistant:"
        rows.append({"chosen": f"{head} {one.chosen.strip()}", "rejected": f"{head} {one.rejected.strip()}"})
        damaged += by_characters(**rows[-1]) != head
    found, dropped = sources.preferences(written(tmp_path, *rows))
    wanted = [(one.prompt.rows(), one.chosen.strip(), one.rejected.strip()) for one in lessons]
    assert [(one.prompt.rows(), one.chosen, one.rejected) for one in found] == wanted and not dropped
    assert 0.17 < damaged / len(rows) < 0.23
