"""Kill a campaign with SIGKILL at ten random moments, let it end, and compare it with one that nobody disturbed.

    python runs/campaign_kill.py [--kills N] [--goals N] [--concurrency N] [--seed N] [--json PATH]

The campaign runs in a process of its own against an HTTP server of this process that takes 10 to 60 ms for each answer and writes
down every call. Single questions and dialogues are mixed. What must hold:

  same      the canonical export (every attempt by id: what was said, how it was judged) is that of the undisturbed run, byte for byte
  lost      no attempt is missing
  repeated  no call is asked again whose reply the campaign had heard: every reply that is in its store or in its journal at
            the moment of a kill is looked for among the later calls
  leftovers nothing stays beside the stores but the stores
  in_flight calls that the target counts beyond those of the undisturbed run: each was under way at a kill, so nobody had heard its
            reply; never more than `concurrency` for each kill

Not covered: a power cut; targets that recognise a repeated request by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, digest_of
from trivet.core.models.endpoint import Endpoint
from trivet.core.store.events import Store
from trivet.robustness.attacks.library import BASIC, attacks
from trivet.robustness.campaign import Pace, execute
from trivet.robustness.journal import asked, folder_of
from trivet.robustness.plan import plan, probes

RUN = "kill"


def reply_to(rows: list[dict[str, str]]) -> str:
    """Decided by what was asked: whoever asks the same is told the same."""
    number = int(digest_of(rows)[:8], 16)
    return "I cannot help with that." if number % 3 else f"Sure. This is step {number % 1000}: lift the latch and push."


class Target:
    """An endpoint that counts. `calls` are the conversations, by the name that the journal gives them, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._pause = random.Random(5)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                rows = json.loads(await reader.readexactly(length))["messages"]
                self.calls.append(asked((Conversation.parse(rows),)))
                await asyncio.sleep(self._pause.uniform(0.01, 0.06))
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": reply_to(rows)},
                    "finish_reason": "stop",
                }
                body = json.dumps({"choices": [choice]}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                    + body
                )
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def campaign(store: Path, url: str, goals: int, concurrency: int) -> None:
    """What is killed."""
    wanted = [Goal(f"How do I open gate {number} of the mill?") for number in range(goals)]
    harmless = [Probe(f"Who built gate {number}?") for number in range(goals)]
    jobs = [*plan(wanted, attacks("heldout", BASIC)), *probes("capability", harmless)]
    with Store.open(store) as opened:
        endpoint = Endpoint(url, "m", concurrency=concurrency)
        try:
            await execute(jobs, endpoint, RefusalRules(), opened, run=RUN, pace=Pace(concurrency=concurrency))
        finally:
            await endpoint.aclose()


def export(store: Path) -> list[str]:
    """Every attempt as one line, by id: what was said and how it was judged, without when and how fast."""
    with Store.open(store) as opened:
        found = [event for event in opened.events("attempt", RUN) if isinstance(event, Attempt)]
    rows = [
        {
            "id": one.id, "suite": one.suite, "task": one.task, "attack": one.attack, "template": one.template,
            "conversation": one.conversation.rows(), "label": one.verdict.label, "score": one.verdict.score,
        }
        for one in found
    ]  # fmt: skip
    return [json.dumps(row, sort_keys=True) for row in sorted(rows, key=lambda row: str(row["id"]))]


def heard(store: Path) -> Counter[str]:
    """The calls whose replies are on disk: those of stored attempts, and those of the journal."""
    calls: Counter[str] = Counter()
    with Store.open(store, readonly=True) as opened:
        done = {event.id: event for event in opened.events("attempt", RUN) if isinstance(event, Attempt)}
    for attempt in done.values():
        rows = attempt.conversation.messages
        first = next(n for n, message in enumerate(rows) if message.role == "user")
        # Invented turns before the first real one were never asked; the last `turns` replies were.
        replies = [n for n in range(first, len(rows)) if rows[n].role == "assistant"][-attempt.turns :]
        calls.update(asked((Conversation(rows[:n]),)) for n in replies)
    for path in folder_of(store).glob("*.jsonl"):
        for line in path.read_bytes().split(b"\n"):
            try:
                id, name, *_ = json.loads(line)
            except ValueError:
                continue  # cut short: not heard
            if id not in done:
                calls[name.partition(".")[0]] += 1
    return calls


def _start(store: Path, url: str, goals: int, concurrency: int) -> subprocess.Popen[bytes]:
    words = [
        sys.executable,
        __file__,
        "--child",
        str(store),
        url,
        "--goals",
        str(goals),
        "--concurrency",
        str(concurrency),
    ]
    return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})


async def tried(folder: Path, *, kills: int, goals: int, concurrency: int, seed: int = 0) -> dict[str, Any]:
    """The undisturbed run, the killed one, and what they come to."""
    target = Target()
    server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        calm, wild = folder / "calm.db", folder / "wild.db"
        await _ended(_start(calm, url, goals, concurrency))
        once, target.calls = Counter(target.calls), []
        moments = sorted(random.Random(seed).sample(range(1, sum(once.values())), kills))
        known: Counter[str] = Counter()
        began = repeated = 0
        for moment in moments:
            process = _start(wild, url, goals, concurrency)
            while len(target.calls) < moment and process.poll() is None:  # noqa: ASYNC110 (it counts, nothing tells it)
                await asyncio.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            await asyncio.sleep(0.1)  # what was under way reaches the target
            # One process asks each call that it still needs once: what is more was heard before.
            repeated += _more(Counter(target.calls[began:]), once - known)
            began = len(target.calls)
            known = heard(wild) if wild.exists() else known
        await _ended(_start(wild, url, goals, concurrency))
        repeated += _more(Counter(target.calls[began:]), once - known)
    finally:
        server.close()
    want, got = export(calm), export(wild)
    return {
        "attempts": len(want),
        "calls": sum(once.values()),
        "kills": kills,
        "concurrency": concurrency,
        "same": want == got,
        "lost": len(set(want) - set(got)),
        "repeated": repeated,
        "in_flight": _more(Counter(target.calls), once),
        "in_flight_at_most": kills * concurrency,
        "leftovers": sum(folder_of(store).exists() for store in (calm, wild)),
    }


def _more(calls: Counter[str], allowed: Counter[str]) -> int:
    return sum((calls - allowed).values())


async def _ended(process: subprocess.Popen[bytes]) -> None:
    code = await asyncio.to_thread(process.wait)
    if code:
        raise SystemExit(f"error: the campaign ended with {code}")


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 a campaign again and again, and compare")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--goals", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.child:
        asyncio.run(campaign(Path(given.child[0]), given.child[1], given.goals, given.concurrency))
        return 0
    with tempfile.TemporaryDirectory(prefix="campaign-kill-") as place:
        told = asyncio.run(
            tried(Path(place), kills=given.kills, goals=given.goals, concurrency=given.concurrency, seed=given.seed)
        )
    for name, value in told.items():
        print(f"{name:>18}: {value}")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    good = (
        told["same"]
        and not told["lost"]
        and not told["repeated"]
        and not told["leftovers"]
        and told["in_flight"] <= told["in_flight_at_most"]
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
