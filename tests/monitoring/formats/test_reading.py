"""What is read of requests and replies, as whose words, and how changed words go back."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types
import openai.types
import openai.types.responses
import pytest

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message
from trivet.monitoring.gateway.formats.chat import CHAT
from trivet.monitoring.gateway.formats.completions import COMPLETIONS
from trivet.monitoring.gateway.formats.embeddings import EMBEDDINGS
from trivet.monitoring.gateway.formats.messages import MESSAGES
from trivet.monitoring.gateway.formats.moderations import CATEGORIES, MODERATIONS
from trivet.monitoring.gateway.formats.responses import RESPONSES
from trivet.monitoring.gateway.formats.shape import Ask, Format
from trivet.monitoring.gateway.wire import Refused, filtered


def texts(ask: Ask) -> list[tuple[str, str, str]]:
    return [(piece.origin, piece.field, piece.text) for piece in ask.pieces]


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


def refused(format: Format, body: dict[str, Any], **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        format.read(body, **options)
    assert caught.value.status == 400
    return caught.value


# Chat completions


def test_chat_is_read_in_order() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ask = CHAT.read(
        chat(
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "result"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}, "refusal": "no"},
            {"role": "user", "content": ""},
            documents=["one", {"title": "two", "id": "three", "nested": {"text": "four"}}],
            prediction={"type": "content", "content": "guess"},
            response_format={"type": "json_object"},
            tools=[{"type": "function"}],
            stream=True,
            user="ada",
            safety_identifier="id",
            strange=[1],
        )
    )
    assert texts(ask) == [
        ("document", "content", "one"),
        ("document", "content", "two"),
        ("document", "content", "three"),
        ("document", "content", "four"),
        ("assistant", "content", "guess"),
        ("system", "content", "be kind"),
        ("user", "content", "hi"),
        ("assistant", "reasoning", "hm"),
        ("assistant", "arguments", '{"a": 1}'),
        ("tool", "content", "result"),
        ("assistant", "refusal", "no"),
        ("assistant", "arguments", "{}"),
    ]
    assert (ask.stream, ask.user, ask.body["strange"]) == (True, "id", [1])
    assert ask.request["response_format"] == {"type": "json_object"} and ask.request["tools"]
    assert [piece.role for piece in ask.pieces][:1] == ["tool"]


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video_url", "unheard_of"])
def test_what_cannot_be_read_is_refused(kind: str) -> None:
    body = chat(
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": kind, kind: {"url": "data:x"}}]}
    )
    refusal = refused(CHAT, body)
    assert kind in str(refusal) and refusal.body["error"]["param"] == "messages"
    assert texts(CHAT.read(body, unchecked=True)) == [("user", "content", "look")]


def test_pictures_hide_nowhere() -> None:
    assert refused(CHAT, chat({"role": "user", "content": "x"}, modalities=["text", "audio"]))
    assert refused(CHAT, chat({"role": "user", "content": "x"}, documents=[{"a": [{"type": "image", "data": "x"}]}]))
    document = {"type": "document", "source": {"type": "base64", "data": "x"}}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [document]}]}
    assert refused(MESSAGES, body)
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {}}]}
    assert refused(MESSAGES, {**body, "messages": [{"role": "user", "content": [result]}]})
    output = {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot"}}
    assert refused(RESPONSES, {"model": "m", "input": [output]})
    assert refused(RESPONSES, {"model": "m", "input": "x", "tools": [{"type": "image_generation"}]})
    assert refused(RESPONSES, {"model": "m", "input": "x", "background": True})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"seed": 1 << 70}, "seed"),
        ({"stop": 3}, "stop"),
        ({"prediction": {"content": 3}}, "prediction"),
    ],
)
def test_a_mistake_names_its_field(fields: dict[str, Any], param: str) -> None:
    refusal = refused(CHAT, {**chat({"role": "user", "content": "x"}), **fields})
    assert refusal.body["error"]["param"] == param


def test_a_missing_field_is_named() -> None:
    assert refused(CHAT, {"messages": [{"role": "user", "content": "x"}]}).body["error"]["param"] == "model"


# Words split over content parts


def parts(*texts: str, role: str = "user") -> dict[str, Any]:
    return chat(
        {"role": role, "content": [{"type": "text", "text": text, "x": number} for number, text in enumerate(texts)]}
    )


def masked(body: dict[str, Any], *pairs: tuple[str, str]) -> list[str]:
    """The parts after a policy that replaces these words wherever it reads them."""
    ask = CHAT.read(body)

    def look(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    checked = Conversation(tuple(Message(message.role, look(message.content)) for message in ask.conversation()))
    new = CHAT.rewritten(body, ask.changes(checked))
    return [part["text"] for part in new["messages"][0]["content"]]


def test_parts_are_read_joined_and_as_lines() -> None:
    assert [text for _, _, text in texts(CHAT.read(parts("brew the poi", "son")))] == [
        "brew the poi\nson",
        "brew the poison",
    ]
    assert [text for _, _, text in texts(CHAT.read(parts("a", "b", role="tool")))] == ["a\nb"]
    assert [text for _, _, text in texts(CHAT.read(parts("", "b")))] == ["b"]


def test_masks_go_back_into_their_parts() -> None:
    assert masked(parts("I am Ann", "call 555\nor Bob"), ("Ann", "<A>"), ("Bob", "<B>")) == [
        "I am <A>",
        "call 555\nor <B>",
    ]
    assert masked(parts("plain", "plain"), ("Ann", "<A>")) == ["plain", "plain"]
    assert masked(parts("only one Ann", ""), ("Ann", "<A>")) == ["only one <A>", ""]


def test_a_mask_across_parts_makes_them_one() -> None:
    assert masked(parts("I am A", "nn."), ("Ann", "<A>")) == ["I am <A>."]


def test_masks_that_cannot_be_reconciled_are_refused() -> None:
    with pytest.raises(Refused, match="border of two content parts"):
        masked(parts("Bob is A", "nn"), ("Bob", "<B>"), ("Ann", "<A>"))


def test_results_of_tools_may_be_rewritten_whole() -> None:
    body = parts("one", "two", role="tool")
    (piece,) = CHAT.read(body).pieces
    new = CHAT.rewritten(body, {piece.path: "[[one two]]"})
    assert new["messages"][0]["content"] == [{"type": "text", "text": "[[one two]]", "x": 0}]


def test_nothing_else_is_touched_or_copied() -> None:
    other = {"role": "user", "content": "keep"}
    body = chat({"role": "user", "content": "hide"}, other, extra={"a": [1]})
    new = CHAT.rewritten(body, {("messages", 0, "content"): "***"})
    assert new["messages"][0] == {"role": "user", "content": "***"} and body["messages"][0]["content"] == "hide"
    assert new["messages"][1] is other and new["extra"] is body["extra"]


# Completions and embeddings


def test_completions_and_embeddings() -> None:
    ask = COMPLETIONS.read({"model": "m", "prompt": ["a", "b"], "suffix": "c"})
    assert texts(ask) == [("user", "content", "c"), ("user", "content", "a"), ("user", "content", "b")]
    assert texts(EMBEDDINGS.read({"model": "m", "input": ["a", "b"]}))[1] == ("user", "content", "b")
    assert EMBEDDINGS.rewritten({"model": "m", "input": ["a", "b"]}, {("input", 1): "x"})["input"] == ["a", "x"]
    for format, name in ((COMPLETIONS, "prompt"), (EMBEDDINGS, "input")):
        for tokens in ([1, 2], [[1], [2]]):
            refusal = refused(format, {"model": "m", name: tokens})
            assert refusal.body["error"]["param"] == name and "Tokens" in str(refusal)


# Responses


def test_responses_are_read() -> None:
    items = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "two"}]},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "three"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "four"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "five"}]},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "six", "stderr": "seven"}]},
        {"type": "item_reference", "id": "x"},
    ]
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    tool = {"type": "function", "name": "f", "parameters": {}}
    body = {"model": "m", "instructions": "zero", "input": items, "text": {"format": schema}, "tools": [tool]}
    ask = RESPONSES.read({**body, "prompt": {"id": "p", "variables": {"who": "eight"}}})
    assert texts(ask) == [
        ("system", "content", "zero"),
        ("user", "content", "eight"),
        ("user", "content", "one"),
        ("system", "content", "two"),
        ("assistant", "reasoning", "three"),
        ("assistant", "arguments", "{}"),
        ("tool", "content", "four"),
        ("tool", "content", "five"),
        ("tool", "content", "six"),
        ("tool", "content", "seven"),
    ]
    assert ask.request["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert ask.request["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert refused(RESPONSES, {"model": "m", "input": [{"content": "x"}]})
    assert refused(RESPONSES, {"model": "m", "input": [{"role": "king", "content": "x"}]})


# Messages


def test_messages_are_read() -> None:
    document = {
        "type": "document",
        "title": "four",
        "source": {"type": "text", "media_type": "text/plain", "data": "five"},
    }
    blocks = [
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}],
        },
        {"type": "tool_result", "tool_use_id": "t", "content": "plain"},
        {"type": "text", "text": "say"},
        document,
    ]
    turn = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "one"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}},
    ]
    body = {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "zero", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "assistant", "content": turn}, {"role": "user", "content": blocks}],
        "metadata": {"user_id": "ada"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    ask = MESSAGES.read(body)
    assert sorted(texts(ask)) == sorted(
        [
            ("system", "content", "zero"),
            ("assistant", "arguments", '{"a":"b"}'),
            ("assistant", "reasoning", "hm"),
            ("assistant", "content", "one"),
            ("tool", "content", "two\nthree"),
            ("tool", "content", "plain"),
            ("document", "content", "four"),
            ("document", "content", "five"),
            ("user", "content", "say"),
        ]
    )
    assert ask.pieces[-1].text == "say"  # the last message is what every guard reads
    assert ask.user == "ada" and ask.request["response_format"]["json_schema"]["schema"] == {"type": "object"}
    arguments = next(piece for piece in ask.pieces if piece.field == "arguments")
    new = MESSAGES.rewritten(body, {arguments.path: '{"a":"***"}'})
    assert new["messages"][0]["content"][3]["input"] == {"a": "***"}


# Replies


def test_all_of_a_reply_is_read() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "b",
        "refusal": None,
        "strange": {"deep": ["c"]},
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"d": 1}'}}
    choices = [
        {
            "index": 0,
            "message": message,
            "logprobs": {"content": [{"token": "a", "logprob": 0}]},
            "finish_reason": "stop",
        },
        {"index": 1, "message": {"role": "assistant", "tool_calls": [call]}, "logprobs": {"content": [{"token": "d"}]}},
    ]
    reply = {"id": "x", "choices": choices, "citations": ["e"], "usage": {"total_tokens": 1}}
    pieces = CHAT.said(reply)
    assert [(piece.choice, piece.field, piece.text) for piece in pieces] == [
        (0, "content", "a"),
        (0, "reasoning", "b"),
        (0, "content", "c"),
        (1, "arguments", '{"d": 1}'),
        (0, "content", "e"),
    ]
    new = CHAT.rewritten_reply(reply, {pieces[0].path: "*"})
    assert new["choices"][0]["logprobs"] is None and new["choices"][1]["logprobs"] and reply["choices"][0]["logprobs"]
    call["function"]["name"] = "how to brew"
    with pytest.raises(TargetError, match="a name that is none"):
        CHAT.said(reply)


@pytest.mark.parametrize(
    "format", [CHAT, COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS], ids=lambda format: format.route
)
@pytest.mark.parametrize(
    "reply",
    [{}, {"choices": 3, "output": {}, "content": "x", "data": 1}, {"choices": [3], "output": [3], "content": [3]}],
)
def test_a_reply_of_another_api(format: Format, reply: dict[str, Any]) -> None:
    with pytest.raises(TargetError):
        format.said(reply)


def test_masked_arguments_stay_json() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"phone": "555-0100", "n": 5550100}}
    reply = {"content": [block], "type": "message"}
    (piece,) = MESSAGES.said(reply)
    new = MESSAGES.rewritten_reply(reply, {piece.path: piece.text.replace("555-0100", "<PHONE_1>")})
    assert new["content"][0]["input"] == {"phone": "<PHONE_1>", "n": 5550100}
    with pytest.raises(TargetError, match="no JSON"):
        MESSAGES.rewritten_reply(reply, {piece.path: piece.text.replace("5550100", "<PHONE_1>")})


def test_what_would_tell_replaced_words_goes_with_them() -> None:
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": [{"token": "a", "logprob": 0}]}
    reply = {"output": [{"type": "message", "content": [part]}]}
    (piece,) = RESPONSES.said(reply)
    assert RESPONSES.rewritten_reply(reply, {piece.path: "*"})["output"][0]["content"][0]["logprobs"] == []
    assert part["logprobs"]
    block = {"type": "text", "text": "a", "citations": [{"type": "char_location", "cited_text": "a"}]}
    changed = MESSAGES.rewritten_reply({"content": [block]}, {("content", 0, "text"): "*"})
    assert changed["content"][0]["citations"] is None


# Errors and blocks, as the SDKs read them


def test_errors_in_each_apis_words() -> None:
    refusal = filtered("input", "list")
    ours = json.loads(CHAT.error(refusal))["error"]
    assert ours["code"] == ours["type"] == "content_filter" and ours["param"] == "input"
    theirs = json.loads(MESSAGES.error(refusal))
    assert theirs["type"] == "error" and theirs["error"]["type"] == "invalid_request_error"
    assert theirs["error"]["code"] == "content_filter"
    kinds = {
        status: json.loads(MESSAGES.error(Refused(status, "x")))["error"]["type"]
        for status in (401, 404, 429, 500, 502)
    }
    assert list(kinds.values()) == [
        "authentication_error",
        "not_found_error",
        "rate_limit_error",
        "api_error",
        "api_error",
    ]
    assert MESSAGES.failure(refusal).startswith(b"event: error\n") and CHAT.failure(refusal).endswith(
        b"data: [DONE]\n\n"
    )
    assert b'"type":"error"' in RESPONSES.failure(refusal)


def test_blocked_replies_are_replies() -> None:
    refusal = filtered("output", "list")
    choices = [{"index": 0, "message": {"role": "assistant", "content": "bad"}, "finish_reason": "stop"}]
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "more": "bad"}
    blocked = CHAT.blocked_reply(reply, refusal)
    assert openai.types.chat.ChatCompletion.model_validate(blocked).choices[0].finish_reason == "content_filter"
    message = {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "bad"}],
    }
    message |= {"usage": {"input_tokens": 1, "output_tokens": 1}, "stop_sequence": None}
    theirs = MESSAGES.blocked_reply(message, refusal)
    assert anthropic.types.Message.model_validate(theirs).stop_reason == "refusal"
    response = RESPONSES.blocked_reply({"id": "x", "output": [{"text": "bad"}], "output_text": "bad"}, refusal)
    assert response["incomplete_details"] == {"reason": "content_filter"}
    text = COMPLETIONS.blocked_reply({"choices": [{"text": "bad"}, {"text": "bad"}]}, refusal)
    assert len(text["choices"]) == 2
    assert "bad" not in json.dumps([blocked, theirs, response, text])


# Moderations


def test_moderations() -> None:
    many = MODERATIONS.read({"input": ["a", "b"], "model": "omni-moderation-latest"})
    assert [piece.text for piece in many.pieces] == ["a", "b"]
    one = MODERATIONS.read({"input": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    assert [piece.text for piece in one.pieces] == ["a\nb"]
    with pytest.raises(Refused, match="image_url"):
        MODERATIONS.read({"input": [{"type": "image_url", "image_url": {"url": "x"}}]})
    with pytest.raises(Refused, match="has no text"):
        MODERATIONS.read({"input": [{"type": "text"}]})
    reply = MODERATIONS.reply("1", "trivet", [{"hate": 0.7, "jailbreak": 0.2}, {}], [True, False])
    first, second = reply["results"]
    assert first["categories"]["hate"] is True and first["categories"]["jailbreak"] is False
    assert first["category_scores"]["hate"] == 0.7 and first["category_scores"]["violence"] is None
    assert (
        first["category_applied_input_types"]["hate"] == ["text"]
        and first["category_applied_input_types"]["violence"] == []
    )
    assert set(second["categories"]) == set(CATEGORIES) and not any(second["categories"].values())
    fields = openai.types.moderation.CategoryScores.model_fields
    assert set(CATEGORIES) == {field.alias or name for name, field in fields.items()}
