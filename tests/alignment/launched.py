"""What test_parallel.py runs under torchrun: each recipe for a few steps, in the given way.

python -m torch.distributed.run --nproc-per-node 2 launched.py ddp|fsdp MODEL OUT [STOP_AT]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch

from alignment.tiny import tiny_lessons, words
from trivet.alignment import kto, preference, reward, sft
from trivet.core.lessons import Feedback, Preference
from trivet.core.messages import Conversation

SAME = {"lr": 1e-3, "max_steps": 4, "log_every": 1, "threads": 1, "device": "cpu"}


def pairs(count: int = 24) -> list[Preference]:
    dice = random.Random(1)
    return [
        Preference(
            Conversation.user(words(dice, 2, 12)), "the lamp " + words(dice, 1, 12), "the ferry " + words(dice, 1, 12)
        )
        for _ in range(count)
    ]


def judged() -> list[Feedback]:
    made = pairs()
    return [Feedback(pair.prompt, pair.chosen if up else pair.rejected, up) for pair in made for up in (True, False)]


def all_recipes(how: str, model: str, out: Path) -> None:
    """Steps of 7 rows in micro-batches of 60 tokens divide among two processes in no step."""
    common = {**SAME, "model": model, "parallel": how}
    small = {"batch_size": 7, "batch_tokens": 60}
    preference.run(preference.Config(out=str(out / "dpo"), **common, **small), pairs(), heldout=pairs()[:5])
    preference.run(preference.Config(out=str(out / "lora"), **common, **small, lora=2), pairs())
    reward.run(reward.Config(out=str(out / "reward"), **common, **small), pairs(), heldout=pairs()[:5])
    kto.run(kto.Config(out=str(out / "kto"), **common, **small), judged(), heldout=judged()[:5])
    sft.run(
        sft.Config(out=str(out / "sft"), **common, batch_size=3, accumulate=2),
        tiny_lessons(),
        heldout=tiny_lessons()[:5],
    )


def one_recipe(how: str, model: str, out: Path, stop_at: int) -> None:
    """DPO that is stopped after a step, or goes on to its end when `stop_at` is 0."""

    def stop(row) -> None:
        if stop_at and row["step"] == stop_at:
            raise KeyboardInterrupt

    config = preference.Config(
        out=str(out), model=model, parallel=how, batch_size=7, batch_tokens=60, save_every=1, **SAME
    )
    preference.run(config, pairs(), progress=stop)


if __name__ == "__main__":
    how, model, out, *rest = sys.argv[1:]
    if rest:
        one_recipe(how, model, Path(out), int(rest[0]))
    else:
        all_recipes(how, model, Path(out))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
