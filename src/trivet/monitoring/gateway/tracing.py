"""OpenTelemetry spans, off unless asked for: one for each request, with what was decided and how long the model took.

Attributes hold names, actions and figures, never words of a request or a reply. Where spans go is the SDK's own
configuration (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on, or a provider that the embedding program sets); with the bare API
they go nowhere. A caller's `traceparent` is continued.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trivet.core.errors import UserError
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.call import Call


class Tracer:
    """Makes the spans. Raises UserError where OpenTelemetry is not installed."""

    def __init__(self) -> None:
        try:
            from opentelemetry import propagate, trace
        except ModuleNotFoundError as missing:
            raise UserError("tracing needs OpenTelemetry; install it with: pip install 'trivet[otel]'") from missing
        self._trace, self._propagate = trace, propagate
        self._tracer = trace.get_tracer("trivet.gateway")

    @contextmanager
    def request(self, call: Call, route: str) -> Iterator[Any]:
        """The span of a request; the parent is the caller's, where it names one."""
        carrier = {name: call.header(name) for name in ("traceparent", "tracestate") if call.header(name)}
        context = self._propagate.extract(carrier) if carrier else None
        kind = self._trace.SpanKind.SERVER
        with self._tracer.start_as_current_span(
            route, context=context, kind=kind, attributes={"http.route": route}
        ) as span:
            yield span

    def decision(self, decision: Decision) -> None:
        """An event of the current span."""
        attributes: dict[str, Any] = {
            "trivet.place": decision.place,
            "trivet.action": decision.action,
            "trivet.would": decision.would,
            "trivet.layer": decision.layer,
            "trivet.policy": decision.policy,
        }
        self._trace.get_current_span().add_event("trivet.decision", attributes)

    def outcome(self, span: Any, outcome: str, exchange: str) -> None:
        span.set_attribute("trivet.outcome", outcome)
        span.set_attribute("trivet.exchange", exchange)

    def headers(self) -> dict[str, str]:
        """What carries the trace on to the upstream."""
        carrier: dict[str, str] = {}
        self._propagate.inject(carrier)
        return carrier
