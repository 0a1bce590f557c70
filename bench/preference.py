"""Trivet beside TRL 1.16 on the same preferences: pairs per second and peak memory, both sides in one run.

    python bench/preference.py --json OUT [--objective dpo|reward|kto|all] [--pairs N] [--rounds N] [--quick]

Same random model, pairs, seed, batch, optimiser, learning rates, lengths, precision and number of threads; each side in a
process of its own, taking turns, so that whatever else the machine does meets all of them. Wall time counts from reading
the model folder to the last optimiser step: tokenizing and the reference's pass are in it on both sides, importing
libraries and writing the result are not. Ratios are formed within a round and reported as their median with the
smallest and largest; CPU time is reported beside wall time, because it says the same on a busy machine. Sides and what
they are allowed: theirs.py. What they get: world.py. The losses of Trivet and of the tuned TRL belong to the same pairs in
the same order, and are compared step by step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ours
import peer
import world

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("TRIVET_DATA", "../shared/data")) / "preferences" / "hh_harmless_test.jsonl.gz"
SIDES = ("trivet", "trl_tuned", "trl_default")
OBJECTIVES = ("dpo", "reward", "kto")
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
"""Dense bf16 operations a second, from the makers' data sheets."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trivet beside TRL 1.16: pairs per second and peak memory.")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--objective", choices=(*OBJECTIVES, "all"), default="all")
    parser.add_argument("--pairs", type=int, default=256, help="pairs to learn from, each once (KTO: as many replies)")
    parser.add_argument("--rounds", type=int, default=3, help="how often every side runs")
    parser.add_argument("--quick", action="store_true", help="one round of 64 pairs: a look, not a measurement")
    parser.add_argument("--batch", type=int, default=8, help="pairs per step, and per device step of TRL")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of every side; 0 for torch's choice")
    parser.add_argument(
        "--shape", choices=(*world.SHAPES, "auto"), default="auto", help="auto: both Qwen3 on a GPU too"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="pairs: .jsonl.gz with prompt, chosen, rejected")
    given = parser.parse_args()
    if given.quick:
        given.pairs, given.rounds = min(given.pairs, 64), 1
    if not given.data.is_file():
        parser.error(f"no pairs at {given.data}; set TRIVET_DATA or give --data")
    return given


def gpu() -> str:
    """The name of the GPU, empty where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def measure(side: str, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One run of one side; stops the whole with the side's own words where it fails."""
    place = folder / "run"
    place.mkdir(exist_ok=True)
    (place / "task.json").write_text(json.dumps({**task, "out": str(folder / side)}), encoding="utf-8")
    script, python = ("ours.py", sys.executable) if side == "trivet" else ("theirs.py", str(peer.python()))
    command = [python, str(HERE / script), str(place / "task.json"), str(place / "result.json")]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("THP_MEM_ALLOC_ENABLE", None)  # each side sets it for itself or does not
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")
    if ended.returncode:
        raise SystemExit(f"error: {side} failed on {task['objective']}:\n{ended.stderr[-3000:]}")
    return json.loads((place / "result.json").read_text(encoding="utf-8"))


def compare(objective: str, shape: str, device: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every side, `rounds` times, taking turns."""
    made = world.build(
        folder,
        given.data,
        shape=world.SHAPES[shape],
        pairs=given.pairs,
        max_length=given.max_length,
        seed=given.seed,
        scores=objective == "reward",
    )
    rows = folder / ("replies.jsonl" if objective == "kto" else "pairs.jsonl")
    task: dict[str, Any] = {
        "objective": objective,
        "model": str(folder / "model"),
        "rows": str(rows),
        "batch_size": given.batch,
        "lr": given.lr,
        "beta": 0.1,
        "max_length": given.max_length,
        "seed": given.seed,
        "dtype": "fp32" if device == "cpu" else "bf16",
        "device": device,
        "threads": given.threads,
        "out": str(folder / "out"),
    }
    lessons = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    task["order"] = ours.order(objective, {**task, "log_every": 1}, lessons)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(given.rounds):
        for side in SIDES[number % 3 :] + SIDES[: number % 3]:
            variant = {"variant": side.removeprefix("trl_"), "log_every": 0 if side == "trl_default" else 1}
            runs[side].append(measure(side, {**task, **variant}, folder))
            told = runs[side][-1]
            print(f"  round {number + 1}, {side}: {told['seconds']['whole']:.1f} s", file=sys.stderr, flush=True)
    settings = {name: value for name, value in task.items() if name not in ("order", "model", "rows", "out")}
    return summary(runs, len(lessons), objective) | {"settings": settings, "world": made, "sides": runs}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def summary(runs: dict[str, list[dict[str, Any]]], count: int, objective: str) -> dict[str, Any]:
    """Ratios, always of Trivet over TRL: above 1 in speed is faster, below 1 in memory is lighter."""
    found: dict[str, Any] = {"per_second": {}, "peak_memory": {}}
    for side, results in runs.items():
        found["per_second"][side] = spread([count / result["seconds"]["whole"] for result in results])
        found["peak_memory"][side] = spread([peak(result) for result in results])
    for name in ("default", "tuned"):
        both = list(zip(runs["trivet"], runs[f"trl_{name}"], strict=True))
        wall = spread([theirs["seconds"]["whole"] / mine["seconds"]["whole"] for mine, theirs in both])
        found[f"ratio_vs_trl_{name}"] = wall["median"]
        found[f"ratio_vs_trl_{name}_spread"] = wall
        found[f"ratio_vs_trl_{name}_steps_and_reference"] = spread([work(t) / work(m) for m, t in both])
        found[f"cpu_ratio_vs_trl_{name}"] = spread([t["cpu_seconds"] / m["cpu_seconds"] for m, t in both])
        found[f"memory_ratio_vs_trl_{name}"] = statistics.median(peak(m) / peak(t) for m, t in both)
    if objective != "kto":  # there the two sides draw their unrelated replies differently
        mine, theirs = runs["trivet"][0]["losses"], runs["trl_tuned"][0]["losses"]
        gaps = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
        found["losses"] = {"trivet": mine, "trl": theirs, "largest_difference": max(gaps)}
    return found


def peak(result: dict[str, Any]) -> int:
    return result["memory"].get("device_peak") or result["memory"]["peak"]


def work(result: dict[str, Any]) -> float:
    """Seconds without loading and tokenizing: the reference's pass and the steps."""
    seconds = result["seconds"]
    if "train" in seconds:
        return seconds["train"] + seconds.get("reference", 0.0)
    return seconds["whole"] - seconds["load"] - seconds["tokenize"]


def utilisation(made: dict[str, Any], per_second: float, name: str) -> dict[str, float]:
    """Tokens a second and share of the peak (MFU) of the work that the pairs ask for: 6 P a token, 2 P for the reference.

    Tokens are those of two plain rows per pair, whatever a side makes of them.
    """
    tokens = per_second * made["tokens_of_two_rows"] / made["pairs"]
    best = next((flops for card, flops in PEAK.items() if card in name), None)
    found = {"tokens_per_second": tokens}
    return found | ({"mfu": 8 * made["parameters"] * tokens / best} if best else {})


def table(title: str, found: dict[str, Any], objective: str) -> None:
    unit = "replies" if objective == "kto" else "pairs"
    print(f"\n{title}\n{'':14}{unit + '/s':>10}{'(range)':>16}{'peak GB':>10}{'CPU s':>8}")
    for side in SIDES:
        speed, memory = found["per_second"][side], found["peak_memory"][side]["median"]
        cpu = statistics.median(result["cpu_seconds"] for result in found["sides"][side])
        low, high = speed["smallest"], speed["largest"]
        print(f"{side:14}{speed['median']:>10.2f}{f'{low:.2f}-{high:.2f}':>16}{memory / 1e9:>10.2f}{cpu:>8.0f}")
    for name in ("default", "tuned"):
        ratio, cpu = found[f"ratio_vs_trl_{name}_spread"], found[f"cpu_ratio_vs_trl_{name}"]["median"]
        print(
            f"against TRL, {name}: {ratio['median']:.2f} times as fast ({ratio['smallest']:.2f}-{ratio['largest']:.2f}; by CPU "
            f"time {cpu:.2f}), {found[f'memory_ratio_vs_trl_{name}']:.2f} of its peak memory"
        )
    if "losses" in found:
        steps = len(found["losses"]["trivet"])
        print(
            f"losses of {steps} steps on the same pairs: largest difference {found['losses']['largest_difference']:.1e}"
        )


def main() -> None:
    given = arguments()
    card = gpu()
    objectives = OBJECTIVES if given.objective == "all" else (given.objective,)
    peer.python()
    report: dict[str, Any] = {}
    shape = "llama-17m" if given.shape == "auto" else given.shape
    device = "cuda" if card and shape != "llama-17m" else "cpu"
    with tempfile.TemporaryDirectory(prefix="bench") as place:
        for objective in objectives:
            report[objective] = compare(objective, shape, device, given, Path(place))
            table(f"{objective}, {shape}, {device}", report[objective], objective)
        if card and given.shape == "auto":
            report["gpu"] = {}
            for big in ("qwen3-0.6b", "qwen3-1.7b"):
                found = compare("dpo", big, "cuda", given, Path(place))
                for side in SIDES:
                    speed = found["per_second"][side]["median"]
                    found.setdefault("utilisation", {})[side] = utilisation(found["world"], speed, card)
                    print(f"{side}: {found['utilisation'][side]}")
                table(f"dpo, {big}, bf16, {card}", found, "dpo")
                report["gpu"][big] = found
    first = report[objectives[0]]  # the figures that are asked for by name are those of DPO where it was run
    named = {
        name: first[name] for name in ("ratio_vs_trl_default", "ratio_vs_trl_tuned", "memory_ratio_vs_trl_default")
    }
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "gpu": card}
    whole = {
        **named,
        "losses": first.get("losses", {}),
        "settings": first["settings"] | {"pairs": given.pairs, "rounds": given.rounds, "machine": machine},
        **report,
    }
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
