"""TRL's own trainers on given rows in the given order: `python trl_reference.py TASK.json RESULT.json`.

A program of its own, because TRL and accelerate leave state behind in the process that they run in, and so that nothing else
in the tests waits for their import. Each job names a trainer, its settings and its rows; the answer is what it logged, step
by step.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

COMMON = {
    "num_train_epochs": 1,
    "gradient_checkpointing": False,
    "train_sampling_strategy": "sequential",
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "max_length": 256,
}


def trainer_of(kind: str) -> tuple[Any, Any]:
    import trl

    if kind == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig
    if kind == "cpo":
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        return CPOTrainer, CPOConfig
    name = {"sft": "SFT", "dpo": "DPO", "kto": "KTO", "reward": "Reward"}[kind]
    return getattr(trl, f"{name}Trainer"), getattr(trl, f"{name}Config")


def run(job: dict[str, Any], folder: str) -> list[dict[str, float]]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    trainer, settings = trainer_of(job["kind"])
    kind: Any = AutoModelForSequenceClassification if job["kind"] == "reward" else AutoModelForCausalLM
    model = kind.from_pretrained(job["model"], dtype=torch.float32)
    extra = {}
    if job.get("reference"):
        extra["ref_model"] = AutoModelForCausalLM.from_pretrained(job["reference"], dtype=torch.float32)
    made = trainer(
        model,
        args=settings(output_dir=folder, **COMMON, **job["settings"]),
        train_dataset=Dataset.from_list(job["rows"]),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        **extra,
    )
    made.train()
    return [row for row in made.state.log_history if "loss" in row]


def main() -> None:
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = folder + "/datasets"
        found = {name: run(job, folder) for name, job in jobs.items()}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
