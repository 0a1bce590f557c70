"""A reply that comes in pieces: each leaves when the guards let it go, and the end only once the exchange is recorded.

The response starts when the model has said something, so a model that fails at once is still an HTTP error; a failure
after that is an event in the stream. Whatever happens, what left is recorded, beside what the model had said by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trivet.monitoring.gateway import failures
from trivet.monitoring.gateway.asking import closed
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.formats.shape import Closing, Field, Open, Stream, Told
from trivet.monitoring.gateway.ledger import Ledger
from trivet.monitoring.gateway.restoring import Restored
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Checked


class Streamed:
    """Answers a call with a stream of events."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger, self._settings = ledger, settings

    async def reply(self, call: Call, turn: Turn, checked: Checked, frames: AsyncIterator[bytes]) -> None:
        told = Told()
        out = turn.format.guarded(
            _timed(frames, self._settings.upstream_seconds),
            _opener(turn, checked),
            turn.ask,
            told,
            self._closing(turn),
        )
        try:
            await self._ledger.ready()
            first = await anext(out, b"")
            await call.begin(turn.headers)
            await call.write(first)
            async for data in out:
                await call.write(data)
            await call.end()
        except Exception as error:
            # The stream may have begun; then the failure is an event in it.
            refusal = error if isinstance(error, Refused) else failures.failure(error)
            self._leave(turn, told, failures.finish(error), failures.said(error))
            if not call.started:
                raise refusal from error
            await call.write(turn.format.failure(refusal))
            await call.end()
        except asyncio.CancelledError:
            self._leave(turn, told, "cancelled", "the client hung up" if call.gone else "cancelled")
            raise
        finally:
            await out.aclose()
            await closed(frames)

    def _closing(self, turn: Turn) -> Closing:
        async def closing(told: Told) -> None:
            """Every text has its verdict: the record, before the events that end the reply."""
            for slot in told.slots:
                if slot.done or slot is told.blocked:
                    self._ledger.decided(turn, slot.stream.decision)
            turn.outcome = "blocked_output" if told.blocked else "answered"
            self._ledger.settle(turn, told.usage, _released(told), cut=told.blocked is not None)
            await self._ledger.record(turn, _released(told), raw=_unguarded(told), finish=told.finish or "stop")

        return closing

    def _leave(self, turn: Turn, told: Told, finish: str, error: str) -> None:
        if not told.ended:
            self._ledger.settle(turn, told.usage, _released(told), cut=True)
        self._ledger.leave(turn, _released(told), raw=_unguarded(told), finish=finish, error=error)


def _opener(turn: Turn, checked: Checked) -> Open:
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


def _released(told: Told) -> str:
    """What left, also of a reply that was blocked later."""
    return "\n".join(filter(None, (slot.stream.text for slot in told.slots)))


def _unguarded(told: Told) -> str:
    return "\n".join(filter(None, ("".join(slot.said) for slot in told.slots)))


async def _timed(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The pieces, each within the time allowed."""
    while True:
        async with asyncio.timeout(seconds):
            piece = await anext(pieces, None)
        if piece is None:
            return
        yield piece
