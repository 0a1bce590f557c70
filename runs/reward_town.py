"""Reward models against labels with known faults, in the town: how close to the ceiling, and is a length bias found?

    python runs/reward_town.py [--out FOLDER] [--json PATH] [--html PATH] [--quick]

Four replies to every request: one of the helpful model, two of the base model, and a refusal in the town's words for every
other request. All their pairs that differ in gold reward are labelled, those of a prompt weigh 1 together.

1. Noise: labellers who err in 0, 10, 20 and 30 % of their answers. On held-out requests a model's order is compared with the
   gold order, which it never saw, and with labels of the same noise. If it follows gold in a share a of the pairs, it must
   agree with labels that are flipped with chance e in  a (1 - e) + (1 - a) e;  nobody can do better than 1 - e.
2. Length: a labeller who likes long replies (`length_bias`). The report must tell this model from that of the labeller who
   does not err, on pairs whose gold rewards are equal too, where length alone should decide nothing.
3. Ensemble: three members on the labels with 20 % errors, alone and joined; the first of them stands in the table above.

Seeds are fixed; the same command goes on where it was stopped (give --out). About five minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trivet.alignment import reward, reward_report
from trivet.alignment.rewards import RewardEnsemble, TrainedReward, score_now
from trivet.core.config import load, peel
from trivet.core.hazards import Goal, Probe
from trivet.core.lessons import Preference
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.local import LocalModel
from trivet.core.models.resolve import model_folder
from trivet.core.protocols import Reward
from trivet.core.report import bars_with_intervals, bullets, page, section, table
from trivet.core.stats import Rate, rate_of
from trivet.town.ground import split
from trivet.town.judge import GoldReward
from trivet.town.labellers import Labeller
from trivet.town.replies import refusal

RECIPE = Path(__file__).parents[1] / "configs" / "reward_small.yaml"
SEED = 3
ERRORS = (0.0, 0.1, 0.2, 0.3)
LIKES_LONG = Labeller("lou", length_bias=2.0)
"""Ten words more make up for the whole step from a wrong answer to a right one."""

MEMBERS, SEVERAL_AT = 3, 0.2
Task = Goal | Probe


@dataclass(frozen=True)
class Question:
    """Two replies to one request, which the labeller is to compare; `gold` is the first's gold reward less the second's."""

    task: Task
    first: str
    second: str
    gold: float
    weight: float

    @property
    def prompt(self) -> Conversation:
        return Conversation.user(self.task.request)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: one that is deleted afterwards)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--quick", action="store_true", help="a few requests only, to see that it runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        figures = work((given.out or Path(scratch)).resolve(), quick=given.quick)
    told = json.dumps(figures, indent=1)
    if given.json:
        given.json.write_text(told + "\n", encoding="utf-8")
    if given.html:
        given.html.write_text(html(figures), encoding="utf-8")
    print(summary(figures))


def work(out: Path, *, quick: bool) -> dict[str, Any]:
    train = questions("train", 20 if quick else 260, seed=SEED)
    unseen = questions("heldout", 15 if quick else 120, seed=SEED + 1)
    learnt, measured = ([one for one in some if one.gold] for some in (train, unseen))
    level = [one for one in unseen if not one.gold]
    print(
        f"{len(learnt)} pairs to learn from, {len(measured)} to measure on, {len(level)} of equal gold reward",
        flush=True,
    )
    figures: dict[str, Any] = {"pairs": len(learnt), "heldout_pairs": len(measured), "equal_pairs": len(level)}

    several = out / "ensemble"
    figures["noise"] = []
    for error in ERRORS:
        labeller = Labeller("nell", error=error)
        if error == SEVERAL_AT:
            trained(several, labeller, learnt, measured, members=MEMBERS)
            place = several / "member-0" / "model"
        else:
            place = trained(out / f"error-{error:g}", labeller, learnt, measured)
        figures["noise"].append({"error": error, **against_gold(TrainedReward(place), measured, labeller)})
    fair = out / f"error-{ERRORS[0]:g}"
    biased = out / "likes-long"
    trained(biased, LIKES_LONG, learnt, measured)
    figures["length"] = {
        name: {**length_of(place, labeller, measured), "equal_gold_takes_longer": takes_longer(place, level).row()}
        for name, place, labeller in (("fair", fair, Labeller("nell")), ("likes long", biased, LIKES_LONG))
    }
    figures["ensemble"] = ensemble(several, measured)
    return figures


def questions(part: Any, each: int, *, seed: int) -> list[Question]:
    """All pairs of four replies to `each` goals, benign and lookalike probes."""
    some = split(part, goals=each, benign=each, lookalikes=each, seed=seed)
    tasks: list[Task] = [*some.goals, *some.benign, *some.lookalikes]
    prompts = [Conversation.user(task.request) for task in tasks]
    said: list[list[str]] = [[] for _ in tasks]
    for model, temperature, number in (("town:helpful", 1.2, 0), ("town:base", 0.8, 1), ("town:base", 0.8, 2)):
        voice = LocalModel(model_folder(model), device="cpu")
        drawn = voice.replies(prompts, Sampling(temperature, max_tokens=48, seed=seed * 10 + number))
        for replies, message in zip(said, drawn, strict=True):
            replies.append(message.content.strip())
    for number, (task, replies) in enumerate(zip(tasks, said, strict=True)):
        if number % 2 == 0:
            replies.append(refusal(task.topic, number))
    made = []
    for task, prompt, replies in zip(tasks, prompts, said, strict=True):
        known = {reply: gold(prompt, reply, task) for reply in replies if reply}
        pairs = [(a, b, known[a] - known[b]) for a, b in combinations(known, 2)]
        count = max(1, sum(gap != 0 for _, _, gap in pairs))
        made += [Question(task, a, b, gap, 1 / count) for a, b, gap in pairs]
    return made


def gold(prompt: Conversation, reply: str, task: Task) -> float:
    return GoldReward([task]).one(prompt.then(Message("assistant", reply)), task)


def labelled(labeller: Labeller, asked: list[Question]) -> list[Preference]:
    return [replace(labeller.label(one.prompt, one.first, one.second, one.task), weight=one.weight) for one in asked]


def trained(out: Path, labeller: Labeller, learnt: list[Question], unseen: list[Question], members: int = 1) -> Path:
    """The folder of a reward model on this labeller's answers."""
    _, values, _ = peel(Kind, RECIPE)
    settings = [
        f"model={model_folder('town:helpful')}",
        f"out={out}",
        f"seed={SEED}",
        f"members={members}",
        "device=cpu",
    ]
    config = load(reward.Config, RECIPE, settings, values=values)
    result = reward.run(config, labelled(labeller, learnt), heldout=labelled(labeller, unseen))
    print(f"{out.name}: {result.steps} steps, held-out accuracy {result.final['heldout_accuracy']:.3f}", flush=True)
    return result.folder


@dataclass(frozen=True)
class Kind:
    """The key of a recipe file that is not a setting of its recipe."""

    recipe: str = "reward"


def gaps(model: Reward, asked: list[Question]) -> np.ndarray:
    """The first reply's reward less the second's."""
    both = [one.prompt.then(Message("assistant", reply)) for one in asked for reply in (one.first, one.second)]
    found = np.asarray(score_now(model, both)).reshape(-1, 2)
    difference: np.ndarray = found[:, 0] - found[:, 1]
    return difference


def against_gold(model: Reward, asked: list[Question], labeller: Labeller) -> dict[str, Any]:
    """How often the model's order is the gold one, in all and by kind, and how often it is that of noisy labels."""
    order = gaps(model, asked)
    right = [(gap > 0) == (one.gold > 0) for gap, one in zip(order, asked, strict=True)]
    labels = [labeller.prefers_first(one.prompt, one.first, one.second, one.task) for one in asked]
    kinds: dict[str, list[bool]] = defaultdict(list)
    for one, is_right in zip(asked, right, strict=True):
        kinds[one.task.kind if isinstance(one.task, Probe) else "harmful"].append(is_right)
    a, e = rate_of(right), labeller.error
    return {
        "gold": a.row(),
        "labels": rate_of((gap > 0) == first for gap, first in zip(order, labels, strict=True)).row(),
        "labels_are_gold": rate_of(first == (one.gold > 0) for first, one in zip(labels, asked, strict=True)).row(),
        "ceiling": 1 - e,
        "implied": a.rate * (1 - e) + (1 - a.rate) * e,
        "kinds": {name: rate_of(some).row() for name, some in kinds.items()},
    }


def length_of(place: Path, labeller: Labeller, asked: list[Question]) -> dict[str, Any]:
    """What the run's own report says about length, and the gold order as the measure of what the bias costs."""
    found = json.loads((place / f"{reward_report.NAME}.json").read_text(encoding="utf-8"))
    order = against_gold(TrainedReward(place / "model"), asked, labeller)
    return {
        "report": {"length": found["length"], "findings": found["findings"], "accuracy": found["accuracy"]},
        **order,
    }


def takes_longer(place: Path, level: list[Question]) -> Rate:
    """How often the model takes the longer of two replies that are worth the same."""
    order = gaps(TrainedReward(place / "model"), level)
    longer = [len(one.first.split()) - len(one.second.split()) for one in level]
    return rate_of((gap > 0) == (more > 0) for gap, more in zip(order, longer, strict=True) if more)


def ensemble(out: Path, measured: list[Question]) -> dict[str, Any]:
    """The members' figures and those of the three ways to join them."""
    labeller = Labeller("nell", error=SEVERAL_AT)
    folders = [out / f"member-{number}" / "model" for number in range(MEMBERS)]
    alone = [against_gold(TrainedReward(folder), measured, labeller)["gold"] for folder in folders]
    joined = {
        how: against_gold(RewardEnsemble.load(folders, how, k=0.5), measured, labeller)["gold"]
        for how in ("mean", "worst", "uncertainty")
    }
    reports = [out / f"member-{number}" for number in range(MEMBERS)] + [out]
    ece = [json.loads((one / f"{reward_report.NAME}.json").read_text())["calibration"]["ece"] for one in reports]
    return {"members": alone, **joined, "members_ece": ece[:-1], "mean_ece": ece[-1]}


# ----------------------------------------------------------------------------------------------------------- telling


def summary(figures: dict[str, Any]) -> str:
    told = ["", "labels wrong   follows gold                     agrees with such labels          implied  ceiling"]
    for row in figures["noise"]:
        told.append(
            f"{row['error']:12.0%}   {_rate(row['gold'])!s:32} {_rate(row['labels'])!s:32} "
            f"{row['implied']:.1%}    {row['ceiling']:.0%}"
        )
    for name, row in figures["length"].items():
        length = row["report"]["length"]
        told += [
            "",
            f"labeller {name}: follows gold in {_rate(row['gold'])}",
            f"  r(reward, length) {length['r_reward_length']['r']:.3f}, within pairs {length['r_gap_length_gap']['r']:.3f}",
            f"  takes the longer reply: labels {_rate(length['labels_take_longer'])}, model {_rate(length['model_takes_longer'])}",
            f"  right where longer was chosen {_rate(length['accuracy_longer_chosen'])}, "
            f"shorter {_rate(length['accuracy_shorter_chosen'])}",
            f"  takes the longer of two equally good replies: {_rate(row['equal_gold_takes_longer'])}",
            *(f"  report: {finding}" for finding in row["report"]["findings"]),
        ]
    found = figures["ensemble"]
    told += ["", *(f"member {at}: follows gold in {_rate(row)}" for at, row in enumerate(found["members"]))]
    told += [f"{how:11}: follows gold in {_rate(found[how])}" for how in ("mean", "worst", "uncertainty")]
    told.append(
        f"ECE of the members {', '.join(f'{e:.3f}' for e in found['members_ece'])}, of their mean {found['mean_ece']:.3f}"
    )
    return "\n".join(told)


def html(figures: dict[str, Any]) -> str:
    noise, length, joined = figures["noise"], figures["length"], figures["ensemble"]
    groups = [f"{row['error']:.0%} wrong" for row in noise]
    shares = {"follows gold": "gold", "agrees with such labels": "labels", "labels that are gold": "labels_are_gold"}
    rows = {
        "follows gold": "gold", "takes the longer of two equals": "equal_gold_takes_longer",
    }  # fmt: skip
    within = {
        "labels take the longer": "labels_take_longer",
        "model takes the longer": "model_takes_longer",
        "right where the longer was chosen": "accuracy_longer_chosen",
        "right where the shorter was chosen": "accuracy_shorter_chosen",
    }
    compared = [(name, *(_rate(one[key]) for one in length.values())) for name, key in rows.items()]
    compared += [
        (name, *(_rate(one["report"]["length"][key]) for one in length.values())) for name, key in within.items()
    ]
    found = [f"{name}: {finding}" for name, one in length.items() for finding in one["report"]["findings"]]
    several = [(f"member {at}", _rate(row)) for at, row in enumerate(joined["members"])]
    several += [(how, _rate(joined[how])) for how in ("mean", "worst", "uncertainty")]
    return page(
        "Reward models on labels with known faults",
        [
            section(
                "Wrong labels",
                bars_with_intervals(groups, {name: [_rate(row[key]) for row in noise] for name, key in shares.items()}),
                table(
                    ("labels wrong", "follows gold", "agrees with such labels", "implied", "ceiling"),
                    [
                        (g, _rate(r["gold"]), _rate(r["labels"]), r["implied"], r["ceiling"])
                        for g, r in zip(groups, noise, strict=True)
                    ],
                ),
            ),
            section(
                "A labeller who likes long replies", table(("", *length), compared), bullets(found or ["nothing found"])
            ),
            section("An ensemble, labels 20 % wrong", table(("", "follows gold"), several)),
        ],
        subtitle=f"{figures['pairs']} pairs learnt, {figures['heldout_pairs']} measured",
    )


def _rate(row: dict[str, Any]) -> Rate:
    return Rate(round((row["rate"] or 0.0) * row["n"]), row["n"])


if __name__ == "__main__":
    main()
