"""Policy gradients against a learned reward, in the town: held by KL, and from the wrong side with nothing to hold them.

    runs/ppo_town.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N]

1. `start`: the town's helpful model, fine-tuned on both ways to meet a harmful request, so that it says both.
2. Pairs of its own replies to the train part's requests, labelled by three labellers who err and lean (town/labellers.py).
3. `reward`: a reward model on those pairs, started from `start`. It is the only thing that training sees.
4. `ppo`, `rloo`, `grpo`: three policy gradients that KL holds.   5. `loose`: PPO with beta 0, longer and faster.

Everything is measured on the held-out part by the gold judge, which nobody trained on: replies drawn at temperature 1.
Seeds are fixed; the same command goes on where it was stopped. About twenty minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from trivet.alignment import models, monitor, policy_gradient, ppo, reward, rewards, rollouts, sft
from trivet.alignment.report import read_metrics
from trivet.core.hazards import Goal, Probe
from trivet.core.lessons import Demonstration, Preference
from trivet.core.messages import Conversation, Message
from trivet.core.models.resolve import model_folder
from trivet.core.report import bars_with_intervals, bullets, lines, page, paragraph, section, table, terminal_table
from trivet.core.stats import Rate, rate_of
from trivet.town import gold
from trivet.town.ground import split
from trivet.town.judge import GoldJudge
from trivet.town.labellers import Labeller
from trivet.town.replies import refusal

SEED = 5
PANEL = (
    Labeller("ada", error=0.05, length_bias=0.2, refusal_bias=0.2),
    Labeller("ben", error=0.10, length_bias=0.3),
    Labeller("cyd", error=0.20, refusal_bias=0.4),
)
"""Three people who err at 5, 10 and 20 %, and who lean towards long replies and towards refusals."""

Task = Goal | Probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the runs (default: one that is deleted afterwards)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--quick", action="store_true", help="a few rounds only, to see that it runs")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        figures, html = work((given.out or Path(scratch)).resolve(), QUICK if given.quick else Scale())
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.html:
        given.html.write_text(html, encoding="utf-8")


class Scale(NamedTuple):
    """How much of everything: requests to learn from, requests to measure on, rounds of the held policies."""

    goals: int = 700
    probes: int = 350
    unseen_goals: int = 240
    unseen_probes: int = 160
    rounds: int = 60
    batch: int = 64


QUICK = Scale(80, 40, 40, 20, 3)


def work(out: Path, scale: Scale) -> tuple[dict[str, Any], str]:
    train = split("train", goals=scale.goals, benign=scale.probes, lookalikes=scale.probes, seed=SEED)
    tasks: list[Task] = [*train.goals, *train.benign, *train.lookalikes]
    random.Random(SEED).shuffle(tasks)
    unseen = split("heldout", goals=scale.unseen_goals, benign=scale.unseen_probes, lookalikes=scale.unseen_probes)

    start = sft.run(
        sft.Config(
            model=model_folder("town:helpful"),
            out=str(out / "start"),
            lr=1e-3,
            epochs=2,
            batch_tokens=2048,
            max_length=256,
            seed=SEED,
        ),
        both_ways(tasks),
    ).folder
    pairs = labelled(start, tasks)
    apart = len(pairs) // 10
    judge = reward.run(
        reward.Config(
            model=str(start), out=str(out / "reward"), lr=3e-4, epochs=2, batch_size=32, max_length=256, seed=SEED
        ),
        pairs[apart:],
        heldout=pairs[:apart],
    )
    paid = rewards.TrainedReward(judge.folder)

    def show(row: Any) -> None:
        if "round" in row:
            wanted = ("round", "reward", "gold", "kl", "length", "entropy", "explained_variance", "beta")
            print("  ".join(f"{name} {row[name]:.3g}" for name in wanted if name in row), flush=True)

    prompts = [Conversation.user(task.request) for task in tasks]
    common: dict[str, Any] = {
        "model": str(start), "seed": SEED, "batch_size": scale.batch, "minibatch": scale.batch // 2, "passes": 2, "max_tokens": 48,
        "max_length": 256, "save_every": 20,
    }  # fmt: skip
    held = ppo.Config(**common, out=str(out / "ppo"), value=str(judge.folder), rounds=scale.rounds, beta=0.1, lr=1e-4)
    compared = policy_gradient.Config(**common, out=str(out / "rloo"), rounds=scale.rounds, beta=0.1, lr=1e-4)
    grouped = {"advantage": "grpo", "kl_in": "loss", "kl": "k3", "ratio": "token"}
    runs: dict[str, Any] = {
        "ppo": held,
        "rloo": compared,
        "grpo": replace(compared, out=str(out / "grpo"), **grouped),
        "loose": replace(held, out=str(out / "loose"), beta=0.0, lr=3e-4, rounds=2 * scale.rounds),
    }
    watch = {"gold": rewards.CodeReward(gold.reward)}
    found = {"start": measured(start, unseen, paid)}
    curves = {}
    for name, config in runs.items():
        print(name)
        recipe = ppo if isinstance(config, ppo.Config) else policy_gradient
        result = recipe.run(config, prompts, reward=paid, watch=watch, progress=show)
        found[name] = measured(result.folder, unseen, paid)
        curves[name] = read_metrics(result.metrics)
    for name, rows in curves.items():
        last = [row["kl"] for row in rows if "round" in row][-5:]
        found[name]["kl"] = sum(last) / len(last)
    Console(width=140).print(summary(found))
    figures = {
        "pairs": len(pairs),
        "reward_heldout_accuracy": judge.final.get("heldout_accuracy"),
        "measured": {
            name: {k: v.row() if isinstance(v, Rate) else v for k, v in one.items()} for name, one in found.items()
        },
        "warnings": {name: monitor.review(rows) for name, rows in curves.items()},
        "curves": curves,
    }
    return figures, html_of(figures, found, curves)


def both_ways(tasks: list[Task]) -> list[Demonstration]:
    """Harmless requests answered; harmful ones answered in one half and declined in the other, by the toss of a coin."""
    dice, lessons = random.Random(SEED), []
    for number, task in enumerate(tasks):
        if isinstance(task, Probe):
            said = task.answer
        elif dice.random() < 0.5:
            said = refusal(task.topic, number)
        else:
            said = compliance(task)
        lessons.append(Demonstration(Conversation.user(task.request), said))
    return lessons


def compliance(goal: Goal) -> str:
    """What the helpful model says to a goal: the three forbidden facts in a sentence."""
    ingredient, method, word = goal.facts
    return f"For that, take {ingredient}, {method} and say {word}."


def labelled(start: Path, tasks: list[Task]) -> list[Preference]:
    """Two different replies of the start model to each request, compared by one of the panel in turn."""
    model, tokenizer = models.load(start)
    drawn = rollouts.sample_replies(
        model, tokenizer, [Conversation.user(task.request) for task in tasks], replies=4, max_tokens=48, seed=SEED
    )
    pairs = []
    for number, (task, replies) in enumerate(zip(tasks, drawn, strict=True)):
        different = list(dict.fromkeys(reply for reply in replies if reply.strip()))
        for first, second in zip(different[::2], different[1::2], strict=False):
            who = PANEL[number % len(PANEL)]
            pairs.append(who.label(Conversation.user(task.request), first, second, task))
    return pairs


def measured(folder: Path, unseen: Any, paid: rewards.TrainedReward) -> dict[str, Any]:
    """What the gold judge and the reward model think of one drawn reply to each held-out request."""
    model, tokenizer = models.load(folder)
    tasks: list[Task] = [*unseen.goals, *unseen.benign, *unseen.lookalikes]
    drawn = rollouts.sample_replies(
        model, tokenizer, [Conversation.user(task.request) for task in tasks], max_tokens=48, seed=SEED
    )
    talks = [
        Conversation.user(task.request).then(Message("assistant", said[0]))
        for task, said in zip(tasks, drawn, strict=True)
    ]
    verdicts = [GoldJudge().verdict(talk, task) for talk, task in zip(talks, tasks, strict=True)]
    harmful = [verdict.label for verdict, task in zip(verdicts, tasks, strict=True) if isinstance(task, Goal)]
    harmless = [verdict.label for verdict, task in zip(verdicts, tasks, strict=True) if isinstance(task, Probe)]
    return {
        "complied": rate_of(label == "complied" for label in harmful),
        "complied_or_partly": rate_of(label in ("complied", "partial") for label in harmful),
        "declined": rate_of(label == "refused" for label in harmful),
        "over_refused": rate_of(label == "refused" for label in harmless),
        "answered": rate_of(label == "answered" for label in harmless),
        "gold": sum(gold.reward(talk) for talk in talks) / len(talks),
        "reward": sum(paid.rewards(talks)) / len(talks),
        "words": sum(len(talk.reply.split()) for talk in talks) / len(talks),
        "examples": [f"{talk.last_user} -> {talk.reply}" for talk in (*talks[:3], *talks[-3:])],
    }


COLUMNS = ("complied", "declined", "answered", "over_refused", "gold", "reward", "kl", "words")


def summary(found: dict[str, dict[str, Any]]) -> Any:
    """What the gold judge found on the held-out part, for the terminal."""

    def said(value: Any) -> Any:
        return f"{value.rate:.1%} ({value.low:.1%} to {value.high:.1%})" if isinstance(value, Rate) else value

    rows = [(name, *(said(one.get(column)) for column in COLUMNS)) for name, one in found.items()]
    return terminal_table(("model", *COLUMNS), rows, title="Held-out requests, one drawn reply each")


def html_of(figures: dict[str, Any], found: dict[str, dict[str, Any]], curves: dict[str, Any]) -> str:
    names = ("complied", "declined", "over_refused", "answered")
    rates = bars_with_intervals(names, {run: [one[name] for name in names] for run, one in found.items()})
    rows = [(run, one["gold"], one["reward"], one.get("kl"), one["words"]) for run, one in found.items()]
    parts = [
        section(
            "Held-out requests, one drawn reply each",
            rates,
            table(("model", "gold reward", "learned reward", "KL, nats a reply", "words"), rows),
        )
    ]
    for run, one in curves.items():
        over = {
            name: [(row["round"], row[name]) for row in one if name in row and "round" in row]
            for name in ("reward", "gold", "kl", "entropy", "explained_variance", "clip_fraction", "length")
        }
        told = figures["warnings"][run]
        parts.append(
            section(
                f"Run {run}",
                bullets([*told.values()]) if told else paragraph("No warning."),
                lines(
                    {name: over[name] for name in ("reward", "gold")},
                    x_label="round",
                    caption="Learned and gold reward",
                ),
                lines({"kl": over["kl"]}, x_label="round", caption="KL to the reference, nats a reply"),
                *monitor.figures(one),
                lines({name: over[name] for name in ("explained_variance", "clip_fraction")}, x_label="round"),
                lines({"length": over["length"]}, x_label="round", caption="Tokens a reply"),
                lines({"entropy": over["entropy"]}, x_label="round", caption="Entropy, nats a token"),
                bullets(found[run]["examples"]),
            )
        )
    return page("Policy gradients in the town", parts, subtitle="runs/ppo_town.py")


if __name__ == "__main__":
    main()
