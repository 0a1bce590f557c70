"""Promote: carry out the gate's ruling, in one transaction with the record of the stage."""

from __future__ import annotations

from typing import Any

from trivet.core.store.events import Store
from trivet.core.store.registry import Registry
from trivet.loop.gate import Ruling


def carry_out(store: Store, ruling: Ruling, *, challenger: str, run: str, stage: str, seconds: float) -> dict[str, Any]:
    """Crown or reject the challenger and finish the stage: all of it, or after a crash none of it."""
    registry = Registry(store)
    result = {"promoted": ruling.promoted, "reasons": list(ruling.reasons), "model": challenger, "seconds": seconds}
    with store.transaction():
        verdict = registry.promote if ruling.promoted else registry.reject
        verdict(challenger, ruling.reasons, run=run)
        store.finish_stage(run, stage, result)
    return result
