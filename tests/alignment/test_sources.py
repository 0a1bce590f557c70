"""Data sets: the forms that are read, and what is said about rows that cannot be."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from trivet.alignment import sources
from trivet.core.errors import DataError
from trivet.core.lessons import Demonstration, Feedback, Preference
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
    path = written(tmp_path, good, {**good, "chosen": " "}, {**good, "chosen": "no"}, {**good, "rejected": "so\n"})
    lessons, dropped = sources.preferences(path)
    assert len(lessons) == 1 and dropped == {"empty": 1, "identical": 2}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"prompt": "why", ', "not JSON"),
        ("[1, 2]", "must be an object"),
        ({"prompt": "why", "chosen": "so"}, "needs `rejected` and has prompt, chosen"),
        ({"prompt": "why", "chosen": "so", "rejcted": "no"}, 'Did you mean "rejcted"'),
        ({"prompt": 7, "chosen": "so", "rejected": "no"}, "`prompt` is 7"),
        ({"prompt": " ", "chosen": "so", "rejected": "no"}, "`prompt` is empty"),
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
        ({"messages": SAID + TURN}, "begins with the assistant"),
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


def test_the_public_preference_sets_are_read_whole():
    folder = Path(os.environ.get("TRIVET_DATA", Path(__file__).parents[3] / "shared" / "data")) / "preferences"
    if not folder.is_dir():
        pytest.skip("the public data sets are not here; set TRIVET_DATA")
    for path in sorted(folder.glob("*.jsonl.gz")):
        lessons, dropped = sources.preferences(path)
        assert len(lessons) > 200 and sum(dropped.values()) < len(lessons) / 20, path.name
