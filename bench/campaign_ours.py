"""Trivet's side of bench/campaign.py: `campaign.run` on a store in a file, with refusal scoring by `RefusalRules`.

Three tasks. `instant`: the target of all sides. `slow`: a target that takes 200 ms, at a given concurrency, beside workers that
do nothing else than to wait for it. Both are timed from the plan to the moment at which everything is stored.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from campaign_side import Stretch, prompts, replies, spec, tell

from trivet.core.hazards import Goal
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY
from trivet.core.store.events import Store
from trivet.robustness import campaign
from trivet.robustness.attacks.library import attacks


class Target:
    """Answers at once, or after so many seconds."""

    name = "target"

    def __init__(self, said: dict[str, str], seconds: float = 0.0) -> None:
        self.said, self.seconds = said, seconds

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return Message("assistant", self.said[conversation.messages[-1].content])


async def bare(seconds: float, workers: int, count: int) -> float:
    """The same waiting without any campaign around it."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await asyncio.sleep(seconds)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return time.perf_counter() - began


def main() -> None:
    given = spec()
    seconds, workers, count = given.get("seconds", 0.0), given.get("concurrency", 16), given["attempts"]
    said = replies(count)
    goals = [Goal(prompt) for prompt in prompts(count)]
    plain = [attack for attack in attacks("heldout", ["direct"]) if attack.how.turns == ("{request}",)]  # type: ignore[attr-defined]
    idle = asyncio.run(bare(seconds, workers, count)) if seconds else 0.0
    path, stretch = Path(given["folder"]) / "trivet.db", Stretch()
    with Store.open(path) as store:
        stretch.begin()
        asyncio.run(
            campaign.run(goals, plain, Target(said, seconds), RefusalRules(), store, run="bench", concurrency=workers)
        )
        stretch.end()
    stretch.done()  # the log is folded into the file by now
    with Store.open(path, readonly=True) as store:
        kept = list(store.events("attempt", "bench"))
    through = sum(event.verdict.label == "complied" for event in kept)  # type: ignore[union-attr]
    tell(stretch, stored=len(kept), through=through, bare_seconds=idle)


if __name__ == "__main__":
    main()
