"""From a request to the model's answer: the input's verdict first, then the model, or both at once.

What the model is sent is written anew from what was checked: two parsers may read a JSON with doubled keys differently,
and then the guards had read another text than the model. With `parallel_input` the model is asked beside the input's
check, and its answer is not looked at before the verdict is there; a block cancels it. Every failure of a model is
recorded and refused here, so whoever gets an Answer has one that is no error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, NoReturn

import msgspec

from trivet.core.errors import Blocked, TargetError
from trivet.core.messages import Message
from trivet.monitoring.gateway import failures, wire
from trivet.monitoring.gateway.formats.shape import Answer, Upstream
from trivet.monitoring.gateway.ledger import Ledger
from trivet.monitoring.gateway.metrics import Metrics
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.tracing import Tracer
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.upstream import retry_after
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Checked

encode = msgspec.json.encode


class Asking:
    """The models behind the input's layers. `first` asks for a turn, `again` once more with another body."""

    def __init__(
        self,
        models: Mapping[str, Upstream],
        ledger: Ledger,
        settings: Settings,
        metrics: Metrics,
        tracer: Tracer | None,
    ) -> None:
        self._models, self._ledger, self._settings = models, ledger, settings
        self._metrics, self._tracer = metrics, tracer

    async def first(self, turn: Turn) -> tuple[Checked, Answer]:
        """The input as it may go on, and what the model answered to it."""
        if self._settings.parallel_input and not turn.shadow:
            return await self._beside(turn)
        checked = await self._input(turn)
        return checked, await self._asked(turn, self._sent(turn, _body(turn, checked)))

    async def again(self, turn: Turn, body: dict[str, Any]) -> Answer:
        return await self._asked(turn, self._sent(turn, encode(body)))

    async def failed(self, turn: Turn, error: Exception) -> NoReturn:
        """Record that the model behind failed, and refuse."""
        refusal = failures.failure(error)
        await self._ledger.record(turn, "", finish=failures.finish(error), error=failures.said(error))
        raise refusal from error

    # The input

    async def _beside(self, turn: Turn) -> tuple[Checked, Answer]:
        """The model is asked while the input is checked. Where the check changes the words, it is asked again with those."""
        early = asyncio.ensure_future(self._sent(turn, encode(turn.ask.body)))
        try:
            await asyncio.sleep(0)  # off it goes, before the guards take the processor
            checked = await self._input(turn)
            if turn.ask.changes(checked.conversation):
                await _forgotten(early)
                return checked, await self._asked(turn, self._sent(turn, _body(turn, checked)))
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
        self._ledger.decided(turn, checked.decision)
        turn.names.seal(every=self._settings.restore)  # what the model makes up and the output masks has no way back
        turn.restores = bool(turn.names.restorable())
        if checked.blocked:
            turn.outcome = "blocked_input"
            await self._ledger.record(turn, "", finish="content_filter")
            raise wire.filtered("input", checked.decision.layer)
        return checked

    # The model

    async def _sent(self, turn: Turn, body: bytes) -> Answer:
        """What the model behind answers, in time."""
        began = time.monotonic()
        headers = {"x-request-id": turn.id, **(self._tracer.headers() if self._tracer else {})}
        async with asyncio.timeout(self._settings.upstream_seconds):
            answer = await self._models[turn.ask.model].send(
                turn.format.route, body, stream=turn.ask.stream, headers=headers
            )
        self._metrics.asked(turn.ask.model, time.monotonic() - began)
        return answer

    async def _asked(self, turn: Turn, sending: Awaitable[Answer]) -> Answer:
        """The answer to what was sent. Every failure is recorded and refused."""
        try:
            answer = await sending
        except Exception as error:
            # A model may be anyone's code; whatever it raises, the client gets an answer and the record says what it was.
            await self.failed(turn, error)
        if answer.status >= 400:
            await self._declined(turn, answer)
        return answer

    async def _declined(self, turn: Turn, answer: Answer) -> NoReturn:
        """An error of the upstream. What the client can mend is told, in words that have been checked like a reply."""
        body = answer.body if isinstance(answer.body, bytes) else b""
        if not isinstance(answer.body, bytes):
            await closed(answer.body)
        told = failures.error_of(body)
        if told.get("code") == "content_filter":
            await self.failed(
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
        await self._ledger.record(turn, "", finish="error", error=failures.said(error))
        raise refusal


def _body(turn: Turn, checked: Checked) -> bytes:
    """The request as the model gets it, with the texts as the policy left them."""
    if changes := turn.ask.changes(checked.conversation):
        turn.sent = turn.format.rewritten(turn.ask.body, changes)
    return encode(turn.sent)


async def _forgotten(task: asyncio.Future[Answer]) -> None:
    """A task that nobody wants any more. What it came to is of no interest, but an open stream must be closed."""
    task.cancel()
    (answer,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(answer, Answer) and not isinstance(answer.body, bytes):
        await closed(answer.body)


async def closed(body: Any) -> None:
    """Let go of an answer that streams."""
    if close := getattr(body, "aclose", None):
        await close()
