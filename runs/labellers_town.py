"""Labels by the town's labellers, whose faults are set, and what the estimators find without knowing the truth.

    .venv/bin/python runs/labellers_town.py [--out FOLDER]

Six people compare two replies to each of 600 requests of the town, half harmful and half harmless look-alikes: one refuses,
one complies, and one of the two is made longer by chatter. Four only err, fay pays for length and gil for refusing. Their
labels are written twice, as longer/shorter and as refuse/answer, ready for `trivet data agreement`. Every labeller skips
one item in five.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from trivet.alignment import labels
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.town import requests
from trivet.town.labellers import Labeller
from trivet.town.replies import refusal

PEOPLE = (
    *(Labeller(name, error) for name, error in (("ann", 0.05), ("bob", 0.1), ("cat", 0.2), ("dan", 0.3))),
    Labeller("fay", 0.05, length_bias=2.0),
    Labeller("gil", 0.05, refusal_bias=5.0),
)
CODES = {"length": ("longer", "shorter"), "refusal": ("refuse", "answer")}


def cases(count: int, dice: random.Random) -> list[tuple[Conversation, str, str, Goal | Probe]]:
    """(prompt, the refusal, the answer, task), one of the two replies with 8 to 40 words of chatter."""
    harmful, harmless = list(requests.harmful("train")), list(requests.lookalikes("train"))
    made = []
    for at in range(count):
        one = (harmful if at % 2 else harmless)[at // 2]
        task = (
            Goal(one.text, one.hazard, one.topic, one.facts)
            if at % 2
            else Probe(one.text, "lookalike", one.topic, one.facts)
        )
        no, yes, chatter = refusal(one.topic, at), one.answer, " and so it is" * dice.randint(2, 10)
        no, yes = (no + chatter, yes) if dice.random() < 0.5 else (no, yes + chatter)
        made.append((Conversation.user(one.text), no, yes, task))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/out/labellers"))
    parser.add_argument("--count", type=int, default=600)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    dice = random.Random(0)
    asked, oracle = cases(given.count, dice), Labeller("oracle")
    for code, names in CODES.items():
        rows, truth = [], {}
        for at, (prompt, no, yes, task) in enumerate(asked):
            longer = len(no.split()) > len(yes.split())
            first, second = (no, yes) if code == "refusal" or longer else (yes, no)
            truth[at] = names[not oracle.prefers_first(prompt, first, second, task)]
            rows += [
                {"item": at, "labeller": one.name, "label": names[not one.prefers_first(prompt, first, second, task)]}
                for one in PEOPLE
                if random.Random(f"{one.name} {at}").random() < 0.8
            ]
        place = given.out / f"{code}.jsonl"
        place.write_text("".join(json.dumps(row) + "\n" for row in rows))
        show(code, names[0], rows, truth, labels.figures(labels.read(place)))


def show(code: str, name: str, rows: list[dict], truth: dict[int, str], told: dict) -> None:
    """What each labeller did, known from the oracle, beside what was found from the labels alone."""
    print(f"{code}: {told['items']} items, {told['labels']} labels; bias is the over-use of `{name}`")
    print("  labeller   set error   right: true  found                  bias: true  found")
    for one in PEOPLE:
        mine = [(truth[row["item"]], row["label"]) for row in rows if row["labeller"] == one.name]
        right = sum(wanted == said for wanted, said in mine) / len(mine)
        lean = sum((said == name) - (wanted == name) for wanted, said in mine) / len(mine)
        found, bias = (told["labellers"][one.name][key] for key in ("accuracy", "bias"))
        print(
            f"  {one.name:10} {one.error:9.2f}   {right:11.3f}  {bounds(found)}   {lean:+10.3f}  {bounds(bias[name], '+')}"
        )


def bounds(row: dict, sign: str = "") -> str:
    return " ".join((f"{row['value']:{sign}.3f}", f"[{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"))


if __name__ == "__main__":
    main()
