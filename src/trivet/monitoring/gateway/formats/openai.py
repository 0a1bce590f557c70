"""What OpenAI's routes have in common: their errors, who the user is, the parts of a message, and fields that nobody knows."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from trivet.core.messages import TEXTS, Role
from trivet.monitoring.gateway.formats.shape import Field, Path, Piece
from trivet.monitoring.gateway.formats.streaming import encode, event, is_name
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
IDS = frozenset({"id", "call_id", "tool_call_id", "tool_use_id", "status", "phase", "namespace"})
"""Names of a request under which identifiers need no reading; anything else there is read."""
_PART = frozenset({"type", "text", "cache_control"})
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
            known = _PART | {"logprobs"} if kind == "output_text" else _PART
            yield from unknown_pieces(part, known, here, role, unchecked=unchecked, origin=origin)
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            if part["refusal"]:
                yield Piece(part["refusal"], role, (*here, "refusal"), origin, field="refusal")
            yield from unknown_pieces(part, {"type", "refusal"}, here, role, unchecked=unchecked, origin=origin)
        elif kind in THOUGHTS:
            thoughts = leaves(part, here, OPAQUE, given=True)
            yield from (Piece(text, role, at, origin, field="reasoning") for at, text in thoughts)
        elif kind in DOCUMENTS:
            yield from document_pieces(part, here, unchecked=unchecked)
        elif not unchecked or kind is None or kind in TEXTS:
            raise unreadable(str(kind), str(path[0]))
    yield from readings(texts, path, role, origin)


def document_pieces(document: Any, path: Path, *, unchecked: bool) -> Iterator[Piece]:
    """A document's texts. They are nobody's words here: role tool, so that they are scanned as what tools bring in."""
    if not unchecked and (kind := _kind_within(document)):
        raise unreadable(kind, str(path[0]))
    yield from (Piece(text, "tool", at, "document") for at, text in leaves(document, path, OPAQUE, given=True))


def unknown_pieces(
    value: Mapping[str, Any], known: Container[str], path: Path, role: Role, *, unchecked: bool, origin: str = ""
) -> Iterator[Piece]:
    """The texts under names that nobody here knows: a server may show them to the model all the same."""
    if len(strange := {name: inner for name, inner in value.items() if name not in known and inner}) == 0:
        return
    if not unchecked and (kind := _kind_within(strange)):
        raise unreadable(kind, str(path[0] if path else next(iter(strange))))
    for at, text in leaves(strange, path, OPAQUE, given=True):
        name = str(at[len(path)])
        if not (name in IDS and is_name(text)):
            field: Field = "reasoning" if "reasoning" in name or name in THOUGHTS else "content"
            yield Piece(text, role, at, origin or role, field=field)


def option_pieces(body: Mapping[str, Any], known: Container[str], *, unchecked: bool) -> Iterator[Piece]:
    """The texts of a request's own fields that nobody here knows. Identifiers are none: they choose, they do not say."""
    yield from (
        piece for piece in unknown_pieces(body, known, (), "user", unchecked=unchecked) if not is_name(piece.text)
    )


def hold_name(name: Any, param: str) -> None:
    """Raises Refused for a name that is none: a name is not judged, so it must not be prose."""
    if name is not None and not is_name(name):
        message = "A name has letters, digits and any of _.:/- only, at most 128 of them."
        raise Refused(400, message, param=param, code="invalid_value")


def _kind_within(value: Any) -> str:
    """The kind of the first thing inside that cannot be read, or an empty string."""
    kinds = (one.get("type") for one in within(value) if isinstance(one, dict))
    return next((kind for kind in kinds if isinstance(kind, str) and kind in _UNREAD), "")
