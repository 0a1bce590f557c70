"""`POST /v1/moderations`: what the input's layers of the caller's policy say about texts, in OpenAI's shape.

Layers are asked in shadow, so that every one of them speaks: a policy in force stops at the first that blocks. A text is
flagged when the policy would have done something about it. Nothing is recorded: there is no exchange.

Not covered: OpenAI's categories that no layer looks for. They are null, not 0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trivet.core.events import new_id
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.formats.moderations import MODERATIONS
from trivet.monitoring.gateway.pipeline import Gateway
from trivet.monitoring.gateway.wire import Refused

OPENAI = {
    "hate": "hate",
    "self_harm": "self-harm",
    "sexual_content": "sexual",
    "child_exploitation": "sexual/minors",
    "violent_crimes": "violence",
    "nonviolent_crimes": "illicit",
    "cybercrime": "illicit",
    "indiscriminate_weapons": "illicit/violent",
}
"""Our hazards that OpenAI has a name for; the others stand under their own."""


async def moderate(gateway: Gateway, call: Call) -> None:
    """Answers the request."""
    try:
        key = gateway.admitted(call, "moderations")
        body = await call.body(gateway.settings.max_body_bytes)
        ask = MODERATIONS.read(wire.parsed(body, dict[str, Any]))
        headers = gateway.limits.take(key, len(body) // 4) if key else {}
        policy = gateway.policies.for_tenant(key.tenant if key else "")
        found, flagged = [], []
        for piece in ask.pieces:
            said = Conversation((Message("user", piece.text),))
            decision = (await policy.acheck(said, "input", shadow=True)).decision
            found.append(_scores(decision))
            flagged.append(decision.would != "allow")
        model = ask.model or f"trivet-{policy.name}-{policy.version}"
        await call.reply(200, msgspec.json.encode(MODERATIONS.reply(new_id(), model, found, flagged)), headers)
    except Refused as refusal:
        await call.reply(refusal.status, MODERATIONS.error(refusal), refusal.headers)


def _scores(decision: Decision) -> dict[str, float]:
    """The highest score of each category; a layer without one speaks under its own name. A guard that failed says
    nothing: its score is not one."""
    scores: dict[str, float] = {}
    for verdict in decision.verdicts:
        if verdict.label != "error":
            name = OPENAI.get(verdict.category, verdict.category or verdict.judge)
            scores[name] = max(scores.get(name, 0.0), verdict.score)
    return scores
