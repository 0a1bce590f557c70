"""The guards inside a program, without a server: check texts, documents, functions and streams against a policy.

    guard = trivet.Guard.load("default")
    result = guard.check("Write to ann@example.com")          # result.action, result.text, result.decision
    page = guard.document(text, source="https://...")         # for what a program retrieves; page.text goes to the model

    @guard.wrap(fallback="Sorry, I cannot help with that.")
    def answer(question: str) -> str: ...

    for words in guard.stream(model.stream(question)): ...    # only what has been checked

Every call has an async twin (`acheck`, `adocument`, `astream`); `wrap` follows the kind of the function. The sync calls
work anywhere, also inside a running event loop: what cannot be done at once is done by a loop in a thread of the guard's
own (and the caller's thread waits, so prefer the async twins there).

Not covered: arguments that are neither text nor messages; what a function does beside returning.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar, overload

from trivet.core.errors import Blocked, UserError
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Decision, Place
from trivet.monitoring.live import Policies
from trivet.monitoring.policy import Checked, Policy, finished_at_once
from trivet.monitoring.stream import Stream

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Texts = str | Conversation | Sequence[Mapping[str, Any]]
Fallback = str | Callable[[Checked], Any]


class Stopped(Blocked):
    """A policy's block, as an exception that carries its decision."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"the {decision.place} was blocked by the layer {decision.layer!r}", decision.place)
        self.decision = decision


@dataclass(frozen=True)
class Document:
    """A retrieved text as it may go to the model: where it came from, and what was decided about it."""

    text: str
    source: str
    decision: Decision

    @property
    def blocked(self) -> bool:
        return self.decision.action == "block"


class Guard:
    """A policy, or policies that are reloaded, in a program's hands."""

    def __init__(self, policy: Policy | Policies, *, tenant: str = "") -> None:
        self._policies = policy if isinstance(policy, Policies) else Policies(policy)
        self.tenant = tenant
        self._worker = _Worker()

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] = "default", *, tenant: str = "", watch: bool = False) -> Self:
        """From a packaged policy's name, a YAML file (of a policy or of tenants), or a mapping. `watch` reloads files."""
        policies = Policies(Policy.load(source) if isinstance(source, Mapping) else source)
        return cls(policies.start() if watch else policies, tenant=tenant)

    @property
    def policy(self) -> Policy:
        return self._policies.for_tenant(self.tenant)

    # Texts

    def check(self, text: Texts, place: Place = "input", **about: Any) -> Checked:
        """What the policy makes of a text or of messages. `about`: `request`, `names`, `user`, as of Policy.acheck."""
        asked, policy = conversation(text, place), self.policy
        checking = policy.acheck(asked, place, **about)
        if not about.get("request") and policy.inline(asked, place):
            return finished_at_once(checking)
        return self._worker.run(checking)

    async def acheck(self, text: Texts, place: Place = "input", **about: Any) -> Checked:
        return await self.policy.acheck(conversation(text, place), place, **about)

    def document(self, text: str, source: str = "", **about: Any) -> Document:
        """A retrieved text, scanned as what it is: words of a stranger (a message of the role `tool`)."""
        return _as_document(self.check(Conversation((Message("tool", text),)), **about), source)

    async def adocument(self, text: str, source: str = "", **about: Any) -> Document:
        return _as_document(await self.acheck(Conversation((Message("tool", text),)), **about), source)

    # Streams

    def stream(self, pieces: Iterable[str], prompt: Texts | None = None, **about: Any) -> Iterator[str]:
        """The pieces of a reply as they may go on; raises Stopped where the policy stops it."""
        stream = self.open_stream(prompt, **about)
        feed = finished_at_once if stream.passthrough else self._worker.run
        for piece in pieces:
            step = feed(stream.feed(piece))
            if step.release:
                yield step.release
            if step.stopped:
                break
        last = self._worker.run(stream.finish())
        if last.release:
            yield last.release
        _passed(stream)

    async def astream(
        self, pieces: AsyncIterable[str], prompt: Texts | None = None, **about: Any
    ) -> AsyncIterator[str]:
        """`stream` for async iterators."""
        stream = self.open_stream(prompt, **about)
        async for piece in pieces:
            step = await stream.feed(piece)
            if step.release:
                yield step.release
            if step.stopped:
                break
        last = await stream.finish()
        if last.release:
            yield last.release
        _passed(stream)

    def open_stream(self, prompt: Texts | None = None, **about: Any) -> Stream:
        """The check of one reply to a prompt, to be fed by hand (stream.py)."""
        return self.policy.stream("output", None if prompt is None else conversation(prompt), **about)

    # Functions

    @overload
    def wrap(self, function: Callable[P, R]) -> Callable[P, R]: ...
    @overload
    def wrap(
        self,
        function: None = None,
        *,
        argument: str | None = None,
        fallback: Fallback | None = None,
        request: Mapping[str, Any] | None = None,
        reask: int = 0,
        restore: bool = False,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def wrap(
        self,
        function: Callable[..., Any] | None = None,
        *,
        argument: str | None = None,
        fallback: Fallback | None = None,
        request: Mapping[str, Any] | None = None,
        reask: int = 0,
        restore: bool = False,
    ) -> Callable[..., Any]:
        """A function whose argument and result are checked: sync, async, or a (sync or async) generator of pieces.

        `argument` names the parameter to check, the first one if left out: a text or messages. What the policy masks
        reaches the function masked. A block raises Stopped, or gives `fallback` (a value, or what it makes of the
        Checked). `request` is what bound guards look at, such as `{"response_format": ...}`. `reask`: how often the
        function is asked again, with what was wrong, when a guard that offers `reask` blocked its reply. `restore`
        puts the caller's own data back where the reply has placeholders for it.
        """
        from trivet.monitoring.wrapping import Wrapping

        settings = Wrapping(self, argument, fallback, request, reask, restore)
        return settings.around(function) if function is not None else settings.around

    def close(self) -> None:
        self._policies.stop()
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def conversation(text: Texts, place: Place = "input") -> Conversation:
    """A text, or messages in the public form, as a Conversation."""
    if isinstance(text, Conversation):
        return text
    if isinstance(text, str):
        return Conversation((Message("user" if place == "input" else "assistant", text),))
    return Conversation.parse(text)


def _as_document(checked: Checked, source: str) -> Document:
    return Document(checked.text, source, checked.decision)


def _passed(stream: Stream) -> None:
    if stream.stopped and stream.decision is not None:
        raise Stopped(stream.decision)


class _Worker:
    """An event loop in a thread, started when first needed. One for each guard: clients that its guards keep open
    belong to a loop, so every call must meet the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._thread is threading.current_thread():
            coroutine.close()
            raise UserError("a guard was called from within one of its own layers; use the async call there")
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="trivet-guard", daemon=True)
                self._thread.start()
                # The loop ends with the guard, closed or not.
                self._end = weakref.finalize(self, _end, self._loop, self._thread)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._end()
                self._loop = None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()
