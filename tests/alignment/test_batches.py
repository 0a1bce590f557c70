"""The boundary between prompt and reply, length buckets, and the data order."""

from __future__ import annotations

import numpy as np
import pytest

from alignment.tiny import TEMPLATE, tiny_tokenizer
from trivet.alignment.batches import (
    Row,
    collate,
    collate_packed,
    encode_demonstrations,
    encode_replies,
    plan,
    split_by_tokens,
)
from trivet.core.errors import DataError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation, Message
from trivet.core.models.chat import PLAIN_TEMPLATE, ensure_template, render

NEWLINE_LAST = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
NO_END = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
MERGING = "{% for m in messages %}{{ m.role }} say{{ m.content }}{% endfor %}{% if add_generation_prompt %}assistant say{% endif %}"

TALK = Conversation.user("why is the bread warm?")


@pytest.mark.parametrize("template", [TEMPLATE, NEWLINE_LAST, NO_END, PLAIN_TEMPLATE])
@pytest.mark.parametrize("reply", ["at noon", "  spaces around  ", "", "<|user|>", "ends in a line\n", "löß 🙂"])
def test_the_boundary_is_where_the_model_begins_to_speak(template, reply):
    tokenizer = tiny_tokenizer(template=template)
    (row,) = encode_replies(tokenizer, [(TALK, reply)])
    opening = tokenizer(render(tokenizer, TALK, open_reply=True), add_special_tokens=False)["input_ids"]
    assert row.ids[: row.start].tolist() == opening
    learnt = tokenizer.decode(row.ids[row.start :])
    assert learnt.strip().removesuffix("<|end|>").strip() == reply.strip()
    assert row.ids[-1] == tokenizer.eos_token_id, "the end of the turn is learnt, and nothing after it"
    assert (row.ids[row.start :] == tokenizer.eos_token_id).sum() == 1


def test_earlier_turns_are_not_learnt():
    tokenizer = tiny_tokenizer()
    long_talk = TALK.then(Message("assistant", "ask the baker")).then(Message("user", "why not the miller"))
    (row,) = encode_replies(tokenizer, [(long_talk, "he keeps a lamp")])
    assert tokenizer.decode(row.ids[row.start :]) == "he keeps a lamp<|end|>"


def test_a_template_that_shifts_the_boundary_is_an_error_with_counts():
    tokenizer = tiny_tokenizer(vocab=420, template=MERGING)
    tokenizer.add_tokens(["saying"])
    with pytest.raises(DataError, match=r"in 1 of 2 rows \(first: row 2\).*the model is asked with"):
        encode_replies(tokenizer, [(TALK, " fine"), (TALK, "ing fine")])


def test_a_role_that_the_template_refuses_is_told():
    strict = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{% endfor %}x"
    with pytest.raises(DataError, match=r"refuses a conversation of \(system, user\).*no system here"):
        encode_replies(tiny_tokenizer(template=strict), [(Conversation.user("a", system="b"), "c")])


def test_a_tokenizer_without_template_gets_the_plain_one():
    tokenizer = ensure_template(tiny_tokenizer(template=None))
    assert render(tokenizer, TALK, open_reply=True) == "User: why is the bread warm?\nAssistant:"


def test_plain_text_is_learnt_whole_and_split_into_windows():
    tokenizer = tiny_tokenizer()
    rows, too_long = encode_demonstrations(tokenizer, [Demonstration(Conversation(), "the lamp by the well " * 9)], 16)
    assert too_long == 0 and len(rows) > 1
    assert rows[0].ids[0] == tokenizer.bos_token_id and rows[-1].ids[-1] == tokenizer.eos_token_id
    assert all(row.start == 1 and len(row) <= 16 for row in rows)


def test_too_long_conversations_are_counted_not_cut():
    encoded = encode_demonstrations(
        tiny_tokenizer(), [Demonstration(TALK, "lamp " * 50), Demonstration(TALK, "lamp")], 40
    )
    assert (len(encoded.rows), encoded.too_long) == (1, 1)


def test_collate_points_at_the_token_before_each_target():
    tokenizer = tiny_tokenizer()
    rows = encode_replies(tokenizer, [(TALK, "at noon"), (TALK, "ask him why not")])
    batch = collate(rows, tokenizer.pad_token_id)
    for at, row in enumerate(rows):
        mine = batch.owners == at
        assert batch.targets[mine].tolist() == row.ids[row.start :].tolist()
        assert (batch.positions[mine] - at * batch.ids.shape[1]).tolist() == list(range(row.start - 1, len(row) - 1))


def lengths_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(5, 300, count)


def test_every_row_comes_once_per_epoch_within_the_budget():
    lengths = lengths_of(2000)
    steps = plan(lengths, batch_tokens=4096, accumulate=2, epochs=2, seed=3)
    rows = np.concatenate([part for step in steps for part in step])
    assert sorted(rows) == sorted([*range(2000)] * 2)
    assert all(len(part) * lengths[part].max() <= 4096 for step in steps for part in step)


def test_buckets_waste_little_and_still_shuffle():
    lengths = lengths_of(4000)
    steps = plan(lengths, batch_tokens=4096, seed=0)
    padded = sum(len(part) * lengths[part].max() for (part,) in steps)
    assert padded / lengths.sum() < 1.05
    means = [lengths[part].mean() for (part,) in steps]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3, "like lengths must not follow one another"


def test_the_order_is_a_function_of_the_seed():
    def flat(seed):
        return [part.tolist() for step in plan(lengths_of(100), batch_size=8, seed=seed) for part in step]

    assert flat(1) == flat(1) != flat(2)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "wanted"), [(0.5, 0, 5), (1, 0, 10), (2.3, 0, 23), (1, 25, 25), (9, 4, 4)]
)
def test_epochs_and_steps(epochs, max_steps, wanted):
    assert len(plan([7] * 80, batch_size=8, epochs=epochs, max_steps=max_steps)) == wanted


def test_a_row_longer_than_the_budget_travels_alone():
    lengths = np.asarray([10, 900, 10])
    assert [part.tolist() for part in split_by_tokens(np.arange(3), lengths, 100)] == [[0], [1], [2]]


def test_nothing_to_train_on_is_told():
    with pytest.raises(DataError, match="nothing to train on"):
        plan([])


def test_packed_rows_are_the_same_rows_side_by_side():
    dice = np.random.default_rng(0)
    rows = [Row(dice.integers(3, 90, size).astype(np.int32), 2) for size in (30, 9, 12, 5, 21, 8, 3)]
    packed, plain = collate_packed(rows, 0), collate(rows, 0)
    assert packed.ids.numel() < plain.ids.numel() and packed.ids.shape[1] == 30
    for owner, row in enumerate(rows):
        ours = packed.owners == owner
        assert packed.targets[ours].tolist() == row.ids[2:].tolist()
        at = packed.positions[ours]
        assert packed.ids.flatten()[at].tolist() == row.ids[1:-1].tolist()
        assert packed.places.flatten()[at].tolist() == list(range(1, len(row) - 1))
        # A position sees its own row up to itself, and nothing else.
        last = int(at[-1])
        seen = packed.mask[last // 30, 0, last % 30]
        assert packed.ids[last // 30][seen].tolist() == row.ids[:-1].tolist()
