"""Over-optimisation in the town: proxy rewards of three sizes, best of n and PPO, one reward model or several.

    python runs/overoptimisation.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

1. A start policy that says many things, and pairs of its replies, labelled by one who errs in a quarter of the answers.
   A second labeller errs as often and likes long replies besides.
2. Reward models on 100, 400 and 1600 of those pairs; four members, alike but for head and order, where they are joined.
3. Best of n = 1 .. 256 on held-out requests, from replies drawn once, by each proxy and by each way to join members.
4. PPO against a proxy of 100 and of 1600 pairs with nothing to hold it, once with a KL penalty, once against the worst of four
   members; every other round it is measured on the held-out requests.
5. Gold gains are fitted over d = sqrt(KL) (src/trivet/alignment/overoptimisation.py), and each claim of the literature is
   held against the figures: what does not come out is said.

The gold reward is the town's oracle; nobody trains on it. Seeds are fixed; the same command goes on where it was stopped
(give --out). About twenty-five minutes of one core.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import lab
import numpy as np
import torch
from overoptimisation_report import claims, html, plain, tables
from rich.console import Console

from trivet.alignment import models, ppo, reward
from trivet.alignment.files import write_file
from trivet.alignment.overoptimisation import Fall, best_of_n, best_of_n_kl, fall_of, fit, mean_of, tops_of
from trivet.alignment.report import read_metrics
from trivet.alignment.rewards import CodeReward, How, RewardEnsemble, TrainedReward
from trivet.core.lessons import Preference
from trivet.core.messages import digest_of
from trivet.core.report import terminal_table
from trivet.core.store.artefacts import write_json, write_text
from trivet.town import gold
from trivet.town.labellers import Labeller

SEED = 1
ERRS = Labeller("nan", error=0.25)
LEANS = Labeller("lou", error=0.25, length_bias=1.5)
"""Thirteen words more make up for the step from a wrong reply to a right one."""

JOINS: dict[str, How] = {"mean": "mean", "worst": "worst", "uncertainty, k 0.5": "uncertainty"}


@dataclass(frozen=True)
class Scale:
    """How large the experiment is."""

    train: int = 480
    heldout: int = 96
    replies: int = 256
    pairs: tuple[int, ...] = (100, 400, 1600)
    members: int = 4
    rounds: int = 40
    batch: int = 64
    lessons: int = 3


QUICK = Scale(train=24, heldout=8, replies=8, pairs=(8, 16), members=2, rounds=6, batch=8, lessons=1)


@dataclass(frozen=True)
class Bench:
    """What all measurements share: the start policy, its held-out replies [prompts, K] and their gold rewards."""

    out: Path
    scale: Scale
    start: Path
    train: list[lab.Task]
    heldout: list[lab.Task]
    drawn: list[lab.Drawn]
    gold: np.ndarray

    @property
    def sizes(self) -> list[int]:
        return [n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if n <= self.scale.replies]

    @property
    def distances(self) -> list[float]:
        return [sqrt(best_of_n_kl(n)) for n in self.sizes]


def prepared(out: Path, scale: Scale) -> tuple[Bench, dict[str, list[Preference]]]:
    """The bench, and the pairs of each labeller in one order: smaller sets are the beginnings of larger ones."""
    train, heldout = lab.tasks("train", scale.train, seed=SEED), lab.tasks("heldout", scale.heldout, seed=SEED)
    start = lab.start(out / "start", train, each=scale.lessons, seed=SEED)
    said = lab.draw(start, train, 6, seed=SEED, kept=out / "train.json")
    drawn = lab.draw(start, heldout, scale.replies, seed=SEED + 1, kept=out / "heldout.json")
    oracle = np.asarray([[lab.gold_of(one.task, reply) for reply in one.replies] for one in drawn])
    labelled = {}
    for name, who in (("errs", ERRS), ("leans", LEANS)):
        pairs = lab.compared(said, [who], per_task=4, seed=SEED)
        random.Random(SEED).shuffle(pairs)
        if len(pairs) < max(scale.pairs):
            raise SystemExit(f"only {len(pairs)} pairs were found and {max(scale.pairs)} are wanted; raise `train`")
        labelled[name] = pairs
    return Bench(out, scale, start, train, heldout, drawn, oracle), labelled


# ------------------------------------------------------------------------------------------------------------- proxies


def proxies(bench: Bench, labeller: str, pairs: Sequence[Preference], members: int) -> list[Path]:
    """Folders of reward models on these pairs that differ in head and order only."""
    return [
        reward.run(
            reward.Config(
                model=str(bench.start),
                out=str(bench.out / f"rm-{labeller}-{len(pairs)}-{member}"),
                lr=3e-4,
                epochs=2,
                batch_size=8,
                max_length=256,
                save_every=0,
                seed=SEED + member,
            ),
            pairs,
        ).folder
        for member in range(members)
    ]


def proxy_rewards(bench: Bench, folder: Path) -> np.ndarray:
    """[prompts, K] in units of the model's own spread; kept in a file beside the model."""
    judge = TrainedReward(folder, scale="unit")
    key = digest_of([models.weights_digest(judge.model), [[one.task.request, *one.replies] for one in bench.drawn]])
    kept = folder.parent / f"rewards-{key[:16]}.npy"
    if kept.exists():
        found: np.ndarray = np.load(kept)
        return found
    alike = sorted({(at, reply) for at, one in enumerate(bench.drawn) for reply in one.replies})
    values = judge.rewards([lab.talk_of(bench.drawn[at].task, reply) for at, reply in alike])
    known = dict(zip(alike, values, strict=True))
    found = np.asarray([[known[at, reply] for reply in one.replies] for at, one in enumerate(bench.drawn)])
    raw = io.BytesIO()
    np.save(raw, found)
    write_file(kept, lambda path: path.write_bytes(raw.getvalue()))
    return found


def accuracy(proxy: np.ndarray, oracle: np.ndarray) -> float:
    """How often the proxy orders two held-out replies of unlike gold as gold does (neighbours in the order of drawing)."""
    by_proxy, by_gold = proxy[:, 1:] - proxy[:, :-1], oracle[:, 1:] - oracle[:, :-1]
    apart = by_gold != 0
    return float(((by_proxy > 0) == (by_gold > 0))[apart].mean())


# ----------------------------------------------------------------------------------------------------------- best of n


def best_of(bench: Bench, each: Sequence[np.ndarray]) -> dict[str, Any]:
    """Curves of best of n by several proxies, averaged over them: proxy and gold, the fit, the fall at the end."""
    oracle = np.mean([best_of_n(proxy, bench.gold, bench.sizes) for proxy in each], 0)
    paid = np.mean([best_of_n(proxy, proxy, bench.sizes) for proxy in each], 0).mean(0)
    curve = oracle.mean(0)
    return {
        "gold": curve,
        "proxy": paid,
        "fit": fit("best_of_n", bench.distances, curve - curve[0]),
        "best_n": bench.sizes[int(curve.argmax())],
        "fall": fall_of(oracle),
        "tops": tops_of(bench.distances, oracle - oracle[:, :1]),
        "by_prompt": oracle,
        "accuracy": float(np.mean([accuracy(proxy, bench.gold) for proxy in each])),
    }


def joined(bench: Bench, each: Sequence[np.ndarray], how: How, alone: dict[str, Any]) -> dict[str, Any]:
    """The same for members joined, and what that gains over them alone at the largest n, prompt by prompt."""
    stacked = np.stack(each)
    values = RewardEnsemble([CodeReward(gold.reward)], how, k=0.5).join(stacked.reshape(len(each), -1))
    found = best_of(bench, [values.reshape(bench.gold.shape)])
    found["gain"] = mean_of(found["by_prompt"][:, -1] - alone["by_prompt"][:, -1])
    return found


# ----------------------------------------------------------------------------------------------------------------- PPO


def pursued(bench: Bench, name: str, folders: Sequence[Path], before: float, *, beta: float = 0.0) -> dict[str, Any]:
    """One run of PPO from the start policy; `before` is the start's proxy reward. With several folders, their worst."""
    config = ppo.Config(
        model=str(bench.start),
        out=str(bench.out / f"ppo-{name}"),
        value=str(folders[0]),
        beta=beta,
        rounds=bench.scale.rounds,
        lr=1e-4,
        value_pace=5.0,
        schedule="constant",
        batch_size=bench.scale.batch,
        minibatch=bench.scale.batch // 2,
        passes=2,
        max_tokens=lab.MAX_TOKENS,
        max_length=256,
        save_every=8,
        eval_every=2,
        seed=SEED,
    )
    paid = RewardEnsemble.load(folders, "worst")
    asked = [lab.prompt_of(task) for task in bench.train]
    unseen = [lab.prompt_of(task) for task in bench.heldout for _ in range(2)]
    result = ppo.run(config, asked, heldout=unseen, reward=paid, watch={"gold": CodeReward(gold.reward)})
    rows = [row for row in read_metrics(result.metrics) if "heldout_gold" in row]
    start = float(bench.gold.mean())
    d = [0.0, *(sqrt(max(0.0, row["heldout_kl"])) for row in rows)]
    oracle = [start, *(row["heldout_gold"] for row in rows)]
    error = float(bench.gold.std()) / sqrt(len(unseen))
    threes = [float(np.mean(oracle[at : at + 3])) for at in range(len(oracle) - 2)]
    gains = [value - start for value in oracle]
    return {
        "d": d,
        "gold": oracle,
        "proxy": [before, *(row["heldout_reward"] for row in rows)],
        "tokens": [row["heldout_length"] for row in rows],
        "fit": fit("rl", d, gains),
        "other": fit("best_of_n", d, gains),
        "best": max(threes),
        "end": threes[-1],
        # The two thirds of a run share their prompts and their dice, so sqrt(2) errors are an upper bound.
        "fall": Fall(max(threes) - threes[-1], sqrt(2) * error),
        "error": error,
        "says": [
            (one.task.request, one.replies[0]) for one in lab.draw(result.folder, bench.heldout[:3], 1, seed=SEED)
        ],
    }


# -------------------------------------------------------------------------------------------------------- all together


def work(out: Path, scale: Scale) -> dict[str, Any]:
    began = time.process_time()
    bench, labelled = prepared(out, scale)
    alone: dict[str, dict[str, Any]] = {}
    several: dict[str, dict[str, Any]] = {}
    runs: dict[str, dict[str, Any]] = {}
    folders, means = {}, {}
    for labeller, pairs in labelled.items():
        for size in scale.pairs:
            name = f"{labeller}, {size} pairs"
            folders[size, labeller] = proxies(bench, labeller, pairs[:size], scale.members if labeller == "errs" else 1)
            each = [proxy_rewards(bench, folder) for folder in folders[size, labeller]]
            alone[name] = best_of(bench, each)
            means[size, labeller] = float(each[0].mean()), float(np.stack(each).min(0).mean())
            for told, how in JOINS.items() if labeller == "errs" else ():
                several[f"{size} pairs, {told}"] = joined(bench, each, how, alone[name])
            say(f"{name}: gold {alone[name]['gold'][0]:.3f} -> {alone[name]['gold'][-1]:.3f}", began)
    small, large = scale.pairs[0], scale.pairs[-1]
    one, all_ = folders[small, "errs"][:1], folders[small, "errs"]
    plan = {
        f"{small} pairs": (one, means[small, "errs"][0], 0.0),
        f"{large} pairs": (folders[large, "errs"][:1], means[large, "errs"][0], 0.0),
        f"{small} pairs, beta 0.1": (one, means[small, "errs"][0], 0.1),
        f"{small} pairs, worst of {len(all_)}": (all_, means[small, "errs"][1], 0.0),
    }
    for name, (paid, before, beta) in plan.items():
        runs[name] = pursued(bench, name.replace(", ", "-").replace(" ", "_"), paid, before, beta=beta)
        say(f"PPO, {name}: gold {runs[name]['gold'][0]:.3f} -> {runs[name]['end']:.3f}", began)
    distinct = float(np.mean([len(set(one.replies)) for one in bench.drawn]))
    oracle = best_of_n(bench.gold, bench.gold, bench.sizes).mean(0)
    return {
        "scale": asdict(scale), "sizes": bench.sizes, "d": bench.distances, "distinct_replies": distinct,
        "oracle": oracle, "alone": alone, "joined": several, "ppo": runs,
        "cpu_seconds": round(time.process_time() - began),
    }  # fmt: skip


def say(text: str, began: float) -> None:
    print(f"{time.process_time() - began:5.0f} s  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: one that is deleted afterwards)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--quick", action="store_true", help="a few requests only, to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        found = work((given.out or Path(scratch)).resolve(), QUICK if given.quick else Scale())
    found["claims"] = claims(found)
    console = Console(width=220)
    for caption, headers, rows in tables(found):
        console.print(terminal_table(headers, rows, title=caption))
    console.print(f"{found['cpu_seconds']} CPU seconds")
    if given.json:
        write_json(given.json, plain(found))
    if given.html:
        write_text(given.html, html(found))


if __name__ == "__main__":
    main()
