"""Forget sets from documents: reading, questions by rule and by a model, the split, and what is refused in which words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from trivet.alignment import unlearn_data
from trivet.alignment.unlearn_data import by_model, by_rule, entries, forget_set, grounded, passages, read, sentences
from trivet.core.errors import ConfigError, DataError, TargetError
from trivet.core.models.scripted import Scripted

LAMPS = "The miller Tam Reddy keeps 12 lamps by the old well. Nobody else in the valley may light one of them."
BREAD = """# Bread and ferries

The baker tells the ferry when bread is **warm** at noon. See [the almanac](http://x.y) for the hours of the ferry.

- Orla Finch bakes nine loaves for the [harbour](a.md) each morning.
- Too short.

```
code that nobody should be asked about in any question
```
"""
GOOD = "Q: Who keeps the lamps?\nP: By whom are the lamps kept?\nA: the miller Tam Reddy\n\nQ: How many lamps are there?\nP: What is the number of lamps?\nA: 12"


@pytest.fixture
def base(tmp_path) -> Path:
    folder = tmp_path / "base"
    (folder / "deep").mkdir(parents=True)
    (folder / "lamp_lore.txt").write_text(LAMPS)
    (folder / "deep" / "bread.md").write_text(BREAD)
    rows = [
        {"text": "The ferry tells the baker when the well is warm."},
        {"prompt": "Who bakes?", "completion": "Orla."},
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("x")
    return folder


def test_a_folder_is_read_whole(base):
    found = read(base)
    names = [(document.name, document.title) for document in found.documents]
    assert names == [("deep/bread.md", "Bread and ferries"), ("lamp_lore.txt", "lamp lore"), ("rows.jsonl:1", "rows")]
    assert [(fact.document, fact.wordings) for fact in found.facts] == [("rows.jsonl:2", (("Who bakes?", "Orla."),))]
    assert found.other_files == 1


def test_every_file_that_cannot_be_used_is_named(base):
    (base / "latin.txt").write_bytes(b"caf\xe9 au lait")
    (base / "empty.md").write_text("  \n")
    (base / "deep" / "bad.jsonl").write_text('{"prompt": "x", "completion": "y"}\n{"prompt": 3}\n')
    with pytest.raises(DataError) as told:
        read(base)
    said = str(told.value)
    assert "3 of 6 files" in said
    assert "latin.txt: not UTF-8 text (byte 3)" in said and "empty.md: empty" in said and "deep/bad.jsonl: " in said
    assert "line 2" in said


def test_no_folder_and_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"holds no \.txt, \.md, \.jsonl file \(1 of other kinds\)"):
        read(tmp_path)


def test_sentences_of_markdown_are_plain():
    assert sentences(BREAD) == [
        "The baker tells the ferry when bread is warm at noon.",
        "See the almanac for the hours of the ferry.",
        "Orla Finch bakes nine loaves for the harbour each morning.",
    ]


def test_questions_by_rule_hold_the_sentence_and_not_its_answer(base):
    facts = by_rule(read(base).documents)
    assert len(facts) == 2 * len({s for d in read(base).documents for s in sentences(d.text)})
    for fact in facts:
        assert (
            len({question for question, _ in fact.wordings}) == 4 and len({answer for _, answer in fact.wordings}) == 1
        )
    asked = {question: answer for fact in facts for question, answer in fact.wordings}
    question = 'Continue this sentence from "lamp lore": The miller Tam Reddy keeps 12 ...'
    assert asked[question] == "lamps by the old well."
    assert asked["Which word is missing here? The miller Tam ____ keeps 12 lamps by the old well."] == "Reddy"
    assert asked['What belongs in the gap? "____ else in the valley may light one of them."'] == "Nobody"
    assert by_rule(read(base).documents) == facts


def test_a_sentence_that_stands_twice_is_one_fact(base):
    before = len(by_rule(read(base).documents))
    text = f"{LAMPS}\n\n{LAMPS}"
    (base / "lamp_lore.txt").write_text(text)
    assert len(by_rule(read(base).documents)) == before


def test_wordings_are_held_out_of_every_fact(base):
    made = forget_set(base, share=0.25)
    assert made.dropped == {"other_files": 1}
    assert forget_set(base, share=0.25) == made
    learnt, heldout = ({(one.prompt.last_user) for one in part} for part in (made.learnt, made.heldout))
    assert not learnt & heldout
    rules = len(by_rule(read(base).documents))
    assert len([one for one in made.learnt if one.reply != "Orla."]) == 3 * rules
    assert len([one for one in made.heldout if one.reply != "Orla."]) == rules
    assert {one.reply for one in made.heldout} - {"Orla."} == {one.reply for one in made.learnt} - {"Orla."}
    assert all(one.origin.source.startswith("documents:") for one in made.learnt)
    most = forget_set(base, share=0.99)
    assert len(most.heldout) >= 3 * rules and len(most.learnt) >= rules


def test_documents_are_held_out_whole(base):
    made = forget_set(base, apart="document", share=0.4, texts=True)
    learnt, heldout = ({one.origin.source for one in part} for part in (made.learnt, made.heldout))
    assert learnt and heldout and not learnt & heldout
    texts = [one for one in made.learnt if not len(one.prompt)]
    assert texts and {one.origin.source for one in texts} <= learnt
    for name in ("deep/bread.md", "rows.jsonl"):
        (base / name).unlink()
    with pytest.raises(DataError, match="needs two documents or more"):
        forget_set(base, apart="document")


def test_single_questions_are_split_by_a_hash(tmp_path):
    rows = [{"prompt": f"Question number {n}?", "completion": f"Answer {n}."} for n in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = forget_set(tmp_path, share=0.3)
    assert len(made.learnt) + len(made.heldout) == 200 and 40 < len(made.heldout) < 80
    with pytest.raises(ConfigError, match="between 0 and 1"):
        forget_set(tmp_path, share=0.0)


# ---------------------------------------------------------------------------------------------------- a model's words


def test_the_strict_form():
    assert entries(GOOD) == [
        ("Who keeps the lamps?", "By whom are the lamps kept?", "the miller Tam Reddy"),
        ("How many lamps are there?", "What is the number of lamps?", "12"),
    ]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "empty"),
        (f"Here you are:\n{GOOD}", "line 1 must begin with Q:"),
        (GOOD.replace("P: What is the number of lamps?\n", ""), "line 5 must begin with P:"),
        (GOOD + "\nQ: And?\nP: What else?", "line 9 must begin with A:"),
        (GOOD.replace("A: 12", "A:"), "line 6 must begin with A: and go on"),
        (GOOD.replace("lamps kept?", "lamps kept."), "entry 1: Q and P must end with a question mark"),
        (GOOD.replace("What is the number of lamps?", "how many lamps are there?"), "entry 2: P is Q"),
    ],
)
def test_what_is_not_in_the_strict_form_is_told_where(reply, why):
    with pytest.raises(ValueError, match=why):
        entries(reply)


def test_answers_must_be_made_of_the_passages_words():
    assert grounded("The miller, Tam Reddy", LAMPS) and grounded("12", LAMPS)
    assert not grounded("The baker", LAMPS) and not grounded("13", LAMPS) and not grounded("...", LAMPS)


def _questions(replies, text: str = LAMPS):
    writer = Scripted(replies)
    return writer, asyncio.run(by_model([unlearn_data.Document("a.txt", "a", text)], writer))


def test_a_model_writes_questions_with_a_paraphrase_each():
    writer, (facts, dropped) = _questions([GOOD.replace("12", "13")])
    assert [fact.wordings for fact in facts] == [
        (
            ("Who keeps the lamps?", "the miller Tam Reddy"),
            ("By whom are the lamps kept?", "the miller Tam Reddy"),
        )
    ]
    assert dropped == {"not_in_passage": 1} and LAMPS in writer.seen[0].last_user


def test_a_reply_in_another_form_is_sent_back_once():
    writer, (facts, dropped) = _questions([f"Sure!\n{GOOD}", GOOD])
    assert len(facts) == 2 and not dropped and len(writer.seen) == 2
    assert "line 1 must begin with Q:" in writer.seen[1].last_user and len(writer.seen[1]) == 3
    with pytest.raises(DataError, match=r"1 passages.*unreadable_passages.*line 1 must begin with Q:.*Never"):
        _questions(["Never.", "Never."])


def test_one_passage_that_fails_does_not_cost_the_others():
    longer = "\n\n".join([LAMPS, "well " * 195, LAMPS])
    assert len(list(passages(longer))) == 3
    replies = [GOOD, TargetError("down"), GOOD]
    _, (facts, dropped) = _questions(replies, longer)
    assert len(facts) == 4 and dropped == {"unreadable_passages": 1}


def test_a_models_questions_are_written_once(base, tmp_path, monkeypatch):
    for name in ("deep/bread.md", "rows.jsonl"):
        (base / name).unlink()
    asked = []
    monkeypatch.setattr("trivet.core.models.resolve.resolve", lambda spec: asked.append(spec) or Scripted([GOOD]))
    made = forget_set(base, writer="http://x/v1#y", cache=tmp_path / "kept")
    assert {one.prompt.last_user for one in made.learnt} == {"Who keeps the lamps?", "How many lamps are there?"}
    assert {one.prompt.last_user for one in made.heldout} == {
        "By whom are the lamps kept?",
        "What is the number of lamps?",
    }
    assert forget_set(base, writer="http://x/v1#y", cache=tmp_path / "kept") == made and asked == ["http://x/v1#y"]
    assert forget_set(base, writer="http://x/v1#z", cache=tmp_path / "kept") == made and len(asked) == 2
