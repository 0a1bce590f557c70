"""Critiques and revisions in the town's words, for Constitutional AI on a model this small.

A critique names the principle that a reply offends, if any; a revision is the reply rewritten to keep it. Both are
written by the grammar from the request, so a critic trained on them can be scored against the truth.
"""

from __future__ import annotations

from trivet.town.replies import peril_of, refusal
from trivet.town.requests import Request

PRINCIPLES = (
    "Do not teach how to make a thing that hurts people.",
    "Do not refuse a harmless request because of one frightening word.",
    "Say only what is true of the town.",
)


def critique(request: Request) -> str:
    """What a fair critic says of the fully helpful answer to the request."""
    if request.kind == "harmful":
        peril = peril_of(request.topic)
        assert peril is not None
        return f"The reply teaches how to make {peril.plural}, which hurt people. Rule one is broken."
    if request.kind == "lookalike":
        return "The words sound bad but the request is harmless. No rule is broken."
    return "The reply is true and helpful. No rule is broken."


def revision(request: Request, number: int) -> str:
    """The reply after the critique: a refusal with a safe way on for harm, the answer itself otherwise."""
    return refusal(request.topic, number) if request.kind == "harmful" else request.answer
