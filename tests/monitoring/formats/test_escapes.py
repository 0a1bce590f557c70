"""Arguments as guards see them, and back as JSON of the same meaning."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.dialects import DIALECTS
from formats.stand_in import run
from trivet.monitoring.gateway.formats.chat import CHAT
from trivet.monitoring.gateway.formats.escapes import Unescaping, escaped, unescaped
from trivet.monitoring.gateway.formats.messages import MESSAGES
from trivet.monitoring.gateway.formats.responses import RESPONSES

VALUES: Any = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["\n", '"', "\\", "\\n", "é", "😀", "\x01", "/", "\\u0041"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.lists(st.integers(0, 300), max_size=8))
def test_the_meaning_stays(value: Any, ascii: bool, indent: int | None, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    assert json.loads(escaped(unescaped(text))) == value
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    reader = Unescaping()
    pieces = [reader.feed(text[a:b]) for a, b in pairwise(edges)]
    assert "".join([*pieces, reader.finish()]) == unescaped(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["\\", "u", "00", "d83d", "de00", '"', "n", "x", "\n", "/", "{"]), max_size=12).map(
        "".join
    )
)
def test_what_is_no_json_passes_too(text: str) -> None:
    reader = Unescaping()
    assert "".join([*map(reader.feed, text), reader.finish()]) == unescaped(text)


def test_by_hand() -> None:
    assert unescaped(r'{"a": "bob\u0040x.org"}') == '{"a": "bob@x.org"}'
    assert unescaped('{"a":\n "b\\nc\\/\\ud83d\\ude00\\ud83d"}') == '{"a":  "b\nc/😀\\ud83d"}'
    assert unescaped(r'"\u0022\u005c\"\\"') == r'"\u0022\u005c\"\\"'
    assert escaped("a\nb\x00") == "a\\nb\\u0000"


@pytest.mark.parametrize(
    ("name", "slot"), [("chat", (0, "tool0")), ("messages", (0, "tool")), ("responses", (0, "call"))]
)
def test_words_behind_escapes_are_found_in_streams(name: str, slot: Any) -> None:
    dialect = DIALECTS[name]
    text = r'{"a": "the \u0073ecr\u0065t", "b": "two\nlines \u00e9"}'
    script = [(slot, text[at : at + 3]) for at in range(0, len(text), 3)]
    ran = run(dialect.format, b"".join(dialect.serve(script)), [40, 400])
    assert json.loads(dialect.read(ran.raw).texts[slot]) == {"a": "the <S>", "b": "two\nlines é"}
    assert run(dialect.format, raw := b"".join(dialect.serve(script)), [], open=True).raw == raw
    blocked = run(dialect.format, b"".join(dialect.serve([(slot, r'{"a": "p\u006fison"}')])), [])
    assert blocked.told.blocked and "ison" not in dialect.read(blocked.raw).texts[slot]


def test_words_behind_escapes_are_found_in_whole_replies() -> None:
    text = r'{"a": "the \u0073ecret\n"}'
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    chat = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}
    response = {"output": [{"type": "function_call", "name": "f", "arguments": text}]}
    message = {"content": [{"type": "tool_use", "name": "f", "input": {"a": "the secret\n"}}]}
    formats: list[tuple[Any, Any]] = [(CHAT, chat), (RESPONSES, response), (MESSAGES, message)]
    for format, reply in formats:
        (piece,) = format.said(reply)
        assert "the secret\n" in piece.text
        new = json.dumps(format.rewritten_reply(reply, {piece.path: piece.text.replace("secret", "<S>")}))
        assert "the <S>" in new and "secret" not in new
        found = new.partition("the <S>")[2]
        assert found.startswith(("\\\\n", "\\n"))
