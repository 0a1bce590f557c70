"""Preference optimisation: its start, its invariances, its resume, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from alignment.test_sft import metrics, same_bits, stop_at
from alignment.tiny import tiny_folder
from trivet.alignment import preference
from trivet.core.errors import ConfigError


def config(folder: Path, out: Path, **changes) -> preference.Config:
    base = preference.Config(
        model=str(folder), out=str(out), lr=1e-3, batch_size=6, batch_tokens=256, max_steps=8, log_every=2, save_every=3
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, math.log(2)),
        ({"label_smoothing": 0.2}, math.log(2)),
        ({"normalize": "tokens", "beta": 5.0}, math.log(2)),
        ({"lora": 4}, math.log(2)),
        ({"loss": "ipo", "beta": 0.1, "normalize": "tokens"}, 25.0),
        ({"share_prefix": False}, math.log(2)),
        ({"batch_size": 30, "batch_tokens": 99999}, math.log(2) * 35 / 30),  # five of thirty pairs count twice
    ],
)
def test_the_first_step_stands_at_the_reference(folder, tmp_path, preferences, settings, wanted):
    even = preferences if "batch_tokens" in settings else [replace(pair, weight=1.0) for pair in preferences]
    preference.run(config(folder, tmp_path, max_steps=1, log_every=1, **settings), even)
    (row,) = metrics(tmp_path)
    assert row["loss"] == pytest.approx(wanted, rel=1e-4)
    assert abs(row["margin"]) < 1e-3 and abs(row["chosen_shift"]) < 1e-3 and row["drift"] < 1e-6
    assert row["grad_norm"] > 0


def test_it_learns_to_prefer(folder, tmp_path, preferences):
    result = preference.run(
        config(folder, tmp_path, max_steps=40, eval_every=20), preferences[:24], heldout=preferences[24:]
    )
    first, last = metrics(tmp_path)[0], result.final
    assert last["loss"] < first["loss"] - 0.3 and last["accuracy"] > 0.9 and last["margin"] > 1
    assert last["heldout_accuracy"] == 1.0 and last["heldout_loss"] < math.log(2)
    assert last["chosen_shift"] > last["rejected_shift"]
    assert sum("heldout_loss" in row for row in metrics(tmp_path)) == 2
    AutoModelForCausalLM.from_pretrained(result.folder)


def test_one_row_per_pair_trains_like_two(folder, tmp_path, preferences):
    for name, share in (("one", True), ("two", False)):
        preference.run(config(folder, tmp_path / name, share_prefix=share, max_steps=3, log_every=1), preferences)
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1e-4)
        assert one["chosen"] == pytest.approx(two["chosen"], abs=1e-2)
        assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-3)


def test_the_token_budget_changes_speed_only(folder, tmp_path, preferences):
    for budget in (64, 100_000):
        preference.run(
            config(folder, tmp_path / str(budget), batch_tokens=budget, max_steps=2, log_every=1), preferences
        )
    for small, large in zip(metrics(tmp_path / "64"), metrics(tmp_path / "100000"), strict=True):
        assert small["loss"] == pytest.approx(large["loss"], abs=1e-5)
        assert small["grad_norm"] == pytest.approx(large["grad_norm"], rel=1e-4)


@pytest.mark.parametrize("lora", [0, 4])
def test_an_interrupted_run_ends_in_the_same_bits(folder, tmp_path, preferences, lora):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    preference.run(config(folder, whole, lora=lora), preferences)
    with pytest.raises(KeyboardInterrupt):
        preference.run(config(folder, broken, lora=lora), preferences, progress=stop_at(4))
    preference.run(config(folder, broken, lora=lora), preferences)
    assert same_bits(whole, broken) and metrics(whole) == metrics(broken)


def test_the_reference_is_computed_once_per_content(folder, tmp_path, preferences, monkeypatch):
    from trivet.alignment import refcache

    counted, real = [], refcache.score_pairs
    monkeypatch.setattr(refcache, "score_pairs", lambda *a, **k: counted.append(1) or real(*a, **k))
    cache = tmp_path / "cache"

    def run(name: str, lessons=preferences, start=folder, **settings):
        preference.run(config(start, tmp_path / name, cache=str(cache), max_steps=1, **settings), lessons)
        return len(counted), len(list(cache.iterdir()))

    assert run("a") == (2, 2)  # the pairs, and the empty held-out part
    assert run("b", beta=0.5, lr=1e-5) == (2, 2)
    assert run("c", preferences[1:]) == (3, 3)
    assert run("d", start=tiny_folder(tmp_path / "other", seed=9)) == (5, 5)
    assert run("e", dtype="bf16") == (7, 7)


def test_a_reference_of_another_kind(folder, tmp_path, preferences):
    other = tiny_folder(tmp_path / "other", seed=3)
    preference.run(config(folder, tmp_path / "run", reference=str(other), max_steps=1, log_every=1), preferences)
    (row,) = metrics(tmp_path / "run")
    assert abs(row["chosen_shift"]) > 0.05
    narrow = tiny_folder(tmp_path / "narrow", vocab=300)
    with pytest.raises(ConfigError, match="another vocabulary"):
        preference.run(config(folder, tmp_path / "bad", reference=str(narrow)), preferences)


def test_the_anchor_holds_the_chosen_up(folder, tmp_path, preferences):
    for name, weight in (("free", 0.0), ("held", 1.0)):
        preference.run(config(folder, tmp_path / name, nll_weight=weight, max_steps=30), preferences)
    assert metrics(tmp_path / "held")[-1]["chosen"] > metrics(tmp_path / "free")[-1]["chosen"] + 1


def test_weights_scale_a_pairs_pull(folder, tmp_path, preferences):
    """A pair of weight 0 teaches nothing: without it, the same gradient at two thirds of the batch."""
    light = [replace(pair, weight=0.0 if number < 2 else 1.0) for number, pair in enumerate(preferences[:6])]
    preference.run(config(folder, tmp_path / "six", max_steps=1, log_every=1), light)
    preference.run(config(folder, tmp_path / "four", max_steps=1, log_every=1, batch_size=4), light[2:])
    six, four = metrics(tmp_path / "six")[0], metrics(tmp_path / "four")[0]
    assert six["loss"] == pytest.approx(four["loss"] * 4 / 6, rel=1e-4)
    assert six["grad_norm"] == pytest.approx(four["grad_norm"] * 4 / 6, rel=1e-3)


def test_with_lora_only_the_adapter_moves(folder, tmp_path, preferences):
    result = preference.run(config(folder, tmp_path, lora=4, lora_targets="q_proj,v_proj"), preferences)
    start, end = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (folder, result.folder))
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved and all("q_proj" in name or "v_proj" in name for name in moved)
    assert (result.adapter / "adapter_model.safetensors").exists()


def test_smoothing_is_refused_where_it_would_be_ignored(folder, tmp_path):
    with pytest.raises(ConfigError, match="label_smoothing works with dpo and rdpo only"):
        config(folder, tmp_path, loss="ipo", label_smoothing=0.1)
