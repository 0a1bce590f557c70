"""Both ends of the wire for bench/gateway.py: a mock upstream that answers at once, and a load generator.

    python gateway_wire.py mock PORT
    python gateway_wire.py load PORT KEY CLIENTS SECONDS RATE REQUESTS     prints one JSON object

Both are bare protocols over httptools, so that they cost little of the machine that they measure. The generator ends after
SECONDS, or after REQUESTS where those are given; with a RATE each client asks when its turn has come, and latency counts
from then, so that a gateway that stalls cannot hide it by not being asked. Its loop then waits with `select`, which knows
microseconds: those of epoll and uvloop wake up to a millisecond late or early, and send in bunches what was to come evenly.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import httptools

try:
    from uvloop import new_event_loop as quick_loop
except ModuleNotFoundError:
    quick_loop = asyncio.new_event_loop

WORDS = (
    "market",
    "town",
    "open",
    "buy",
    "dinner",
    "today",
    "river",
    "bread",
    "kind",
    "gate",
    "evening",
    "walk",
    "number",
    "tell",
    "please",
    "weather",
    "stone",
    "garden",
    "song",
    "old",
    "new",
    "letter",
    "bridge",
    "window",
    "when",
    "where",
    "which",
    "people",
    "light",
    "water",
    "paper",
    "small",
    "house",
    "morning",
    "street",
    "story",
)
THINGS = tuple(
    "poison ledger lantern cipher potion map seal coin key book bottle chain clock crown drum flute glove hammer helmet "  # noqa: SIM905
    "jar kettle knife ladder mirror needle oar pearl quill ring rope saddle scroll spear statue sword tablet vase wheel "
    "whip wreath".split()
)
REPLY = "The gate opens at eight and the market closes at noon. " * 10


def completion() -> bytes:
    message = {"role": "assistant", "content": REPLY, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 900, "completion_tokens": 130, "total_tokens": 1030}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [choice],
        "usage": usage,
    }
    return json.dumps(body).encode()


def asked(port: int, key: str, text: str) -> int:
    """The status that a single question gets."""
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": text}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


class Mock(asyncio.Protocol):
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"

    def connection_made(self, transport: Any) -> None:
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(self.answer)


async def mock(port: int) -> None:
    body = completion()
    Mock.answer = Mock.answer % (len(body), body)
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port)
    await server.serve_forever()


class Questions:
    """Requests of 4 KB, each with a number in its text that no other has."""

    def __init__(self, port: int, key: str) -> None:
        draw = random.Random(port)
        self.start = random.SystemRandom().randrange(1 << 40)
        self.count = 0
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        head += f"authorization: Bearer {key}\r\n" if key != "-" else ""
        self.made = []
        for _ in range(500):
            text = "0" * 16 + " " + " ".join(draw.choice(WORDS) for _ in range(900))[:3980]
            messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": text}]
            body = json.dumps({"model": "mock", "messages": messages, "temperature": 0.2}).encode()
            self.made.append(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.at = self.made[0].index(b"0" * 16)

    def next(self) -> bytes:
        self.count += 1
        whole = self.made[self.count % len(self.made)]
        return b"".join((whole[: self.at], b"%016d" % (self.start + self.count), whole[self.at + 16 :]))


class Asker(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.done: asyncio.Future[bool] | None = None

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.done and not self.done.done():
            self.done.set_exception(ConnectionError("the gateway closed the connection"))

    def on_message_complete(self) -> None:
        assert self.done is not None
        self.done.set_result(self.parser.get_status_code() == 200)

    async def ask(self, request: bytes) -> bool:
        self.parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.done


async def load(port: int, key: str, clients: int, seconds: float, rate: float, requests: int) -> dict[str, Any]:
    questions, waits, wrong = Questions(port, key), list[float](), [0]
    begun = time.perf_counter()
    end = begun + seconds

    async def client(number: int) -> None:
        _, asker = await asyncio.get_running_loop().create_connection(Asker, "127.0.0.1", port)
        due = begun + number / rate if rate else 0.0
        while time.perf_counter() < end and not (requests and questions.count >= requests):
            request = questions.next()
            if rate:
                due += clients / rate
                if (pause := due - time.perf_counter()) > 0:
                    await asyncio.sleep(pause)
            since = due if rate else time.perf_counter()
            wrong[0] += not await asker.ask(request)
            waits.append(time.perf_counter() - since)

    await asyncio.gather(*(client(number) for number in range(clients)))
    took = time.perf_counter() - begun
    waits.sort()
    return {
        "requests": len(waits),
        "wrong": wrong[0],
        "per_second": len(waits) / took,
        "p50_ms": 1000 * waits[len(waits) // 2],
        "p99_ms": 1000 * waits[int(len(waits) * 0.99)],
    }


def main() -> None:
    what, port, *rest = sys.argv[1:]
    if what == "mock":
        with asyncio.Runner(loop_factory=quick_loop) as runner:
            runner.run(mock(int(port)))
        return
    key, clients, seconds, rate, requests = rest
    with asyncio.Runner(loop_factory=exact_loop if float(rate) else quick_loop) as runner:
        asked = load(int(port), key, int(clients), float(seconds), float(rate), int(requests))
        print(json.dumps(runner.run(asked)))


def exact_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    main()
