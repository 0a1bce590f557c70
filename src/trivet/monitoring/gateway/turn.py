"""One request on its way through the gateway: what it asked, what was decided about it, and its entry in the record."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from trivet.core.events import Alert, Event, Exchange, new_id
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.formats.shape import Ask, Format
from trivet.monitoring.gateway.keys import Key
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.guards.pii import Placeholders
from trivet.monitoring.policy import Policy
from trivet.monitoring.privacy import kept, kept_error, pseudonym

_RUN = re.compile(r"[\w./:@+-]{1,200}")


@dataclass(slots=True)
class Turn:
    """A request, from its body to its record."""

    format: Format
    ask: Ask
    received: Conversation
    policy: Policy
    key: Key | None
    run: str
    user: str
    shadow: bool
    started: float
    id: str = field(default_factory=new_id)
    repeatable: bool = False
    estimated: int = 0
    """Tokens that were taken from the key's bucket in advance."""
    sent: dict[str, Any] = field(default_factory=dict)
    """The body as the model gets it."""
    restores: bool = False
    """Whether the reply gets back the values that the input's masks took out."""
    decisions: list[Decision] = field(default_factory=list)
    names: Placeholders = field(default_factory=Placeholders)
    recorded: bool = False
    outcome: str = "error"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        call: Call,
        format: Format,
        ask: Ask,
        policy: Policy,
        key: Key | None,
        settings: Settings,
        secret: bytes,
        started: float,
    ) -> Turn:
        """Reads the headers; raises Refused for one that cannot be."""
        run = call.header("x-trivet-run")
        if run and not _RUN.fullmatch(run):
            message = "The header x-trivet-run takes 1 to 200 letters, digits and ._-/:@+"
            raise Refused(400, message, param="x-trivet-run")
        shadow = settings.allow_shadow_header and call.header("x-trivet-mode").lower() == "shadow"
        user = ask.user or (f"key:{key.id}" if key else call.header("authorization"))
        turn = cls(format, ask, ask.conversation(), policy, key, run, pseudonym(secret, user), shadow, started)
        turn.sent = ask.body
        if run and settings.allow_shadow_header and not ask.stream:
            # A run that is resumed asks again what it had not noted yet; the same question of a run is one exchange.
            turn.id, turn.repeatable = digest_of(["exchange", run, shadow, turn.received.rows()]), True
        turn.names.tenant = key.tenant if key else ""
        turn.headers["x-trivet-exchange"] = turn.id
        return turn

    def events(
        self, settings: Settings, reply: str, *, raw: str | None = None, finish: str = "stop", error: str = ""
    ) -> list[Event]:
        """What is to be recorded, as the privacy settings allow."""
        self.recorded = True
        if error and self.repeatable:
            self.id = new_id()  # a failure must not stand in the way of the answer that comes when it is asked again
        conversation, reply, raw = kept(settings.record, self.names, self.received, reply, raw)
        exchange = Exchange(
            id=self.id,
            run=self.run,
            conversation=conversation,
            reply=reply,
            model=self.ask.model,
            decisions=tuple(self.decisions),
            raw=raw,
            user=self.user,
            finish=finish,
            milliseconds=1000 * (time.monotonic() - self.started),
            error=kept_error(settings.record, self.names, error) if error else "",
        )
        return [exchange, *_guard_alerts(exchange)]


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
