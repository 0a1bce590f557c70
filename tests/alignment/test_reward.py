"""Reward modelling: where rewards are read, what is saved, its invariances, its resume, and that it learns."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

from alignment.test_sft import metrics, same_bits, stop_at
from alignment.tiny import tiny_tokenizer, words
from trivet.alignment import models, reward, reward_model
from trivet.alignment.batches import collate
from trivet.alignment.pairs import Pair, collate_pairs, encode_preferences
from trivet.alignment.reward_model import RewardScorer, last_tokens
from trivet.core.errors import ConfigError, DataError, ModelNotFound, TrivetError
from trivet.core.lessons import Preference
from trivet.core.messages import Conversation


def config(folder: Path, out: Path, **changes) -> reward.Config:
    base = reward.Config(
        model=str(folder), out=str(out), lr=1e-3, batch_size=6, batch_tokens=256, max_steps=8, log_every=2, save_every=3
    )
    return replace(base, **changes)


def even(preferences: list[Preference]) -> list[Preference]:
    return [replace(pair, weight=1.0) for pair in preferences]


@pytest.fixture(scope="module")
def scorer(folder) -> tuple[RewardScorer, object]:
    model, tokenizer = reward_model.start(folder, seed=3, device="cpu")
    return RewardScorer(model), tokenizer


# ------------------------------------------------------------------------------------------------ where it is read


def test_the_head_starts_as_the_paper_says(folder):
    model, _ = reward_model.start(folder, seed=3, device="cpu")
    again, _ = reward_model.start(folder, seed=3, device="cpu")
    other, _ = reward_model.start(folder, seed=4, device="cpu")
    assert model.score.weight.shape == (1, 32) and torch.equal(model.score.weight, again.score.weight)
    assert not torch.equal(model.score.weight, other.score.weight)
    wide = torch.cat([reward_model.start(folder, seed=seed, device="cpu")[0].score.weight for seed in range(60)])
    assert wide.std().item() == pytest.approx(1 / math.sqrt(33), rel=0.06) and abs(wide.mean().item()) < 0.02
    body = AutoModelForCausalLM.from_pretrained(folder).base_model.state_dict()
    assert all(torch.equal(weight, model.base_model.state_dict()[name]) for name, weight in body.items())


def test_the_first_loss_is_near_ln_2(folder, tmp_path, preferences):
    result = reward.run(config(folder, tmp_path, max_steps=1, log_every=1), even(preferences))
    row = metrics(tmp_path)[0]
    gaps = row["margin"]
    assert abs(row["loss"] - math.log(2)) < 0.4 and row["loss"] != math.log(2) and math.isfinite(gaps)
    assert result.steps == 1


def test_a_shared_row_gives_the_rewards_of_two(scorer, preferences):
    score, tokenizer = scorer
    pairs = encode_preferences(tokenizer, preferences, 512).pairs
    one, two = (score(collate_pairs(pairs, tokenizer.pad_token_id, share=share)) for share in (True, False))
    assert one.shape == (60,) and torch.allclose(one, two, atol=1e-5)
    alone = torch.cat([score(collate([pair.row(pair.rejected)], tokenizer.pad_token_id)) for pair in pairs])
    assert torch.allclose(alone, two[1::2], atol=1e-5)


def test_it_is_read_at_the_end_token_also_of_replies_of_one_token():
    ids = np.arange(3, 20, dtype=np.int32)
    pairs = [Pair(ids[:4], ids[4:5], ids[6:7]), Pair(ids[:3], ids[3:6], ids[6:7]), Pair(ids[:2], ids[2:3], ids[3:7])]
    for share in (True, False):
        batch = collate_pairs(pairs, 0, share=share)
        said = batch.ids.flatten()[last_tokens(batch)].tolist()
        assert said == [int(reply[-1]) for pair in pairs for reply in (pair.chosen, pair.rejected)]


def test_padding_changes_no_reward(scorer, preferences):
    score, tokenizer = scorer
    pairs = encode_preferences(tokenizer, preferences, 512).pairs[:6]
    together = score(collate_pairs(pairs, tokenizer.pad_token_id, share=True))
    alone = torch.cat([score(collate_pairs([pair], tokenizer.pad_token_id, share=True)) for pair in pairs])
    other_pad = score(collate_pairs(pairs, 7, share=True))
    assert torch.allclose(together, alone, atol=1e-5) and torch.equal(together, other_pad)


def opened(place: Path, pairs: list[Pair]) -> torch.Tensor:
    """Rewards of chosen replies as plain transformers computes them, padded on the right."""
    model = AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(place)
    rows = [{"input_ids": pair.row(pair.chosen).ids.tolist()} for pair in pairs]
    with torch.no_grad():
        return model.eval()(**tokenizer.pad(rows, padding_side="right", return_tensors="pt")).logits[:, 0]


@pytest.mark.parametrize("lora", [0, 4])
def test_what_is_saved_opens_in_transformers_with_the_same_rewards(folder, tmp_path, preferences, lora):
    result = reward.run(config(folder, tmp_path, lora=lora), preferences)
    model, tokenizer = reward_model.load(result.folder, device="cpu")
    pairs = encode_preferences(tokenizer, preferences, 512).pairs
    ours = reward_model.score_pairs(RewardScorer(model), pairs, pad=tokenizer.pad_token_id, budget=999, share=True)
    theirs = opened(result.folder, pairs)
    assert torch.allclose(ours[:, 0], theirs, atol=1e-5)
    kept = json.loads((result.folder / "config.json").read_text())
    assert kept["architectures"] == ["LlamaForSequenceClassification"] and kept["pad_token_id"] != kept["eos_token_id"]
    assert kept["reward_mean"] == pytest.approx(ours[:, 0].mean().item(), abs=1e-5)
    assert kept["reward_std"] == pytest.approx(ours.std().item(), rel=1e-4)
    if lora:
        base, _ = reward_model.start(folder, seed=99, device="cpu")  # another head, which the adapter must bring
        adapted = PeftModel.from_pretrained(base, result.adapter).eval()
        again = reward_model.score_pairs(
            RewardScorer(adapted), pairs, pad=tokenizer.pad_token_id, budget=999, share=True
        )
        assert torch.allclose(ours, again, atol=1e-4)


def test_with_lora_only_adapter_and_head_move(folder, tmp_path, preferences):
    result = reward.run(config(folder, tmp_path, lora=4, lora_targets="q_proj,v_proj"), preferences)
    start, end = reward_model.start(folder, seed=0, device="cpu")[0], reward_model.load(result.folder, device="cpu")[0]
    before, after = start.state_dict(), end.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "score.weight" in moved and len(moved) == 5
    assert all("q_proj" in name or "v_proj" in name or name == "score.weight" for name in moved)


@pytest.mark.parametrize("spare", [True, False])
def test_a_folder_that_pads_with_its_end_token_gets_a_pad_of_its_own(tmp_path, preferences, spare):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    rows = len(tokenizer) + (4 if spare else 0)
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=rows, n_embd=32, n_layer=2, n_head=4, n_positions=256, eos_token_id=1, bos_token_id=0)
    GPT2LMHeadModel(shape).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    result = reward.run(config(tmp_path / "gpt2", tmp_path / "run", max_steps=2), preferences)
    model, kept = reward_model.load(result.folder, device="cpu")
    assert kept.pad_token_id != kept.eos_token_id and model.config.pad_token_id == kept.pad_token_id
    assert model.get_input_embeddings().weight.shape[0] == rows + (0 if spare or kept.pad_token_id < rows else 1)
    pairs = encode_preferences(kept, preferences, 256).pairs
    ours = reward_model.score_pairs(RewardScorer(model), pairs, pad=kept.pad_token_id, budget=999, share=True)
    assert torch.allclose(ours[:, 0], opened(result.folder, pairs), atol=1e-5)


def test_a_reward_model_that_pads_with_its_end_token_is_refused(folder, tmp_path, preferences):
    result = reward.run(config(folder, tmp_path, max_steps=1), preferences)
    kept = json.loads((result.folder / "config.json").read_text())
    (result.folder / "config.json").write_text(json.dumps({**kept, "pad_token_id": kept["eos_token_id"]}))
    with pytest.raises(ConfigError, match="pads with the token that ends a reply"):
        reward_model.load(result.folder)


def test_what_is_no_reward_model_is_told(folder, tmp_path):
    with pytest.raises(ModelNotFound, match="no reward model"):
        reward_model.load(folder)
    with pytest.raises(ModelNotFound, match="no model folder"):
        reward_model.load(tmp_path / "nothing")
    shape, tokenizer = AutoModelForCausalLM.from_pretrained(folder).config, tiny_tokenizer()
    shape.num_labels = 3
    AutoModelForSequenceClassification.from_config(shape).save_pretrained(tmp_path / "three")
    tokenizer.save_pretrained(tmp_path / "three")
    with pytest.raises(ConfigError, match="3 classes"):
        reward_model.load(tmp_path / "three")


def test_encoders_are_refused(tmp_path):
    tokenizer = tiny_tokenizer()
    shape = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertForSequenceClassification(shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="BertForSequenceClassification has another head"):
        reward_model.load(tmp_path)


def test_what_cannot_be_scored_is_named(scorer):
    _, tokenizer = scorer
    talk = Conversation.user("why")
    with pytest.raises(DataError, match="conversation 1 does not end with a reply"):
        reward_model.rows_of(tokenizer, [talk], 100)
    with pytest.raises(DataError, match=r"conversation 1 has \d+ tokens and the reward model reads 3"):
        reward_model.rows_of(tokenizer, [Conversation.parse([*talk.rows(), {"role": "assistant", "content": "a"}])], 3)


# ---------------------------------------------------------------------------------------------------- how it trains


def test_the_loss_of_a_batch_is_that_of_the_formula(folder, tmp_path, preferences):
    """One step over all pairs against NumPy, with margins, chances, weights, smoothing and centring at once."""
    dice = random.Random(5)
    lessons = [
        replace(pair, margin=dice.random(), chance=0.5 + dice.random() / 2, weight=dice.random())
        for pair in preferences
    ]
    settings = config(
        folder, tmp_path, max_steps=1, log_every=1, batch_size=30, label_smoothing=0.1, centering=0.01, seed=2
    )
    reward.run(settings, lessons)
    model, tokenizer = reward_model.start(folder, seed=2, device="cpu")
    pairs = encode_preferences(tokenizer, lessons, 512).pairs
    r = reward_model.score_pairs(RewardScorer(model), pairs, pad=2, budget=999, share=False).double().numpy()
    margin, chance, weight = (
        np.asarray([getattr(one, name) for one in lessons]) for name in ("margin", "chance", "weight")
    )
    p, d = 0.9 * chance + 0.1 * (1 - chance), r[:, 0] - r[:, 1] - margin
    loss = p * np.log1p(np.exp(-d)) + (1 - p) * np.log1p(np.exp(d)) + 0.01 * (r[:, 0] + r[:, 1]) ** 2
    row = metrics(tmp_path)[0]
    assert row["loss"] == pytest.approx(float((weight * loss).sum() / weight.sum()), rel=1e-5)
    assert row["margin"] == pytest.approx(float((r[:, 0] - r[:, 1]).mean()), abs=1e-5)
    assert row["chosen_reward"] == pytest.approx(float(r[:, 0].mean()), abs=1e-5)


def test_it_learns_and_reports(folder, tmp_path, preferences):
    result = reward.run(
        config(folder, tmp_path, max_steps=40, eval_every=20), preferences[:24], heldout=preferences[24:]
    )
    first, last = metrics(tmp_path)[0], result.final
    assert last["loss"] < first["loss"] - 0.3 and last["accuracy"] > 0.9 and last["margin"] > 1
    assert last["heldout_accuracy"] == 1.0 and last["heldout_loss"] < math.log(2) and last["heldout_pairs"] == 6
    assert sum("heldout_loss" in row for row in metrics(tmp_path)) == 2
    found = json.loads((tmp_path / "reward_report.json").read_text())
    assert found["accuracy"] == {"rate": 1.0, "low": 0.60967, "high": 1.0, "n": 6} and found["pairs"] == 6
    assert found["mean_reward"]["chosen"] > found["mean_reward"]["rejected"]
    assert (tmp_path / "reward_report.html").read_text().startswith("<!doctype html>")


def test_one_row_per_pair_trains_like_two(folder, tmp_path, preferences):
    for name, share in (("one", True), ("two", False)):
        reward.run(config(folder, tmp_path / name, share_prefix=share, max_steps=3, log_every=1), preferences)
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        for name in ("loss", "margin", "grad_norm") if "loss" in one else ("reward_mean", "reward_std"):
            assert one[name] == pytest.approx(two[name], rel=1e-3, abs=1e-4)


def test_the_token_budget_changes_speed_only(folder, tmp_path, preferences):
    for budget in (64, 100_000):
        reward.run(config(folder, tmp_path / str(budget), batch_tokens=budget, max_steps=2, log_every=1), preferences)
    for small, large in zip(metrics(tmp_path / "64"), metrics(tmp_path / "100000"), strict=True):
        for name in ("loss", "grad_norm") if "loss" in small else ("reward_mean", "reward_std"):
            assert small[name] == pytest.approx(large[name], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("lora", [0, 4])
def test_an_interrupted_run_ends_in_the_same_bits(folder, tmp_path, preferences, lora):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    reward.run(config(folder, whole, lora=lora), preferences)
    with pytest.raises(KeyboardInterrupt):
        reward.run(config(folder, broken, lora=lora), preferences, progress=stop_at(4))
    result = reward.run(config(folder, broken, lora=lora), preferences)
    assert same_bits(whole, broken) and metrics(whole) == metrics(broken)
    assert reward.run(config(folder, broken, lora=lora), preferences).final == result.final  # finished: returns at once


def test_ranked_lists_stay_together_and_count_once_per_prompt(folder, tmp_path):
    dice = random.Random(0)
    prompts = [Conversation.user(words(dice, 3, 6) + f" {number}") for number in range(8)]
    lessons = []
    for number, prompt in enumerate(prompts):
        ranked = [f"the lamp {at} " + words(dice, 1, 4) for at in range(4 if number % 2 else 2)]
        every = [(a, b) for at, a in enumerate(ranked) for b in ranked[at + 1 :]]
        lessons += [Preference(prompt, a, b, 1 / len(every)) for a, b in every]
    dice.shuffle(lessons)
    tokenizer = tiny_tokenizer()
    pairs = encode_preferences(tokenizer, lessons, 512).pairs
    settings = config(folder, tmp_path, batch_size=7, max_steps=0)
    steps = reward.plan_pairs(settings, pairs)
    assert sorted(np.concatenate(steps).tolist()) == list(range(28)) and len(steps) == 4
    homes = [{pairs[i].prompt.tobytes() for i in step} for step in steps]
    assert all(not (one & other) for at, one in enumerate(homes) for other in homes[at + 1 :])
    for step in steps:  # two prompts a step: their weights add up to two
        assert sum(pairs[i].weight for i in step) == pytest.approx(2.0)
    apart = reward.plan_pairs(replace(settings, group_prompts=False), pairs)
    assert [len(step) for step in apart] == [7] * 4 and sorted(np.concatenate(apart).tolist()) == list(range(28))


def test_a_chance_of_one_half_teaches_nothing_but_its_middle(folder, tmp_path, preferences):
    """Coin-flip labels pull the two rewards together, however the replies differ."""
    even_odds = [replace(pair, chance=0.5, weight=1.0) for pair in preferences]
    reward.run(config(folder, tmp_path, max_steps=60, lr=3e-3), even_odds)
    rows = [row for row in metrics(tmp_path) if "loss" in row]
    assert rows[-1]["loss"] == pytest.approx(math.log(2), abs=2e-2) and abs(rows[-1]["margin"]) < 0.15


def test_a_margin_asks_for_more_distance(folder, tmp_path, preferences):
    for name, margin in (("less", -20.0), ("none", 0.0), ("more", 20.0)):
        lessons = [replace(pair, margin=margin, weight=1.0) for pair in preferences]
        reward.run(config(folder, tmp_path / name, max_steps=30), lessons)
    ends = {
        name: [row for row in metrics(tmp_path / name) if "margin" in row][-1]["margin"]
        for name in ("less", "none", "more")
    }
    assert ends["less"] + 4 < ends["none"] < ends["more"] - 0.5


def test_members_differ_and_are_joined_in_one_report(folder, tmp_path, preferences):
    settings = config(folder, tmp_path, members=2, max_steps=2)
    result = reward.run(settings, preferences[:20], heldout=preferences[20:])
    first, second = (reward_model.load(tmp_path / f"member-{at}" / "model", device="cpu")[0] for at in (0, 1))
    assert not torch.allclose(first.score.weight, second.score.weight, atol=1e-2)
    alone = [json.loads((tmp_path / f"member-{at}" / "result.json").read_text())["final"] for at in (0, 1)]
    assert result.final["heldout_loss"] == pytest.approx((alone[0]["heldout_loss"] + alone[1]["heldout_loss"]) / 2)
    assert result.folder == tmp_path and result.final["member_accuracy"] == pytest.approx(
        (alone[0]["heldout_accuracy"] + alone[1]["heldout_accuracy"]) / 2
    )
    found = json.loads((tmp_path / "reward_report.json").read_text())
    each = [json.loads((tmp_path / f"member-{at}" / "reward_report.json").read_text()) for at in (0, 1)]
    means = [one["mean_reward"]["chosen"] for one in each]
    assert found["mean_reward"]["chosen"] == pytest.approx(sum(means) / 2, abs=1e-5) and found["pairs"] == 10
    again = reward.run(settings, preferences[:20], heldout=preferences[20:])
    assert again.final == result.final


def test_checkpointed_activations_change_no_number(folder, tmp_path, preferences):
    for how in ("on", "off"):
        reward.run(config(folder, tmp_path / how, checkpointing=how, max_steps=3, log_every=1), preferences)
    for one, two in zip(metrics(tmp_path / "on"), metrics(tmp_path / "off"), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def test_a_gradient_that_is_no_number_stops_the_run_and_keeps_the_batch(folder, tmp_path, preferences):
    poisoned = [replace(pair, margin=1e300) for pair in preferences]
    with pytest.raises(TrivetError, match=r"bad-batch\.json"):
        reward.run(config(folder, tmp_path, lr=1e30, clip=0.0, max_steps=4, log_every=1), poisoned)
    assert not (tmp_path / "result.json").exists()
    assert json.loads((tmp_path / "bad-batch.json").read_text())["rows"][0]["chosen"]


def test_a_reward_model_goes_on_with_the_head_it_has(folder, tmp_path, preferences):
    first = reward.run(config(folder, tmp_path / "first"), preferences)
    model, _ = reward_model.start(first.folder, seed=11, device="cpu")
    assert torch.equal(model.score.weight, reward_model.load(first.folder, device="cpu")[0].score.weight)
    second = reward.run(config(first.folder, tmp_path / "second", max_steps=4), preferences)
    assert second.final["loss"] < metrics(tmp_path / "first")[0]["loss"]


def test_a_model_whose_window_is_short_gets_two_rows(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = tiny_tokenizer()
    shape = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=16, max_position_embeddings=256, pad_token_id=2, eos_token_id=1,
    )  # fmt: skip
    MistralForCausalLM(shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    score = RewardScorer(reward_model.start(tmp_path, seed=0, device="cpu")[0])
    assert not reward_model.reads_pairs(score, 100) and reward_model.reads_pairs(score, 16)


def test_bf16_trains_frozen_bodies_in_half_and_heads_in_full(folder, tmp_path, preferences):
    result = reward.run(config(folder, tmp_path, dtype="bf16", lora=4, max_steps=3), preferences)
    assert math.isfinite(result.final["loss"])
    model, tokenizer = reward_model.load(result.folder, device="cpu")
    pairs = encode_preferences(tokenizer, preferences, 512).pairs
    assert torch.allclose(
        reward_model.score_pairs(RewardScorer(model), pairs, pad=2, budget=999, share=True)[:, 0],
        opened(result.folder, pairs), atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("bad", [{"label_smoothing": 0.6}, {"members": 0}, {"batch_size": 0}])
def test_settings_that_cannot_be_used_are_refused(folder, tmp_path, bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        config(folder, tmp_path, **bad)


def test_lora_targets_that_do_not_fit_are_told(folder, tmp_path, preferences):
    with pytest.raises(ConfigError, match=r"lora_targets: .* which has .*q_proj"):
        reward.run(config(folder, tmp_path, lora=2, lora_targets="wrong"), preferences)


def test_longest_is_what_the_model_has(folder):
    assert models.longest(10_000, reward_model.start(folder, seed=0, device="cpu")[0]) == 512


def test_windows_under_other_names_are_seen_too():
    from transformers import AutoModelForSequenceClassification, GPTNeoConfig

    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=97, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
        window_size=32, max_position_embeddings=256, num_labels=1, pad_token_id=2, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    score = reward_model.RewardScorer(AutoModelForSequenceClassification.from_config(config).eval())
    assert not reward_model.reads_pairs(score, 111) and reward_model.reads_pairs(score, 24)


def test_a_reward_model_in_16_bit_arithmetic_keeps_its_head_in_32(folder, tmp_path, preferences):
    first = reward.run(reward.Config(model=str(folder), out=str(tmp_path / "a"), max_steps=2, threads=1), preferences)
    settings = {"max_steps": 2, "threads": 1, "dtype": "bf16", "lora": 2}
    again = reward.run(reward.Config(model=str(first.folder), out=str(tmp_path / "b"), **settings), preferences)
    assert again.steps == 2 and math.isfinite(again.loss)
