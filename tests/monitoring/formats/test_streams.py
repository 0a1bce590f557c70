"""The law of every stream: cut anywhere, what a client reads is what was released, and nothing else leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats.dialects import DIALECTS, chat_client, chat_server
from formats.stand_in import Script, Slot, expected, run, sse
from trivet.core.errors import Blocked, TargetError
from trivet.monitoring.gateway.formats.escapes import escaped, unescaped

DELTAS = st.sampled_from(
    [
        "se",
        "cret",
        "secret",
        "poi",
        "son",
        "poison",
        "s",
        "ec",
        "p",
        "x",
        " ",
        "é",
        "😀",
        "\n",
        '"',
        "\\",
        "{",
        "data: ",
        "\u2028",
    ]
)
CUTS = st.lists(st.integers(0, 1 << 20), max_size=30)


def scripts(slots: tuple[Slot, ...]) -> st.SearchStrategy[Script]:
    return st.lists(st.tuples(st.sampled_from(slots), DELTAS), max_size=25)


def after(slot: Slot, text: str) -> str:
    """What may leave of a text in the end; arguments are JSON and guarded as what they mean."""
    return escaped(expected(unescaped(text))) if slot[1].startswith(("tool", "call")) else expected(text)


def texts_of(script: Script) -> dict[Slot, str]:
    texts: dict[Slot, str] = {}
    for slot, text in script:
        texts[slot] = texts.get(slot, "") + text
    return texts


def numbered(script: Script) -> Script:
    """Items and blocks are numbered without gaps."""
    order = {index: number for number, index in enumerate(sorted({slot[0] for slot, _ in script}))}
    return [((order[slot[0]], slot[1]), text) for slot, text in script]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("mode", ["held back", "held whole", "open"])
def test_any_stream_cut_anywhere(name: str, mode: str) -> None:
    dialect = DIALECTS[name]

    @settings(max_examples=120, deadline=None, derandomize=True)
    @given(scripts(dialect.slots), CUTS)
    def law(script: Script, cuts: list[int]) -> None:
        script = numbered(script)
        raw = b"".join(dialect.serve(script))
        choices = len({slot[0] for slot, _ in script}) or 1
        ran = run(dialect.format, raw, cuts, n=choices, whole=mode == "held whole", open=mode == "open")
        seen, texts = dialect.read(ran.raw), texts_of(script)
        assert ran.closings == 1 and ran.told.ended and seen.done
        if mode == "open":
            assert {slot: text for slot, text in seen.texts.items() if text} == {s: t for s, t in texts.items() if t}
            assert ran.raw == raw  # nothing was touched
        elif not any("poison" in text for text in texts.values()):
            assert {slot: text for slot, text in seen.texts.items() if text} == {
                slot: after(slot, text) for slot, text in texts.items() if after(slot, text)
            }
            assert not seen.errors and ran.told.blocked is None
        else:
            assert ran.told.blocked is not None and ran.told.finish == "content_filter"
            for slot, text in seen.texts.items():
                assert after(slot, texts.get(slot, "")).startswith(text)
        if mode != "open":
            assert not any("secret" in text or "poison" in text for text in seen.texts.values())
        assert sorted(text for text in seen.texts.values() if text) == sorted(
            slot.stream.text for slot in ran.told.slots if slot.stream.text
        )
        said = sorted("".join(slot.said) for slot in ran.told.slots if slot.said)
        if ran.told.blocked is None:
            assert said == sorted(text for text in texts.values() if text)

    law()


@pytest.mark.parametrize("name", DIALECTS)
def test_byte_by_byte_is_as_whole(name: str) -> None:
    dialect = DIALECTS[name]
    raw = b"".join(dialect.serve([(slot, text) for slot in dialect.slots for text in ("a sec", "ret é", " end")]))
    once = run(dialect.format, raw, [], n=2)
    assert run(dialect.format, raw, list(range(len(raw))), n=2).raw == once.raw
    assert dialect.read(once.raw).texts[dialect.slots[0]] == "a <S> é end"


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("ending", [b"\r\n", b"\r"])
def test_other_line_endings_and_comments(name: str, ending: bytes) -> None:
    dialect = DIALECTS[name]
    raw = b": hello\n\n" + b"".join(dialect.serve([(dialect.slots[0], "the secret")])).replace(
        b"\n\n", b"\n\n: wait\n\n"
    )
    ran = run(dialect.format, raw.replace(b"\n", ending), [5, 17, 90])
    assert dialect.read(ran.raw).texts[dialect.slots[0]] == "the <S>"
    assert b"wait" not in ran.raw and ran.raw.startswith(b": keep-alive\n\n")


@pytest.mark.parametrize("name", DIALECTS)
def test_the_end_waits_for_the_record(name: str) -> None:
    dialect = DIALECTS[name]
    raw = b"".join(dialect.serve([(dialect.slots[0], "fine")]))
    ran = run(dialect.format, raw, [])
    early = dialect.read(ran.raw[: len(ran.raw) - len(ran.late)])
    assert not early.done and early.final is None and early.texts[dialect.slots[0]] == "fine"
    if name in ("chat", "messages", "responses"):
        assert ran.told.usage and 5 in ran.told.usage.values()
    assert ran.told.said(0, ran.told.slots[0].field) == ran.told.released(0, ran.told.slots[0].field) == "fine"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_block_ends_the_stream_in_the_apis_own_way(name: str) -> None:
    dialect = DIALECTS[name]
    last = dialect.slots[-1]
    script = numbered([(dialect.slots[0], "fine "), (last, "one poi"), (last, "son two")])
    ran = run(dialect.format, b"".join(dialect.serve(script)), [], n=2)
    seen = dialect.read(ran.raw)
    assert b"son" not in ran.late.replace(b"reason", b"") and b"two" not in ran.raw and seen.done
    assert ran.told.blocked and ran.told.blocked.stream.decision.layer == "list"
    if name in ("chat", "completions"):
        assert set(seen.ended.values()) == {"content_filter"}
        assert [error["code"] for error in seen.errors] == ["content_filter"]
    elif name == "messages":
        assert seen.ended == {0: "refusal"} and not seen.errors
    else:
        assert seen.errors == [{"reason": "content_filter"}] and seen.final["status"] == "incomplete"
        assert [item["type"] for item in seen.final["output"]] == ["reasoning", "message"]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stream_that_breaks_off(name: str) -> None:
    dialect = DIALECTS[name]
    raw = b"".join(list(dialect.serve([(dialect.slots[0], "half")]))[:-3])
    with pytest.raises(TargetError, match="in the middle"):
        run(dialect.format, raw, [])


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "rubbish", ["{", "[]", "3", '"x"', "null", "", '{"type": 4}', '{"choices": 3}', '{"choices": [[]]}']
)
def test_rubbish(name: str, rubbish: str) -> None:
    with pytest.raises(TargetError):
        run(DIALECTS[name].format, sse(rubbish), [])


@pytest.mark.parametrize("name", DIALECTS)
def test_an_error_of_the_server(name: str) -> None:
    dialect = DIALECTS[name]
    begun = next(iter(dialect.serve([(dialect.slots[0], "x")])))
    error = {"type": "error", "error": {"message": "out of memory", "type": "server_error"}, "message": "out of memory"}
    with pytest.raises(TargetError, match="out of memory"):
        run(dialect.format, begun + sse(error, "error"), [])
    blocked = {
        "type": "error",
        "code": "content_filter",
        "message": "no",
        "error": {"code": "content_filter", "message": "no"},
    }
    with pytest.raises(Blocked):
        run(dialect.format, begun + sse(blocked, "error"), [])


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "a secret", "x", "text", "stop"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "delta", "index", "content", "tool_calls", "function", "arguments", "name", "finish_reason", "logprobs", "type", "response", "output", "item", "output_index", "content_index", "part", "text", "content_block", "message", "usage", "error", "id"]),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_no_server_can_make_it_crash_or_leak(name: str) -> None:
    """Events changed at random: an end in order or a TargetError, and never the secret."""
    dialect = DIALECTS[name]
    frames = list(dialect.serve([(slot, text) for slot in dialect.slots for text in ("a ", "b")]))
    keys = (
        "choices",
        "delta",
        "index",
        "type",
        "response",
        "item",
        "part",
        "content_block",
        "message",
        "output_index",
        "usage",
        "x",
    )

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(0, len(frames) - 2), st.sampled_from(keys), ANY, st.booleans())
    def law(at: int, key: str, value: Any, insert: bool) -> None:
        data = json.loads(frames[at].split(b"data: ", 1)[1])
        changed = sse({**data, key: value}, data.get("type", ""))
        raw = b"".join((*frames[:at], changed, *frames[at if insert else at + 1 :]))
        try:
            ran = run(dialect.format, raw, [], n=2)
        except TargetError:
            return
        assert b"secret" not in ran.raw

    law()


# What is special in one API


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(DELTAS, max_size=15), CUTS, st.booleans())
def test_logprobs_leave_only_with_their_text(deltas: list[str], cuts: list[int], whole: bool) -> None:
    script: Script = [((0, "content"), delta) for delta in deltas]
    ran = run(DIALECTS["chat"].format, b"".join(chat_server(script, logprobs=True)), cuts, whole=whole)
    seen, text = chat_client(ran.raw), "".join(deltas)
    if "secret" not in text and "poison" not in text:
        assert seen.tokens[0, "content"] == text
    assert "secret" not in seen.tokens[0, "content"] and "poison" not in seen.tokens[0, "content"]


def test_unknown_strings_are_guarded_and_unknown_structures_left_out() -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return sse(
            {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "why": "secret"}], "notes": ["secret"]}
        )

    deltas = [{"thoughts": "a sec"}, {"thoughts": "ret"}, {"details": [{"text": "secret"}], "content": "x"}]
    raw = b"".join([*map(chunk, deltas), chunk({}, "stop"), sse("[DONE]")])
    ran = run(DIALECTS["chat"].format, raw, [])
    assert b"secret" not in ran.raw and b'"a <S>"' in ran.raw.replace(b'{"thoughts":"a "}', b'"a <S>"')
    assert ran.told.said() == "a secretx"
    assert run(DIALECTS["chat"].format, raw, [], open=True).raw == raw


def test_a_server_that_leaves_the_end_away() -> None:
    script: Script = [((0, "content"), "done")]
    frames = list(chat_server(script))
    assert chat_client(run(DIALECTS["chat"].format, b"".join(frames[:-1]), []).raw).done
    no_finish = b"".join((*frames[:2], frames[-1]))
    seen = chat_client(run(DIALECTS["chat"].format, no_finish, [], whole=True).raw)
    assert seen.texts[0, "content"] == "done" and seen.done


def test_words_after_the_end() -> None:
    frames = list(chat_server([((0, "content"), "done")]))
    with pytest.raises(TargetError, match="had ended"):
        run(DIALECTS["chat"].format, b"".join((*frames[:-1], frames[1], frames[-1])), [])
