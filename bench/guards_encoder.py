"""What the trained second stage costs: one text, a batch, and rows of labelled data through `trivet guard score`'s path.

    OMP_NUM_THREADS=1 python bench/guards_encoder.py --data DATA --json OUT

There is no peer here: LLM Guard's classifiers need a download. The figures are CPU time of one core, and rows a second of
wall time with one process a core; so the first are to be trusted on a busy machine, the last are not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

import numpy as np

os.environ.setdefault("TRIVET_ENCODER_THREADS", "1")

from trivet.monitoring.guards.cascade import Cascade
from trivet.monitoring.guards.scoring import KINDS, scored, texts_of

ROWS = 300
FILES = {
    "prompts_safety": ("advbench", "red_instruct", "openai_moderation", "self_instruct_seeds"),
    "jailbreak": ("inthewild", "sap200", "awesome_prompts", "arena_hard"),
    "injection": ("constructed", "deepset_prompt_injections", "notinject", "oasst_clean"),
    "toxicity": ("paradetox", "toxigen_human", "toxic_spans", "davidson_tweets"),
}


def encoder_ms(rows: int, tokens: int, rounds: int = 15) -> float:
    """CPU milliseconds of one core for a row of a batch."""
    session = Cascade.shipped().encoder._session
    rng = np.random.default_rng(0)
    feed = {"ids": rng.integers(1000, 20000, (rows, tokens)), "mask": np.ones((rows, tokens), dtype=np.int64)}
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        session.run(None, feed)
        spent.append(time.process_time() - start)
    return 1000 * median(spent) / rows


def rows_a_second(data: Path, task: str, workers: int) -> dict[str, float]:
    kind = KINDS[task]
    texts = [
        text
        for name in FILES[task]
        for text, _ in zip(texts_of(data / task / f"{name}.jsonl.gz", kind.fields), range(ROWS), strict=False)
    ]
    start = time.perf_counter()
    done = sum(1 for _ in scored(texts, kind, "default", workers))
    return {
        "rows": done,
        "rows_per_s": round(done / (time.perf_counter() - start), 1),
        "characters": round(sum(map(len, texts)) / len(texts)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder of labelled data, for rows a second")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    report: dict[str, object] = {
        "second_stage_128_tokens_ms": round(encoder_ms(1, 128), 2),
        "second_stage_128_tokens_of_16_ms": round(encoder_ms(16, 128), 2),
        "second_stage_24_tokens_of_16_ms": round(encoder_ms(16, 24), 2),
    }
    cores = os.cpu_count() or 1
    if chosen.data:
        report |= {f"score_{task}": rows_a_second(chosen.data, task, cores) for task in FILES}
    for name, figure in report.items():
        print(f"{name:<36}{figure}")
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps({**report, "cores": cores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
