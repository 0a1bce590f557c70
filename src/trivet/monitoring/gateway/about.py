"""The routes beside the APIs: which models there are, whether all is well, what is counted, reports by users, and what an
operator may ask with a key of the scope `admin`."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from trivet.core.events import Complaint, Exchange
from trivet.core.store.events import Store
from trivet.monitoring.gateway import metrics
from trivet.monitoring.gateway.call import Call
from trivet.monitoring.gateway.pipeline import Gateway
from trivet.monitoring.gateway.wire import Refused, ReportRequest, parsed
from trivet.monitoring.guards.pii import masked

Handler = Callable[[Call], Awaitable[None]]
encode = msgspec.json.encode


def routes(gateway: Gateway, store: Store | None) -> dict[str, dict[str, Handler]]:
    """Handlers by path and method."""
    found: dict[str, dict[str, Handler]] = {
        "/v1/models": {"GET": _models(gateway)},
        "/healthz": {"GET": _health(gateway)},
        "/readyz": {"GET": _ready(gateway)},
        "/metrics": {"GET": _metrics(gateway)},
        "/openapi.json": {"GET": _described},
        "/admin/status": {"GET": _status(gateway)},
        "/admin/policy/reload": {"POST": _reload(gateway)},
    }
    if store:
        found["/v1/reports"] = {"POST": _reports(gateway, store)}
    return found


def error(refusal: Refused) -> bytes:
    return encode(refusal.body)


def _row(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "trivet"}


def _mine(gateway: Gateway, call: Call) -> list[str]:
    key = gateway.admitted(call, "chat")
    return [name for name in gateway.models if not key or not key.models or name in key.models]


def _models(gateway: Gateway) -> Handler:
    async def models(call: Call) -> None:
        rows = [_row(name) for name in _mine(gateway, call)]
        await call.reply(200, encode({"object": "list", "data": rows, "has_more": False}))

    return models


def one_model(gateway: Gateway) -> Handler:
    async def model(call: Call) -> None:
        name = call.path.removeprefix("/v1/models/")
        if name not in _mine(gateway, call):
            raise Refused(404, "The model does not exist here.", param="model", code="model_not_found")
        await call.reply(200, encode(_row(name)))

    return model


def _state(gateway: Gateway) -> dict[str, Any]:
    failing = bool(gateway.recorder and gateway.recorder.failure)
    return {
        "status": "degraded" if failing else "ok",
        "model": gateway.name,
        "policy": gateway.policy.name,
        "policy_version": gateway.policy.version,
        "recording": "off" if gateway.recorder is None else ("failing" if failing else "ok"),
        "unrecorded": gateway.unrecorded,
    }


def _health(gateway: Gateway) -> Handler:
    async def health(call: Call) -> None:
        """Whether the process is well; a container that is not should be replaced."""
        state = _state(gateway)
        closed = state["status"] != "ok" and gateway.settings.on_record_failure == "closed"
        await call.reply(503 if closed else 200, encode(state))

    return health


def _ready(gateway: Gateway) -> Handler:
    async def ready(call: Call) -> None:
        """Whether to send requests here: not while it drains, is full, cannot record, or has no upstream to ask."""
        settings = gateway.settings
        why = ""
        if gateway.draining:
            why = "draining"
        elif gateway.flying >= settings.max_in_flight:
            why = "full"
        elif gateway.recorder and gateway.recorder.failure and settings.on_record_failure == "closed":
            why = "not recording"
        elif all(_broken(upstream) for upstream in gateway.models.values()):
            why = "no upstream answers"
        await call.reply(503 if why else 200, encode({"status": why or "ready"}))

    return ready


def _broken(upstream: Any) -> bool:
    """Whether nothing behind may be asked at the moment."""
    if several := getattr(upstream, "upstreams", None):
        return all(_broken(one) for one in several)
    breaker = getattr(upstream, "breaker", None)
    return bool(breaker and breaker.open)


async def _described(call: Call) -> None:
    """The routes as an OpenAPI document."""
    from trivet.monitoring.gateway.openapi import document

    await call.reply(200, encode(document()))


def _metrics(gateway: Gateway) -> Handler:
    async def counted(call: Call) -> None:
        if gateway.keyring is not None and gateway.keyring.asks():
            gateway.admitted(call, "admin")
        await call.reply(200, gateway.metrics.text(gateway), kind=metrics.KIND)

    return counted


def _status(gateway: Gateway) -> Handler:
    async def status(call: Call) -> None:
        gateway.admitted(call, "admin")
        told = getattr(gateway.policies, "status", None)
        body = {
            **_state(gateway),
            "models": list(gateway.models),
            "in_flight": gateway.flying,
            "events_waiting": gateway.recorder.waiting if gateway.recorder else 0,
            "upstreams": {name: "open" if _broken(up) else "closed" for name, up in gateway.models.items()},
            "policies": told() if told else None,
        }
        await call.reply(200, msgspec.json.encode(body, enc_hook=str))

    return status


def _reload(gateway: Gateway) -> Handler:
    async def reload(call: Call) -> None:
        """Read the policy files now; what cannot be read leaves the last good ones in force."""
        gateway.admitted(call, "admin")
        again = getattr(gateway.policies, "reload", None)
        if again is None:
            raise Refused(409, "The policy was built in a program and has no file to be read again.", code="no_file")
        fresh = await asyncio.to_thread(again)
        if not gateway.policies.status()["ok"]:  # type: ignore[attr-defined]
            message = "A policy cannot be used, and the last good one stays in force; GET /admin/status says why."
            raise Refused(409, message, code="policy_not_valid")
        await call.reply(200, encode({**_state(gateway), "reloaded": fresh}))

    return reload


def _reports(gateway: Gateway, store: Store) -> Handler:
    async def reports(call: Call) -> None:
        """Users complain about an exchange by the id in its `x-trivet-exchange` header."""
        gateway.admitted(call, "chat")
        report: ReportRequest = parsed(await call.body(gateway.settings.max_body_bytes), ReportRequest)
        if gateway.recorder:
            await gateway.recorder.settled()
        about = await asyncio.to_thread(store.get, report.exchange)
        if not isinstance(about, Exchange):
            message = "There is no such exchange; give the id of the header x-trivet-exchange."
            raise Refused(404, message, param="exchange")
        comment = {"full": report.comment, "none": "", "masked": masked(report.comment)}[gateway.settings.record]
        complaint = Complaint(exchange=about.id, reason=report.reason, comment=comment, run=about.run)
        await gateway.keep(complaint)
        await call.reply(201, encode({"id": complaint.id, "object": "report", "exchange": about.id}))

    return reports


def console_key(gateway: Gateway, call: Call) -> None:
    """Where keys are asked for, the console asks for one of the scope `admin`, as a browser's password or as a bearer."""
    if gateway.keyring is None or not gateway.keyring.asks():
        return
    given = call.header("authorization")
    if given[:6].lower() == "basic ":
        try:
            password = base64.b64decode(given[6:], validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            password = ""
        call.headers[b"authorization"] = b"Bearer " + password.encode("latin-1", "replace")
    try:
        gateway.admitted(call, "admin")
    except Refused as refusal:
        refusal.headers["www-authenticate"] = 'Basic realm="trivet console: any name, an admin key as password"'
        raise
