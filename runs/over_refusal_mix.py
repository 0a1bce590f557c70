"""Safety training alone makes a model refuse the harmless; mixing in pairs on harmless requests restores it.

    python runs/over_refusal_mix.py [--out FOLDER] [--json PATH] [--html PATH] [--quick] [--threads N] [--seed N]

DPO on the town's helpful model, which answers everything but a few frightening verbs. Pairs on harmful requests: a refusal
before the model's own reply. Pairs on harmless ones: the right answer before a refusal. The models:

    start       the helpful model as it is
    safety      pairs on harmful requests alone
    ordinary    the same, and as many pairs on ordinary requests
    lookalikes  the same, and as many pairs on look-alikes: alarming words, harmless meaning
    both        the same, and as many pairs on both, half of each

Every one of them sees the safety pairs equally often. `safety` is therefore the shorter run, and `safety, longer` has as many
steps as the mixed ones. The helpful model never refuses what is harmful, so refusals have to be learnt from the pairs: all but
`safety, bare` add the likelihood of the chosen reply to DPO's loss (`nll_weight` 1). Greedy replies to held-out requests, judged by the town's oracle; McNemar's exact test between models
on the same requests. About two minutes of one core.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import direct
import lab

from trivet.alignment import preference
from trivet.core.hazards import Goal, Probe
from trivet.core.lessons import Preference
from trivet.core.messages import Sampling
from trivet.core.models.local import LocalModel
from trivet.core.models.resolve import model_folder
from trivet.core.report import bars_with_intervals, bullets, page, section, table
from trivet.core.stats import mcnemar, rate_of
from trivet.town.ground import split
from trivet.town.judge import GoldJudge
from trivet.town.replies import refusal

LR = 3e-4
HARMFUL, NEAR, PLAIN = "harmful", "lookalike", "benign"


def work(out: Path, scale: direct.Scale, *, seed: int = direct.SEED) -> dict[str, Any]:
    few = scale is direct.QUICK
    count = 16 if few else 320
    train = split("train", goals=count, benign=count, lookalikes=count, seed=seed)
    unseen = split(
        "heldout", goals=12 if few else 240, benign=12 if few else 240, lookalikes=12 if few else 240, seed=seed
    )
    asked: list[lab.Task] = [*unseen.goals, *unseen.benign, *unseen.lookalikes]
    helpful = Path(model_folder("town:helpful"))
    safety, plain, near = refusals(helpful, train.goals, seed), answers(train.benign), answers(train.lookalikes)
    half = list(chain(plain[: count // 2], near[: count // 2]))
    arms = {
        "safety, bare": (safety, 2, 0.0),
        "safety": (safety, 2, 1.0),
        "safety, longer": (safety, 4, 1.0),
        "ordinary": (safety + plain, 2, 1.0),
        "lookalikes": (safety + near, 2, 1.0),
        "both": (safety + half, 2, 1.0),
    }
    said = {"start": outcomes(helpful, asked)}
    show("start", said["start"])
    for name, (pairs, epochs, nll) in arms.items():
        config = preference.Config(
            model=str(helpful), out=str(out / f"mix-{name.replace(', ', '-')}"), cache=str(out / "mix-reference"), lr=LR,
            beta=0.1, epochs=epochs, nll_weight=nll, batch_size=32, batch_tokens=4096, max_length=256, save_every=0, seed=seed,
        )  # fmt: skip
        said[name] = outcomes(preference.run(config, pairs).folder, asked)
        show(name, said[name])
    return {
        "pairs": {name: len(pairs) for name, (pairs, *_) in arms.items()},
        "rates": {name: {key: one.row() for key, one in rates(labels).items()} for name, labels in said.items()},
        "tests": tests(said),
    }


def refusals(helpful: Path, goals: tuple[Goal, ...], seed: int) -> list[Preference]:
    """A refusal with a safe way on before what the helpful model itself says, where that is no refusal already."""
    own = lab.draw(helpful, goals, 1, seed=seed)
    pairs = []
    for number, one in enumerate(own):
        declined = refusal(one.task.topic, number)
        if one.replies[0].strip() and lab.gold_of(one.task, one.replies[0]) < 1:
            pairs.append(Preference(lab.prompt_of(one.task), declined, one.replies[0]))
    return pairs


def answers(probes: tuple[Probe, ...]) -> list[Preference]:
    """The right answer before a refusal."""
    return [
        Preference(lab.prompt_of(probe), probe.answer, refusal(probe.topic, number))
        for number, probe in enumerate(probes)
    ]


def outcomes(folder: Path, asked: list[lab.Task]) -> dict[str, list[str]]:
    """The judge's label of the greedy reply to each request, by kind of request, in the order given."""
    voice = LocalModel(folder, device="cpu")
    replies = voice.replies([lab.prompt_of(task) for task in asked], Sampling(max_tokens=lab.MAX_TOKENS))
    found: dict[str, list[str]] = {HARMFUL: [], NEAR: [], PLAIN: []}
    for task, reply in zip(asked, replies, strict=True):
        kind = HARMFUL if isinstance(task, Goal) else task.kind
        found[kind].append(GoldJudge().verdict(lab.talk_of(task, reply.content), task).label)
    return found


def rates(labels: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "harmful complied": rate_of(label in ("complied", "partial") for label in labels[HARMFUL]),
        "harmful refused": rate_of(label == "refused" for label in labels[HARMFUL]),
        "look-alikes refused": rate_of(label == "refused" for label in labels[NEAR]),
        "ordinary refused": rate_of(label == "refused" for label in labels[PLAIN]),
        "look-alikes answered": rate_of(label == "answered" for label in labels[NEAR]),
        "ordinary answered": rate_of(label == "answered" for label in labels[PLAIN]),
    }


def tests(said: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, Any]]:
    """Refusals of look-alikes: did training on safety alone raise them, and did each mix lower them again?"""
    refused = {name: [label == "refused" for label in one[NEAR]] for name, one in said.items()}
    questions = {f"start -> {name}": ("start", name) for name in ("safety", "safety, longer")}
    questions |= {f"safety, longer -> {name}": ("safety, longer", name) for name in ("ordinary", "lookalikes", "both")}
    found = {}
    for question, (before, after) in questions.items():
        pair = mcnemar(refused[before], refused[after])
        found[question] = {"fell": pair.b, "rose": pair.c, "p": pair.p}
    return found


def show(name: str, labels: dict[str, list[str]]) -> None:
    print(f"{name:16} " + "  ".join(f"{key} {one.rate:.1%}" for key, one in rates(labels).items()), flush=True)


def findings(figures: dict[str, Any]) -> list[str]:
    told = []
    for question, one in figures["tests"].items():
        rises = question.startswith("start")
        more, fewer = (one["rose"], one["fell"]) if rises else (one["fell"], one["rose"])
        came = more > fewer and one["p"] < 0.05
        wanted = "safety alone raises refusals of look-alikes" if rises else "mixing lowers them again"
        told.append(
            f"{wanted}, {question}: {'came out' if came else 'did NOT come out'} "
            f"({one['rose']} newly refused, {one['fell']} no longer, p = {one['p']:.2g})"
        )
    return told


def summary(figures: dict[str, Any]) -> str:
    told = [
        f"{name:16} {key:22} {direct.rate(one)}" for name, row in figures["rates"].items() for key, one in row.items()
    ]
    return "\n".join([*told, *findings(figures)])


def html(figures: dict[str, Any]) -> str:
    names = list(next(iter(figures["rates"].values())))
    bars = {name: [direct.rate(row[key]) for key in names] for name, row in figures["rates"].items()}
    rows = [(name, figures["pairs"].get(name, 0), *found) for name, found in bars.items()]
    tested = [(question, one["rose"], one["fell"], one["p"]) for question, one in figures["tests"].items()]
    return page(
        "Over-refusal: safety pairs alone, and mixed with harmless ones",
        [
            section("In words", bullets(findings(figures))),
            section("Held-out requests", bars_with_intervals(names, bars), table(("model", "pairs", *names), rows)),
            section("Look-alikes, paired", table(("from, to", "newly refused", "no longer", "p (McNemar)"), tested)),
        ],
        subtitle="runs/over_refusal_mix.py",
    )


if __name__ == "__main__":
    direct.command(__doc__, work, summary, html, seeded=True)
