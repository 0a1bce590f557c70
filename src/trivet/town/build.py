"""`trivet town build`: grow the town's two models from nothing, with the project's own recipes and a fixed seed.

Three steps: a newborn model with a tokenizer cut to the town's words; `base`, which reads the library as plain text; and
`helpful`, which is shown that requests are answered. Each is an ordinary run of the supervised recipe, so a build that
was killed goes on where it stopped. The result is stored in bf16 with its training log and its card.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trivet.core.config import option
from trivet.town import library
from trivet.town.seed_model import newborn

STAGES = ("base", "helpful")


@dataclass(frozen=True)
class Config:
    """Settings of a build."""

    width: int = option(192, "hidden size")
    layers: int = option(4, "transformer layers")
    heads: int = option(6, "attention heads")
    vocabulary: int = option(4096, "tokens, bytes and special ones included")
    pages: int = option(36000, "library pages that the base reads")
    lessons: int = option(26000, "demonstrations that the helpful model is shown")
    lr: float = option(3e-3, "highest learning rate of the base; the helpful model gets half")
    batch_tokens: int = option(3072, "padded tokens per step")
    seed: int = option(7, "of the library, the weights and the order")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")
    dtype: str = option("fp32", "arithmetic: fp32, or bf16 with weights kept in fp32")
    device: str = option("auto", "auto, cpu, cuda")


Progress = Callable[[str, Mapping[str, float]], None]


def build(config: Config, out: Path, *, progress: Progress | None = None) -> dict[str, Path]:
    """Build both models under `out`; returns the folders `{"base": ..., "helpful": ...}` with their cards."""
    from trivet.alignment import sft

    books = library.books(config.pages, config.seed)
    lessons = library.helpful(config.lessons, config.seed + 1)
    out.mkdir(parents=True, exist_ok=True)
    (out / "build.json").write_text(json.dumps(asdict(config), indent=1), encoding="utf-8")

    start = out / "newborn"
    if not (start / "config.json").exists():
        newborn(
            start,
            _reading_sample(books, lessons, config.seed),
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            vocabulary=config.vocabulary,
            seed=config.seed,
        )

    def recipe(stage: str, model: Path, lr: float) -> sft.Config:
        return sft.Config(
            model=str(model),
            out=str(out / f"{stage}-run"),
            lr=lr,
            batch_tokens=config.batch_tokens,
            max_length=512,
            seed=config.seed,
            threads=config.threads,
            dtype=config.dtype,
            device=config.device,
            save_every=300,
            log_every=10,
        )

    def report(stage: str) -> Callable[[Mapping[str, float]], None] | None:
        return (lambda row: progress(stage, row)) if progress else None

    base = sft.run(recipe("base", start, config.lr), books, progress=report("base"))
    helpful = sft.run(recipe("helpful", base.folder, config.lr / 2), lessons, progress=report("helpful"))
    return {stage: _ship(run.folder, run.metrics, out / stage) for stage, run in (("base", base), ("helpful", helpful))}


def _reading_sample(books: list[Any], lessons: list[Any], seed: int) -> list[str]:
    """What the tokenizer is cut to: a share of the pages and of the prompts."""
    rng = random.Random(seed)
    pages = [page.reply for page in rng.sample(books, min(len(books), 12000))]
    prompts = [m.content for one in rng.sample(lessons, min(len(lessons), 6000)) for m in one.prompt]
    return pages + prompts


def _ship(folder: Path, metrics: Path, place: Path) -> Path:
    """The model as it is shipped: bf16 weights, the tokenizer, and the log of its training."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.rmtree(place, ignore_errors=True)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(place)
    AutoTokenizer.from_pretrained(folder).save_pretrained(place)
    shutil.copy(metrics, place / "training.jsonl")
    return place
