"""One run of TRL in a process of its own: `python theirs.py TASK.json RESULT.json`, in the environment that TRL lives in.

`default` is TRL as it comes: its own sampler, a reference that is run at every step, gradient checkpointing. Only what the
comparison fixes is set: batch, learning rate, length, precision, no saving, no reports. `tuned` is what its settings allow
by hand: the reference's log-probabilities precomputed, no checkpointing, and rows in the order of their length (the same
order as Trivet's, read without shuffling; `group_by_length` raises in the DPO trainer, because it drops the columns that
the sampler looks for), huge pages for large temporaries as Trivet has them.

Time counts from reading the model folder to the last optimiser step.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from meter import Meter, spec, tell


def common(task: dict[str, Any]) -> dict[str, Any]:
    """Settings that the comparison fixes, on every trainer and either variant."""
    settings: dict[str, Any] = {
        "output_dir": task["out"],
        "per_device_train_batch_size": task["batch_size"],
        "learning_rate": task["lr"],
        "max_length": task["max_length"],
        "num_train_epochs": 1,
        "seed": task["seed"],
        "bf16": task["dtype"] == "bf16",
        "use_cpu": task["device"] == "cpu",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    if task["log_every"]:
        settings["logging_steps"] = task["log_every"]
    if task["variant"] == "tuned":
        settings |= {
            "gradient_checkpointing": False,
            "train_sampling_strategy": "sequential",
            "dataloader_pin_memory": task["device"] != "cpu",
        }
    return settings


def precomputed(task: dict[str, Any]) -> dict[str, Any]:
    if task["variant"] == "default":
        return {"beta": task["beta"]}
    return {
        "beta": task["beta"],
        "precompute_ref_log_probs": True,
        "precompute_ref_batch_size": task["batch_size"],
    }


def timed(trainer: Any, meter: Meter) -> Any:
    """The same trainer, which notes how long its reference pass took, where it has one before training."""

    class Timed(trainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            found = super()._precompute_ref_logps(*args, **kwargs)
            meter.seconds["reference"] = time.perf_counter() - began
            return found

    Timed.__name__ = trainer.__name__
    return Timed


def dpo(task: dict[str, Any], model: Any, words: Any, data: Any, meter: Meter) -> Any:
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(**common(task), **precomputed(task))
    return timed(DPOTrainer, meter)(model, args=args, train_dataset=data, processing_class=words)


def reward(task: dict[str, Any], model: Any, words: Any, data: Any, meter: Meter) -> Any:
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(model, args=RewardConfig(**common(task)), train_dataset=data, processing_class=words)


def kto(task: dict[str, Any], model: Any, words: Any, data: Any, meter: Meter) -> Any:
    from trl import KTOConfig, KTOTrainer

    args = KTOConfig(**common(task), **precomputed(task))
    return timed(KTOTrainer, meter)(model, args=args, train_dataset=data, processing_class=words)


TRAINERS = {"dpo": dpo, "reward": reward, "kto": kto}


def load(task: dict[str, Any]) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.disable_progress_bar()
    kind: Any = AutoModelForSequenceClassification if task["objective"] == "reward" else AutoModelForCausalLM
    words = AutoTokenizer.from_pretrained(task["model"])
    model = kind.from_pretrained(task["model"], dtype=torch.float32)
    return model.to(task["device"]), words


def conversational(row: dict[str, Any]) -> dict[str, Any]:
    """Replies as one assistant turn each, which is how TRL knows that the chat template is to be used."""
    replies = {name: row[name] for name in ("chosen", "rejected", "completion") if name in row}
    return {**row, **{name: [{"role": "assistant", "content": text}] for name, text in replies.items()}}


def main() -> None:
    task = spec()
    if task["variant"] == "tuned":
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    os.environ["HF_DATASETS_CACHE"] = task["out"] + "/datasets"
    import torch
    import trl
    from datasets import Dataset

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    text = Path(task["rows"]).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    if task["variant"] == "tuned":
        rows = [rows[at] for at in task["order"]]
    meter = Meter()
    model, words = load(task)
    meter.part("load")
    meter.remember("after_load")
    data = Dataset.from_list([conversational(row) for row in rows])
    trainer = TRAINERS[task["objective"]](task, model, words, data, meter)
    meter.part("prepare")
    trainer.train()
    meter.part("train")
    meter.seconds["whole"] = meter.seconds["load"] + meter.seconds["prepare"] + meter.seconds["train"]
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    versions = {"trl": trl.__version__, "torch": torch.__version__, "python": sys.version.split()[0]}
    tell({**meter.report(), "losses": losses, "steps": trainer.state.global_step, "versions": versions})


if __name__ == "__main__":
    main()
