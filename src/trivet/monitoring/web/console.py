"""The console: a live page and the review queue. Server-rendered, self-contained, everything escaped.

Pages carry a content security policy that allows their own inline script and style and nothing else. A label is posted
as a form and taken only from the same origin. Where the gateway asks for
keys it asks here for one of the scope `admin`; without keys whoever reaches the port can read and label.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from trivet.core.errors import UserError
from trivet.core.events import Exchange
from trivet.core.store.events import Store
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.reviews import LABELS, label, review_queue

if TYPE_CHECKING:
    from trivet.monitoring.gateway.pipeline import Gateway

SHOWN = 50
SPAN = 600.0
SAMPLE = 2000
MAX_FORM = 16384


def console(store: Store, gateway: Gateway) -> Starlette:
    """The pages as an application of their own; who may see them is the gateway's affair."""
    return Starlette(
        routes=console_routes(store, gateway),
        exception_handlers={Refused: _refused, HTTPException: _http_error},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refused(error.status_code, f"{request.method} {request.url.path}: {error.detail}.").response(error.headers)


def console_routes(store: Store, gateway: Gateway) -> list[BaseRoute]:
    pages = Environment(loader=PackageLoader("trivet.monitoring.web"), autoescape=select_autoescape(default=True))

    def page(name: str, **values: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        html = pages.get_template(name).render(nonce=nonce, gateway=gateway, **values)
        return HTMLResponse(html, headers=_safe_headers(nonce))

    async def live(request: Request) -> Response:
        return page("live.html", figures=await asyncio.to_thread(live_figures, store))

    async def live_json(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(live_figures, store))

    async def review(request: Request) -> Response:
        return page("review.html", items=await asyncio.to_thread(review_queue, store), labels=LABELS)

    return [
        Route("/", lambda request: RedirectResponse("/console/live")),
        Route("/console/live", live),
        Route("/console/live.json", live_json),
        Route("/console/review", review),
        Route("/console/review", _labelled(store), methods=["POST"]),
    ]


def _labelled(store: Store) -> Callable[[Request], Awaitable[Response]]:
    async def labelled(request: Request) -> Response:
        _same_origin(request)
        body = bytearray()
        async for data in request.stream():
            body += data
            if len(body) > MAX_FORM:
                raise Refused(413, f"A label takes at most {MAX_FORM} bytes.")
        form = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        values = (
            form.get("event", ""),
            form.get("label", ""),
            form.get("reviewer", "console"),
            form.get("comment", ""),
        )
        try:
            await asyncio.to_thread(label, store, *values)
        except UserError as error:
            raise Refused(400, str(error)) from error
        return RedirectResponse("/console/review", 303)

    return labelled


def _same_origin(request: Request) -> None:
    """Only our own pages may post: browsers say where a form comes from, and one that does not say is refused."""
    source = request.headers.get("origin") or request.headers.get("referer") or ""
    if urlsplit(source).netloc != request.headers.get("host"):
        raise Refused(403, "Labels are taken from the review page of this server only.", code="cross_origin")


def live_figures(store: Store, now: float | None = None) -> dict[str, Any]:
    """What the live page shows, from the newest exchanges of the last ten minutes."""
    now = time.time() if now is None else now
    newest = [e for e in store.events("exchange", limit=SAMPLE, newest=True) if isinstance(e, Exchange)]
    recent = [e for e in newest if now - e.at <= SPAN]
    # Where more came than we look at, the rate is that of the stretch we see.
    span = SPAN if len(recent) < SAMPLE else max(1.0, now - recent[-1].at)
    blocked = sum(_outcome(e) == "blocked" for e in recent)
    return {
        "requests_per_minute": round(60 * len(recent) / span, 2),
        "blocked_share": round(blocked / len(recent), 4) if recent else None,
        "exchanges_in_window": len(recent),
        "window_seconds": round(span),
        "exchanges": [_row(e) for e in newest[:SHOWN]],
    }


def _row(exchange: Exchange) -> dict[str, Any]:
    decided = next((d for d in reversed(exchange.decisions) if d.action != "allow" or d.would != "allow"), None)
    return {
        "id": exchange.id,
        "time": time.strftime("%H:%M:%S", time.localtime(exchange.at)),
        "outcome": _outcome(exchange),
        "why": f"{decided.place}: {decided.layer} ({decided.why})" if decided else exchange.error,
        "asked": _short(exchange.conversation.last_user),
        "replied": _short(exchange.reply),
        "milliseconds": round(exchange.milliseconds, 1),
        "run": exchange.run,
    }


def _outcome(exchange: Exchange) -> str:
    if any(d.action == "block" for d in exchange.decisions):
        return "blocked"
    if exchange.error:
        return "error"
    strongest = {d.action for d in exchange.decisions}
    if any(d.review for d in exchange.decisions) or strongest & {"review", "flag"}:
        return "flagged"
    return "masked" if strongest & {"mask", "rewrite"} else "allowed"


def _short(text: str, length: int = 160) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _safe_headers(nonce: str) -> dict[str, str]:
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
    return {
        "content-security-policy": f"{policy}form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cache-control": "no-store",
    }
