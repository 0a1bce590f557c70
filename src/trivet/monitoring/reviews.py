"""The first review queue: exchanges that were flagged, blocked or complained about and that nobody has labelled yet.

Newest first, from the newest `depth` events of each kind; older ones are not looked at. Not covered yet: assignment,
several reviewers for one item, random audit samples, priorities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from trivet.core.errors import UserError, did_you_mean
from trivet.core.events import Complaint, Exchange, Review
from trivet.core.store.events import Store
from trivet.core.verdicts import Action

LABELS: tuple[str, ...] = ("harmful", "fine", "wrongly_blocked", "unsure")
DEPTH = 5000
# What a policy did, or would have done, that a person should see. Masking is routine.
_LOOKED_AT: frozenset[Action] = frozenset({"flag", "review", "rewrite", "block"})


@dataclass(frozen=True)
class Item:
    """An exchange to look at, and why."""

    exchange: Exchange
    reasons: tuple[str, ...]
    complaints: tuple[Complaint, ...] = ()


def review_queue(store: Store, *, limit: int = 50, depth: int = DEPTH) -> list[Item]:
    """What waits for a label."""
    reviewed = {event.event for event in store.events("review", limit=depth, newest=True) if isinstance(event, Review)}
    complaints: dict[str, list[Complaint]] = {}
    for event in store.events("complaint", limit=depth, newest=True):
        if isinstance(event, Complaint):
            complaints.setdefault(event.exchange, []).append(event)
    items = []
    for event in store.events("exchange", limit=depth, newest=True):
        if not isinstance(event, Exchange) or event.id in reviewed:
            continue
        about = tuple(complaints.get(event.id, ()))
        if reasons := (*(f"complaint: {c.reason}" for c in about), *_reasons(event)):
            items.append(Item(event, reasons, about))
        if len(items) >= limit:
            break
    return items


def _reasons(exchange: Exchange) -> list[str]:
    reasons = []
    for decision in exchange.decisions:
        if decision.review or {decision.would, decision.action} & _LOOKED_AT:
            what = decision.action if decision.action != "allow" else f"would {decision.would}"
            what = "to review" if decision.review and what in ("would allow", "mask") else what
            reasons.append(f"{decision.place}: {what} by {decision.layer} ({decision.why})")
    return reasons


def label(store: Store, event: str, value: str, reviewer: str, comment: str = "") -> Review:
    """Store a person's label on an exchange."""
    if value not in LABELS:
        raise UserError(f"no label {value!r}; labels are {', '.join(LABELS)}.{did_you_mean(value, LABELS)}")
    about = store.get(event)
    if not isinstance(about, Exchange):
        raise UserError(f"no exchange {event!r} in this store; `trivet review list` shows those that wait")
    review = Review(
        event=event, reviewer=reviewer or "anonymous", label=cast(Any, value), comment=comment, run=about.run
    )
    store.add([review])
    return review
