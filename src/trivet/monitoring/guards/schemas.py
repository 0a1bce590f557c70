"""What a client's JSON Schema may cost: how many parts it has, and how long a reply may be held against it. The validator runs
in one piece, in a thread that holds Python's lock, so its work is bounded before it begins, in steps and never in time.

Three bounds, for three things that a schema of a kilobyte can do:

    parts      with every `$ref` written out, as far as it does not lead back to itself (two references at each of forty
               levels are a billion): ConfigError, before it is compiled
    checking   `is_valid` of jsonschema-rs remembers what it found of a value by a schema that refers to itself, so a value
               is held once against every part: parts times values
    naming     what is wrong with a value is not remembered so: schema_faults.py

Not covered: a pattern has steps of its own (format.py) for each string, and they do not count here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from trivet.core.errors import ConfigError

EXPANDED = 100_000
"""Parts of a schema that may be looked at for one value."""
CHECKED = 20_000_000
"""Parts times values that a reply is held against: a few nanoseconds each."""
BRANCHES = ("anyOf", "oneOf")
REFS = ("$ref", "$dynamicRef", "$recursiveRef")
DEPENDENT = ("dependentSchemas", "dependencies")


class Expansion:
    """A schema with its references followed. `parts` is how many places of it one value may be held against."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.parts = 1
        self._resources: dict[str, list[Any]] = {"": [schema]}
        self._anchors: dict[str, list[Any]] = {}
        self._bases: dict[int, str] = {}
        self._counts: dict[int, int] = {}
        self._open: set[int] = set()
        self._again: set[int] = set()
        self._endless: dict[int, bool] = {}
        self._note()

    def check(self) -> None:
        """ConfigError for a schema that would hold up everybody."""
        try:
            self.parts = self._count(self.schema)
        except RecursionError:
            raise ConfigError("the JSON Schema of `response_format` is nested too deep; make it flatter") from None
        # What leads back to itself was counted as one where it does; the validator holds each value against it once.
        self.parts += sum(self._counts.get(key, 0) for key in self._again)

    def checking_fits(self, value: Any, length: int) -> bool:
        """Whether a value, `length` characters as JSON, may be held against the schema at all."""
        return self.parts * length <= CHECKED or self.parts * sizes(value)[id(value)] <= CHECKED

    def count(self, node: Any) -> int:
        """The places of a part of the schema, as `check` counted them."""
        return self._counts.get(id(node), 1)

    def _note(self) -> None:
        left = [(self.schema, "")]
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

    def targets(self, node: Mapping[str, Any], ref: str) -> list[Any]:
        """What a reference may mean; more than one where a schema holds others with names of their own."""
        url, fragment = urldefrag(_joined(self._bases[id(node)], ref))
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment, [])
        roots = self._resources.get(url, []) + ([self.schema] if ref.startswith("#") else [])
        found = {id(target): target for root in roots if (target := _pointed(root, fragment)) is not None}
        return list(found.values())

    def _same(self, node: Mapping[str, Any]) -> list[Any]:
        """The schemas that hold for the same value."""
        found = [one for key in ("allOf", *BRANCHES) if isinstance(node.get(key), list) for one in node[key]]
        found += [node[key] for key in ("not", "if", "then", "else") if key in node]
        for key in DEPENDENT:
            if isinstance(node.get(key), Mapping):
                found += node[key].values()
        for key in REFS:
            if isinstance(ref := node.get(key), str):
                found += self.targets(node, ref)
        return [one for one in found if isinstance(one, Mapping)]

    def _count(self, node: Any) -> int:
        key = id(node)
        if not isinstance(node, Mapping):
            return 1
        if key in self._open:
            self._again.add(key)
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


def sizes(value: Any) -> dict[int, int]:
    """How many values lie in each list and object, names and itself counted, by identity; a long string counts as several."""
    found: dict[int, int] = {}
    left = [value]
    while left:
        one = left[-1]
        inner = [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []
        if not isinstance(one, dict | list):
            found[id(one)] = 1 + (len(one) >> 8 if isinstance(one, str) else 0)
        elif missing := [each for each in inner if id(each) not in found]:
            left += missing
            continue
        else:
            found[id(one)] = 1 + sum(found[id(each)] for each in inner)
        left.pop()
    return found


def nesting(value: Any, most: int | None = None) -> int:
    """How many lists and objects lie around the innermost value, counted no farther than `most`."""
    level, depth = [value], 0
    while level and depth != most:
        level = [inner for outer in level if isinstance(outer, dict | list)
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
        depth += bool(level)
    return depth


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
