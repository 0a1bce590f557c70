"""The gateway as an ASGI application: OpenAI's routes in front of any model, reports by users, and the console.

    app = build_app(model, Policy.load("default"), store)

Not covered yet: authentication (bind it to loopback or put it behind a proxy that asks for a key; the console has no
login either), tools, several choices, the Responses and embeddings routes, rate limits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from trivet.core.errors import StoreError
from trivet.core.events import Complaint, Exchange
from trivet.core.protocols import Model
from trivet.core.store.events import Store
from trivet.monitoring.gateway.chat import Gateway, Settings, limited_body
from trivet.monitoring.gateway.origin import OwnOrigin
from trivet.monitoring.gateway.wire import Refused, ReportRequest, parsed
from trivet.monitoring.guards.pii import masked
from trivet.monitoring.policy import Policy
from trivet.monitoring.recorder import Recorder
from trivet.monitoring.web.console import console_routes

_log = logging.getLogger("trivet.monitoring")


def build_app(
    model: Model,
    policy: Policy,
    store: Store | None = None,
    *,
    model_name: str = "",
    settings: Settings | None = None,
    pseudonym_key: bytes = b"",
) -> Starlette:
    """The gateway. Without a store nothing is recorded and there is no console. Without a key, pseudonyms last as long
    as the application does."""
    settings = settings or Settings()
    recorder = Recorder(store, durable=settings.durable) if store else None
    name = model_name or str(getattr(model, "name", "model"))
    gateway = Gateway(model, name, policy, recorder, settings, pseudonym_key or secrets.token_bytes(32))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if recorder:
            recorder.start()
        try:
            yield
        finally:
            if recorder:
                try:
                    await asyncio.to_thread(recorder.close)
                except StoreError as error:
                    _log.error("%s", error)  # the server would print a traceback, and every client has been told

    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", gateway.chat, methods=["POST"]),
        *_about(gateway),
    ]
    if store:
        routes.append(Route("/v1/reports", _reports(gateway, store), methods=["POST"]))
        routes += console_routes(store, gateway) if settings.console else []
    handlers = {Refused: _refused, HTTPException: _http_error, Exception: _bug}
    ours = Middleware(OwnOrigin, hosts=settings.hosts)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=[ours])
    app.state.gateway = gateway
    return app


def _about(gateway: Gateway) -> list[BaseRoute]:
    """Which model there is, and whether all is well."""

    async def models(request: Request) -> Response:
        row = {"id": gateway.name, "object": "model", "created": 0, "owned_by": "trivet"}
        return JSONResponse({"object": "list", "data": [row]})

    async def model(request: Request) -> Response:
        if request.path_params["name"] != gateway.name:
            raise Refused(404, "The model does not exist here.", param="model", code="model_not_found")
        return JSONResponse({"id": gateway.name, "object": "model", "created": 0, "owned_by": "trivet"})

    async def healthz(request: Request) -> Response:
        failing = bool(gateway.recorder and gateway.recorder.failure)
        body = {
            "status": "degraded" if failing else "ok",
            "model": gateway.name,
            "policy": gateway.policy.name,
            "policy_version": gateway.policy.version,
            "recording": "off" if gateway.recorder is None else ("failing" if failing else "ok"),
            "unrecorded": gateway.unrecorded,
        }
        return JSONResponse(body, 503 if failing and gateway.settings.on_record_failure == "closed" else 200)

    return [
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/healthz", healthz),
    ]


def _reports(gateway: Gateway, store: Store) -> Callable[[Request], Awaitable[Response]]:
    """Users complain about an exchange by the id in its `x-trivet-exchange` header."""

    async def reports(request: Request) -> Response:
        report: ReportRequest = parsed(await limited_body(request, gateway.settings.max_body_bytes), ReportRequest)
        about = await asyncio.to_thread(store.get, report.exchange)
        if not isinstance(about, Exchange):
            raise Refused(
                404, "There is no such exchange; give the id of the header x-trivet-exchange.", param="exchange"
            )
        comment = {"full": report.comment, "none": "", "masked": masked(report.comment)}[gateway.settings.record]
        complaint = Complaint(exchange=about.id, reason=report.reason, comment=comment, run=about.run)
        await gateway.keep(complaint)
        return JSONResponse({"id": complaint.id, "object": "report", "exchange": about.id}, 201)

    return reports


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = f"{request.method} {request.url.path}: {error.detail}. See GET /healthz and POST /v1/chat/completions."
    return Refused(error.status_code, hint).response(error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    """A fault of ours: logged by the server with its trace, told to the client without it."""
    return Refused(500, "The gateway failed; its log says why.", kind="server_error", code="internal_error").response()
