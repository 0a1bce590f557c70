"""JSON where the request asked for JSON: valid, or a clear block; and what it takes to mend it.

Bound to a request by its `response_format` (Chat Completions) or `text.format` (Responses): `json_object` wants one JSON
object, `json_schema` wants JSON that fits the schema: all of JSON Schema, in the draft that `$schema` names (2020-12 if
none), by `jsonschema-rs`. References to other documents are refused, never fetched. Without such a field it looks at nothing.

`repair` mends what can be mended without asking (fences, commas, quotes, a cut end) and validates the result. `reask` is the
conversation that asks the model once more, with the place and the rule that were broken. A `Fault` holds both and no
word of the reply: names in its path are those of the schema, any other is `*`.

A schema comes from a client and a reply from whoever talked the model into it, so what they may cost together is bounded
(schemas.py, schema_faults.py). A schema that refers to itself is checked in linear time. A check that would take too many steps is not begun: the
verdict is `error`, and the layer's failure rule decides. Where only finding the place would take too many, the reply fails
all the same, and the fault names no place.

Not covered: whether the values are true; text around the JSON counts as a fault unless `repair` removes it; a schema whose
pattern takes more than 100,000 steps, or a reply more than 128 levels deep, fails the reply. Those steps are counted for each
string: a list of strings, each of which takes a little less, is not stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.verdicts import Verdict
from trivet.monitoring.guards.mend import NOTHING, mend
from trivet.monitoring.guards.schema_faults import naming_fits
from trivet.monitoring.guards.schemas import CHECKED, Expansion, nesting
from trivet.monitoring.guards.shared import aside, newest

STEPS = 100_000
LONGEST = 1_000_000
"""Characters up to which a broken text is mended: about a second."""
DEPTH = 128
"""The validator goes down on the stack of its thread, and a stack is finite."""
UNCHECKED = "steps"
"""The rule of the fault that says that a reply was not checked."""
_FAULTS = 16


class Fault(NamedTuple):
    """Where a reply does not fit and what it breaks: `$.tags[0]`, `enum`, and words for a person."""

    path: str
    rule: str
    said: str

    def __str__(self) -> str:
        return f"{self.path} {self.said}"


class Repaired(NamedTuple):
    """A text as it was mended, whether that changed it, and what is still wrong."""

    text: str
    changed: bool
    faults: tuple[Fault, ...]


class JsonFormat:
    """A guard on replies. `JsonFormat().bind(request)` is the check that this request asks for, or None."""

    threshold = 0.5
    cheap = True
    reach = None

    def __init__(self, schema: Mapping[str, Any] | bool | None = None) -> None:
        self.schema = {"type": "object"} if schema is None else schema
        self.digest = digest_of(["json-format-3", self.schema])
        self._expansion = Expansion(self.schema)
        self._expansion.check()
        self._validator = _validator(self.schema)
        self._names = frozenset(_names(self.schema))

    def bind(self, request: Mapping[str, Any]) -> JsonFormat | None:
        text = request.get("text")
        wanted = request.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
        match wanted:
            case {"type": "json_object"}:
                return JsonFormat()
            case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
                return JsonFormat(schema)
            case {"type": "json_schema", "schema": dict(schema)}:
                return JsonFormat(schema)
            case {"type": "json_schema"}:
                return JsonFormat({})
        return None

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        """`why` is the first fault, as `reask` takes it."""
        fault = next(self.faults(text), None)
        if fault is None:
            return Verdict("safe", 0.0, "format")
        return Verdict("error" if fault.rule == UNCHECKED else "invalid_json", 1.0, "format", why=str(fault))

    def faults(self, text: str) -> Iterator[Fault]:
        """All that is wrong with a reply, in the order of the schema."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield Fault("$", "syntax", f"the reply is not JSON: {_place(error)}")
            return
        if text.count("[") + text.count("{") > DEPTH and nesting(value, DEPTH + 1) > DEPTH:
            yield Fault("$", "depth", f"is nested more than {DEPTH} deep")
            return
        if not self._expansion.checking_fits(value, len(text)):
            yield Fault("$", UNCHECKED, f"would take more than {CHECKED:,} steps to check against the schema")
        # Whether it fits is asked by itself: only the answer to that takes linear time for every schema.
        elif not self._validator.is_valid(value):
            named = self._validator.iter_errors(value) if naming_fits(self._expansion, value) else iter(())
            faults = (_fault(error, self._names) for error in named)
            yield next(faults, Fault("$", "schema", "does not fit the schema"))
            yield from faults

    def repair(self, text: str) -> Repaired:
        """The text, mended if it is not JSON, and what is wrong with it then."""
        faults = tuple(self._first(self.faults(text)))
        if not faults or faults[0].rule != "syntax" or len(text) > LONGEST:
            return Repaired(text, False, faults)
        mended = _mended(text, self.schema)
        return (
            Repaired(mended, True, tuple(self._first(self.faults(mended)))) if mended else Repaired(text, False, faults)
        )

    def _first(self, faults: Iterator[Fault]) -> list[Fault]:
        return [fault for fault, _ in zip(faults, range(_FAULTS), strict=False)]


def repair(text: str, schema: Mapping[str, Any] | None = None) -> Repaired:
    """`JsonFormat(schema).repair(text)`."""
    return JsonFormat(schema).repair(text)


def reask(conversation: Conversation, fault: Fault | str) -> Conversation:
    """A conversation that ends with the reply at fault, and after it the request for a better one.

    Pure: who sends it, and that it is sent once, is the caller's business."""
    words = (
        f"Your last reply does not have the format that was asked for: {fault}. "
        "Reply again with the whole corrected JSON and nothing else: no explanation, no code fence."
    )
    return conversation.then(Message("user", words))


def _validator(schema: Any) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(
            schema, offline=True, pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS)
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        what = str(error).partition("\n")[0]
        raise ConfigError(f"the JSON Schema of `response_format` cannot be used: {what}") from error


def _names(schema: Any, depth: int = 0) -> Iterator[str]:
    """Every property that a schema speaks of: the only names that a fault may repeat."""
    if isinstance(schema, Mapping):
        for key, inner in schema.items():
            if (key in ("properties", "$defs", "definitions", "dependentSchemas") and isinstance(inner, Mapping)) or (
                key == "required" and isinstance(inner, list)
            ):
                yield from map(str, inner)
            yield from _names(inner, depth + 1)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _names(inner, depth + 1)


def _fault(error: Any, names: frozenset[str]) -> Fault:
    path = "$"
    for step in error.instance_path:
        path += f"[{step}]" if isinstance(step, int) else f".{step if step in names else '*'}"
    rule, known = error.kind.name, error.kind.as_dict()
    return Fault(path, rule, _said(rule, known))


def _said(rule: str, known: Mapping[str, Any]) -> str:
    """What a rule asks for, in words that hold nothing of the reply."""
    match rule:
        case "type":
            return f"is not of the type {' or '.join(known['types'])}"
        case "required":
            return f"lacks the required {known['property']!r}"
        case "enum" | "const":
            return "is not one of the allowed values"
        case "additionalProperties" | "unevaluatedProperties" | "propertyNames":
            return "has a property that the schema does not allow"
        case "format":
            return f"is not a {known['format']}"
        case "anyOf" | "oneOf" | "allOf" | "not":
            return f"does not fit the schema's {rule}"
    limit = known.get("limit")
    return f"breaks the rule {rule}" + (f" ({limit})" if isinstance(limit, int | float) else "")


def _mended(text: str, schema: Any) -> str:
    """The text as it was meant, as JSON again; empty where there is nothing to make out."""
    wanted = schema.get("type") if isinstance(schema, Mapping) else None
    try:
        value = mend(text, {"object": "{", "array": "["}.get(wanted if isinstance(wanted, str) else "", "{["))
    except RecursionError:
        return ""
    return "" if value is NOTHING else json.dumps(value, ensure_ascii=False)


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _place(error: Exception) -> str:
    """Where it broke, without the text."""
    return f"line {error.lineno} column {error.colno}" if isinstance(error, json.JSONDecodeError) else "bad value"
