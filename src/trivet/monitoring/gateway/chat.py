"""One chat request through the gateway: checked, answered by the model behind, checked again, recorded, delivered.

Nothing leaves unchecked. A reply that an output layer could change or stop is held back whole until it has been
checked, streamed or not; where no such layer exists a stream passes as it comes and is only judged for the record.
With a durable recorder the exchange is in the store before the last byte of the reply goes out.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from trivet.core.errors import Blocked, StoreError, TargetError
from trivet.core.events import Alert, Event, Exchange, new_id
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.protocols import Model
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.origin import LOOPBACK
from trivet.monitoring.gateway.wire import ChatRequest, Refused
from trivet.monitoring.guards.pii import Placeholders
from trivet.monitoring.policy import Checked, Policy
from trivet.monitoring.privacy import Record, kept, kept_error, pseudonym
from trivet.monitoring.recorder import Recorder

_RUN = re.compile(r"[\w./:@+-]{1,200}")
_CHUNK = re.compile(r"\S+\s*|\s+")
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How the gateway behaves. `sampling` fills in what a request leaves out; `hosts` are the names it answers to."""

    record: Record = "masked"
    on_record_failure: Literal["closed", "open"] = "closed"
    durable: bool = True
    max_body_bytes: int = 1 << 20
    upstream_seconds: float = 120.0
    allow_shadow_header: bool = False
    console: bool = True
    hosts: tuple[str, ...] = LOOPBACK
    sampling: Sampling = Sampling()


class ClientGone(Exception):  # noqa: N818
    """The client hung up before the reply was there."""


@dataclass
class Turn:
    """One request on its way, and what has been decided about it."""

    ask: ChatRequest
    received: Conversation
    run: str
    user: str
    shadow: bool
    id: str = field(default_factory=new_id)
    repeatable: bool = False
    started: float = field(default_factory=time.monotonic)
    decisions: list[Decision] = field(default_factory=list)
    names: Placeholders = field(default_factory=Placeholders)
    recorded: bool = False

    @property
    def asked(self) -> dict[str, Any]:
        """What guards may want to know of the request."""
        return {"response_format": self.ask.response_format}

    @property
    def headers(self) -> dict[str, str]:
        return {"x-trivet-exchange": self.id}


class Gateway:
    """A model behind a policy. `chat(request)` is the route."""

    def __init__(
        self, model: Model, name: str, policy: Policy, recorder: Recorder | None, settings: Settings, key: bytes
    ) -> None:
        self.model, self.name, self.policy = model, name, policy
        self.recorder, self.settings, self.key = recorder, settings, key
        self.unrecorded = 0

    async def chat(self, request: Request) -> Response:
        turn = await self._turn(request)
        try:
            checked = await self.policy.acheck(
                turn.received, "input", request=turn.asked, names=turn.names, shadow=turn.shadow
            )
            turn.decisions.append(checked.decision)
            if checked.blocked:
                await self._record(turn, "", finish="content_filter")
                raise wire.filtered("input", checked.decision.layer)
            if turn.ask.stream:
                return await self._streamed(request, turn, checked)
            return await self._whole(request, turn, checked)
        except Refused as refusal:
            return refusal.response(turn.headers)

    async def _turn(self, request: Request) -> Turn:
        ask: ChatRequest = wire.parsed(await limited_body(request, self.settings.max_body_bytes), ChatRequest)
        if ask.model != self.name:
            message = f"The model {ask.model!r} does not exist here; GET /v1/models lists what does."
            raise Refused(404, message, param="model", code="model_not_found")
        if ask.n not in (None, 1):
            raise Refused(400, f"n is {ask.n}; only n = 1 is supported.", param="n")
        run = request.headers.get("x-trivet-run", "")
        if run and not _RUN.fullmatch(run):
            raise Refused(
                400, "The header x-trivet-run takes 1 to 200 letters, digits and ._-/:@+", param="x-trivet-run"
            )
        shadow = self.settings.allow_shadow_header and request.headers.get("x-trivet-mode", "").lower() == "shadow"
        user = ask.safety_identifier or ask.user or request.headers.get("authorization", "")
        turn = Turn(ask, ask.conversation(), run, pseudonym(self.key, user), shadow)
        if run and self.settings.allow_shadow_header and not ask.stream:
            # A run that is resumed asks again what it had not noted yet; the same question of a run is one exchange.
            turn.id, turn.repeatable = digest_of(["exchange", run, shadow, turn.received.rows()]), True
        return turn

    # Whole replies

    async def _whole(self, request: Request, turn: Turn, checked: Checked) -> Response:
        sampling = turn.ask.sampling(self.settings.sampling)
        reply = await self._upstream(request, turn, self.model.reply(checked.conversation, sampling))
        out = await self._checked_reply(turn, checked, reply.content)
        if out.blocked:
            await self._record(turn, "", raw=reply.content, finish="content_filter")
            raise wire.filtered("output", out.decision.layer)
        await self._record(turn, out.text, raw=reply.content)
        body = wire.completion(turn.id, self.name, out.text, checked.conversation)
        return JSONResponse(body, headers=turn.headers)

    async def _checked_reply(self, turn: Turn, checked: Checked, reply: str) -> Checked:
        whole = checked.conversation.then(Message("assistant", reply))
        out = await self.policy.acheck(whole, "output", request=turn.asked, names=turn.names, shadow=turn.shadow)
        turn.decisions.append(out.decision)
        return out

    async def _upstream(self, request: Request, turn: Turn, answer: Awaitable[T]) -> T:
        """What the model answers, in time and while the client is there; every failure is recorded and refused."""
        try:
            async with asyncio.timeout(self.settings.upstream_seconds):
                return await _while_connected(request, answer)
        except ClientGone:
            await self._record(turn, "", finish="cancelled", error="the client hung up")
            raise Refused(499, "The client closed the request.", kind="client_error") from None
        except asyncio.CancelledError:
            self._leave(turn, "", finish="cancelled", error="cancelled")
            raise
        except Exception as error:
            # A model may be anyone's code; whatever it raises, the client gets an answer and the record says what it was.
            refusal = _failure(error)
            await self._record(turn, "", finish=_finish(error), error=_said(error))
            raise refusal from error

    # Streams

    async def _streamed(self, request: Request, turn: Turn, checked: Checked) -> Response:
        """The response starts only once the model has: a model that fails at once is still an HTTP error."""
        if self.recorder:
            await self._guarded(self.recorder.check())
        pieces = _pieces(self.model, checked.conversation, turn.ask.sampling(self.settings.sampling))
        first = await self._upstream(request, turn, anext(pieces, ""))
        body = self._events(turn, checked, first, pieces)
        headers = {**turn.headers, "cache-control": "no-cache", "x-accel-buffering": "no"}
        return StreamingResponse(body, media_type="text/event-stream", headers=headers)

    async def _events(
        self, turn: Turn, checked: Checked, first: str, pieces: AsyncGenerator[str]
    ) -> AsyncIterator[bytes]:
        held = self.policy.holds("output", turn.asked) and not turn.shadow
        said = [first]
        try:
            yield wire.chunk(turn.id, self.name, {"role": "assistant", "content": "" if held else first})
            async for piece in _timed(pieces, self.settings.upstream_seconds):
                said.append(piece)
                if not held:
                    yield wire.chunk(turn.id, self.name, {"content": piece})
            async for data in self._closing(turn, checked, "".join(said), held):
                yield data
        except Refused as refusal:
            yield wire.event(refusal.body)
        except Exception as error:
            # As in `_upstream`: the stream has begun, so the failure is an event in it.
            self._leave(turn, "" if held else "".join(said), finish=_finish(error), error=_said(error))
            yield wire.event(_failure(error).body)
        finally:
            self._leave(turn, "" if held else "".join(said), finish="cancelled", error="the client hung up")
            await pieces.aclose()
        yield wire.DONE

    async def _closing(self, turn: Turn, checked: Checked, reply: str, held: bool) -> AsyncIterator[bytes]:
        """The end of a stream: judged, recorded, and what was held back released."""
        out = await self._checked_reply(turn, checked, reply)
        if out.blocked and held:
            await self._record(turn, "", raw=reply, finish="content_filter")
            yield wire.chunk(turn.id, self.name, {}, "content_filter")
            raise wire.filtered("output", out.decision.layer)
        text = out.text if held else reply
        await self._record(turn, text, raw=reply)
        for match in _CHUNK.finditer(text) if held else ():
            yield wire.chunk(turn.id, self.name, {"content": match.group()})
        yield wire.chunk(turn.id, self.name, {}, "stop")
        if (turn.ask.stream_options or {}).get("include_usage"):
            yield wire.usage_chunk(turn.id, self.name, wire.usage(checked.conversation, text))

    # The record

    def _exchange(self, turn: Turn, reply: str, raw: str | None, finish: str, error: str) -> list[Event]:
        turn.recorded = True
        if error and turn.repeatable:
            turn.id = new_id()  # a failure must not stand in the way of the answer that comes when it is asked again
        conversation, reply, raw = kept(self.settings.record, turn.names, turn.received, reply, raw)
        exchange = Exchange(
            id=turn.id,
            run=turn.run,
            conversation=conversation,
            reply=reply,
            model=self.name,
            decisions=tuple(turn.decisions),
            raw=raw,
            user=turn.user,
            finish=finish,
            milliseconds=1000 * (time.monotonic() - turn.started),
            error=kept_error(self.settings.record, turn.names, error),
        )
        return [exchange, *_guard_alerts(exchange)]

    async def _record(
        self, turn: Turn, reply: str, *, raw: str | None = None, finish: str = "stop", error: str = ""
    ) -> None:
        if self.recorder and not turn.recorded:
            await self._guarded(self.recorder.add(*self._exchange(turn, reply, raw, finish, error)))

    async def keep(self, *events: Event) -> None:
        """Store other events under the same rule as exchanges."""
        if self.recorder:
            await self._guarded(self.recorder.add(*events))

    def _leave(self, turn: Turn, reply: str, *, finish: str, error: str) -> None:
        """Record without waiting, where the request is being torn down."""
        if self.recorder and not turn.recorded:
            self.recorder.leave(*self._exchange(turn, reply, None, finish, error))

    async def _guarded(self, writing: Awaitable[None]) -> None:
        """What happens when the record cannot be written: closed answers 503, open serves and counts."""
        try:
            await writing
        except StoreError as error:
            self.unrecorded += 1
            if self.settings.on_record_failure == "closed":
                message = "The exchange cannot be recorded, so it is not served; the operator's log says why."
                raise Refused(503, message, kind="server_error", code="not_recorded") from error


async def limited_body(request: Request, limit: int) -> bytes:
    """The request's body, refused as soon as it is longer than allowed."""
    too_large = Refused(413, f"The body is larger than the {limit} bytes allowed.", code="request_too_large")
    if request.headers.get("content-length", "0").isdigit() and int(request.headers.get("content-length", "0")) > limit:
        raise too_large
    body = bytearray()
    try:
        async for data in request.stream():
            body += data
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        raise Refused(499, "The client closed the request.", kind="client_error") from None
    return bytes(body)


async def _while_connected(request: Request, answer: Awaitable[T]) -> T:
    """The answer, or ClientGone as soon as the client hangs up; the one that loses is cancelled."""
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for waiting in (task, gone):
            waiting.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pieces(model: Model, conversation: Conversation, sampling: Sampling) -> AsyncGenerator[str]:
    """The reply as the model streams it, or in one piece where it cannot."""
    stream = getattr(model, "stream", None)
    if stream is None:
        yield (await model.reply(conversation, sampling)).content
        return
    async for piece in stream(conversation, sampling):
        if piece:
            yield piece


async def _timed(pieces: AsyncIterator[str], seconds: float) -> AsyncIterator[str]:
    """The pieces, each within the time allowed."""
    while True:
        async with asyncio.timeout(seconds):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece


def _failure(error: Exception) -> Refused:
    """How a failure of the model behind is told to the client: without addresses or traces."""
    if isinstance(error, Blocked):
        return wire.filtered(error.place, "upstream")
    if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
        return Refused(504, "The model behind the gateway did not answer in time.", kind="server_error", code="timeout")
    return Refused(502, "The model behind the gateway failed.", kind="server_error", code="upstream_error")


def _finish(error: Exception) -> str:
    return "content_filter" if isinstance(error, Blocked) else "error"


def _said(error: Exception) -> str:
    """For the record: our own errors with their words (see `kept_error`), foreign ones by type alone."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, TargetError) else name


def _guard_alerts(exchange: Exchange) -> list[Alert]:
    """One alert for each guard that failed on an exchange."""
    failed = [v for decision in exchange.decisions for v in decision.verdicts if v.label == "error"]
    return [
        Alert(
            id=f"{exchange.id}-{number}",
            run=exchange.run,
            detector="guard_failure",
            why=f"guard {verdict.judge}: {verdict.why}",
            severity="critical",
            events=(exchange.id,),
        )
        for number, verdict in enumerate(failed)
    ]
