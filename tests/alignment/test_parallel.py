"""Two processes (gloo, on the CPU) do what one does: the same losses, the same weights, and either goes on from the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from alignment import launched
from trivet.alignment import parallel

SCRIPT = Path(launched.__file__)


def torchrun(*words: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(SCRIPT.parents[1]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run([*command, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row[name] for row in rows for name in ("loss", "heldout_loss", "reward_mean") if name in row]


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    launched.all_recipes("ddp", str(folder), out)
    return out


@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_processes_give_the_losses_and_weights_of_one(how, folder, alone, tmp_path):
    torchrun(how, folder, tmp_path)
    for recipe in ("dpo", "lora", "reward", "kto", "sft"):
        assert losses(tmp_path / recipe) == pytest.approx(losses(alone / recipe), abs=1e-4), recipe
        ours, theirs = (load_file(place / recipe / "model" / "model.safetensors") for place in (tmp_path, alone))
        assert set(ours) == set(theirs)
        for name, weight in theirs.items():
            torch.testing.assert_close(ours[name], weight, atol=2e-4, rtol=1e-3)
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "lora" / "model")).__name__ == "LlamaForCausalLM"


def test_a_run_goes_on_with_another_number_of_processes(folder, alone, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        launched.one_recipe("fsdp", str(folder), tmp_path, 3)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000002"]
    shutil.rmtree(tmp_path / "reference")  # so that the reference is scored again before the checkpoint is read
    torchrun("fsdp", folder, tmp_path, 0)
    assert losses(tmp_path) == pytest.approx(losses(alone / "dpo")[:4], abs=1e-4)
    assert (tmp_path / "result.json").exists()


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shares_cover_every_row_once_and_are_equally_many(world):
    lengths = np.random.default_rng(0).integers(3, 40, 11)
    indices = np.arange(11)[::-1]
    dealt = [
        list(parallel.Ranks(rank, world, torch.device("cpu")).shares(indices, lengths, 90)) for rank in range(world)
    ]
    assert len({len(shares) for shares in dealt}) == 1
    real = [row for shares in dealt for share in shares if share.real for row in share.rows]
    assert sorted(real) == list(range(11))
    assert all(share.last == (at == len(shares) - 1) for shares in dealt for at, share in enumerate(shares))
    for shares in dealt:
        for share in shares:
            assert len(share.rows) == 1 or len(share.rows) * lengths[share.rows].max() <= 90


def test_every_process_has_work_when_the_budget_would_take_all_at_once():
    lengths = np.full(6, 10)
    shares = [
        list(parallel.Ranks(rank, 4, torch.device("cpu")).shares(np.arange(6), lengths, 10_000)) for rank in range(4)
    ]
    assert [len(one) for one in shares] == [1] * 4 and all(one[0].real for one in shares)
