"""Pairs: what is dropped and counted, and what a shared row looks like."""

from __future__ import annotations

import numpy as np
import pytest

from alignment.tiny import tiny_tokenizer
from trivet.alignment.pairs import Pair, collate_pairs, encode_preferences, pairs_digest
from trivet.core.errors import DataError
from trivet.core.lessons import Origin, Preference
from trivet.core.messages import Conversation

ASK = Conversation.user("why is the bread warm")


def test_what_teaches_nothing_is_dropped_and_counted():
    lessons = [
        Preference(ASK, "at noon", "ask him"),
        Preference(ASK, "at noon", "at noon"),
        Preference(ASK, "  ", "ask him"),
        Preference(ASK, "the lamp " * 60, "ask him"),
        Preference(ASK, "ask him", "the lamp " * 60),
    ]
    pairs, dropped = encode_preferences(tiny_tokenizer(), lessons, max_length=60)
    assert len(pairs) == 1
    assert dropped == {"too_long": 2, "empty": 1, "identical": 1}


def test_long_pairs_with_one_beginning_are_not_cut_into_equal_ones():
    same = "the lamp by the well " * 20
    pairs, dropped = encode_preferences(tiny_tokenizer(), [Preference(ASK, same + "yes", same + "no")], max_length=60)
    assert not pairs and dropped["too_long"] == 1


def test_both_replies_end_and_share_the_prompt():
    tokenizer = tiny_tokenizer()
    (pair,), _ = encode_preferences(tokenizer, [Preference(ASK, "at noon", "ask him", 2.5)], 99)
    assert tokenizer.decode(pair.chosen) == "at noon<|end|>" and tokenizer.decode(pair.rejected) == "ask him<|end|>"
    assert tokenizer.decode(pair.prompt).endswith("<|assistant|>") and pair.weight == 2.5


def test_a_shared_row_by_hand():
    pair = Pair(*(np.asarray(ids, dtype=np.int32) for ids in ([10, 11], [20, 21], [30])))
    batch = collate_pairs([pair], 0, share=True)
    assert batch.ids.tolist() == [[10, 11, 20, 21, 30]]
    assert batch.places.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.positions.tolist() == [1, 2, 1]
    assert batch.targets.tolist() == [20, 21, 30]
    assert batch.owners.tolist() == [0, 0, 1]
    assert batch.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


def test_the_digest_changes_with_tokens_and_with_weights():
    ids = np.arange(4, dtype=np.int32)
    pair, heavier, swapped = Pair(ids, ids[:2], ids[2:]), Pair(ids, ids[:2], ids[2:], 2.0), Pair(ids, ids[2:], ids[:2])
    assert len({pairs_digest([p]) for p in (pair, heavier, swapped)}) == 3
    assert pairs_digest([pair], weights=False) == pairs_digest([heavier], weights=False)


def test_a_shifting_template_is_an_error_for_pairs_too():
    merging = "{% for m in messages %}{{ m.role }} say{{ m.content }}{% endfor %}{% if add_generation_prompt %}assistant say{% endif %}"
    tokenizer = tiny_tokenizer(template=merging)
    tokenizer.add_tokens(["saying"])
    with pytest.raises(DataError, match="token boundary"):
        encode_preferences(tokenizer, [Preference(ASK, "ing", "ask")], 99)


def test_what_is_too_long_is_named_by_file_and_line(caplog):
    lessons = [
        Preference(Conversation.user("why"), "lamp " * count, "ferry", origin=Origin("set", line=line))
        for line, count in ((3, 2), (7, 90), (9, 2))
    ]
    pairs, dropped = encode_preferences(tiny_tokenizer(), lessons, 60)
    assert len(pairs) == 2 and dropped["too_long"] == 1
    assert "1 lessons are longer than 60 tokens and are left out (set:7); raise max_length" in caplog.text
