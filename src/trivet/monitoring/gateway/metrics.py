"""What the gateway counts, in Prometheus' text form. Labels are ours (routes, layers, outcomes), never a client's words.

Not covered: several workers each answer for themselves; scrape them by port, or sum over the `worker` label of the job.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trivet.core.verdicts import Decision

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
KIND = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "trivet_requests", "Requests by route and outcome.", ["route", "outcome"], registry=registry
        )
        self.seconds = Histogram(
            "trivet_request_seconds", "From the first byte of a request to the last of its answer.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.upstream = Histogram(
            "trivet_upstream_seconds", "From asking the model to its whole answer, or the head of its stream.", ["model"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.decided = Counter(
            "trivet_decisions", "What policies did.", ["place", "layer", "action", "would"], registry=registry
        )
        self.guards = Counter("trivet_guard_failures", "Guards that raised or overran.", ["layer"], registry=registry)
        self.unrecorded = Counter("trivet_unrecorded", "Exchanges that could not be recorded.", registry=registry)
        self.flying = Gauge("trivet_in_flight", "Requests under way.", registry=registry)
        self.waiting = Gauge("trivet_recorder_waiting", "Events that wait to be written.", registry=registry)
        # A child is looked up once; `labels` builds a tuple and takes a lock each time.
        self._request = lru_cache(512)(lambda route, outcome: self.requests.labels(route, outcome))
        self._second = lru_cache(64)(lambda route: self.seconds.labels(route))
        self._upstream = lru_cache(64)(lambda model: self.upstream.labels(model))
        self._decided = lru_cache(2048)(lambda *labels: self.decided.labels(*labels))

    def request(self, route: str, outcome: str, seconds: float) -> None:
        self._request(route, outcome).inc()
        self._second(route).observe(seconds)

    def asked(self, model: str, seconds: float) -> None:
        self._upstream(model).observe(seconds)

    def decision(self, decision: Decision) -> None:
        self._decided(decision.place, decision.layer, decision.action, decision.would).inc()
        for verdict in decision.verdicts:
            if verdict.label == "error":
                self.guards.labels(verdict.judge).inc()

    def text(self, gateway: Any) -> bytes:
        self.flying.set(gateway.flying)
        self.waiting.set(gateway.recorder.waiting if gateway.recorder else 0)
        return generate_latest(self.registry)
