"""The front: a model behind the gateway, served on this machine for as long as a stage needs it.

In `shadow` the guards decide and are recorded but stop nothing, so that the model's own failures are seen and harvested;
in `enforce` the same guards act, which shows what the layers add. The guards of a ground are trained once from its train
part and kept in the home; a policy file takes their place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from trivet.core.messages import digest_of
from trivet.core.models.endpoint import Endpoint
from trivet.core.protocols import Ground, Model
from trivet.core.store.events import Store
from trivet.loop.files import writing
from trivet.monitoring.gateway.app import build_app
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.classifier import ClassifierGuard, LightClassifier, train
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy

NAME = "trivet-loop"
SECONDS = 300.0
"""For one reply, waiting included: a model on a CPU answers many at a time."""


def guards_of(ground: Ground, home: Path) -> Policy:
    """The ground's own layers: a light classifier at the input, its forbidden words at the output, PII at both.

    A ground that brings neither rows nor words, such as one from files, gets the packaged default policy.
    """
    if not ground.guard_rows and not ground.blocklist:
        return Policy.load("default")
    layers = []
    if ground.guard_rows:
        place = home / "guards" / f"{ground.name}-{digest_of([list(row) for row in ground.guard_rows])[:12]}.npz"
        if not place.exists():
            fresh = place.with_suffix(".part")  # renamed when it is whole: a killed turn leaves no half of it
            with writing(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                train(ground.guard_rows, name="unsafe").save(fresh)
                fresh.replace(place)
        layers.append(Layer("classifier", ClassifierGuard(LightClassifier.load(place)), "input", "block"))
    if ground.blocklist:
        layers.append(Layer("blocklist", Blocklist(phrases=ground.blocklist), "output", "block"))
    layers.append(Layer("pii", Pii(), "both", "mask"))
    return Policy.from_parts(layers, name=ground.name)


@contextmanager
def behind_gateway(
    model: Model, policy: Policy, store: Store, *, run: str, mode: Literal["shadow", "enforce"], concurrency: int
) -> Iterator[Endpoint]:
    """The model as an OpenAI-compatible endpoint behind the policy; every exchange is recorded under `run`."""
    settings = Settings(record="full", allow_shadow_header=True, console=False, upstream_seconds=SECONDS)
    app = build_app(model, policy, store, model_name=NAME, settings=settings)
    headers = {"x-trivet-run": run, "x-trivet-mode": mode}
    with _quiet(), Serving(app) as serving:
        # One retry, for a connection that closes while it is used: what the model behind may need more for, it has itself.
        yield Endpoint(f"{serving.url}/v1", NAME, headers=headers, concurrency=concurrency, timeout=SECONDS, retries=1)


@contextmanager
def _quiet() -> Iterator[None]:
    """The gateway's log stays silent: what fails in it reaches the loop as an exception, or the store as an alert."""
    log = logging.getLogger("trivet.monitoring")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
