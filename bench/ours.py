"""One run of Trivet in a process of its own: `python ours.py TASK.json RESULT.json`. The recipe is run as users run it.

Time counts from the call of the recipe, which reads the model folder and the pairs, to its last optimiser step; writing the
result is counted on neither side. What loading and tokenising take is measured once more afterwards, alone.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from meter import Meter, spec, tell

from trivet.core.lessons import Feedback, Preference
from trivet.core.messages import Conversation, Message


def talk(turns: list[dict[str, str]]) -> Conversation:
    return Conversation(tuple(Message(turn["role"], turn["content"]) for turn in turns))  # type: ignore[arg-type]


def preferences(rows: list[dict[str, Any]]) -> list[Preference]:
    return [Preference(talk(row["prompt"]), row["chosen"], row["rejected"]) for row in rows]


def feedback(rows: list[dict[str, Any]]) -> list[Feedback]:
    return [Feedback(talk(row["prompt"]), row["completion"], row["label"]) for row in rows]


def settings(task: dict[str, Any]) -> dict[str, Any]:
    """What the comparison fixes, in the words of our recipes: the optimiser and its pace are TRL's defaults."""
    return {
        "model": task["model"],
        "out": task["out"],
        "batch_size": task["batch_size"],
        "epochs": 1.0,
        "lr": task["lr"],
        "warmup": 0.0,
        "schedule": "linear",
        "weight_decay": 0.0,
        "betas": (0.9, 0.999),
        "clip": 1.0,
        "max_length": task["max_length"],
        "seed": task["seed"],
        "dtype": task["dtype"],
        "device": task["device"],
        "save_every": 0,
        "log_every": task["log_every"] or 10,
        "threads": task["threads"],
    }


def order(objective: str, task: dict[str, Any], rows: list[dict[str, Any]]) -> list[int]:
    """Row numbers in the order in which the recipe will read them."""
    import numpy as np
    from transformers import AutoTokenizer

    from trivet.alignment import batches, kto, pairs, reward

    words = AutoTokenizer.from_pretrained(task["model"])
    if objective == "kto":
        found: Any = kto.encode_feedback(words, feedback(rows), task["max_length"], task["seed"]).pairs
        lengths = [len(pair.prompt) + len(pair.chosen) for pair in found]
    else:
        found = pairs.encode_preferences(words, preferences(rows), task["max_length"]).pairs
        lengths = [len(pair) for pair in found]
    if len(found) != len(rows):
        raise SystemExit("error: Trivet left pairs out that TRL would learn from; they would not do the same work")
    if objective == "reward":
        steps = reward.plan_pairs(reward.Config(**settings(task)), found)
    else:
        steps = [
            np.concatenate(step) for step in batches.plan(lengths, batch_size=task["batch_size"], seed=task["seed"])
        ]
    return [int(at) for step in steps for at in step]


def main() -> None:
    task = spec()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the `trivet` command does
    import torch
    from transformers import AutoTokenizer

    from trivet.alignment import kto, models, pairs, preference, reward

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    text = Path(task["rows"]).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    losses: list[float] = []
    ended, cpu = [0.0], [0.0]

    def progress(row: Any) -> None:
        if "loss" in row:
            losses.append(row["loss"])
            ended[0], cpu[0] = time.perf_counter(), time.process_time()

    recipe: Any = {"dpo": preference, "reward": reward, "kto": kto}[task["objective"]]
    extra = {} if task["objective"] == "reward" else {"beta": task["beta"]}
    lessons = feedback(rows) if task["objective"] == "kto" else preferences(rows)
    config = recipe.Config(**settings(task), **extra)
    shutil.rmtree(task["out"], ignore_errors=True)
    meter = Meter()
    began, before = time.perf_counter(), time.process_time()
    result = recipe.run(config, lessons, progress=progress)
    meter.seconds["whole"] = ended[0] - began
    meter.skip()
    report = meter.report() | {"cpu_seconds": cpu[0] - before}
    words = AutoTokenizer.from_pretrained(task["model"])
    meter.skip()
    if task["objective"] == "kto":
        kto.encode_feedback(words, lessons, task["max_length"], task["seed"])
    else:
        pairs.encode_preferences(words, lessons, task["max_length"])
    meter.part("tokenize")
    if task["objective"] != "reward":
        models.load(task["model"], device=task["device"])
    meter.part("load")
    versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
    tell({**report, "seconds": meter.seconds, "losses": losses, "steps": result.steps, "versions": versions})


if __name__ == "__main__":
    main()
