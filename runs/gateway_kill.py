"""Kill the gateway with SIGKILL under load, start it again on the same home, and look what its store holds.

    python runs/gateway_kill.py [--rounds N] [--clients N] [--after N] [--slow N] [--json PATH]

A gateway in a process of its own (the one that `trivet serve` starts), a mock upstream and clients that never stop asking.
After `after` answers the process is killed, nothing flushed. Every answer that a client has seen whole must be in the
store, once, with the reply that was delivered; nothing may be there twice; every question that the policy blocks must have
been blocked. `--slow` adds clients that open a connection, send half a request and stay (a thousand, by default).

Not covered: a power cut (see `core/store/connections.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLICY = "name: kill\nlayers:\n  - {name: list, guard: blocklist, settings: {phrases: [brew the poison]}}\n"
BAD = "now brew the poison"


async def _mock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream that echoes what it was asked."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            asked = json.loads(await reader.readexactly(length))
            message = {"role": "assistant", "content": f"heard {asked['messages'][-1]['content']}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class Client:
    """Asks for ever; notes what was answered, by the id of the exchange."""

    def __init__(self, port: int, number: str, answered: Callable[[], None]) -> None:
        self.port, self.number, self.answered = port, number, answered
        self.answers: dict[str, str] = {}
        self.blocked = self.unguarded = 0

    async def run(self) -> None:
        count = 0
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return
            try:
                while True:
                    count += 1
                    bad = count % 7 == 0
                    await self._ask(reader, writer, BAD if bad else f"question {self.number}-{count}", bad)
            except (OSError, asyncio.IncompleteReadError):
                return
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str, bad: bool) -> None:
        body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": text}]}).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.split(": ", 1) for line in head.lower().split("\r\n")[1:] if ": " in line)
        answer = json.loads(await reader.readexactly(int(fields["content-length"])))
        id, status = fields["x-trivet-exchange"], int(head.split(" ")[1])
        if status == 400:
            self.blocked += 1
            self.answers[id] = ""
        elif status == 200:
            self.unguarded += bad
            self.answers[id] = answer["choices"][0]["message"]["content"]
        self.answered()


def _serve(home: Path, upstream: int, policy: Path) -> tuple[subprocess.Popen[str], int]:
    words = ["serve", "--model", f"http://127.0.0.1:{upstream}/v1#mock", "--name", "mock", "--port", "0"]
    words += ["--home", str(home), "--policy", str(policy), "--record", "full", "--no-console"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trivet.cli.main", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if " at http://127.0.0.1:" not in line:
        process.kill()
        process.wait()
        raise SystemExit(f"error: the gateway did not start: {line!r}")
    return process, int(line.partition("127.0.0.1:")[2].partition("/")[0])


async def _round(home: Path, policy: Path, number: int, clients: int, after: int, slow: int) -> list[Client]:
    """Load until `after` answers, then SIGKILL."""
    upstream = await asyncio.start_server(_mock, "127.0.0.1", 0)
    process, port = await asyncio.to_thread(_serve, home, upstream.sockets[0].getsockname()[1], policy)
    idle = []
    try:
        for _ in range(slow):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-le")
            idle.append(writer)
        enough, left = asyncio.Event(), [after]

        def answered() -> None:
            left[0] -= 1
            if left[0] <= 0:
                enough.set()

        asking = [Client(port, f"{number}-{n}", answered) for n in range(clients)]
        tasks = [asyncio.ensure_future(client.run()) for client in asking]
        await asyncio.wait_for(enough.wait(), 120)
        process.send_signal(signal.SIGKILL)
        await asyncio.gather(*tasks)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        if process.stdout:
            process.stdout.close()
        for writer in idle:
            writer.close()
        upstream.close()
    return asking


def tried(place: Path, *, rounds: int, clients: int, after: int, slow: int = 0) -> dict[str, Any]:
    """The rounds, all on one home, and what its store holds afterwards."""
    from trivet.core.store.events import open_home

    policy = place / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    home, seen = place / "home", dict[str, str]()
    unguarded = blocked = 0
    for number in range(rounds):
        for client in asyncio.run(_round(home, policy, number, clients, after, slow)):
            seen |= client.answers
            unguarded += client.unguarded
            blocked += client.blocked
    with open_home(home) as store:
        stored = [(event.id, event.reply) for event in store.events("exchange")]  # type: ignore[union-attr]
    replies = dict(stored)
    # An id cannot be there twice by the table's own rule, so look at the questions too: each was asked once.
    said = Counter(reply for _, reply in stored if reply)
    return {
        "rounds": rounds,
        "clients": clients,
        "slow_clients": slow,
        "acknowledged": len(seen),
        "blocked": blocked,
        "stored": len(stored),
        "lost": sum(id not in replies for id in seen),
        "wrong": sum(replies.get(id, reply) != reply for id, reply in seen.items()),
        "twice": sum(count - 1 for count in said.values() if count > 1) + len(stored) - len(replies),
        "unguarded": unguarded,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 the gateway under load, and count")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--after", type=int, default=2000, help="answers before the kill, in each round")
    parser.add_argument("--slow", type=int, default=1000, help="clients that send half a request and stay")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-kill-") as place:
        told = tried(Path(place), rounds=given.rounds, clients=given.clients, after=given.after, slow=given.slow)
    for name, value in told.items():
        print(f"{name:>14}: {value}")
    if given.json:
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 1 if told["lost"] or told["wrong"] or told["twice"] or told["unguarded"] else 0


if __name__ == "__main__":
    sys.exit(main())
