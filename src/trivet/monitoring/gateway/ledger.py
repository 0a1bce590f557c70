"""What a request came to, written down: verdicts are counted, tokens settled, and the exchange is stored.

With a durable recorder `record` returns when the exchange is in the store, so whoever awaits it before the last byte of a
reply lets nothing out that is not recorded. When the record cannot be written, the settings say what follows: `closed`
answers 503, `open` serves and counts.
"""

from __future__ import annotations

import asyncio
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
from trivet.monitoring.guards.shared import INLINE
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
        self._writing: set[asyncio.Task[None]] = set()

    def decided(self, turn: Turn, decision: Decision) -> None:
        """Note what a policy decided about a text of the turn."""
        turn.decisions.append(decision)
        self._metrics.decision(decision)
        if self._tracer:
            self._tracer.decision(decision)

    def settle(self, turn: Turn, usage: Any, released: str, *, cut: bool = False) -> None:
        """Correct the key's tokens by what the model says it used; where it does not say, a token for every four
        characters released is added to the estimate. Of a reply that was `cut` short the larger of both counts, since
        the model may only have told of the beginning."""
        if turn.key:
            said, guessed = _used(usage), turn.estimated + -(-len(released) // 4)
            used = max(said, guessed) if cut or not said else said
            self._limits.settle(turn.key, turn.estimated, used)

    async def ready(self) -> None:
        """Whether there is a record to write to, before a stream begins."""
        if self._recorder:
            await self._guarded(self._recorder.check())

    async def record(self, turn: Turn, reply: str, **more: Any) -> None:
        """Store the exchange, once. `more` as of `Turn.events`."""
        if not self._recorder or turn.recorded:
            return
        if not self._long(turn, reply, more):
            await self._guarded(self._recorder.add(*turn.events(self._settings, reply, **more)))
            return
        # To mask a long talk takes a while: others are served meanwhile, and a client that leaves does not stop it.
        turn.recorded = True
        writing = asyncio.create_task(self._aside(self._recorder, turn, reply, more))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await self._guarded(asyncio.shield(writing))

    def leave(self, turn: Turn, reply: str, **more: Any) -> None:
        """Record without waiting, where the request is being torn down."""
        if self._recorder and not turn.recorded:
            self._recorder.leave(*turn.events(self._settings, reply, **more))

    def _long(self, turn: Turn, reply: str, more: dict[str, Any]) -> bool:
        """Whether what is to be masked is too long for the event loop."""
        if self._settings.record != "masked":
            return False
        words = len(reply) + len(more.get("raw") or "") + len(more.get("error") or "")
        return words + sum(len(message.content) for message in turn.received) > INLINE

    async def _aside(self, recorder: Recorder | Spooled, turn: Turn, reply: str, more: dict[str, Any]) -> None:
        await recorder.add(*await asyncio.to_thread(turn.events, self._settings, reply, **more))

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


def _used(usage: Any) -> int:
    """The tokens in a report on usage; 0 where it tells none. It comes from the upstream and may hold anything."""
    if not isinstance(usage, dict):
        return 0
    total, prompt, completion, asked, said = (
        count if type(count := usage.get(f"{what}_tokens")) is int and count > 0 else 0
        for what in ("total", "prompt", "completion", "input", "output")
    )
    return total or prompt + completion or asked + said
