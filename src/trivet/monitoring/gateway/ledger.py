"""What a request came to, written down: verdicts are counted, tokens settled, and the exchange is stored.

With a durable recorder `record` returns when the exchange is in the store, so whoever awaits it before the last byte of a
reply lets nothing out that is not recorded. When the record cannot be written, the settings say what follows: `closed`
answers 503, `open` serves and counts.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from trivet.core.errors import StoreError
from trivet.core.events import Event
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.keys import Limits
from trivet.monitoring.gateway.metrics import Metrics
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.tracing import Tracer
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.recorder import Full, Recorder
from trivet.monitoring.spooled import Spooled


class Ledger:
    """The record of a gateway. Without a recorder it still counts and settles."""

    def __init__(
        self,
        recorder: Recorder | Spooled | None,
        settings: Settings,
        limits: Limits,
        metrics: Metrics,
        tracer: Tracer | None,
    ) -> None:
        self._recorder, self._settings, self._limits = recorder, settings, limits
        self._metrics, self._tracer = metrics, tracer
        self.unrecorded = 0

    def decided(self, turn: Turn, decision: Decision) -> None:
        """Note what a policy decided about a text of the turn."""
        turn.decisions.append(decision)
        self._metrics.decision(decision)
        if self._tracer:
            self._tracer.decision(decision)

    def settle(self, turn: Turn, usage: Any) -> None:
        """Correct the key's tokens by what the model says it used."""
        if turn.key and isinstance(usage, dict):
            used = usage.get("total_tokens") or (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
            if isinstance(used, int):
                self._limits.settle(turn.key, turn.estimated, used)

    async def ready(self) -> None:
        """Whether there is a record to write to, before a stream begins."""
        if self._recorder:
            await self._guarded(self._recorder.check())

    async def record(self, turn: Turn, reply: str, **more: Any) -> None:
        """Store the exchange, once. `more` as of `Turn.events`."""
        if self._recorder and not turn.recorded:
            await self._guarded(self._recorder.add(*turn.events(self._settings, reply, **more)))

    def leave(self, turn: Turn, reply: str, **more: Any) -> None:
        """Record without waiting, where the request is being torn down."""
        if self._recorder and not turn.recorded:
            self._recorder.leave(*turn.events(self._settings, reply, **more))

    async def keep(self, *events: Event) -> None:
        """Store other events under the same rule as exchanges."""
        if self._recorder:
            await self._guarded(self._recorder.add(*events))

    async def _guarded(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except StoreError as error:
            self.unrecorded += 1
            self._metrics.unrecorded.inc()
            if self._settings.on_record_failure == "closed":
                message = "The exchange cannot be recorded, so it is not served; the operator's log says why."
                code = "overloaded" if isinstance(error, Full) else "not_recorded"
                raise Refused(503, message, kind="server_error", code=code).after(1) from error
