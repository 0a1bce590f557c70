"""JSON by schema: valid or a fault that names the place and never the content; mending, and asking once more."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation, Message
from trivet.monitoring.guards.format import Fault, JsonFormat, reask, repair
from trivet.monitoring.guards.mend import NOTHING, mend

SCHEMA = {
    "type": "object",
    "required": ["name", "tags"],
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "n": {"type": "integer"},
        "more": {"additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}


def asks(schema: dict | None) -> dict:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def test_without_a_response_format_nothing_is_checked() -> None:
    assert JsonFormat().bind({}) is None
    assert JsonFormat().bind({"response_format": {"type": "text"}}) is None
    assert JsonFormat().bind({"text": {"format": {"type": "text"}}}) is None


def test_the_form_of_the_responses_api_is_known() -> None:
    guard = JsonFormat().bind({"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}})
    assert guard is not None and guard.scan("{}").why == "$ lacks the required 'name'"


@pytest.mark.parametrize("text", ['{"a": 1}', " {} ", '{"a": [1, {"b": null}]}'])
def test_json_objects_pass(text: str) -> None:
    assert JsonFormat().bind({"response_format": {"type": "json_object"}}).scan(text).score == 0.0


@pytest.mark.parametrize("text", ["", "hello", "[1]", '{"a": NaN}', "{'a': 1}", "```json\n{}\n```", '{"a":' * 5000])
def test_what_is_not_a_json_object_is_named_without_its_text(text: str) -> None:
    verdict = JsonFormat().bind({"response_format": {"type": "json_object"}}).scan(text)
    assert verdict.score == 1.0
    assert "hello" not in verdict.why


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "x", "tags": []}, ""),
        ({"name": "x", "tags": ["a"], "n": 3}, ""),
        ({"name": "x", "tags": ["a"], "n": 3.0}, ""),
        ({"name": "x"}, "lacks the required 'tags'"),
        ({"name": 1, "tags": []}, "$.name is not of the type string"),
        ({"name": "x" * 21, "tags": []}, "$.name breaks the rule maxLength (20)"),
        ({"name": "x", "tags": ["c"]}, "$.tags[0] is not one of"),
        ({"name": "x", "tags": [], "n": True}, "$.n is not of the type integer"),
        ({"name": "x", "tags": [], "secret": 1}, "does not allow"),
        ({"name": "x", "tags": [], "more": {"secret": 1}}, "$.more.* is not of the type string"),
        ([], "$ is not of the type object"),
    ],
)
def test_the_schema_is_checked(value: object, said: str) -> None:
    verdict = asyncio.run(JsonFormat().bind(asks(SCHEMA)).judge(Conversation.user(json.dumps(value))))
    assert (said in verdict.why and verdict.score == 1.0) if said else verdict.score == 0.0
    assert "secret" not in verdict.why


@pytest.mark.parametrize(
    ("schema", "good", "bad", "rule"),
    [
        ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, 5, 1, "anyOf"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, ["a"], [1], "type"),
        ({"prefixItems": [{"type": "string"}]}, ["a"], [1], "type"),
        ({"patternProperties": {"^x": {"const": 1}}}, {"x1": 1}, {"x1": 2}, "const"),
        ({"$defs": {"p": {"type": "integer"}}, "$ref": "#/$defs/p"}, 1, "a", "type"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1, "b": 2}, {"a": 1}, "required"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"b": 1}, {"a": 1}, "required"),
        ({"uniqueItems": True}, [1, 2], [1, 1], "uniqueItems"),
        ({"pattern": "^a+$"}, "aaa", "ab", "pattern"),
        ({"not": {"type": "string"}}, 1, "a", "not"),
        (False, None, 1, "falseSchema"),
    ],
)
def test_every_keyword_counts(schema: dict | bool, good: object, bad: object, rule: str) -> None:
    guard = JsonFormat(schema)
    if good is not None:
        assert list(guard.faults(json.dumps(good))) == []
    assert [fault.rule for fault in guard.faults(json.dumps(bad))] == [rule]


@pytest.mark.parametrize(
    "schema", [{"type": "strin"}, {"$ref": "https://example.com/x.json"}, {"pattern": "("}, {"$ref": "#/nowhere"}]
)
def test_a_schema_that_cannot_be_used_is_refused(schema: dict) -> None:
    with pytest.raises(ConfigError, match="the JSON Schema"):
        JsonFormat(schema)


def test_what_takes_too_long_or_goes_too_deep_fails() -> None:
    slow = JsonFormat({"pattern": r"^(a|a)*\1?(?=b)$"})
    assert [fault.rule for fault in slow.faults(json.dumps("a" * 50))] == ["pattern"]
    deep = "[" * 400 + "]" * 400
    assert [fault.rule for fault in JsonFormat({"items": {"type": "array"}}).faults(deep)] == ["depth"]


def test_the_digest_follows_the_schema() -> None:
    assert JsonFormat().digest == JsonFormat().digest != JsonFormat(SCHEMA).digest


# Mending


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure! Here it is:\n{"a": 1,} Hope it helps.', {"a": 1}),
        ("{'a': 'it's fine', \"b\": True, c: None}", {"a": "it's fine", "b": True, "c": None}),
        ('{"a": "he said "hi" to me", "b": [1 2 "x" "y"]}', {"a": 'he said "hi" to me', "b": [1, 2, "x", "y"]}),
        ('{"a": 1 "b": 2 // note\n, /* more */ "c": 3e2}', {"a": 1, "b": 2, "c": 300.0}),
        (
            '{"a": "line\nbreak", “b”: “curly”, "c": "\\u00e9\\ud83d\\ude00\\n\\q"}',
            {"a": "line\nbreak", "b": "curly", "c": "é😀\nq"},
        ),
        ('{"a": [1, {"b": 2}, {"c": "cut o', {"a": [1, {"b": 2}, {"c": "cut o"}]}),
        ('{"a": [1, 2}, "b": 3]', {"a": [1, 2]}),
        ('{"a": -0.5, "b": 12abc, "c":, "d": [,], "e": {"f"}}', {"a": -0.5, "b": "12abc", "c": None, "d": [], "e": {}}),
    ],
)
def test_what_was_meant_is_made_out(broken: str, meant: object) -> None:
    repaired = repair(broken)
    assert (json.loads(repaired.text), repaired.changed, repaired.faults) == (meant, True, ())


def test_what_is_right_is_not_touched_and_what_is_wrong_is_not_made_up() -> None:
    assert repair('{"a":  1}') == ('{"a":  1}', False, ())
    wrong = repair('{"name": 1}', SCHEMA)
    assert (wrong.text, wrong.changed) == ('{"name": 1}', False)
    assert {fault.rule for fault in wrong.faults} == {"type", "required"}
    mended = repair("{'name': 1,}", SCHEMA)
    assert mended.changed and {fault.rule for fault in mended.faults} == {"type", "required"}
    for text in ("no JSON at all", "", "[" * 5000, "{" * 5000):
        assert repair(text)[:2] == (text, False)
    assert mend("nothing") is NOTHING


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet="ab \né\"'", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4), st.sampled_from(["", "json"]))
def test_valid_json_is_read_as_it_is_in_a_fence_or_out_of_it(value: dict, language: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert mend(text) == value
    if "\n" not in text:
        assert json.loads(repair(f"Here:\n```{language}\n{text}\n```").text) == value


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, min_size=1, max_size=4), st.data())
def test_a_cut_off_end_leaves_valid_json(value: dict, data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    repaired = repair(cut)
    assert repaired.changed and repaired.faults == ()


@pytest.mark.parametrize(
    "piece", ["{a:", "['a'b'", '{"a', '"a","', "/*", " ", '" ', "9,", "{[", '{"a":"x"y","b":"', "\\"]
)
def test_mending_takes_time_in_proportion(piece: str) -> None:
    def calls(size: int) -> int:
        text, count = '{"k": "' + piece * (size // len(piece)), 0

        def counted(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(counted)
        try:
            repair(text)
        finally:
            sys.setprofile(None)
        return count

    assert calls(20_000) < 5 * calls(5_000) + 500


# Asking once more


def test_a_re_ask_names_the_place_and_leaves_the_conversation_as_it_was() -> None:
    conversation = Conversation.user("give me JSON").then(Message("assistant", '{"name": "secret value"}'))
    fault = next(JsonFormat(SCHEMA).faults(conversation.reply))
    again = reask(conversation, fault)
    assert again.messages[:-1] == conversation.messages
    assert again.messages[-1].role == "user"
    assert "$ lacks the required 'tags'" in again.messages[-1].content
    assert "secret value" not in again.messages[-1].content
    assert reask(conversation, JsonFormat(SCHEMA).scan(conversation.reply).why) == again
    assert str(Fault("$.a", "type", "is wrong")) == "$.a is wrong"


# Schemas that would hold up everybody


def doubled(step, depth: int = 40) -> dict:
    """A schema of some kilobytes: each level refers twice to the next."""
    levels = {f"a{n}": step({"$ref": f"#/$defs/a{n + 1}"}) for n in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**levels, f"a{depth}": {"type": "object"}}}


@pytest.mark.parametrize(
    "step",
    [
        lambda ref: {"allOf": [ref, ref]},
        lambda ref: {"anyOf": [{"not": ref}, {"if": ref}]},
        lambda ref: {"then": {"$dynamicRef": ref["$ref"]}, "dependentSchemas": {"a": ref}},
        lambda ref: {"properties": {"a": ref}, "patternProperties": {"a": ref}},
        lambda ref: {"items": ref, "contains": ref},
        lambda ref: {"id": "http://other/", "allOf": [ref, {"$id": "x:y", "$ref": ref["$ref"].replace("a", "%61")}]},
    ],
)
def test_a_schema_that_grows_without_bounds_is_refused_before_it_is_compiled(step, monkeypatch) -> None:
    import jsonschema_rs

    unbound = JsonFormat()
    monkeypatch.setattr(jsonschema_rs, "validator_for", lambda *a, **b: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match="more than 100,000 parts"):
        unbound.bind(asks(doubled(step)))


def test_references_by_anchor_and_through_lists_are_followed() -> None:
    levels = [{"$anchor": f"a{n}", "allOf": [{"$ref": f"#a{n + 1}"}, {"$ref": f"#/anyOf/{n + 1}"}]} for n in range(30)]
    with pytest.raises(ConfigError, match="parts"):
        JsonFormat({"anyOf": [*levels, {"$anchor": "a30"}]})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}},
        {"properties": {"x": {"allOf": [{"$ref": "#/properties/x"}]}}},
    ],
)
def test_a_reference_to_itself_for_the_same_value_is_refused(schema: dict) -> None:
    with pytest.raises(ConfigError, match="leads back to itself"):
        JsonFormat(schema)


def test_a_schema_deeper_than_the_stack_is_refused() -> None:
    with pytest.raises(ConfigError, match="too deep"):
        JsonFormat(doubled(lambda ref: ref, 5000))


def test_recursion_below_properties_and_items_is_allowed() -> None:
    types = {
        f"t{n}": {"properties": {f"p{m}": {"$ref": f"#/$defs/t{m}"} for m in range(30)}, "required": [f"p{n}"]}
        for n in range(30)
    }
    guard = JsonFormat({"$defs": types, "items": {"anyOf": [{"$ref": f"#/$defs/t{n}"} for n in range(30)]}})
    assert guard.scan('[{"p1": {"p1": 1}}]').score == 0.0
    assert guard.scan("[{}]").score == 1.0
    tree = JsonFormat({"properties": {"next": {"$ref": "#"}, "all": {"items": {"$ref": "#"}}}, "required": ["n"]})
    assert tree.scan('{"n": 1, "next": {"n": 2, "all": [{"n": 3}]}}').score == 0.0


@pytest.mark.parametrize("ref", ["http://[", "#/a/b", "#/$defs/0/x", "#nowhere"])
def test_a_reference_to_nothing_is_the_clients_mistake(ref: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        JsonFormat({"$ref": ref, "$defs": []})
