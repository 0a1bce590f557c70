"""What naming the faults of a reply would take, foreseen: the validator says whether a reply fits in linear time, but not why it
does not fit. A schema whose branches both refer to it below the same property doubles its errors at each level of the reply,
each error holds the value it is about, and each `anyOf` copies the errors of its branches once more.

`naming_fits` walks the pairs of a schema and a value, each once, and adds up what the errors would copy if everything failed
that can. What is quick to check is checked on the way (types, names, texts that must be equal), so that a sound part of a
reply counts for nothing and the bound is near the truth for what people use.

Not covered: which keywords the validator looks at first. The sum is an upper bound, and a fault may go without its place although it
would have been found in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trivet.monitoring.guards.schemas import BRANCHES, DEPENDENT, REFS, Expansion, listed, nesting, sizes

NAMED = 250_000
"""Values, and steps of paths, copied into errors: up to a microsecond each."""
PAIRS = 100_000
"""Pairs of a schema and a value that are looked at to foresee that."""
_LOOKS = frozenset({*BRANCHES, "not", "if", "contains", "unevaluatedProperties", "unevaluatedItems"})
_MAY_FAIL = frozenset({
    "not", "pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "contentEncoding", "contentMediaType", "minProperties", "maxProperties", "contains", "minContains",
    "maxContains", "uniqueItems", "minItems", "maxItems",
})  # fmt: skip
"""Keywords that are counted as failed wherever they stand, since telling would mean checking."""
_TYPES = {
    dict: ("object",),
    list: ("array",),
    str: ("string",),
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    type(None): ("null",),
}
_PLAIN = {"type", "title", "description"}
"""What most schemas of a single text or number say, and nothing else: most of the pairs in a reply."""


def naming_fits(schema: Expansion, value: Any) -> bool:
    """Whether the validator may be asked what is wrong with a value."""
    try:
        return Naming(schema, value).add(schema.schema, value).copied <= NAMED
    except (_TooManyError, RecursionError):
        return False


class _TooManyError(Exception):
    """Too many pairs of a schema and a value to foresee what their errors would take."""


class Errors(NamedTuple):
    """The values that the errors of a schema on a value hold, and those that are copied until they stand there, at most.
    Where nothing is held, the value surely fits."""

    held: int
    copied: int


_NONE = Errors(0, 0)


class Naming:
    """What the errors would take, at most: each pair of a schema and a value is added up once, however often it is met."""

    def __init__(self, schema: Expansion, value: Any) -> None:
        self._schema, self._size = schema, sizes(value)
        self._path = nesting(value)
        self._known: dict[tuple[int, int], Errors] = {}
        self._quotes: dict[int, int] = {}
        self._looked = 0

    def add(self, node: Any, value: Any) -> Errors:
        key = (id(node), id(value))
        if key in self._known:
            return self._known[key]
        size = self._size[id(value)]
        if not isinstance(node, Mapping):
            return _NONE if node is True else Errors(size, size)
        self._looked += 1 + len(listed(node.get("required"))) // 16
        if self._looked > PAIRS:
            raise _TooManyError
        if node.keys() <= _PLAIN and _is_a(node.get("type"), value):
            return _NONE
        own = _own(node, value)
        held = copied = own and own * (size + self._path) + self._quoted(node)
        for one, inner in self._told(node, value):
            more = self.add(one, inner)
            held, copied = held + more.held, copied + more.copied
        for keyword, pairs in _wrapped(node, value):
            inside = [self.add(one, inner) for one, inner in pairs]
            if keyword != "oneOf" and not all(more.held for more in inside):
                continue
            wrapped = size + self._path + sum(more.held for more in inside)
            held, copied = held + wrapped, copied + wrapped + sum(more.copied for more in inside)
        if not _LOOKS.isdisjoint(node):
            # Before it says what is wrong with a branch, the validator asks whether one fits: some nanoseconds a part.
            copied += self._schema.count(node) * size // 64
        return self._known.setdefault(key, Errors(held, copied))

    def _quoted(self, node: Mapping[str, Any]) -> int:
        """Values of the schema that an error repeats."""
        if id(node) not in self._quotes:
            quoted = [node[key] for key in ("enum", "const", "not") if key in node]
            self._quotes[id(node)] = sum(sizes(one)[id(one)] for one in quoted)
        return self._quotes[id(node)]

    def _told(self, node: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
        """The schemas whose errors stand beside those of this one, with what they are held against."""
        yield from ((one, value) for one in listed(node.get("allOf")))
        yield from ((node[key], value) for key in ("then", "else") if key in node)
        for key in DEPENDENT:
            if isinstance(found := node.get(key), Mapping):
                yield from ((one, value) for one in found.values() if not isinstance(one, list))
        for key in REFS:
            if isinstance(ref := node.get(key), str):
                yield from ((one, value) for one in self._schema.targets(node, ref))
        if isinstance(value, dict):
            yield from _of_object(node, value)
        elif isinstance(value, list):
            yield from _of_list(node, value)


def _of_object(node: Mapping[str, Any], value: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    properties, patterns = (
        found if isinstance(found := node.get(key), Mapping) else {} for key in ("properties", "patternProperties")
    )
    for name, inner in value.items():
        if name in properties:
            yield properties[name], inner
        elif isinstance(rest := node.get("additionalProperties"), Mapping):
            yield rest, inner
        if isinstance(rest := node.get("unevaluatedProperties"), Mapping):
            yield rest, inner
        yield from ((one, inner) for one in patterns.values())


def _of_list(node: Mapping[str, Any], value: list[Any]) -> Iterator[tuple[Any, Any]]:
    first = listed(node.get("prefixItems")) or listed(node.get("items"))
    rests = [
        node[key] for key in ("items", "additionalItems", "unevaluatedItems") if isinstance(node.get(key), Mapping)
    ]
    for number, inner in enumerate(value):
        if number < len(first):
            yield first[number], inner
        yield from ((rest, inner) for rest in rests)


def _wrapped(node: Mapping[str, Any], value: Any) -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    """The schemas whose errors are kept within one of this schema, by the keyword that keeps them."""
    for key in BRANCHES:
        if branches := listed(node.get(key)):
            yield key, [(one, value) for one in branches]
    if "propertyNames" in node and isinstance(value, dict):
        yield from (("propertyNames", [(node["propertyNames"], name)]) for name in value)


def _own(node: Mapping[str, Any], value: Any) -> int:
    """How many errors a schema may have on a value by itself, each with a copy of the value and its path. What is quick to
    check is checked, so that what fits costs nothing."""
    count = (not _is_a(node.get("type"), value)) + len(_MAY_FAIL & node.keys())
    if "enum" in node:
        count += not (isinstance(value, str) and value in listed(node["enum"]))
    if "const" in node:
        count += not (isinstance(value, str) and value == node["const"])
    if not isinstance(value, dict):
        return count + sum(node.get(key) is False for key in ("items", "additionalItems", "unevaluatedItems"))
    if node.get("additionalProperties") is False:
        count += "patternProperties" in node or not value.keys() <= (node.get("properties") or {}).keys()
    count += node.get("unevaluatedProperties") is False
    lists = [node.get("required")]
    for key in ("dependentRequired", "dependencies"):
        if isinstance(found := node.get(key), Mapping):
            lists += found.values()
    return count + len({name for names in lists for name in listed(names) if isinstance(name, str)} - value.keys())


def _is_a(wanted: Any, value: Any) -> bool:
    """Whether a value is surely of the type, or one of the types, that a schema wants."""
    kinds = _TYPES.get(type(value), ())
    return wanted is None or any(kind == wanted or (isinstance(wanted, list) and kind in wanted) for kind in kinds)
