"""The comparison with TRL: its sums, and that what it hands to both sides is what it says."""

from __future__ import annotations

import gzip
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module


def result(seconds: dict[str, float], memory: int, losses: list[float]) -> dict[str, Any]:
    return {"seconds": seconds, "memory": {"peak": memory}, "cpu_seconds": sum(seconds.values()), "losses": losses}


def test_ratios_are_ours_over_theirs_within_a_round(module):
    mine = {"whole": 10.0, "load": 1.0, "tokenize": 1.0}
    runs = {
        "trivet": [result(mine, 100, [0.5, 0.25]), result({**mine, "whole": 20.0}, 100, [0.5, 0.25])],
        "trl_tuned": [result({"whole": 30.0, "train": 20.0, "reference": 4.0}, 400, [0.5, 0.26])] * 2,
        "trl_default": [result({"whole": 40.0, "train": 36.0}, 200, [0.1])] * 2,
    }
    found = module("preference").summary(runs, 60, "dpo")
    assert found["ratio_vs_trl_default"] == pytest.approx(3.0)  # the middle of 4 and 2
    assert found["ratio_vs_trl_tuned_spread"] == {"median": 2.25, "smallest": 1.5, "largest": 3.0}
    assert found["ratio_vs_trl_tuned_steps_and_reference"]["largest"] == pytest.approx(24 / 8)
    assert found["memory_ratio_vs_trl_default"] == 0.5 and found["memory_ratio_vs_trl_tuned"] == 0.25
    assert found["per_second"]["trivet"] == {"median": 4.5, "smallest": 3.0, "largest": 6.0}
    assert found["losses"]["largest_difference"] == pytest.approx(0.01)


def test_utilisation_by_hand(module):
    made = {"tokens_of_two_rows": 1000, "pairs": 10, "parameters": 10**9}
    found = module("preference").utilisation(made, 5.0, "NVIDIA H100 80GB HBM3")
    assert found["tokens_per_second"] == 500.0
    assert found["mfu"] == pytest.approx(8 * 10**9 * 500 / 989e12)
    assert "mfu" not in module("preference").utilisation(made, 5.0, "a card of tomorrow")


def test_both_sides_get_the_same_tokens(module, tmp_path):
    """What Trivet learns from a pair is what TRL would: the template ends at the end mark."""
    world, ours = module("world"), module("ours")
    ask = [{"role": "user", "content": "how do I bake bread"}]
    told = [
        {"prompt": ask, "chosen": f"with flour {i}", "rejected": "no " * (i + 1), "source": "x"} for i in range(12)
    ] + [{"prompt": ask, "chosen": "same", "rejected": " same"}]
    data = tmp_path / "pairs.jsonl.gz"
    with gzip.open(data, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in told)
    shape = world.Shape("Qwen3", 16, 32, 1, 2, 2, 8, tied=True, vocabulary=8192)
    made = world.build(tmp_path, data, shape=shape, pairs=10, max_length=64, seed=0)
    assert made["pairs"] == made["replies"] == 10
    from transformers import AutoTokenizer

    from trivet.alignment.pairs import encode_preferences

    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, pair in zip(rows, encode_preferences(words, ours.preferences(rows), 64).pairs, strict=True):
        whole = [*row["prompt"], {"role": "assistant", "content": row["chosen"]}]
        theirs = words.apply_chat_template(whole, tokenize=True, return_dict=True)["input_ids"]
        assert [*pair.prompt.tolist(), *pair.chosen.tolist()] == theirs
    task = {"model": str(tmp_path / "model"), "max_length": 64, "seed": 0, "batch_size": 4, "lr": 0.1, "dtype": "fp32"}
    task |= {"device": "cpu", "out": "", "log_every": 1, "threads": 0}
    assert sorted(ours.order("dpo", task, rows)) == sorted(ours.order("reward", task, rows)) == list(range(10))


def test_the_peer_runs_on_the_libraries_of_the_lock_file(module):
    pins = module("peer").locked()
    assert pins["torch"] and pins["transformers"] and module("peer").TRL == "trl==1.16.0"
