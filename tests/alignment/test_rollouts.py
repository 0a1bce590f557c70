"""Rollouts: what is drawn, that it can be drawn again, and that its log-probabilities are those of the training path."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest
import torch

from trivet.alignment import models, rollouts
from trivet.alignment.batches import Row
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, TrivetError
from trivet.core.messages import Conversation

PROMPTS = [Conversation.user("the lamp " * count + "why") for count in (1, 7, 3, 12, 2)]


@pytest.fixture(scope="module")
def pair(folder):
    return models.load(folder, device="cpu")


@pytest.fixture(scope="module")
def asked(pair):
    return rollouts.encode_prompts(pair[1], PROMPTS, 400)[0]


def roll(pair, asked, **changes):
    return rollouts.roll(*pair, asked, **{"max_tokens": 12, "seed": (3, 1), **changes})


def same(one: rollouts.Rollout, two: rollouts.Rollout) -> bool:
    return one.talks == two.talks and all(np.array_equal(a.ids, b.ids) for a, b in zip(one.rows, two.rows, strict=True))


class Fixed:
    """A reward that gives what it was told to."""

    def __init__(self, *values: float) -> None:
        self.values = values

    async def score(self, conversations):
        return self.values


def test_rows_are_the_prompt_and_what_was_said(pair, asked):
    tokenizer = pair[1]
    drawn = roll(pair, asked)
    for one, row, talk, length in zip(asked, drawn.rows, drawn.talks, drawn.lengths, strict=True):
        assert list(row.ids[: row.start]) == one.ids and len(row) - row.start == length
        assert talk.messages[:-1] == one.talk.messages and talk.messages[-1].role == "assistant"
        assert tokenizer.decode(row.ids[row.start :], skip_special_tokens=True).lstrip() == talk.reply


def test_a_reply_that_ends_has_its_end_token_and_a_cut_one_has_not(pair, asked):
    drawn = roll(pair, asked * 12, max_tokens=40, temperature=2.0)
    ends = [row.ids[-1] == pair[1].eos_token_id for row in drawn.rows]
    assert drawn.ended.tolist() == ends and 0 < sum(ends) < len(ends)
    assert all(length == 40 for length, ended in zip(drawn.lengths, drawn.ended, strict=True) if not ended)
    assert all(pair[1].eos_token_id not in row.ids[row.start : -1] for row in drawn.rows)


def test_the_same_seed_draws_the_same_and_another_does_not(pair, asked):
    assert same(roll(pair, asked), roll(pair, asked))
    assert not same(roll(pair, asked), roll(pair, asked, seed=(3, 2)))
    assert same(roll(pair, asked), roll(pair, asked, together=2))
    twice = roll(pair, [asked[0], asked[0]])
    assert twice.talks[0] != twice.talks[1]


def test_tokens_are_drawn_as_often_as_the_model_says(pair, asked):
    """4,000 first tokens at temperature 0.5 against the model's own distribution: total variation within its noise."""
    model, _ = pair
    drawn = roll(pair, [asked[0]] * 4000, max_tokens=1, temperature=0.5, together=4000)
    counts = Counter(int(row.ids[row.start]) for row in drawn.rows)
    with torch.no_grad():
        chances = (model(torch.tensor([asked[0].ids])).logits[0, -1] / 0.5).softmax(-1)
    said = torch.tensor([counts[token] / 4000 for token in range(len(chances))])
    noise = (chances * (1 - chances) / 4000).sqrt().sum()  # above the expected total variation, twice over
    assert 0.5 * (said - chances).abs().sum() < noise
    assert (said[chances.argmax()] - chances.max()).abs() < 0.04


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_the_temperature(pair, asked, temperature):
    model, tokenizer = pair
    drawn = roll(pair, asked, temperature=temperature)
    scorer = rollouts.at_temperature(Scorer(model), temperature)
    ours = rollouts.rectangle(scorer, drawn.rows, pad=tokenizer.pad_token_id, budget=999, device="cpu")
    assert ours.shape == drawn.mask.shape and (ours[~drawn.mask] == 0).all()
    for b, row in enumerate(drawn.rows):
        ids = torch.from_numpy(row.ids.astype(np.int64))
        with torch.no_grad():
            logps = (model(ids[None]).logits[0] / temperature).log_softmax(-1)
        wanted = logps[row.start - 1 : -1].gather(1, ids[row.start :, None])[:, 0]
        torch.testing.assert_close(ours[b, : len(wanted)], wanted, atol=1e-5, rtol=1e-5)


def test_a_rectangle_does_not_depend_on_the_budget(pair, asked):
    drawn = roll(pair, asked * 3)
    scorer = Scorer(pair[0])

    def read(budget):
        return rollouts.rectangle(
            lambda batch: torch.stack(scorer(batch, entropy=True), -1), drawn.rows, pad=0, budget=budget, device="cpu"
        )

    assert read(40).shape == (*drawn.mask.shape, 2)
    torch.testing.assert_close(read(40), read(100_000), atol=1e-5, rtol=1e-5)
    assert (read(40)[..., 1][drawn.mask] > 0).all()


def test_flat_order_is_the_order_of_a_batch(pair, asked):
    from trivet.alignment.batches import collate

    drawn = roll(pair, asked)
    batch = collate(drawn.rows, 0)
    scorer = Scorer(pair[0])
    rect = rollouts.rectangle(scorer, drawn.rows, pad=0, budget=50, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(rollouts.flat(rect, drawn.mask), scorer(batch), atol=1e-5, rtol=1e-5)


def test_prompts_that_leave_no_room_are_counted(pair):
    asked, too_long = rollouts.encode_prompts(pair[1], PROMPTS, 20)
    assert too_long == len(PROMPTS) - len(asked) > 0 and all(len(one.ids) <= 20 for one in asked)
    assert rollouts.prompt_room(100, 30) == 70
    with pytest.raises(ConfigError, match="leave room for a prompt"):
        rollouts.prompt_room(30, 30)


def test_every_prompt_comes_before_one_comes_again():
    turns = [rollouts.drawn(10, 4, turn, seed=1) for turn in range(5)]
    stream = np.concatenate(turns)
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])
    assert sorted(rollouts.drawn(3, 6, 0, seed=1)) == [0, 0, 1, 1, 2, 2]


def test_several_replies_to_each_prompt(pair):
    texts = rollouts.sample_replies(*pair, PROMPTS, replies=3, max_tokens=6, seed=5)
    assert [len(group) for group in texts] == [3] * len(PROMPTS) and len(set(texts[0])) > 1
    assert texts == rollouts.sample_replies(*pair, PROMPTS, replies=3, max_tokens=6, seed=5)
    with pytest.raises(ConfigError, match="1 of 1 prompts leave no room for 500 tokens"):
        rollouts.sample_replies(*pair, [PROMPTS[3]], max_tokens=500)


def test_an_adapted_model_is_sampled_with_its_adapter(folder, asked):
    model, tokenizer = models.load(folder, device="cpu")
    plain = roll((model, tokenizer), asked)
    wrapped = models.with_lora(model, 4, 16.0, "all-linear")
    assert same(plain, roll((wrapped, tokenizer), asked))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    assert not same(plain, roll((wrapped, tokenizer), asked))


def test_scores_stand_on_the_last_token_of_each_reply():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]]).bool()
    assert rollouts.place_scores(torch.tensor([5.0, 7.0, -1.0]), mask).tolist() == [[0, 0, 5], [7, 0, 0], [0, -1, 0]]
    rows = [Row(np.arange(7), 4), Row(np.arange(3), 2), Row(np.arange(5), 3)]
    assert torch.equal(rollouts.reply_mask(rows), mask)


def test_a_reward_gives_one_number_for_each(pair, asked):
    talks = roll(pair, asked).talks
    assert rollouts.scores(Fixed(1, 2, 3, 4, 5), talks).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(TrivetError, match="2 numbers for 5 conversations"):
        rollouts.scores(Fixed(1, 2), talks)
    with pytest.raises(TrivetError, match="is nan"):
        rollouts.scores(Fixed(1, 2, float("nan"), 4, 5), talks)

    async def within_a_loop():
        return rollouts.scores(Fixed(1, 2, 3, 4, 5), talks)

    assert asyncio.run(within_a_loop()).tolist() == [1, 2, 3, 4, 5]
