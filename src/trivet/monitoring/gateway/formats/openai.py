"""What OpenAI's routes have in common: their errors, who the user is, and the parts of a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trivet.core.messages import TEXTS, Role
from trivet.monitoring.gateway.formats.shape import Path, Piece
from trivet.monitoring.gateway.formats.streaming import encode, event
from trivet.monitoring.gateway.formats.texts import OPAQUE, UNREADABLE, leaves, readings, within
from trivet.monitoring.gateway.wire import Refused

DONE = b"data: [DONE]\n\n"

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

THOUGHTS = ("thinking", "reasoning", "reasoning_text", "summary_text")
_UNREAD = UNREADABLE | {"base64", "url"}
DOCUMENTS = ("document", "search_result")


def error(refused: Refused) -> bytes:
    return encode(refused.body)


def failure(refused: Refused) -> bytes:
    return event(refused.body) + DONE


def user_of(body: Mapping[str, Any]) -> str:
    return next((body[name] for name in ("safety_identifier", "user") if isinstance(body.get(name), str)), "")


def unreadable(kind: str, param: str) -> Refused:
    message = f"Content parts of the type {kind!r} cannot be checked and are not supported; send text parts."
    return Refused(400, message, param=param, code="unsupported_content")


def content_pieces(content: Any, path: Path, role: Role, *, unchecked: bool, origin: str = "") -> Iterator[Piece]:
    """The pieces of a message's `content`: null, a string, or a list of parts."""
    origin = origin or role
    if isinstance(content, str):
        if content:
            yield Piece(content, role, path, origin)
    elif content is not None:
        yield from _part_pieces(content, path, role, origin, unchecked)


def _part_pieces(content: list[Any], path: Path, role: Role, origin: str, unchecked: bool) -> Iterator[Piece]:
    texts: list[dict[str, Any]] = [{} for _ in content]
    for number, part in enumerate(content):
        here = (*path, number)
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in TEXTS and isinstance(part.get("text"), str):
            texts[number] = part
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            if part["refusal"]:
                yield Piece(part["refusal"], role, (*here, "refusal"), origin, field="refusal")
        elif kind in THOUGHTS:
            yield from (Piece(text, role, at, origin, field="reasoning") for at, text in leaves(part, here, OPAQUE))
        elif kind in DOCUMENTS:
            yield from document_pieces(part, here, unchecked=unchecked)
        elif not unchecked or kind is None or kind in TEXTS:
            raise unreadable(str(kind), str(path[0]))
    yield from readings(texts, path, role, origin)


def document_pieces(document: Any, path: Path, *, unchecked: bool) -> Iterator[Piece]:
    """A document's texts. They are nobody's words here: role tool, so that they are scanned as what tools bring in."""
    if not unchecked and (kind := _kind_within(document)):
        raise unreadable(kind, str(path[0]))
    yield from (Piece(text, "tool", at, "document") for at, text in leaves(document, path, OPAQUE))


def _kind_within(value: Any) -> str:
    """The kind of the first thing inside that cannot be read, or an empty string."""
    kinds = (one.get("type") for one in within(value) if isinstance(one, dict))
    return next((kind for kind in kinds if isinstance(kind, str) and kind in _UNREAD), "")
