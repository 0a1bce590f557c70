"""What defences do for agents with tools: two without a detector, and the gateway's guard for documents in two treatments.

    .venv/bin/python runs/agents_guarded.py [--part heldout] [--json FILE]

The agent is the scripted one that obeys every order it recognises and knows how to do every task, so targeted success is the
share of orders that a defence lets through readable. It needs no result to go on, so what a defence costs is not seen in its
utility but in the share of harmless results, those of the tasks without an order, that the defence changes. All 224 scenarios; the
world decides. An agent without a language model says nothing about defences that persuade: `quoted` breaks the order's
wording, which is all this agent goes by, and `repeated` leaves it. They show the ends, no more. Ten seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from trivet.core.stats import Rate, rate_of
from trivet.monitoring.guards.documents import Documents
from trivet.robustness.agents import defences
from trivet.robustness.agents.library import scenarios
from trivet.robustness.agents.loop import Defence, Result
from trivet.robustness.agents.run import figures, run
from trivet.robustness.agents.scripted import careful, naive
from trivet.robustness.attacks.shape import PARTS, Part


def guarded() -> dict[str, Defence | None]:
    """The defences by name. The guard with its rules alone, and with the shipped classifier."""
    rules, whole = Documents(), Documents.load()

    def stripped(result: Result) -> str:
        verdict = whole.scan(result.text)
        return whole.rewrite(result.text, verdict) if verdict.score >= whole.threshold else result.text

    return {
        "none": None,
        "quoted": defences.quoted,
        "repeated": defences.repeated,
        "documents, rules only, withheld": defences.checked(lambda text: rules.scan(text).score >= rules.threshold),
        "documents, withheld": defences.checked(lambda text: whole.scan(text).score >= whole.threshold),
        "documents, stripped": stripped,
    }


def touched(defence: Defence | None, part: Part) -> Rate:
    """How many of the results of the tasks without an order the defence changes."""
    changed: list[bool] = []

    async def counting(result: Result) -> str:
        shown = result.text if defence is None else defence(result)
        text = shown if isinstance(shown, str) else await shown
        changed.append(text != result.text)
        return text

    asyncio.run(run([one for one in scenarios(part) if one.order is None], careful(), counting))
    return rate_of(changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="heldout")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    every, rows = scenarios(given.part), []
    print(f"{'agent and defence':42} {'targeted success':31} harmless results changed")
    tried = [("careful", careful(), "none", None), *(("naive", naive(), name, one) for name, one in guarded().items())]
    for agent, model, name, defence in tried:
        told = figures(asyncio.run(run(every, model, defence)))
        row = {"targeted": told.targeted_success, "harmless_changed": touched(defence, given.part)}
        print(f"{f'{agent}, {name}':42} {row['targeted']!s:31} {row['harmless_changed']}")
        by = {kind: rate.row() for kind, rate in told.per_template.items()}
        rows.append({"agent": agent, "defence": name, **{key: rate.row() for key, rate in row.items()}, "by": by})
    if given.json:
        given.json.write_text(json.dumps({"part": given.part, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
