"""JSON where the request asked for JSON: valid, or a clear block.

Bound to a request by its `response_format` (OpenAI's form): `json_object` wants one JSON object, `json_schema` wants
JSON that fits a small part of JSON Schema: `type`, `required`, `properties`, `items`, `enum`, `additionalProperties:
false`. Without a `response_format` it looks at nothing.

Not covered: every other keyword of JSON Schema (they are not checked and do not fail), repair of broken JSON, syntax of
other languages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.core.verdicts import Verdict
from trivet.monitoring.guards.shared import newest

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_DEPTH = 64


class JsonFormat:
    """A guard on replies. `JsonFormat().bind(request)` is the check that this request asks for, or None."""

    threshold = 0.5
    digest = "json-format-1"

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self.schema = {"type": "object"} if schema is None else schema

    def bind(self, request: Mapping[str, Any]) -> JsonFormat | None:
        match request.get("response_format"):
            case {"type": "json_object"}:
                return JsonFormat()
            case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
                return JsonFormat(schema)
            case {"type": "json_schema"}:
                return JsonFormat({})
        return None

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return self.scan(newest(conversation))

    def scan(self, text: str) -> Verdict:
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return Verdict("invalid_json", 1.0, "format", why=f"the reply is not JSON: {_place(error)}")
        fault = next(_faults(value, self.schema, "$"), "")
        return Verdict("invalid_json", 1.0, "format", why=fault) if fault else Verdict("safe", 0.0, "format")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _place(error: Exception) -> str:
    """Where it broke, without the text."""
    return f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else "bad value"


def _faults(value: Any, schema: Any, path: str, depth: int = 0) -> Iterator[str]:
    """Where a value does not fit the schema, by path and never by content."""
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{path} is not of the type {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} is not one of the allowed values"
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{path} lacks the required {name!r}"
        for name, inner in value.items():
            if name in properties:
                yield from _faults(inner, properties[name], f"{path}.{name}", depth + 1)
            elif schema.get("additionalProperties") is False:
                yield f"{path} has a property that the schema does not allow"
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _faults(inner, schema.get("items"), f"{path}[{number}]", depth + 1)


def _is(value: Any, wanted: Any) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _TYPES.get(name, (object,))) for name in names)
