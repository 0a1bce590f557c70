"""What comes in and is admitted: who asks, for what, under which policy, and whether there is room for it.

Whoever is turned away here has cost no call of a model and leaves no entry in the record. A format that no guard could
check (an unusable JSON Schema) is the client's mistake, and is told before anything is asked. From the moment the body is
read, a client that hangs up cancels the task that works for it.

Not covered: numbers of more than 64 bits in a body come out as floating point. A layer in shadow refuses an unusable
schema as one in force does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from trivet.core.errors import ConfigError
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.formats.shape import Ask, Format, Upstream
from trivet.monitoring.gateway.keys import Key, Keyring, Limits, Scope
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.turn import Turn
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Policy


class Policies(Protocol):
    """Whose policy a request is under; `live.Policies` reloads them, `One` has just one."""

    def for_tenant(self, name: str) -> Policy: ...


class One:
    """The same policy for everybody."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def for_tenant(self, name: str) -> Policy:
        return self.policy


class Admission:
    """The door: `turn` reads a request into a Turn, `key` says who asks. Both raise Refused."""

    def __init__(
        self,
        models: Mapping[str, Upstream],
        policies: Policies,
        keyring: Keyring | None,
        limits: Limits,
        settings: Settings,
        secret: bytes,
    ) -> None:
        self._models, self._policies, self._keyring, self._limits = models, policies, keyring, limits
        self._settings, self._secret = settings, secret

    async def turn(self, call: Call, format: Format, scope: Scope, started: float) -> Turn:
        """The request, once it has its key, a model, a policy that can check it, and tokens."""
        key = self.key(call, scope)
        body = await call.body(self._settings.max_body_bytes)
        if task := asyncio.current_task():
            call.when_gone(task.cancel)
        ask = format.read(wire.parsed(body, dict[str, Any]), unchecked=self._settings.unchecked_media)
        if ask.model not in self._models or (key and key.models and ask.model not in key.models):
            message = f"The model {ask.model!r} does not exist here; GET /v1/models lists what does."
            raise Refused(404, message, param="model", code="model_not_found")
        policy = self._policies.for_tenant(key.tenant if key else "")
        turn = Turn.of(call, format, ask, policy, key, self._settings, self._secret, started)
        if key:
            turn.estimated = len(body) // 4
            turn.headers |= self._limits.take(key, turn.estimated)
        _checkable(ask, policy)
        return turn

    def key(self, call: Call, scope: Scope) -> Key | None:
        """The key of a request; None where the gateway asks for none. Raises Refused (401, 403)."""
        if self._keyring is None or not self._keyring.asks():
            if scope == "admin":
                message = "This needs a key of the scope `admin`; make one with `trivet keys create`."
                raise Refused(403, message, code="no_admin_key")
            return None
        given = call.header("authorization")
        token = given[7:].strip() if given[:7].lower() == "bearer " else call.header("x-api-key")
        key = self._keyring.find(token) if token else None
        if key is None:
            message = "No key was sent." if not token else "The key is not known here, has expired or was revoked."
            refusal = Refused(401, message, kind="authentication_error", code="invalid_api_key")
            refusal.headers["www-authenticate"] = "Bearer"
            raise refusal
        if scope not in key.scopes:
            message = f"The key may not do this; it needs the scope `{scope}`."
            raise Refused(403, message, kind="permission_error", code="scope_missing")
        return key


def _checkable(ask: Ask, policy: Policy) -> None:
    """Refuses a request whose format no guard of the policy can be bound to."""
    if not ask.request.get("response_format"):
        return
    try:
        for layer in policy.layers:
            layer.bound(ask.request)
    except ConfigError as error:
        raise Refused(400, str(error)[:500], param="response_format") from error
