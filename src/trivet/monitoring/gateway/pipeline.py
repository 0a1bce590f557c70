"""A request through the gateway: who asks, what they ask, the input's verdict, the model, the output's verdict, the record,
the reply. In that order, and nothing leaves before what stands before it is done.

The steps have files of their own: `admission.py`, `asking.py`, `whole.py` or `streamed.py`, and `ledger.py` for all that
is written down. Here they are joined, and whatever happens on the way becomes one answer and one outcome. A client that
hangs up cancels whatever is being done for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from trivet.core.events import Event
from trivet.monitoring.gateway.admission import Admission, Policies
from trivet.monitoring.gateway.asking import Asking
from trivet.monitoring.gateway.call import Call, Gone
from trivet.monitoring.gateway.formats.shape import Format, Upstream
from trivet.monitoring.gateway.keys import Key, Keyring, Limits, Scope
from trivet.monitoring.gateway.ledger import Ledger
from trivet.monitoring.gateway.metrics import Metrics
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.streamed import Streamed
from trivet.monitoring.gateway.tracing import Tracer
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.whole import Whole
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Policy
from trivet.monitoring.recorder import Recorder
from trivet.monitoring.spooled import Spooled

_log = logging.getLogger("trivet.monitoring")


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
        self.settings, self.keyring = settings, keyring
        self.limits, self.metrics = Limits(share), Metrics()
        self.tracer = Tracer() if settings.tracing else None
        self.name = next(iter(self.models))
        self.flying = 0
        self.draining = False
        self._admission = Admission(self.models, policies, keyring, self.limits, settings, secret)
        self._ledger = Ledger(recorder, settings, self.limits, self.metrics, self.tracer)
        self._asking = Asking(self.models, self._ledger, settings, self.metrics, self.tracer)
        self._whole = Whole(self._asking, self._ledger, settings)
        self._streamed = Streamed(self._ledger, settings)

    @property
    def policy(self) -> Policy:
        return self.policies.for_tenant("")

    @property
    def unrecorded(self) -> int:
        """How often the record could not be written."""
        return self._ledger.unrecorded

    def admitted(self, call: Call, scope: Scope) -> Key | None:
        """The key of a request; None where the gateway asks for none. Raises Refused (401, 403)."""
        return self._admission.key(call, scope)

    async def keep(self, *events: Event) -> None:
        """Store other events under the same rule as exchanges."""
        await self._ledger.keep(*events)

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
            turn = await self._admission.turn(call, format, scope, started)
            await self._answered(call, turn)
            outcome = turn.outcome
        except Refused as refusal:
            outcome = turn.outcome if turn and turn.outcome != "error" else f"refused_{refusal.status}"
            await _refuse(call, format, refusal, turn)
        except Gone:
            outcome = "cancelled"
        except asyncio.CancelledError:
            outcome = "cancelled"
            if turn:
                error = "the client hung up" if call.gone else "cancelled"
                self._ledger.leave(turn, "", finish="cancelled", error=error)
            if not call.gone or (task := asyncio.current_task()) is None:
                raise
            task.uncancel()
        except Exception:
            # A guard or a format may raise anything; nothing may pass for it, and it is recorded.
            outcome = "bug"
            _log.exception("the gateway failed on %s", call.path)
            if turn:
                self._ledger.leave(turn, "", finish="error", error="internal error")
            message = "The gateway failed; its log says why."
            await _refuse(call, format, Refused(500, message, kind="server_error", code="internal_error"), turn)
        finally:
            call.close()
            self.flying -= 1
            self.metrics.request(format.route, outcome, time.monotonic() - started)
        return turn, outcome

    async def _answered(self, call: Call, turn: Turn) -> None:
        checked, answer = await self._asking.first(turn)
        if turn.ask.stream and not isinstance(answer.body, bytes):
            await self._streamed.reply(call, turn, checked, answer.body)
        else:
            await self._whole.reply(call, turn, checked, answer)


async def _refuse(call: Call, format: Format, refusal: Refused, turn: Turn | None) -> None:
    if not call.started:
        headers = {**(turn.headers if turn else {}), **refusal.headers}
        await call.reply(refusal.status, format.error(refusal), headers)
