"""JSON where the request asked for JSON: valid, or a clear block; and what it takes to mend it.

Bound to a request by its `response_format` (Chat Completions) or `text.format` (Responses): `json_object` wants one JSON
object, `json_schema` wants JSON that fits the schema: all of JSON Schema, in the draft that `$schema` names (2020-12 if
none), by `jsonschema-rs`. References to other documents are refused, never fetched. Without such a field it looks at nothing.

`repair` mends what can be mended without asking (fences, commas, quotes, a cut end) and validates the result. `reask` is the
conversation that asks the model once more, with the place and the rule that were broken. A `Fault` holds both and no
word of the reply: names in its path are those of the schema, any other is `*`.

Not covered: whether the values are true; text around the JSON counts as a fault unless `repair` removes it; a schema whose
pattern takes more than 100,000 steps, or a reply more than 128 levels deep, fails the reply. A schema that refers to itself
below a property or an item is counted for one level, however deep the reply goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag, urljoin

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.verdicts import Verdict
from trivet.monitoring.guards.mend import NOTHING, mend
from trivet.monitoring.guards.shared import aside, newest

STEPS = 100_000
LONGEST = 1_000_000
"""Characters up to which a broken text is mended: about a second."""
DEPTH = 128
"""The validator goes down on the stack of its thread, and a stack is finite."""
EXPANDED = 100_000
"""Places of a schema that may be looked at for one value; the validator cannot be interrupted, so no more are begun."""
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
        self.digest = digest_of(["json-format-2", self.schema])
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
        return Verdict("invalid_json", 1.0, "format", why=str(fault)) if fault else Verdict("safe", 0.0, "format")

    def faults(self, text: str) -> Iterator[Fault]:
        """All that is wrong with a reply, in the order of the schema."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            yield Fault("$", "syntax", f"the reply is not JSON: {_place(error)}")
            return
        if text.count("[") + text.count("{") > DEPTH and _depth(value) > DEPTH:
            yield Fault("$", "depth", f"is nested more than {DEPTH} deep")
            return
        for error in self._validator.iter_errors(value):
            yield _fault(error, self._names)

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

    _Expansion(schema).check()
    try:
        return jsonschema_rs.validator_for(
            schema, offline=True, pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=STEPS)
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        what = str(error).partition("\n")[0]
        raise ConfigError(f"the JSON Schema of `response_format` cannot be used: {what}") from error


class _Expansion:
    """How many places of a schema one value may be held against, with every `$ref` written out: two kilobytes of references
    that double at each level are millions."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._resources: dict[str, list[Any]] = {"": [schema]}
        self._anchors: dict[str, list[Any]] = {}
        self._bases: dict[int, str] = {}
        self._counts: dict[int, int] = {}
        self._open: set[int] = set()
        self._endless: dict[int, bool] = {}
        self._note()

    def check(self) -> None:
        """ConfigError for a schema that would hold up everybody."""
        try:
            self._count(self._schema)
        except RecursionError:
            raise ConfigError("the JSON Schema of `response_format` is nested too deep; make it flatter") from None

    def _note(self) -> None:
        left = [(self._schema, "")]
        while left:
            node, base = left.pop()
            if isinstance(node, Mapping):
                for key in ("$id", "id"):
                    if isinstance(name := node.get(key), str):
                        base = _joined(base, name)
                        self._resources.setdefault(urldefrag(base).url, []).append(node)
                        self._anchors.setdefault(urldefrag(base).fragment, []).append(node)
                for key in ("$anchor", "$dynamicAnchor"):
                    if isinstance(name := node.get(key), str):
                        self._anchors.setdefault(name, []).append(node)
                self._bases[id(node)] = base
                left += [(inner, base) for inner in node.values()]
            elif isinstance(node, list):
                left += [(inner, base) for inner in node]

    def _targets(self, node: Mapping[str, Any], ref: str) -> list[Any]:
        """What a reference may mean; more than one where a schema holds others with names of their own."""
        url, fragment = urldefrag(_joined(self._bases[id(node)], ref))
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment, [])
        roots = self._resources.get(url, []) + ([self._schema] if ref.startswith("#") else [])
        found = {id(target): target for root in roots if (target := _pointed(root, fragment)) is not None}
        return list(found.values())

    def _same(self, node: Mapping[str, Any]) -> list[Any]:
        """The schemas that hold for the same value."""
        found = [one for key in ("allOf", "anyOf", "oneOf") if isinstance(node.get(key), list) for one in node[key]]
        found += [node[key] for key in ("not", "if", "then", "else") if key in node]
        for key in ("dependentSchemas", "dependencies"):
            if isinstance(node.get(key), Mapping):
                found += node[key].values()
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(ref := node.get(key), str):
                found += self._targets(node, ref)
        return [one for one in found if isinstance(one, Mapping)]

    def _count(self, node: Any) -> int:
        key = id(node)
        if not isinstance(node, Mapping) or key in self._open:
            return 1
        if key not in self._counts:
            self._finite(node)
            self._open.add(key)
            count = 1 + sum(map(self._count, self._same(node)))
            count += sum(max(map(self._count, inner), default=0) for inner in _inner(node))
            self._open.discard(key)
            if count > EXPANDED:
                raise ConfigError(
                    f"the JSON Schema of `response_format` cannot be used: with its references written out it has more "
                    f"than {EXPANDED:,} parts; repeat fewer of them"
                )
            self._counts[key] = count
        return self._counts[key]

    def _finite(self, node: Mapping[str, Any]) -> None:
        key = id(node)
        if self._endless.get(key):
            raise ConfigError(
                "the JSON Schema of `response_format` cannot be used: a `$ref` leads back to itself for the same value"
            )
        if key not in self._endless:
            self._endless[key] = True
            for one in self._same(node):
                self._finite(one)
            self._endless[key] = False


def _inner(node: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The schemas for what a value holds; of those in one list at most one holds for each part."""
    for names, others in (
        (("properties",), ("additionalProperties", "unevaluatedProperties")),
        (("prefixItems", "items"), ("items", "additionalItems", "unevaluatedItems")),
    ):
        found = [node[key] for key in others if key in node]
        for key in names:
            inner = node.get(key)
            if isinstance(inner, list):
                found += inner
            elif key == "properties" and isinstance(inner, Mapping):
                found += inner.values()
        yield found
    yield from ([node[key]] for key in ("contains", "propertyNames") if key in node)
    if isinstance(patterns := node.get("patternProperties"), Mapping):
        yield from ([one] for one in patterns.values())


def _pointed(root: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(root, Mapping):
            root = root.get(step)
        elif isinstance(root, list) and step.isdecimal() and len(step) < 8 and int(step) < len(root):
            root = root[int(step)]
        else:
            return None
    return root


def _joined(base: str, ref: str) -> str:
    try:
        return urljoin(base, ref)
    except ValueError:
        return ref if ref.startswith("#") else ""


def _depth(value: Any) -> int:
    """How deep lists and objects lie in each other, counted no farther than is allowed."""
    level, depth = [value], 0
    while level and depth <= DEPTH + 1:
        depth += 1
        level = [inner for outer in level if isinstance(outer, dict | list)
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
    return depth - 1


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
