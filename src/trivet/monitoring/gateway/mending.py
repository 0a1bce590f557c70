"""A reply in the wrong format gets a second chance: mended where that can be done without asking, else asked for once more.

Only where the format guard of the policy blocked it, for a reply of one text. Whatever comes of it goes through the
output's layers again, from the first. Asking again costs a second call; its request holds what the first held, the reply
at fault, and the place and the rule that it broke.

Not covered: streams (held back whole by that guard, and blocked), replies with several choices, APIs whose request is no
list of messages (mended, not asked again).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivet.core.messages import Conversation
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.formats.shape import Piece
from trivet.monitoring.guards.format import JsonFormat, Repaired, reask
from trivet.monitoring.policy import Policy


def guard_of(policy: Policy, decision: Decision, request: Mapping[str, Any]) -> JsonFormat | None:
    """The format guard behind a block, as this request binds it; None where something else blocked."""
    verdict = decision.deciding
    if verdict is None or verdict.label == "error":
        return None
    guards = (layer.guard for layer in policy.layers if layer.name == decision.layer)
    return next((bound for guard in guards if isinstance(guard, JsonFormat) and (bound := guard.bind(request))), None)


def mended(guard: JsonFormat, piece: Piece) -> Repaired:
    """What can be made of the text by itself."""
    return guard.repair(piece.text)


def asked_again(body: Mapping[str, Any], piece: Piece, found: Repaired) -> dict[str, Any] | None:
    """The request that asks once more; None for an API whose request holds no list of messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not found.faults:
        return None
    words = reask(Conversation(), found.faults[0]).messages[-1].content
    more = [{"role": "assistant", "content": piece.text}, {"role": "user", "content": words}]
    return {**body, "messages": [*messages, *more]}
