"""A reply in one piece: every text of it is checked, then it is recorded, then the client gets it.

What the client gets is written anew from what was checked. A reply that broke the format asked for gets a second chance
(`mending.py`); any other block is told, by status 400 or in the API's own reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from trivet.core.errors import TargetError
from trivet.core.messages import Message
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway import mending, wire
from trivet.monitoring.gateway.asking import Asking
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.formats.shape import Answer, Piece
from trivet.monitoring.gateway.ledger import Ledger
from trivet.monitoring.gateway.restoring import restored
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.policy import Checked

_NOTHING = Piece("", "assistant", ())
encode = msgspec.json.encode


class Out(NamedTuple):
    """A reply after its check: the texts delivered and said, and where they differ."""

    text: str
    raw: str
    changes: dict[tuple[str | int, ...], str]
    blocked: Decision | None


class Whole:
    """Answers a call with a whole reply."""

    def __init__(self, asking: Asking, ledger: Ledger, settings: Settings) -> None:
        self._asking, self._ledger, self._settings = asking, ledger, settings

    async def reply(self, call: Call, turn: Turn, checked: Checked, answer: Answer) -> None:
        reply, pieces = await self._said(turn, answer)
        out = await self._output(turn, checked, pieces)
        first = out.raw
        if out.blocked and len(pieces) == 1:
            reply, pieces, out = await self._second_chance(turn, checked, reply, pieces, out)
        if out.blocked:
            turn.outcome = "blocked_output"
            await self._ledger.record(turn, "", raw=first, finish="content_filter")
            refusal = wire.filtered("output", out.blocked.layer)
            if not self._settings.blocked_in_band:
                raise refusal
            await call.reply(200, encode(turn.format.blocked_reply(reply, refusal)), turn.headers)
            return
        if out.changes:
            reply = turn.format.rewritten_reply(reply, out.changes)
        self._ledger.settle(turn, reply.get("usage"), out.text)
        await self._ledger.record(turn, out.text, raw=first, finish=_finish_of(reply))
        turn.outcome = "answered"
        await call.reply(200, encode(reply), turn.headers)

    async def _said(self, turn: Turn, answer: Answer) -> tuple[dict[str, Any], tuple[Piece, ...]]:
        """A whole answer and its texts."""
        try:
            if turn.ask.stream:
                raise TargetError("the upstream did not stream")
            reply = _parsed(answer.body)
            return reply, turn.format.said(reply)
        except TargetError as error:
            await self._asking.failed(turn, error)

    async def _second_chance(
        self, turn: Turn, checked: Checked, reply: dict[str, Any], pieces: tuple[Piece, ...], out: Out
    ) -> tuple[dict[str, Any], tuple[Piece, ...], Out]:
        """A reply that broke the format asked for: mended, or asked for once more and mended."""
        assert out.blocked
        guard = mending.guard_of(turn.policy, out.blocked, turn.ask.request)
        for again in (False, True) if guard and self._settings.reask else (False,) if guard else ():
            assert guard and out.blocked
            found = await asyncio.to_thread(mending.mended, guard, pieces[0])
            if again and found.faults:
                body = mending.asked_again(turn.sent, pieces[0], found)
                if body is None:
                    break
                reply, pieces = await self._said(turn, await self._asking.again(turn, body))
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
            self._ledger.decided(turn, out.decision)
            if out.blocked:
                return Out("", _joined(pieces), {}, out.decision)
            text = restored(out.text, turn.names, piece.field) if turn.restores else out.text
            said.append(text)
            if text != piece.text:
                changes[piece.path] = text
        return Out("\n".join(filter(None, said)), _joined(pieces), changes, None)


def _parsed(body: Any) -> dict[str, Any]:
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
