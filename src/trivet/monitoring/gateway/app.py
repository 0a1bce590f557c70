"""The gateway as an ASGI application: the APIs in front of any model, reports by users, what operators ask, the console.

    app = build_app(model, Policy.load("default"), store)

Routes of the APIs are raw ASGI; only the console's pages are Starlette's, and they are loaded when there is a console.

Not covered: who may reach the port at all. Without keys anybody who can is served, so keep it on loopback then.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from trivet.core.errors import StoreError
from trivet.core.protocols import Model
from trivet.core.store.events import Store
from trivet.monitoring.gateway import about
from trivet.monitoring.gateway.admission import One, Policies
from trivet.monitoring.gateway.call import Call, Gone
from trivet.monitoring.gateway.formats.shape import Format, Upstream
from trivet.monitoring.gateway.keys import Keyring, Scope
from trivet.monitoring.gateway.moderation import moderate
from trivet.monitoring.gateway.origin import OwnOrigin
from trivet.monitoring.gateway.pipeline import Gateway
from trivet.monitoring.gateway.routes import FORMATS, speaking
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.policy import Policy
from trivet.monitoring.spooled import recorder_for

Handler = Callable[[Call], Awaitable[None]]
_log = logging.getLogger("trivet.monitoring")


def build_app(
    model: Model | Upstream | Mapping[str, Upstream],
    policy: Policy | Policies,
    store: Store | None = None,
    *,
    model_name: str = "",
    settings: Settings | None = None,
    pseudonym_key: bytes = b"",
    keyring: Keyring | None = None,
    share: float = 1.0,
) -> App:
    """The gateway in front of a model, an upstream, or several upstreams by the names that clients ask for.

    Without a store nothing is recorded and there is no console. Without a pseudonym key, pseudonyms last as long as the
    application does. `share` is this worker's part of the keys' limits."""
    settings = settings or Settings()
    most = settings.max_waiting_events
    recorder = recorder_for(store, durable=settings.durable, most=most) if store else None
    policies: Policies = One(policy) if isinstance(policy, Policy) else policy
    secret = pseudonym_key or secrets.token_bytes(32)
    models = {name: speaking(upstream) for name, upstream in _upstreams(model, model_name, settings).items()}
    gateway = Gateway(models, policies, recorder, settings, secret, keyring=keyring, share=share)
    return App(gateway, store)


def _upstreams(model: Any, name: str, settings: Settings) -> Mapping[str, Upstream]:
    if isinstance(model, Mapping):
        return model
    if hasattr(model, "send"):
        return {name or model.name: model}
    from trivet.monitoring.gateway.local import LocalUpstream

    name = name or str(getattr(model, "name", "model"))
    return {name: LocalUpstream(model, name, settings.sampling)}


class App:
    """The application: finds the route, keeps out whom the origin rule keeps out, and lives and ends with the server."""

    def __init__(self, gateway: Gateway, store: Store | None) -> None:
        self.gateway = gateway
        self._origin = OwnOrigin(gateway.settings.hosts)
        self._routes: dict[str, dict[str, Handler]] = {
            format.route: {"POST": _api(gateway, format, scope)} for format, scope in FORMATS
        }
        self._routes["/v1/moderations"] = {"POST": partial(moderate, gateway)}
        self._routes |= about.routes(gateway, store)
        self._console: Any = None
        if store and gateway.settings.console:
            from trivet.monitoring.web.console import console

            self._console = console(store, gateway)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._life(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send)
        try:
            if fault := self._origin.fault(call.headers):
                raise fault
            methods = self._routes.get(call.path)
            if methods is None and call.path.startswith("/v1/models/"):
                methods = {"GET": about.one_model(self.gateway)}
            if methods is None:
                await self._elsewhere(call, scope, receive, send)
                return
            handler = methods.get(call.method) or (methods.get("GET") if call.method == "HEAD" else None)
            if handler is None:
                refusal = Refused(405, f"{call.path} takes {' and '.join(methods)}, not {call.method}.")
                refusal.headers["allow"] = ", ".join(methods)
                raise refusal
            await handler(call)
        except Refused as refusal:
            await call.reply(refusal.status, about.error(refusal), refusal.headers)
        except Gone:
            pass

    async def _elsewhere(self, call: Call, scope: Any, receive: Any, send: Any) -> None:
        if self._console is None or not (call.path == "/" or call.path.startswith("/console")):
            where = (
                f"{call.method} {call.path}: there is no such route. See GET /healthz and POST /v1/chat/completions."
            )
            raise Refused(404, where)
        about.console_key(self.gateway, call)
        if self.gateway.recorder:
            await self.gateway.recorder.settled()
        await self._console(scope, receive, send)

    async def _life(self, receive: Any, send: Any) -> None:
        gateway = self.gateway
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                gateway.draining = False
                if gateway.recorder:
                    gateway.recorder.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._end()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _end(self) -> None:
        gateway = self.gateway
        for upstream in gateway.models.values():
            if close := getattr(upstream, "aclose", None):
                await close()
        if gateway.recorder:
            try:
                await asyncio.to_thread(gateway.recorder.close)
            except StoreError as error:
                _log.error("%s", error)  # every client has been told


def _api(gateway: Gateway, format: Format, scope: Scope) -> Handler:
    async def answer(call: Call) -> None:
        await gateway.serve(call, format, scope)

    return answer
