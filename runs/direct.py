"""What the experiments on direct alignment share: one bench, recipes on it, measurements that can be compared task by task.

    bench      a start policy that answers in many ways (lab.py), its replies to the train part, and held-out requests
    policy     a model trained on the bench by any recipe of preferences; rewarded, ppo_policy: the way round a reward model
    point      what such a model says to the held-out requests: gold reward, KL to the start, length, outcomes
    gap        the mean difference of two points over the same requests, with its 95 % interval

All scripts that are given the same --out share the start policy and its replies. Intervals of a gap are the normal ones
over requests: they know nothing of the chance in a training run itself, which has one seed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import lab
import numpy as np
import torch

from trivet.alignment import ppo, preference, reward, rewards
from trivet.core.lessons import Lesson, Preference
from trivet.core.stats import Z95, Rate
from trivet.core.store.artefacts import write_json, write_text
from trivet.town.labellers import Labeller

SEED = 3
LR = 1e-4


@dataclass(frozen=True)
class Scale:
    """How large an experiment is."""

    train: int = 480
    heldout: int = 320
    drawn: int = 6
    replies: int = 2
    steps: int = 60
    rounds: int = 20


QUICK = Scale(train=24, heldout=16, drawn=4, replies=1, steps=4, rounds=2)


@dataclass(frozen=True)
class Bench:
    out: Path
    scale: Scale
    start: Path
    drawn: list[lab.Drawn]
    heldout: list[lab.Task]


def bench(out: Path, scale: Scale) -> Bench:
    asked = lab.tasks("train", scale.train, seed=SEED)
    start = lab.start(out / "start", asked, seed=SEED)
    drawn = lab.draw(start, asked, scale.drawn, seed=SEED, kept=out / "train.json")
    return Bench(out, scale, start, drawn, lab.tasks("heldout", scale.heldout, seed=SEED + 1))


def pairs(on: Bench, *panel: Labeller, apart: bool = True) -> list[Preference]:
    """Three pairs a request; other labellers are asked about the very same pairs."""
    return lab.compared(on.drawn, panel, per_task=3, seed=SEED, apart=apart)


# ------------------------------------------------------------------------------------------------------------- policies


def policy(
    on: Bench, name: str, lessons: Sequence[Lesson], *, recipe: ModuleType = preference, steps: int = 0, **settings: Any
) -> Path:
    """Folder of the start policy after `steps` optimiser steps at a constant rate."""
    config = recipe.Config(
        model=str(on.start),
        out=str(on.out / name),
        cache=str(on.out / "reference"),
        max_steps=steps or on.scale.steps,
        schedule="constant",
        max_length=256,
        batch_tokens=4096,
        save_every=0,
        seed=SEED,
        **{"lr": LR, "batch_size": 32, **settings},
    )
    done = recipe.run(config, lessons)
    folder: Path = done.folder
    return folder


def rewarded(on: Bench, name: str, lessons: Sequence[Preference]) -> Path:
    """Folder of a reward model on these pairs, read once, started from the start policy."""
    config = reward.Config(
        model=str(on.start), out=str(on.out / name), lr=3e-4, batch_size=16, max_length=256, save_every=0, seed=SEED
    )
    return reward.run(config, lessons).folder


def ppo_policy(on: Bench, name: str, judge: Path, *, beta: float, rounds: int = 0) -> Path:
    """Folder of the start policy after PPO against a reward model, asked with the requests that the pairs came from."""
    config = ppo.Config(
        model=str(on.start),
        out=str(on.out / name),
        value=str(judge),
        beta=beta,
        rounds=rounds or on.scale.rounds,
        lr=2e-4,
        schedule="constant",
        passes=2,
        batch_size=64,
        minibatch=32,
        max_tokens=lab.MAX_TOKENS,
        max_length=256,
        save_every=0,
        seed=SEED,
    )
    prompts = [lab.prompt_of(one.task) for one in on.drawn]
    return ppo.run(config, prompts, reward=rewards.TrainedReward(judge)).folder


# --------------------------------------------------------------------------------------------------------- measurements


class Point(NamedTuple):
    """A policy on the held-out requests; `gold` and `words` are means over its replies to each request."""

    row: dict[str, Any]
    gold: np.ndarray
    words: np.ndarray


def point(on: Bench, folder: Path, label: str) -> Point:
    found = lab.measured(folder, on.start, on.heldout, seed=SEED, replies=on.scale.replies)
    many = [task for task in on.heldout for _ in range(on.scale.replies)]
    gold = np.asarray([lab.gold_of(task, talk.reply) for task, talk in zip(many, found.talks, strict=True)])
    words = np.asarray([len(talk.reply.split()) for talk in found.talks], dtype=float)
    row = {**found.row(), "words": round(float(words.mean()), 3)}
    print(
        f"{label:28} gold {row['gold']:+.3f}  KL {row['kl']:6.2f} +- {row['kl_error']:.2f}  words {row['words']:5.1f}  "
        f"complied {found.complied.rate:.0%}  answered {found.answered.rate:.0%}",
        flush=True,
    )
    return Point(row, gold.reshape(-1, on.scale.replies).mean(1), words.reshape(-1, on.scale.replies).mean(1))


class Gap(NamedTuple):
    """A mean difference over requests with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out 0, else 0."""
        return (self.low > 0) - (self.high < 0)


def gap(one: np.ndarray, other: np.ndarray) -> Gap:
    """`one` less `other`, request by request."""
    difference = one - other
    half = Z95 * lab.standard_error(difference)
    mean = float(difference.mean())
    return Gap(round(mean, 4), round(mean - half, 4), round(mean + half, 4))


def rate(row: dict[str, Any]) -> Rate:
    """A rate as it was before it was written down."""
    return Rate(round((row["rate"] or 0.0) * row["n"]), row["n"])


# -------------------------------------------------------------------------------------------------------------- command


def command(
    told: str,
    work: Callable[..., dict[str, Any]],
    summary: Callable[[dict[str, Any]], str],
    html: Callable[[dict[str, Any]], str],
    *,
    seeded: bool = False,
) -> None:
    """A script's command line; `work` makes the figures, and a stopped one goes on where it was when --out is the same.

    With `seeded` the script takes --seed as well, and `work` a keyword of that name.
    """
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: one that is deleted afterwards)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--quick", action="store_true", help="a few requests and steps only, to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    if seeded:
        parser.add_argument("--seed", type=int, default=SEED, help="of requests, replies and training")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    began = time.process_time()
    if seeded:
        work = partial(work, seed=given.seed)
    with tempfile.TemporaryDirectory() as scratch:
        figures = work((given.out or Path(scratch)).resolve(), QUICK if given.quick else Scale())
    figures["cpu_seconds"] = round(time.process_time() - began)
    if given.json:
        write_json(given.json, figures)
    if given.html:
        write_text(given.html, html(figures))
    print(f"\n{summary(figures)}\n{figures['cpu_seconds']} CPU seconds")
