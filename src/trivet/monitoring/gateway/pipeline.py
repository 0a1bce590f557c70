"""A request through the gateway: who asks, what they ask, the input's verdict, the model, the output's verdict, the record,
the reply. In that order, and nothing leaves before what stands before it is done.

What the model is sent and what the client gets is written anew from what was checked: two parsers may read a JSON with
doubled keys differently, and then the guards had read another text than the model. With `parallel_input` the model is
asked beside the input's check, and its answer is not looked at before the verdict is there; a block cancels it. With a
durable recorder the exchange is in the store before the last byte of the reply goes out. A client that hangs up cancels
whatever is being done for it.

Not covered: numbers of more than 64 bits in a body come out as floating point.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn, Protocol

import msgspec

from trivet.core.errors import Blocked, StoreError, TargetError
from trivet.core.events import Event
from trivet.core.messages import Message
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway import failures, mending, wire
from trivet.monitoring.gateway.call import Call, Gone
from trivet.monitoring.gateway.formats.shape import Answer, Field, Format, Piece, Stream, Told, Upstream
from trivet.monitoring.gateway.keys import Key, Keyring, Limits, Scope
from trivet.monitoring.gateway.metrics import Metrics
from trivet.monitoring.gateway.restoring import Restored, restored, reversible
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.tracing import Tracer
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.upstream import retry_after
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Checked, Policy
from trivet.monitoring.recorder import Full, Recorder
from trivet.monitoring.spooled import Spooled

_log = logging.getLogger("trivet.monitoring")
_NOTHING = Piece("", "assistant", ())
encode = msgspec.json.encode


class Policies(Protocol):
    """Whose policy a request is under; `live.Policies` reloads them, `One` has just one."""

    def for_tenant(self, name: str) -> Policy: ...


class One:
    """The same policy for everybody."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def for_tenant(self, name: str) -> Policy:
        return self.policy


class Out(NamedTuple):
    """A reply after its check: the texts delivered and said, and where they differ."""

    text: str
    raw: str
    changes: dict[tuple[str | int, ...], str]
    blocked: Decision | None


class Gateway:
    """Models behind policies. `serve(call, format)` answers one request of an API."""

    def __init__(
        self,
        models: Mapping[str, Upstream],
        policies: Policies,
        recorder: Recorder | Spooled | None,
        settings: Settings,
        secret: bytes,
        *,
        keyring: Keyring | None = None,
        share: float = 1.0,
    ) -> None:
        self.models, self.policies, self.recorder = dict(models), policies, recorder
        self.settings, self.secret, self.keyring = settings, secret, keyring
        self.limits, self.metrics = Limits(share), Metrics()
        self.tracer = Tracer() if settings.tracing else None
        self.name = next(iter(self.models))
        self.flying = self.unrecorded = 0
        self.draining = False

    @property
    def policy(self) -> Policy:
        return self.policies.for_tenant("")

    # A request

    async def serve(self, call: Call, format: Format, scope: Scope = "chat") -> None:
        """Answers the request, whatever happens on the way."""
        if self.tracer is None:
            await self._serve(call, format, scope)
            return
        with self.tracer.request(call, format.route) as span:
            turn, outcome = await self._serve(call, format, scope)
            self.tracer.outcome(span, outcome, turn.id if turn else "")

    async def _serve(self, call: Call, format: Format, scope: Scope) -> tuple[Turn | None, str]:
        started = time.monotonic()
        turn: Turn | None = None
        outcome = "refused"
        self.flying += 1
        try:
            if self.flying > self.settings.max_in_flight:
                raise Refused(503, "Too many requests at once.", kind="server_error", code="overloaded").after(1)
            turn = await self._read(call, format, scope, started)
            await self._answered(call, turn)
            outcome = turn.outcome
        except Refused as refusal:
            outcome = turn.outcome if turn and turn.outcome != "error" else f"refused_{refusal.status}"
            await self._refuse(call, format, refusal, turn)
        except Gone:
            outcome = "cancelled"
        except asyncio.CancelledError:
            outcome = "cancelled"
            if turn:
                self._leave(turn, "", finish="cancelled", error="the client hung up" if call.gone else "cancelled")
            if not call.gone or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
        except Exception:
            outcome = "bug"
            _log.exception("the gateway failed on %s", call.path)
            if turn:
                self._leave(turn, "", finish="error", error="internal error")
            message = "The gateway failed; its log says why."
            await self._refuse(call, format, Refused(500, message, kind="server_error", code="internal_error"), turn)
        finally:
            call.close()
            self.flying -= 1
            self.metrics.request(format.route, outcome, time.monotonic() - started)
        return turn, outcome

    async def _read(self, call: Call, format: Format, scope: Scope, started: float) -> Turn:
        key = self.admitted(call, scope)
        body = await call.body(self.settings.max_body_bytes)
        if task := asyncio.current_task():
            call.when_gone(task.cancel)
        ask = format.read(wire.parsed(body, dict[str, Any]), unchecked=self.settings.unchecked_media)
        if ask.model not in self.models or (key and key.models and ask.model not in key.models):
            message = f"The model {ask.model!r} does not exist here; GET /v1/models lists what does."
            raise Refused(404, message, param="model", code="model_not_found")
        policy = self.policies.for_tenant(key.tenant if key else "")
        turn = Turn.of(call, format, ask, policy, key, self.settings, self.secret, started)
        if key:
            turn.estimated = len(body) // 4
            turn.headers |= self.limits.take(key, turn.estimated)
        return turn

    def admitted(self, call: Call, scope: Scope) -> Key | None:
        """The key of a request; None where the gateway asks for none. Raises Refused (401, 403)."""
        if self.keyring is None or not self.keyring.asks():
            if scope == "admin":
                message = "This needs a key of the scope `admin`; make one with `trivet keys create`."
                raise Refused(403, message, code="no_admin_key")
            return None
        given = call.header("authorization")
        token = given[7:].strip() if given[:7].lower() == "bearer " else call.header("x-api-key")
        key = self.keyring.find(token) if token else None
        if key is None:
            message = "No key was sent." if not token else "The key is not known here, has expired or was revoked."
            refusal = Refused(401, message, kind="authentication_error", code="invalid_api_key")
            refusal.headers["www-authenticate"] = "Bearer"
            raise refusal
        if scope not in key.scopes:
            message = f"The key may not do this; it needs the scope `{scope}`."
            raise Refused(403, message, kind="permission_error", code="scope_missing")
        return key

    async def _answered(self, call: Call, turn: Turn) -> None:
        checked, answer = await (self._beside(turn) if self._may_be_early(turn) else self._in_order(turn))
        if turn.ask.stream and not isinstance(answer.body, bytes):
            await self._stream(call, turn, checked, answer.body)
        else:
            await self._whole(call, turn, checked, answer)

    # The input

    async def _in_order(self, turn: Turn) -> tuple[Checked, Answer]:
        checked = await self._input(turn)
        return checked, await self._asked(turn, self._sent(turn, self._body(turn, checked)))

    def _may_be_early(self, turn: Turn) -> bool:
        return self.settings.parallel_input and not turn.shadow

    async def _beside(self, turn: Turn) -> tuple[Checked, Answer]:
        """The model is asked while the input is checked. Where the check changes the words, it is asked again with those."""
        early = asyncio.ensure_future(self._sent(turn, encode(turn.ask.body)))
        try:
            await asyncio.sleep(0)  # off it goes, before the guards take the processor
            checked = await self._input(turn)
            if turn.ask.changes(checked.conversation):
                await _forgotten(early)
                return checked, await self._asked(turn, self._sent(turn, self._body(turn, checked)))
            return checked, await self._asked(turn, early)
        except BaseException:
            await _forgotten(early)
            raise

    async def _input(self, turn: Turn) -> Checked:
        for message in turn.received:
            turn.names.reserve(message.content)
        checked = await turn.policy.acheck(
            turn.received,
            "input",
            request=turn.ask.request,
            names=turn.names,
            shadow=turn.shadow,
            user=turn.user,
        )
        self._decided(turn, checked.decision)
        turn.names.seal()  # what the model makes up and the output masks has no way back
        turn.restores = checked.action in ("mask", "rewrite") and (self.settings.restore or reversible(turn.policy))
        if checked.blocked:
            turn.outcome = "blocked_input"
            await self._record(turn, "", finish="content_filter")
            raise wire.filtered("input", checked.decision.layer)
        return checked

    def _body(self, turn: Turn, checked: Checked) -> bytes:
        if changes := turn.ask.changes(checked.conversation):
            turn.sent = turn.format.rewritten(turn.ask.body, changes)
        return encode(turn.sent)

    # The model

    async def _sent(self, turn: Turn, body: bytes) -> Answer:
        """What the model behind answers, in time."""
        began = time.monotonic()
        headers = {"x-request-id": turn.id, **(self.tracer.headers() if self.tracer else {})}
        async with asyncio.timeout(self.settings.upstream_seconds):
            answer = await self.models[turn.ask.model].send(
                turn.format.route, body, stream=turn.ask.stream, headers=headers
            )
        self.metrics.asked(turn.ask.model, time.monotonic() - began)
        return answer

    async def _asked(self, turn: Turn, sending: Awaitable[Answer]) -> Answer:
        """The answer to what was sent. Every failure is recorded and refused."""
        try:
            answer = await sending
        except Exception as error:
            # A model may be anyone's code; whatever it raises, the client gets an answer and the record says what it was.
            await self._failed(turn, error)
        if answer.status >= 400:
            await self._declined(turn, answer)
        return answer

    async def _failed(self, turn: Turn, error: Exception) -> NoReturn:
        refusal = failures.failure(error)
        await self._record(turn, "", finish=failures.finish(error), error=failures.said(error))
        raise refusal from error

    async def _declined(self, turn: Turn, answer: Answer) -> NoReturn:
        """An error of the upstream. What the client can mend is told, in words that have been checked like a reply."""
        body = answer.body if isinstance(answer.body, bytes) else b""
        if not isinstance(answer.body, bytes):
            await _closed(answer.body)
        told = failures.error_of(body)
        if told.get("code") == "content_filter":
            await self._failed(
                turn, Blocked("the upstream withheld its reply", "output" if told.get("param") == "output" else "input")
            )
        message = str(told.get("message") or "")[:2000]
        error = TargetError(f"the upstream answered {answer.status}: {message[:300]}")
        if answer.status == 429:
            refusal = Refused(
                429, "The model behind the gateway is overloaded.", kind="rate_limit_error", code="upstream_overloaded"
            )
            refusal.after(retry_after(answer.headers) or 1)
        elif answer.status in failures.PASSED_ON:
            checked = await turn.policy.acheck(
                turn.received.then(Message("assistant", message)), "output", names=turn.names, shadow=turn.shadow
            )
            words = checked.text or f"The model behind the gateway refused the request ({answer.status})."
            param = told.get("param") if isinstance(told.get("param"), str) else None
            refusal = Refused(answer.status, words, param=param and param[:100], code="upstream_refused")
        else:
            refusal = failures.failure(error)
        await self._record(turn, "", finish="error", error=failures.said(error))
        raise refusal

    # Whole replies

    async def _whole(self, call: Call, turn: Turn, checked: Checked, answer: Answer) -> None:
        reply, pieces = await self._said(turn, answer)
        out = await self._output(turn, checked, pieces)
        first = out.raw
        if out.blocked and len(pieces) == 1:
            reply, pieces, out = await self._second_chance(turn, checked, reply, pieces, out)
        if out.blocked:
            turn.outcome = "blocked_output"
            await self._record(turn, "", raw=first, finish="content_filter")
            refusal = wire.filtered("output", out.blocked.layer)
            if not self.settings.blocked_in_band:
                raise refusal
            await call.reply(200, encode(turn.format.blocked_reply(reply, refusal)), turn.headers)
            return
        if out.changes:
            reply = turn.format.rewritten_reply(reply, out.changes)
        self._settle(turn, reply.get("usage"))
        await self._record(turn, out.text, raw=first, finish=_finish_of(reply))
        turn.outcome = "answered"
        await call.reply(200, encode(reply), turn.headers)

    async def _said(self, turn: Turn, answer: Answer) -> tuple[dict[str, Any], tuple[Piece, ...]]:
        """A whole answer and its texts."""
        try:
            if turn.ask.stream:
                raise TargetError("the upstream did not stream")
            reply = _reply(answer.body)
            return reply, turn.format.said(reply)
        except TargetError as error:
            await self._failed(turn, error)

    async def _second_chance(
        self, turn: Turn, checked: Checked, reply: dict[str, Any], pieces: tuple[Piece, ...], out: Out
    ) -> tuple[dict[str, Any], tuple[Piece, ...], Out]:
        """A reply that broke the format asked for: mended, or asked for once more and mended."""
        assert out.blocked
        guard = mending.guard_of(turn.policy, out.blocked, turn.ask.request)
        for again in (False, True) if guard and self.settings.reask else (False,) if guard else ():
            assert guard and out.blocked
            found = await asyncio.to_thread(mending.mended, guard, pieces[0])
            if again and found.faults:
                body = mending.asked_again(turn.sent, pieces[0], found)
                if body is None:
                    break
                reply, pieces = await self._said(turn, await self._asked(turn, self._sent(turn, encode(body))))
                if len(pieces) != 1:
                    break
                found = await asyncio.to_thread(mending.mended, guard, pieces[0])
            if not found.faults:
                why = f"{'asked again' if again else 'mended'}: {out.blocked.why}"
                turn.decisions[-1] = replace(out.blocked, action="rewrite", why=why)
                reply = turn.format.rewritten_reply(reply, {pieces[0].path: found.text}) if found.changed else reply
                pieces = turn.format.said(reply)
                return reply, pieces, await self._output(turn, checked, pieces)
        return reply, pieces, out

    async def _output(self, turn: Turn, checked: Checked, pieces: Sequence[Piece]) -> Out:
        """Every text of a reply through the output's layers; one that is blocked blocks the reply."""
        said, changes = [], {}
        for piece in pieces or (_NOTHING,):
            whole = checked.conversation.then(Message("assistant", piece.text))
            out = await turn.policy.acheck(
                whole, "output", request=turn.ask.request, names=turn.names, shadow=turn.shadow, user=turn.user
            )
            self._decided(turn, out.decision)
            if out.blocked:
                return Out("", _joined(pieces), {}, out.decision)
            text = restored(out.text, turn.names, piece.field) if turn.restores else out.text
            said.append(text)
            if text != piece.text:
                changes[piece.path] = text
        return Out("\n".join(filter(None, said)), _joined(pieces), changes, None)

    # Streams

    async def _stream(self, call: Call, turn: Turn, checked: Checked, frames: AsyncIterator[bytes]) -> None:
        """The response starts only once the model has said something: one that fails at once is still an HTTP error."""
        told = Told()
        out = turn.format.guarded(
            _timed(frames, self.settings.upstream_seconds),
            self._opener(turn, checked),
            turn.ask,
            told,
            self._closing(turn),
        )
        try:
            if self.recorder:
                await self._guarded(self.recorder.check())
            first = await anext(out, b"")
            await call.begin(turn.headers)
            await call.write(first)
            async for data in out:
                await call.write(data)
            await call.end()
        except Exception as error:
            # The stream may have begun; then the failure is an event in it.
            refusal = error if isinstance(error, Refused) else failures.failure(error)
            self._leave(
                turn, _released(told), raw=_unguarded(told), finish=failures.finish(error), error=failures.said(error)
            )
            if not call.started:
                raise refusal from error
            await call.write(turn.format.failure(refusal))
            await call.end()
        except asyncio.CancelledError:
            reason = "the client hung up" if call.gone else "cancelled"
            self._leave(turn, _released(told), raw=_unguarded(told), finish="cancelled", error=reason)
            raise
        finally:
            await out.aclose()
            await _closed(frames)

    def _opener(self, turn: Turn, checked: Checked) -> Any:
        def opened(choice: int, field: Field) -> Stream:
            stream: Stream = turn.policy.stream(
                place="output",
                conversation=checked.conversation,
                request=turn.ask.request,
                names=turn.names,
                shadow=turn.shadow,
                user=turn.user,
            )
            return Restored(stream, turn.names, field) if turn.restores else stream

        return opened

    def _closing(self, turn: Turn) -> Any:
        async def closing(told: Told) -> None:
            """Every text has its verdict: the record, before the events that end the reply."""
            for slot in told.slots:
                if slot.done or slot is told.blocked:
                    self._decided(turn, slot.stream.decision)
            turn.outcome = "blocked_output" if told.blocked else "answered"
            self._settle(turn, told.usage)
            await self._record(turn, _released(told), raw=_unguarded(told), finish=told.finish or "stop")

        return closing

    # The record

    def _decided(self, turn: Turn, decision: Decision) -> None:
        turn.decisions.append(decision)
        self.metrics.decision(decision)
        if self.tracer:
            self.tracer.decision(decision)

    def _settle(self, turn: Turn, usage: Any) -> None:
        if turn.key and isinstance(usage, dict):
            used = usage.get("total_tokens") or (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
            if isinstance(used, int):
                self.limits.settle(turn.key, turn.estimated, used)

    async def _record(self, turn: Turn, reply: str, **more: Any) -> None:
        if self.recorder and not turn.recorded:
            await self._guarded(self.recorder.add(*turn.events(self.settings, reply, **more)))

    def _leave(self, turn: Turn, reply: str, **more: Any) -> None:
        """Record without waiting, where the request is being torn down."""
        if self.recorder and not turn.recorded:
            self.recorder.leave(*turn.events(self.settings, reply, **more))

    async def keep(self, *events: Event) -> None:
        """Store other events under the same rule as exchanges."""
        if self.recorder:
            await self._guarded(self.recorder.add(*events))

    async def _guarded(self, writing: Awaitable[None]) -> None:
        """What happens when the record cannot be written: closed answers 503, open serves and counts."""
        try:
            await writing
        except StoreError as error:
            self.unrecorded += 1
            self.metrics.unrecorded.inc()
            if self.settings.on_record_failure == "closed":
                message = "The exchange cannot be recorded, so it is not served; the operator's log says why."
                code = "overloaded" if isinstance(error, Full) else "not_recorded"
                raise Refused(503, message, kind="server_error", code=code).after(1) from error

    async def _refuse(self, call: Call, format: Format, refusal: Refused, turn: Turn | None) -> None:
        if not call.started:
            headers = {**(turn.headers if turn else {}), **refusal.headers}
            await call.reply(refusal.status, format.error(refusal), headers)


def _reply(body: Any) -> dict[str, Any]:
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"the upstream's answer is no JSON: {error}") from error
    if not isinstance(reply, dict):
        raise TargetError("the upstream's answer is no JSON object")
    return reply


def _finish_of(reply: Mapping[str, Any]) -> str:
    """The API's own word for how the reply ended."""
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    found = first.get("finish_reason") or reply.get("stop_reason")
    return found[:40] if isinstance(found, str) else "stop"


def _joined(pieces: Sequence[Piece]) -> str:
    return "\n".join(piece.text for piece in pieces if piece.text)


def _released(told: Told) -> str:
    """What left, also of a reply that was blocked later."""
    return "\n".join(filter(None, (slot.stream.text for slot in told.slots)))


def _unguarded(told: Told) -> str:
    return "\n".join(filter(None, ("".join(slot.said) for slot in told.slots)))


async def _forgotten(task: asyncio.Task[Any] | asyncio.Future[Any]) -> None:
    """A task that nobody wants any more. What it came to is of no interest, but an open stream must be closed."""
    task.cancel()
    (answer,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(answer, Answer) and not isinstance(answer.body, bytes):
        await _closed(answer.body)


async def _closed(body: Any) -> None:
    if close := getattr(body, "aclose", None):
        await close()


async def _timed(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The pieces, each within the time allowed."""
    while True:
        async with asyncio.timeout(seconds):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece
