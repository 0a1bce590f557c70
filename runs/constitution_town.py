"""Constitutional AI on the town, measured: does harm fall with each revision, what does a model learn from it, how good are
the critic's own preferences?

    python runs/constitution_town.py [--out DIR] [--json PATH] [--html PATH] [--threads N]

1. A critic: town:helpful is shown critiques, revisions and comparisons by the rules of the town's constitution (train part).
2. Held-out requests are answered by town:helpful and revised four times. The oracle measures each revision. Beside it stands
   the ideal critic: the grammar itself, applied to the same replies with the same principles drawn.
3. SL-CAI: town:helpful learns the last revisions of train requests: of harmful ones only, of all, and of harmful ones beside
   its own replies to harmless ones.
4. RL-CAI, with DPO in PPO's place: the last of these learns from the critic's soft labels of train pairs.
5. AI labels: of held-out requests, the start's reply against the student's, judged by the critic in several ways; agreement
   with the gold reward and calibration.

Resumable: the same command goes on. The grammar teaches the critic, on train requests, as a house would with labels of its own;
beyond that the oracle only measures. About eight CPU minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from constitution_measures import agreement, asked, by_revision, chains, critiques_right, outcomes, rates, replies_of
from rich.console import Console

from trivet.alignment import constitution, preference, sft, sources
from trivet.alignment.lineage import Ledger, Row
from trivet.alignment.made import Result
from trivet.alignment.principles import read_constitution
from trivet.core.lessons import Demonstration, Origin
from trivet.core.messages import Conversation
from trivet.core.models.resolve import model_folder
from trivet.core.report import bars_with_intervals, lines, page, paragraph, section, table, terminal_table
from trivet.core.stats import Rate
from trivet.core.store.artefacts import write_json, write_text
from trivet.town import requests
from trivet.town.critiques import critic_lessons
from trivet.town.requests import Part

ROUNDS = 4
START = "town:helpful"
CRITIC = {"lr": 1.5e-3, "batch_tokens": 3072, "max_steps": 720}
STUDENT = {"lr": 5e-4, "batch_size": 16, "epochs": 2, "max_length": 512, "log_every": 5}
DPO = {"lr": 1e-4, "batch_size": 16, "epochs": 2, "beta": 0.3, "nll_weight": 0.2, "log_every": 5}
HARMFUL, ALL, MIXED = "revisions of harmful", "revisions of all", "of harmful, own replies"
RL = "then DPO on AI labels"
WAYS: dict[str, dict[str, Any]] = {
    "one principle": {"per_pair": 1},
    "all five": {"per_pair": 0},
    "one, after thoughts": {"per_pair": 1, "thoughts": True, "clamp": (0.0, 1.0)},
    "one, after thoughts, clamped": {"per_pair": 1, "thoughts": True},
    "one, by 8 votes": {"per_pair": 1, "labels": "votes"},
}


# ------------------------------------------------------------------------------------------------------------ the steps


def critic(out: Path, threads: int) -> str:
    """Train the critic on what the grammar says of train requests."""
    pool = [request for kind in (requests.harmful, requests.lookalikes, requests.benign) for request in kind("train")]
    lessons = critic_lessons(read_constitution("town"), pool, 30_000, 0)
    config = sft.Config(
        model=model_folder(START), out=str(out / "critic"), max_length=512, threads=threads, save_every=60, **CRITIC
    )
    return str(sft.run(config, lessons, progress=_told("critic")).folder)


def revised(out: Path, part: Part, judge: str, threads: int) -> Result:
    """Replies and four revisions of one part's requests."""
    config = constitution.Config(
        model=START, critic=judge, out=str(out / f"revised-{part}"), constitution="town", rounds=ROUNDS, max_tokens=64,
        threads=threads,
    )  # fmt: skip
    return constitution.run(
        config, [Conversation.user(one.text) for one in asked(part)], progress=_told(f"revise {part}")
    )


def students(out: Path, made: Result, threads: int) -> dict[str, str]:
    """town:helpful after learning the last revisions of train requests: of harmful ones only, of all, and of harmful ones
    beside its own replies to harmless ones, which is how the paper keeps a model helpful."""
    assert made.demonstrations
    kinds = {request.text: request.kind for request in asked("train")}
    whole = sources.demonstrations(made.demonstrations).lessons
    harmful = [one for one in whole if kinds[one.prompt.last_user] == "harmful"]
    own = [
        Demonstration(Conversation.user(text), chain[0], Origin("constitution_town:own"))
        for text, chain in chains(made, "train").items()
        if kinds[text] != "harmful"
    ]
    return {
        name: str(
            sft.run(
                sft.Config(
                    model=model_folder(START), out=str(out / name.replace(" ", "-")), threads=threads, **STUDENT
                ),
                lessons,
                progress=_told(name),
            ).folder
        )
        for name, lessons in {HARMFUL: harmful, ALL: whole, MIXED: harmful + own}.items()
    }


def preferring(out: Path, start: str, judge: str, threads: int) -> str:
    """The last student after DPO on the critic's soft labels of train pairs: RL-CAI, with DPO in PPO's place."""
    made = labels_of(out / "labels-train", "train", WAYS["all five"], start, judge, threads)
    assert made.preferences
    config = preference.Config(model=start, out=str(out / "dpo"), max_length=512, threads=threads, **DPO)
    return str(preference.run(config, sources.preferences(made.preferences).lessons, progress=_told("dpo")).folder)


def labels_of(out: Path, part: Part, way: dict[str, Any], rival: str, judge: str, threads: int) -> Result:
    """Pairs of one part's requests, judged: the start's reply (a) against the student's (b)."""
    config = constitution.Config(
        model=START, rival=rival, critic=judge, constitution="town", rounds=0, max_tokens=64, threads=threads,
        out=str(out), **{"labels": "logprobs", **way},
    )  # fmt: skip
    return constitution.run(config, [Conversation.user(one.text) for one in asked(part)], progress=_told(out.name))


def labels_in(made: Result) -> list[Row]:
    return [row for row in Ledger(made.folder / "lineage.jsonl").rows.values() if row["kind"] == "label"]


def _told(stage: str) -> Any:
    def progress(row: Any) -> None:
        if "loss" in row or "tokens_per_second" not in row:
            print(f"{stage}: {row['step']}/{row.get('steps', '?')} {row.get('loss', float('nan')):.3f}", flush=True)

    return progress


# --------------------------------------------------------------------------------------------------------- the report


def figures(out: Path, threads: int) -> dict[str, Any]:
    began = time.process_time()
    judge = critic(out, threads)
    made = {part: revised(out, part, judge, threads) for part in ("train", "heldout")}
    learnt = students(out, made["train"], threads)
    models = {"start": model_folder(START), **learnt, RL: preferring(out, learnt[MIXED], judge, threads)}
    labels = {
        way: labels_of(out / f"labels-{number}", "heldout", settings, learnt[MIXED], judge, threads)
        for number, (way, settings) in enumerate(WAYS.items())
    }
    found = {
        "revisions": by_revision(chains(made["heldout"], "heldout")),
        "ideal_critic": by_revision(chains(made["heldout"], "heldout", perfect=True)),
        "critic": critiques_right(made["heldout"]),
        "models": {name: rates(outcomes(replies_of(folder, threads))) for name, folder in models.items()},
        "labels": {way: agreement(labels_in(result)) for way, result in labels.items()},
        "train": {"prompts": made["train"].final["prompts"], "changed": made["train"].final["changed"]},
    }
    return {**found, "cpu_seconds": round(time.process_time() - began)}


def plain(value: Any) -> Any:
    """For JSON: rates with their intervals, other numbers rounded."""
    if isinstance(value, Rate):
        return value.row()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value


RATES = {
    "harm": "harm, all or part",
    "recipe": "whole recipes",
    "over_refusal": "look-alikes refused",
    "alike_answered": "look-alikes answered",
    "capability": "ordinary answered",
}


def tables(found: dict[str, Any]) -> list[tuple[str, list[str], list[list[Any]]]]:
    """What is printed and what stands in the report: caption, headers, rows."""

    def revisions(who: str) -> list[list[Any]]:
        return [
            [
                row["revision"],
                f"{row['secrets_given']:.1%}",
                *(str(row[name]) for name in RATES),
                row.get("harm_fell_p"),
            ]
            for row in found[who]
        ]

    by_revision_ = ["revision", "secrets given", *RATES.values(), "harm fell, p"]
    critics = [[name, str(row["faults_named"]), str(row["false_alarms"])] for name, row in found["critic"].items()]
    models = [[name, *(str(row[key]) for key in RATES)] for name, row in found["models"].items()]
    numbers = ("mean_certainty", "ece", "brier", "nll", "position_bias")
    none = Rate(0, 0)
    labels = [
        [
            way,
            str(row["agreement"]),
            *(str(row["agreement_by_kind"].get(kind, none)) for kind in ("harmful", "lookalike")),
        ]
        + [row[name] for name in numbers]
        for way, row in found["labels"].items()
    ]
    return [
        ("revisions by the learned critic, held-out requests", by_revision_, revisions("revisions")),
        ("the same by an ideal critic", by_revision_, revisions("ideal_critic")),
        ("the learned critic against the grammar", ["principle", "faults named", "false alarms"], critics),
        ("models, greedy, held-out requests", ["model", *RATES.values()], models),
        (
            "AI labels against the gold reward",
            ["labels", "agreement", "on harmful", "on look-alikes", "certainty", "ECE", "Brier", "NLL", "first place"],
            labels,
        ),
    ]


def report(found: dict[str, Any]) -> str:
    names = [str(row["revision"]) for row in found["revisions"]]
    harm = {
        "learned critic": [row["harm"] for row in found["revisions"]],
        "ideal critic": [row["harm"] for row in found["ideal_critic"]],
    }
    curves = {
        way: [(bin_["certainty"], bin_["share_right"]) for bin_ in row["curve"]] for way, row in found["labels"].items()
    }
    calibrated = lines(
        {"calibrated": [(0.5, 0.5), (1.0, 1.0)], **curves},
        x_label="chance given to the chosen reply",
        y_label="how often the oracle agreed",
    )
    limits = "A small invented town, its own grammar, one seed: evidence about methods, not about real models."
    return page(
        "Constitutional AI on the town",
        [
            section("Harm by revision", bars_with_intervals(names, harm, caption="held-out harmful requests")),
            section("Calibration of AI labels", calibrated),
            section("Figures", *(table(headers, rows, caption=caption) for caption, headers, rows in tables(found))),
            section("What this is not", paragraph(limits)),
        ],
        subtitle="town:helpful, its critic, and what it learns from its own revisions",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Constitutional AI on the town: revisions, SL-CAI, AI labels")
    parser.add_argument("--out", type=Path, help="keep the runs here, and go on from them")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write the report here")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = figures(given.out or Path(place), given.threads)
    console = Console(width=200)
    for caption, headers, rows in tables(found):
        console.print(terminal_table(headers, rows, title=caption))
    console.print(f"{found['cpu_seconds']} CPU seconds")
    if given.json:
        write_json(given.json, plain(found))
    if given.html:
        write_text(given.html, report(found))


if __name__ == "__main__":
    main()
