"""The texts inside a JSON value: found with their paths, and put back without touching the rest.

A content made of several text parts is read twice: joined without a separator, as most servers put the parts together,
and as lines, as others do. Whoever splits a word over two parts, or hides one behind the end of another, is caught by
one of the two readings. A mask goes back into the parts where both readings agree on it; where they do not the request is
refused rather than let through half masked. Results of tools and documents are read as lines only: who writes them does not
choose the parts.

Not covered: definitions of tools and response formats are the developer's words and are not read; in replies,
strings under STRUCTURAL names hold no prose and are not read either, nor are the words without white space under OPAQUE names
of a request and names of fields that are words themselves.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from trivet.core.errors import TargetError
from trivet.core.messages import TEXTS, Role
from trivet.monitoring.gateway.formats.escapes import escaped
from trivet.monitoring.gateway.formats.shape import LINES, NAME, Field, Path, Piece
from trivet.monitoring.gateway.wire import Refused

T = TypeVar("T")
_SPACE = re.compile(r"\s")
LONGEST_NAME = 128
DEEPEST = 64
"""How deep the JSON of a request may be nested: deeper than any schema, far from where walking it costs or fails."""

STRUCTURAL = frozenset(
    [
        "type",
        "id",
        "object",
        "role",
        "status",
        "name",
        "index",
        "model",
        "format",
        "detail",
        "phase",
        "finish_reason",
        "stop_reason",
        "call_id",
        "tool_call_id",
        "tool_use_id",
        "item_id",
        "response_id",
        "file_id",
        "container_id",
        "server_label",
        "approval_request_id",
        "fingerprint",
        "encrypted_content",
        "signature",
        "thought_signature",
        "mime_type",
        "media_type",
        "language",
        "created_by",
        "partial_image_b64",
        "token",
        "obfuscation",
        "provider",
        "system_fingerprint",
        "service_tier",
        "native_finish_reason",
    ]
)
"""Names under which a reply has no prose: identifiers, kinds, opaque blobs. Whatever has white space in it is read all the same."""

OPAQUE = frozenset(
    [
        "type",
        "media_type",
        "mime_type",
        "encrypted_content",
        "signature",
        "thought_signature",
        "cache_control",
        "image_url",
        "partial_image_b64",
    ]
)
"""The few names under which a request has none, where whoever wrote it may mean ill."""

UNREADABLE = frozenset(
    [
        "image",
        "image_url",
        "input_image",
        "audio",
        "input_audio",
        "file",
        "input_file",
        "video",
        "video_url",
        "image_file",
        "container_upload",
        "computer_screenshot",
        "computer_call_output",
        "image_generation_call",
    ]
)


def converted(body: dict[str, Any], form: type[T]) -> T:
    """The body's known fields as typed values; raises Refused that names the field."""
    if _is_deep(body):
        raise Refused(400, f"The request is nested deeper than {DEEPEST} levels.", code="too_deep")
    try:
        return msgspec.convert(body, form)
    except (msgspec.ValidationError, RecursionError) as error:
        place = str(error).partition("`$.")[2].partition("`")[0]
        field = place.partition("[")[0].partition(".")[0]
        if not field:  # a required field that is missing is named in the words of the message alone
            field = str(error).partition("required field `")[2].partition("`")[0]
        raise Refused(400, f"The request is not valid: {error}", param=field or None) from error


def leaves(
    value: Any, path: Path = (), but: Container[str] = STRUCTURAL, *, given: bool = False
) -> Iterator[tuple[Path, str]]:
    """Every text within a JSON value and where it stands, but for words without white space under some names.

    What is `given` by a client is sealed nowhere, and its names may be prose, which a template then shows to the model.
    """
    waiting = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            if value:
                yield path, value
        elif isinstance(value, dict):
            if given:
                yield from (((*path, name, NAME), name) for name in value if not _is_field(name))
            waiting += [
                ((*path, name), inner)
                for name, inner in reversed(value.items())
                if not (name in but and is_word(inner)) and (given or not _is_opaque(name, inner))
            ]
        elif isinstance(value, list):
            waiting += [((*path, number), inner) for number, inner in reversed([*enumerate(value)])]


def within(value: Any) -> Iterator[Any]:
    """The value and every value inside."""
    waiting = [value]
    while waiting:
        yield (value := waiting.pop())
        if isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _is_opaque(name: str, value: Any) -> bool:
    """Whether this is what is dealt with elsewhere (log-probabilities) or only its server can read (signed thoughts)."""
    if name == "logprobs":
        return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return name == "extra_content"


def _is_field(name: str) -> bool:
    return len(name) <= LONGEST_NAME and is_word(name)


def is_word(value: Any) -> bool:
    return isinstance(value, str) and _SPACE.search(value) is None


def without_prose(value: dict[str, Any], known: Container[str]) -> dict[str, Any]:
    """The value without fields that hold text, but for the known ones; itself where there are none."""
    strange = [
        name
        for name, inner in value.items()
        if inner
        and isinstance(inner, (str, dict, list))
        and name not in known
        and not (name in STRUCTURAL and is_word(inner))  # so that most need no walk
        and any(leaves({name: inner}))
    ]
    return {name: inner for name, inner in value.items() if name not in strange} if strange else value


def replaced(value: Any, changes: Mapping[Path, str]) -> Any:
    """The value with the texts at these paths replaced; only what lies on the way to a change is copied."""
    lists = {}
    for path, text in changes.items():
        if path[-1:] == (NAME,):
            message = "What is to be masked stands in the name of a field; send it as a value."
            raise Refused(400, message, kind="content_filter", code="content_filter", param=str(path[0]))
        if path[-1:] == (LINES,):
            lists[path[:-1]] = _agreed(changes.get(path[:-1]), text)
        elif isinstance(at(value, path), list):
            lists.setdefault(path, text)
        else:
            value = _put(value, path, text)
    for path, text in lists.items():  # last, because parts may go and others move up
        value = _put(value, path, text)
    return value


def as_json(changes: Mapping[Path, str], name: str = "arguments") -> dict[Path, str]:
    """Changes of a reply with those of tools' arguments as JSON again (see `escapes`)."""
    return {path: escaped(text) if path[-1] == name else text for path, text in changes.items()}


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _put(value: Any, path: Path, text: str) -> Any:
    if not path:
        return _spread(value, text) if isinstance(value, list) else _same_kind(value, text)
    copy = value.copy()
    copy[path[0]] = _put(value[path[0]], path[1:], text)
    return copy


def _same_kind(old: Any, text: str) -> Any:
    """Texts stay texts; arguments that were read as JSON text become values again."""
    if isinstance(old, str) or old is None:
        return text
    try:
        new = msgspec.json.decode(text)
    except msgspec.DecodeError:
        new = None
    if type(new) is not type(old):
        raise TargetError("what was masked was no string of the arguments, which are no JSON now; block it instead")
    return new


# Contents of several parts


def readings(parts: Sequence[Any], path: Path, role: Role, origin: str, field: Field = "content") -> Iterator[Piece]:
    """The pieces of the text parts of a content list, which stands at `path`."""
    texts = [(number, part["text"]) for number, part in enumerate(parts) if part.get("text")]
    if len(texts) == 1:
        yield Piece(texts[0][1], role, (*path, texts[0][0], "text"), origin, field=field)
    elif texts:
        yield Piece(LINES.join(text for _, text in texts), role, (*path, LINES), origin, field=field)
        if role != "tool":
            # The last message of a conversation is the one that every guard reads: that is the joined reading.
            yield Piece("".join(text for _, text in texts), role, path, origin, field=field)


def _agreed(joined: str | None, lines: str) -> str:
    """What becomes of a content of which both readings may have changed."""
    if joined is not None and joined.replace(LINES, "") != lines.replace(LINES, ""):
        message = "What is to be masked runs over the border of two content parts; send them as one part."
        raise Refused(400, message, kind="content_filter", code="content_filter", param="input")
    return lines


def _spread(parts: list[Any], text: str) -> Any:
    """The parts with their joint text replaced: line by line where the lines are as many as before, else as one part."""
    texts = [number for number, part in enumerate(parts) if _is_text(part)]
    if not texts:
        return _same_kind(parts, text)
    lines, start, shares = text.split(LINES), 0, []
    for number in texts:
        end = start + parts[number]["text"].count(LINES) + 1
        shares.append(LINES.join(lines[start:end]))
        start = end
    if start != len(lines):
        shares = [text]
    new = {number: {**parts[number], "text": share} for number, share in zip(texts, shares, strict=False)}
    return [new.get(number, part) for number, part in enumerate(parts) if number in new or number not in texts]


def _is_text(part: Any) -> bool:
    """Whether this part is one of those that `readings` was given: documents and thoughts are pieces by themselves."""
    return isinstance(part, dict) and part.get("type") in TEXTS and bool(part.get("text"))
