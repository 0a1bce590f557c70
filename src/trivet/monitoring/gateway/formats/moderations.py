"""OpenAI's moderations: `POST /v1/moderations`, answered by our own classifiers.

A probability that we have no classifier for is null, and applied to nothing: a client that wants `sexual/minors` must be
able to see that nobody looked. OpenAI's own clients read null where a number should be without complaint. What we
classify beyond OpenAI's categories stands beside them under its own name.

Not covered: images. They are refused, not passed as safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.openai import unreadable
from trivet.monitoring.gateway.formats.shape import Ask, Piece
from trivet.monitoring.gateway.formats.texts import converted
from trivet.monitoring.gateway.wire import Refused

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""OpenAI's categories, as their `Moderation` type has them."""


class ModerationPart(msgspec.Struct):
    type: str
    text: str | None = None


class ModerationRequest(msgspec.Struct):
    """Texts to classify. `model` is what the client calls our classifiers, and is told back."""

    input: str | Annotated[list[str | ModerationPart], msgspec.Meta(min_length=1, max_length=1024)]
    model: str | None = None


class Moderations:
    route = "/v1/moderations"
    error = staticmethod(openai.error)

    def read(self, body: dict[str, Any]) -> Ask:
        """Each piece is one result; text parts are one input together, as with OpenAI."""
        form = converted(body, ModerationRequest)
        if isinstance(form.input, str):
            pieces = [Piece(form.input, "user", ("input",), "user")]
        elif all(isinstance(one, str) for one in form.input):
            pieces = [Piece(str(text), "user", ("input", n), "user") for n, text in enumerate(form.input)]
        else:
            pieces = [Piece("\n".join(map(_text, form.input)), "user", ("input",), "user")]
        return Ask(body, form.model or "", False, tuple(pieces), {}, "")

    def reply(
        self, id: str, model: str, found: Sequence[Mapping[str, float]], flagged: Sequence[bool], threshold: float = 0.5
    ) -> dict[str, Any]:
        """The whole answer: for each piece the probabilities by category, and whether it was flagged.

        `found` uses OpenAI's names where it means the same, and any other name for what they do not have."""
        results = [_result(scores, flag, threshold) for scores, flag in zip(found, flagged, strict=True)]
        return {"id": f"modr-{id}", "model": model, "results": results}


def _text(part: str | ModerationPart) -> str:
    if isinstance(part, str):
        return part
    if part.type != "text" or part.text is None:
        raise (
            unreadable(part.type, "input")
            if part.type != "text"
            else Refused(400, "A part of the type 'text' has no text.", param="input")
        )
    return part.text


def _result(scores: Mapping[str, float], flagged: bool, threshold: float) -> dict[str, Any]:
    names = dict.fromkeys((*CATEGORIES, *scores))
    return {
        "flagged": flagged,
        "categories": {name: scores[name] >= threshold if name in scores else None for name in names},
        "category_scores": {name: scores.get(name) for name in names},
        "category_applied_input_types": {name: ["text"] if name in scores else [] for name in names},
    }


MODERATIONS = Moderations()
