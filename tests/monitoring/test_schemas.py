"""Schemas from strangers: whatever they say of themselves, a reply is checked in steps in proportion to it, or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from trivet.core.messages import Conversation, Message
from trivet.monitoring.guards import schema_faults
from trivet.monitoring.guards.format import DEPTH, Fault, JsonFormat
from trivet.monitoring.guards.schema_faults import Naming
from trivet.monitoring.guards.schemas import Expansion, nesting, sizes
from trivet.monitoring.policy import Layer, Policy

ROOT = {"$ref": "#"}
A = {"properties": {"a": ROOT}}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
AGAIN = {"properties": {"a": {"$dynamicRef": "#n"}}}
OLD_AGAIN = {"properties": {"a": {"$recursiveRef": "#"}}}

OBJECTS: dict[str, dict] = {
    "anyOf": {"anyOf": [A, A], "type": "object"},
    "anyOf that fails": {"anyOf": [{**A, "required": ["a"]}, {**A, "required": ["a"]}]},
    "oneOf": {"oneOf": [A, {**A, "required": ["b"]}]},
    "oneOf of which both fit": {"oneOf": [A, A]},
    "allOf": {"allOf": [A, A], "type": "object"},
    "not": {"not": {"not": A}, "properties": {"a": ROOT}},
    "if": {"if": A, "then": A, "else": A, "type": "object"},
    "patterns": {"patternProperties": {"a": ROOT, "^a": ROOT}, "type": "object"},
    "a property and a pattern": {**A, "patternProperties": {"a": ROOT}, "type": "object"},
    "additionalProperties": {
        "allOf": [{"additionalProperties": ROOT}, {"additionalProperties": ROOT}],
        "type": "object",
    },
    "dependentSchemas": {"dependentSchemas": {"a": A}, **A, "type": "object"},
    "dependencies": {"$schema": DRAFT_7, "dependencies": {"a": A}, **A, "type": "object"},
    "unevaluatedProperties": {"anyOf": [A, A], "unevaluatedProperties": False, "type": "object"},
    "unevaluated twice": {"anyOf": [{"anyOf": [A], "unevaluatedProperties": False}], "unevaluatedProperties": False},
    "an anchor": {"$anchor": "n", "allOf": [{"properties": {"a": {"$ref": "#n"}}}, A], "type": "object"},
    "$dynamicRef": {"$dynamicAnchor": "n", "anyOf": [AGAIN, AGAIN], "type": "object"},
    "$recursiveRef": {
        "$schema": DRAFT_2019,
        "$recursiveAnchor": True,
        "anyOf": [OLD_AGAIN, OLD_AGAIN],
        "type": "object",
    },
    "$defs that refer to each other": {
        "$ref": "#/$defs/x",
        "$defs": {
            "x": {"anyOf": [{"$ref": "#/$defs/y"}, {"$ref": "#/$defs/z"}]},
            "y": {"properties": {"a": {"$ref": "#/$defs/z"}}, "type": "object"},
            "z": {"oneOf": [{"properties": {"a": {"$ref": "#/$defs/x"}}, "type": "object"}, {"required": ["b"]}]},
        },
    },
}
LISTS: dict[str, dict] = {
    "items": {"allOf": [{"items": ROOT}, {"items": ROOT}], "type": "array"},
    "items of branches": {"anyOf": [{"items": ROOT}, {"prefixItems": [ROOT]}], "type": "array"},
    "contains": {"if": {"contains": ROOT}, "items": ROOT, "type": "array"},
    "unevaluatedItems": {"anyOf": [{"prefixItems": [ROOT]}], "unevaluatedItems": ROOT, "type": "array"},
    "items of old": {"$schema": DRAFT_7, "oneOf": [{"items": [ROOT]}, {"items": ROOT}, {"items": ROOT}]},
}
HOSTILE = [pytest.param(schema, "a", id=name) for name, schema in OBJECTS.items()]
HOSTILE += [pytest.param(schema, None, id=name) for name, schema in LISTS.items()]


def nested(name: str | None, depth: int, leaf: Any) -> Any:
    for _ in range(depth):
        leaf = [leaf] if name is None else {name: leaf}
    return leaf


class Counted(JsonFormat):
    """The guard, with every schema that the validator comes to, and every error that it makes, counted."""

    steps = 0

    def __init__(self, schema: dict, monkeypatch: pytest.MonkeyPatch) -> None:
        made = jsonschema_rs.validator_for

        guard = self

        class Step:
            def __init__(self, *about: object) -> None:
                pass

            def validate(self, value: object) -> None:
                guard.steps += 1

        with monkeypatch.context() as patch:
            patch.setattr(
                jsonschema_rs, "validator_for", lambda given, **rest: made(marked(given), keywords={"aa": Step}, **rest)
            )
            super().__init__(schema)

    def spent(self, value: Any) -> int:
        self.steps = 0
        list(self.faults(json.dumps(value)))
        return self.steps


PLACES = ("properties", "patternProperties", "dependentSchemas", "dependencies", "$defs")


def marked(schema: Any) -> Any:
    """The schema with a keyword that counts in each of its parts."""
    if isinstance(schema, list):
        return [marked(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: marked(one) for name, one in value.items()} if key in PLACES else marked(value)
        for key, value in schema.items()
    }
    return inner if "$ref" in schema else {**inner, "aa": 1}


@pytest.mark.parametrize(("schema", "name"), HOSTILE)
@pytest.mark.parametrize("leaf", [1, {}, []])
def test_a_schema_that_doubles_at_each_level_is_checked_in_steps_in_proportion(schema, name, leaf, monkeypatch) -> None:
    monkeypatch.setattr(schema_faults, "NAMED", 0)  # what is not named costs no more than the check
    guard = Counted(schema, monkeypatch)
    few, many = (guard.spent(nested(name, depth, leaf)) for depth in (8, 16))
    assert many <= 2.5 * few + 64
    assert guard.spent(nested(name, DEPTH - 2, leaf)) <= 20 * few + 640


@pytest.mark.parametrize(("schema", "name"), HOSTILE)
@pytest.mark.parametrize("leaf", [1, {}, []])
def test_naming_what_is_wrong_stays_within_bounds_and_never_lets_pass(schema, name, leaf, monkeypatch) -> None:
    guard = Counted(schema, monkeypatch)
    said = bool(list(JsonFormat(schema)._validator.iter_errors(nested(name, 6, leaf))))
    assert (guard.scan(json.dumps(nested(name, 6, leaf))).label == "invalid_json") is said
    fitting = JsonFormat(schema)._validator.is_valid
    for depth in (6, 12, 24, DEPTH - 2):
        value = nested(name, depth, leaf)
        assert guard.spent(value) <= schema_faults.NAMED
        assert (guard.scan(json.dumps(value)).label == "safe") is fitting(value)


@pytest.mark.parametrize(("schema", "name"), HOSTILE)
@pytest.mark.parametrize("leaf", [1, {}, []])
def test_what_naming_takes_is_foreseen(schema, name, leaf) -> None:
    """No fewer errors are foreseen than there are: what is counted is at least one for each."""
    expansion = Expansion(schema)
    expansion.check()
    for depth in (1, 5, 8):
        value = nested(name, depth, leaf)
        errors = sum(map(everything, jsonschema_rs.validator_for(schema, offline=True).iter_errors(value)))
        assert Naming(expansion, value).add(schema, value).copied >= errors


def everything(error: Any) -> int:
    context = getattr(error.kind, "context", None) or []
    return 1 + sum(everything(inner) for branch in context for inner in branch)


def test_a_fault_whose_place_costs_too_much_is_a_fault_without_a_place() -> None:
    guard = JsonFormat(OBJECTS["anyOf"])
    guard._validator = Strict(guard._validator)
    text = json.dumps(nested("a", 100, 1))
    assert list(guard.faults(text)) == [Fault("$", "schema", "does not fit the schema")]
    assert guard.scan(text).label == "invalid_json"


class Strict:
    """A validator that is not asked for errors."""

    def __init__(self, validator: Any) -> None:
        self.is_valid = validator.is_valid

    def iter_errors(self, value: Any) -> None:
        pytest.fail("asked")


def test_a_reply_that_fits_nothing_fails_whatever_the_errors_say() -> None:
    guard = JsonFormat({"type": "object"})
    guard._validator = Mute()
    assert guard.scan("{}").why == "$ does not fit the schema"


class Mute:
    def is_valid(self, value: Any) -> bool:
        return False

    def iter_errors(self, value: Any) -> Any:
        return iter(())


# What people use

TREE = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "label": {"type": "string"},
        "kind": {"enum": ["leaf", "branch"]},
        "left": {"anyOf": [ROOT, {"type": "null"}]},
        "right": {"anyOf": [ROOT, {"type": "null"}]},
        "kids": {"type": "array", "items": ROOT},
    },
    "required": ["id"],
    "additionalProperties": False,
}


def kinds(count: int) -> dict:
    """A sum of kinds that hold each other, as pydantic writes it."""
    one = lambda kind: {  # noqa: E731
        "type": "object",
        "properties": {"kind": {"const": kind}, "of": {"$ref": "#/$defs/sum"}},
        "required": ["kind", "of"],
        "additionalProperties": False,
    }
    branches = [*(one(f"kind {number}") for number in range(count)), {"type": "number"}]
    title = {"type": "string"}
    return {"properties": {"sum": {"$ref": "#/$defs/sum"}, "title": title}, "$defs": {"sum": {"anyOf": branches}}}


def test_trees_go_on_working_and_their_faults_are_named() -> None:
    def tree(depth: int, id: Any) -> dict:
        inner = [tree(depth - 1, id)] if depth else []
        return {"id": 1 if inner else id, "label": "x", "kind": "leaf", "left": None, "kids": inner}

    guard = JsonFormat(TREE)
    for depth in (0, 3, 40):
        assert guard.scan(json.dumps(tree(depth, 1))).score == 0.0
        place = "$" + ".kids[0]" * depth
        assert guard.scan(json.dumps(tree(depth, "no"))).why == f"{place}.id is not of the type integer"
    assert guard.scan('{"id": 1, "left": {"id": 2, "right": {"id": 3}}}').score == 0.0
    assert guard.scan('{"id": 1, "left": {"id": 2, "right": {}}}').why == "$.left does not fit the schema's anyOf"


def test_kinds_that_hold_each_other_go_on_working_however_deep() -> None:
    guard, value = JsonFormat(kinds(12)), 1.5
    for _ in range(60):
        value = {"kind": "kind 7", "of": value}
    assert guard.scan(json.dumps({"sum": value})).score == 0.0
    assert guard.scan(json.dumps({"sum": value, "title": 3})).why == "$.title is not of the type string"
    assert guard.scan(json.dumps({"sum": {**value, "more": 1}})).score == 1.0


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": ["string", "null"]}, None),
        ({"type": "number"}, 3),
        ({"type": "boolean"}, True),
        ({"enum": ["a", 1]}, "a"),
        ({"items": {"const": "a"}}, ["a", "a"]),
        ({"required": ["a"], "dependentRequired": {"a": ["b"]}}, {"a": 1, "b": 2}),
        ({"properties": {"a": {"type": "integer"}}, "additionalProperties": False}, {"a": 1}),
        ({"propertyNames": {"enum": ["a"]}}, {"a": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, {}),
        ({"allOf": [True, {"prefixItems": [{"type": "string"}], "items": {"type": "number"}}]}, []),
    ],
)
def test_what_surely_fits_is_foreseen_to_make_no_errors(schema: dict, value: Any) -> None:
    expansion = Expansion(schema)
    expansion.check()
    assert Naming(expansion, value).add(schema, value).held == 0


# What would take too long to check at all


def wide(levels: int = 14) -> dict:
    """A schema that holds each item of a list against more than thirty thousand parts."""
    step = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"items": {"$ref": "#/$defs/a0"}, "$defs": {**step, f"a{levels}": {"type": "integer"}}}


@pytest.mark.parametrize(("failure", "action"), [("closed", "block"), ("open", "allow")])
def test_a_check_that_cannot_finish_says_so_and_the_failure_rule_decides(failure, action) -> None:
    request = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wide()}}}
    layer = Layer("json", JsonFormat(), place="output", failure=failure)
    said = Conversation((Message("assistant", json.dumps([1] * 2000)),))
    checked = asyncio.run(Policy.from_parts([layer]).acheck(said, "output", request=request))
    assert checked.action == action
    assert [verdict.label for verdict in checked.decision.verdicts] == ["error"]
    assert "more than 20,000,000 steps" in checked.decision.verdicts[0].why


def test_the_same_schema_checks_what_is_short() -> None:
    guard = JsonFormat(wide())
    assert guard.scan("[1, 2, 3]").score == 0.0
    assert guard.scan("[1, 2, true]").label == "invalid_json"
    assert guard.faults(json.dumps([1] * 2000)).__next__().rule == "steps"
    assert guard.repair(json.dumps([1] * 2000)).changed is False


def test_pairs_are_looked_at_up_to_a_number(monkeypatch) -> None:
    guard = JsonFormat({"items": {"type": "integer"}})
    text = json.dumps([1.5 + n for n in range(50)])
    assert guard.scan(text).why == "$[0] is not of the type integer"
    monkeypatch.setattr(schema_faults, "PAIRS", 40)
    assert guard.scan(text).why == "$ does not fit the schema"


@pytest.mark.parametrize(
    ("value", "size", "deep"),
    [(1, 1, 0), ("x" * 1024, 5, 0), ([], 1, 0), ([1, [2]], 4, 2), ({"a": {"b": 1}}, 5, 2), ([[]] * 3, 4, 1)],
)
def test_sizes_and_depths_are_counted(value: Any, size: int, deep: int) -> None:
    assert sizes(value)[id(value)] == size
    assert nesting(value) == deep
    assert nesting(nested(None, 90, 1), 7) == 7


def test_the_bound_on_errors_holds_for_missing_names_and_large_values() -> None:
    """Each error holds the value it is about: five hundred missing names of a large object are as many copies."""
    missing: Callable[[int], dict] = lambda count: {"required": [f"p{n}" for n in range(count)]}  # noqa: E731
    value = json.dumps({f"k{n}": [1, 2, 3] for n in range(1000)})
    assert JsonFormat(missing(2)).scan(value).why == "$ lacks the required 'p0'"
    assert JsonFormat(missing(500)).scan(value).why == "$ does not fit the schema"
