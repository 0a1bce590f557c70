"""Models behind HTTP: retries where they are safe, a circuit breaker, and others to fall back on.

What is asked again: connections that failed, and 429, 502 and 503 before the first byte, after a pause with full jitter or
what Retry-After asks, as long as that is short. What is not: a request that may have been carried out, and a stream that
has begun. A breaker opens after `breaks` failures in a row, lets nothing through for a while that doubles, then tries with
one request. `Fallback` asks the next of its upstreams when one has no answer or is overloaded; a client's own mistakes (400,
404, 422) are answered by the first.

Not covered: load balancing, hedged requests.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec

from trivet.core.errors import TargetError, UserError
from trivet.monitoring.gateway.formats.shape import Answer, Upstream
from trivet.monitoring.gateway.pool import Pool, Reply, Unreached, Waits

ROUTES = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
_AGAIN = frozenset({429, 502, 503})
_ELSEWHERE = frozenset({401, 403, 408, 429, 500, 502, 503, 504, 529})
"""Statuses with which the next upstream is asked: overload, faults, and a key that this one does not take."""


class Breaker:
    """Whether an upstream may be asked. Closed, open for `pause` seconds, then one request decides."""

    def __init__(self, breaks: int = 5, pause: float = 5.0, longest: float = 60.0) -> None:
        self.breaks, self.first, self.longest = breaks, pause, longest
        self.failures = 0
        self.pause = pause
        self.until = 0.0
        self.trying = False

    @property
    def open(self) -> bool:
        return self.failures >= self.breaks

    def allows(self) -> bool:
        """Whether to ask now; once the pause is over, for one at a time."""
        if not self.open:
            return True
        if self.trying or time.monotonic() < self.until:
            return False
        self.trying = True
        return True

    def succeeded(self) -> None:
        self.failures, self.pause, self.trying = 0, self.first, False

    def failed(self) -> None:
        self.failures += 1
        if self.open:
            if self.trying:
                self.pause = min(self.longest, 2 * self.pause)
            self.until, self.trying = time.monotonic() + self.pause, False

    def undecided(self) -> None:
        """The one that was to decide was cancelled."""
        self.trying = False


class HttpUpstream:
    """An OpenAI- or Anthropic-compatible server. `model` is what it calls the model that our clients call `name`."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "",
        model: str = "",
        key: str = "",
        headers: Mapping[str, str] | None = None,
        routes: Sequence[str] = (),
        retries: int = 2,
        waits: Waits = Waits(),
        ca: str | Path | None = None,
        breaker: Breaker | None = None,
        longest_pause: float = 5.0,
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/chat/completions")
        self.model = model
        self.name = name or model or self.url
        self.retries, self.waits, self.longest_pause = retries, waits, longest_pause
        self.breaker = breaker or Breaker()
        self._routes = frozenset(routes) or ROUTES
        self._headers = dict(headers or {})
        if key := key.strip():
            self._headers.setdefault("authorization", f"Bearer {key}")
            if "/v1/messages" in self._routes:
                self._headers.setdefault("x-api-key", key)
                self._headers.setdefault("anthropic-version", "2023-06-01")
        self._tls = _tls(ca) if self.url.startswith("https:") else None
        self._pool: Pool | None = None
        base = self.url.rpartition("/")
        self._cut = "/v1" if base[2] == "v1" else ""

    def __str__(self) -> str:
        return self.url

    def routes(self) -> frozenset[str]:
        return self._routes

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        """Raises TargetError where there is no answer; an answer may be an error of the upstream (status >= 400)."""
        if self.model and self.model != self.name:
            body = msgspec.json.encode({**msgspec.json.decode(body), "model": self.model})
        if not self.breaker.allows():
            raise TargetError(f"{self} has failed {self.breaker.failures} times in a row and is left alone for a while")
        try:
            reply = await self._asked(route.removeprefix(self._cut), body, stream, headers)
        except TargetError:
            self.breaker.failed()
            raise
        except BaseException:
            self.breaker.undecided()
            raise
        if reply.status >= 500:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        return Answer(reply.status, reply.headers, reply if reply.line else reply.body)

    async def _asked(self, path: str, body: bytes, stream: bool, headers: Mapping[str, str]) -> Reply:
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            pause = random.uniform(0, min(self.longest_pause, 0.1 * 4**attempt))
            try:
                reply = await self._connected().post(path, body, stream=stream, headers=headers)
            except Unreached:
                if last:
                    raise
            else:
                pause = max(pause, retry_after(reply.headers))
                if reply.status not in _AGAIN or last or pause > self.longest_pause:
                    return reply
                await reply.aclose()
            await asyncio.sleep(pause)
        raise AssertionError

    def _connected(self) -> Pool:
        """The pool of the running loop: an application may be served again in another one."""
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool.loop is not loop:
            self._pool = Pool(self.url, headers=self._headers, waits=self.waits, tls=self._tls)
        return self._pool

    async def aclose(self) -> None:
        if self._pool and self._pool.loop is asyncio.get_running_loop():
            self._pool.close()


class Fallback:
    """Upstreams in order: the next is asked where one cannot answer."""

    def __init__(self, upstreams: Sequence[Upstream], name: str = "") -> None:
        if not upstreams:
            raise UserError("a fallback needs at least one upstream")
        self.upstreams = tuple(upstreams)
        self.name = name or self.upstreams[0].name

    def routes(self) -> frozenset[str]:
        return frozenset.intersection(*(upstream.routes() for upstream in self.upstreams))

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        for upstream in self.upstreams[:-1]:
            try:
                answer = await upstream.send(route, body, stream=stream, headers=headers)
            except TargetError:
                continue
            if answer.status not in _ELSEWHERE:
                return answer
            if not isinstance(answer.body, bytes):
                await answer.body.aclose()  # type: ignore[attr-defined]
        return await self.upstreams[-1].send(route, body, stream=stream, headers=headers)

    async def aclose(self) -> None:
        for upstream in self.upstreams:
            if close := getattr(upstream, "aclose", None):
                await close()


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that a server asks for, in either form of the header; 0 where it asks for none."""
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _tls(ca: str | Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"the certificates in {ca} cannot be used: {error}; give a PEM file") from error
