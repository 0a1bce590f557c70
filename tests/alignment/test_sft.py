"""Supervised fine-tuning: it learns, it is invariant where it must be, and it resumes to the last bit."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment.tiny import tiny_folder
from trivet.alignment import sft
from trivet.core.errors import ConfigError, DataError, TrivetError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation

TIMES = ("tokens_per_second", "pairs_per_second")


def config(folder: Path, out: Path, **changes) -> sft.Config:
    base = sft.Config(
        model=str(folder), out=str(out), lr=3e-3, batch_tokens=256, max_steps=12, log_every=3, save_every=4
    )
    return replace(base, **changes)


def metrics(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def same_bits(one: Path, two: Path) -> bool:
    left, right = weights(one), weights(two)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def stop_at(step: int):
    """A progress callback that dies as a killed run does: between one step and the next, without saying goodbye."""

    def progress(row):
        if row["step"] >= step:
            raise KeyboardInterrupt

    return progress


def test_it_learns_and_the_result_opens_in_transformers(folder, tmp_path, demonstrations):
    seen = []
    result = sft.run(
        config(folder, tmp_path, max_steps=40), demonstrations, heldout=demonstrations[:5], progress=seen.append
    )
    assert result.folder == tmp_path / "model" and result.steps == 40
    assert result.loss < metrics(tmp_path)[0]["loss"] - 1 and result.final["heldout_loss"] < 4
    assert [row["step"] for row in seen if "loss" in row] == [*range(3, 40, 3), 40]
    model = AutoModelForCausalLM.from_pretrained(result.folder)
    assert AutoTokenizer.from_pretrained(result.folder).chat_template and model.config.vocab_size
    assert not list(tmp_path.glob("checkpoint-*")) and not list(tmp_path.glob("*.tmp"))


def test_it_learns_to_say_one_thing_and_stop(folder, tmp_path):
    lesson = Demonstration(Conversation.user("why"), "the baker tells")
    result = sft.run(config(folder, tmp_path, max_steps=80, batch_size=4, lr=1e-2), [lesson] * 4)
    model, tokenizer = (kind.from_pretrained(result.folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
    ids = tokenizer.apply_chat_template(lesson.prompt.rows(), add_generation_prompt=True, return_tensors="pt")
    said = model.generate(**ids, max_new_tokens=20, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(said) == "the baker tells<|end|>"


@pytest.mark.parametrize("lora", [0, 4])
def test_an_interrupted_run_ends_in_the_same_bits(folder, tmp_path, demonstrations, lora):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"lora": lora, "accumulate": 2}
    sft.run(config(folder, whole, **settings), demonstrations, heldout=demonstrations[:4])
    for step in (6, 9):  # past a checkpoint, and past a row of metrics that the checkpoint does not know
        with pytest.raises(KeyboardInterrupt):
            sft.run(
                config(folder, broken, **settings), demonstrations, heldout=demonstrations[:4], progress=stop_at(step)
            )
    sft.run(config(folder, broken, **settings), demonstrations, heldout=demonstrations[:4])
    assert same_bits(whole, broken)
    assert metrics(whole) == metrics(broken)


def test_killed_by_the_system_it_ends_in_the_same_bits(folder, tmp_path, demonstrations):
    """A process of its own, ended with SIGKILL after its second checkpoint appears."""
    settings = config(folder, tmp_path / "broken")
    script = f"""
import os, signal, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from alignment.tiny import tiny_lessons
from trivet.alignment import sft
def progress(row):
    if row["step"] == 9:
        os.kill(os.getpid(), signal.SIGKILL)
sft.run(sft.{settings!r}, tiny_lessons(), progress=progress)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [path.name for path in (tmp_path / "broken").glob("checkpoint-*")] == ["checkpoint-00000008"]
    for name in ("broken", "whole"):
        sft.run(config(folder, tmp_path / name), demonstrations)
    assert same_bits(tmp_path / "whole", tmp_path / "broken")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "broken")


def test_a_finished_run_returns_at_once(folder, tmp_path, demonstrations):
    first = sft.run(config(folder, tmp_path, max_steps=3), demonstrations)
    stamp = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    seen = []
    assert sft.run(config(folder, tmp_path, max_steps=3), demonstrations, progress=seen.append) == first
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == stamp and not seen


def test_another_run_in_the_same_folder_is_refused(folder, tmp_path, demonstrations):
    sft.run(config(folder, tmp_path, max_steps=3), demonstrations)
    with pytest.raises(ConfigError, match=r"lr was 0.003 and is 0.1.*give another out"):
        sft.run(config(folder, tmp_path, max_steps=3, lr=0.1), demonstrations)
    with pytest.raises(ConfigError, match="data was"):
        sft.run(config(folder, tmp_path, max_steps=3), demonstrations[1:])


def test_another_run_is_refused_from_a_checkpoint_too(folder, tmp_path, demonstrations):
    with pytest.raises(KeyboardInterrupt):
        sft.run(config(folder, tmp_path), demonstrations, progress=stop_at(6))
    other = tiny_folder(tmp_path / "other", seed=5)
    with pytest.raises(ConfigError, match="weights was"):
        sft.run(config(other, tmp_path), demonstrations)


def test_micro_batches_do_not_change_the_step(folder, tmp_path, demonstrations):
    """One batch of 8 rows, or 4 of 2: the loss is per token of the whole batch, not a mean of means."""
    talks = demonstrations[:8]
    for name, size, accumulate in (("one", 8, 1), ("four", 2, 4)):
        sft.run(config(folder, tmp_path / name, batch_size=size, accumulate=accumulate, max_steps=1, lr=1e-3), talks)
    assert metrics(tmp_path / "one")[0]["loss"] == pytest.approx(metrics(tmp_path / "four")[0]["loss"], abs=1e-5)
    norms = [metrics(tmp_path / name)[0]["grad_norm"] for name in ("one", "four")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_the_first_loss_of_a_random_model_is_that_of_guessing(tmp_path, demonstrations):
    folder = tiny_folder(tmp_path / "flat")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(folder)
    sft.run(config(folder, tmp_path / "run", max_steps=1, log_every=1), demonstrations)
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(math.log(model.config.vocab_size), abs=1e-4)


def test_lora_trains_the_adapter_alone_and_merges_it(folder, tmp_path, demonstrations):
    result = sft.run(config(folder, tmp_path, lora=4, max_steps=6), demonstrations)
    base = AutoModelForCausalLM.from_pretrained(folder)
    merged = AutoModelForCausalLM.from_pretrained(result.folder)
    assert torch.equal(base.model.embed_tokens.weight, merged.model.embed_tokens.weight)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(base, result.adapter).eval()
        torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, atol=1e-4, rtol=1e-4)
        with adapted.disable_adapter():
            assert (adapted(ids).logits - merged(ids).logits).abs().max() > 1e-3


@pytest.mark.parametrize(("lora", "kept"), [(0, torch.float32), (4, torch.bfloat16)])
def test_bf16_trains_too(folder, tmp_path, demonstrations, lora, kept):
    result = sft.run(config(folder, tmp_path, dtype="bf16", max_steps=20, lora=lora), demonstrations)
    assert result.loss < metrics(tmp_path)[0]["loss"]
    assert all(weight.dtype == kept for weight in weights(tmp_path).values())


def test_rows_longer_than_the_model_s_context_are_dropped(folder, tmp_path):
    lessons = [Demonstration(Conversation.user("why"), "lamp " * count) for count in (5, 600)]
    assert sft.run(config(folder, tmp_path, max_length=4096, max_steps=1), lessons).dropped == {"too_long": 1}


def test_a_run_that_diverges_stops_and_keeps_no_ruined_checkpoint(folder, tmp_path, demonstrations):
    with pytest.raises(TrivetError, match=r"is nan at step .*bad-batch.json. Lower lr"):
        sft.run(config(folder, tmp_path, lr=1e38, clip=0, log_every=100, save_every=2), demonstrations)
    assert not list(tmp_path.glob("checkpoint-*")) and not (tmp_path / "model").exists()


def test_nothing_to_learn_is_told(folder, tmp_path):
    with pytest.raises(DataError, match="nothing to train on"):
        sft.run(config(folder, tmp_path), [])


def test_packing_gives_the_same_losses_from_fewer_padded_tokens(folder, tmp_path, demonstrations):
    found = {}
    for packing in (False, True):
        out = tmp_path / str(packing)
        sft.run(config(folder, out, packing=packing, batch_size=8, max_steps=6, log_every=1), demonstrations)
        found[packing] = [row["loss"] for row in metrics(out)]
    assert found[True] == pytest.approx(found[False], abs=1e-5)


def test_packing_is_refused_where_rows_would_see_each_other(folder, tmp_path, demonstrations, monkeypatch):
    monkeypatch.setattr(sft, "can_share", lambda scorer, longest: False)
    with pytest.raises(ConfigError, match="cannot read several texts in one row"):
        sft.run(config(folder, tmp_path, packing=True), demonstrations)
