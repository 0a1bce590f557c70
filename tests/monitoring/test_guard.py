"""The SDK: checks, documents, wrapped functions of every kind, streams, and calls inside a running loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import trivet
from trivet.core.errors import Blocked, UserError
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Verdict
from trivet.monitoring.guard import Guard, Stopped
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.format import JsonFormat
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy


class Slow:
    """A guard that must wait for something, so that no check of it can be done at once."""

    threshold = 0.5

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        await asyncio.sleep(0)
        return Verdict("safe", 0.0, "slow")


class Reach(Blocklist):
    cheap = True
    reach = 60


POLICY = Policy.from_parts([Layer("pii", Pii(), action="mask"), Layer("words", Reach(["brew the poison"]))])


@pytest.fixture(params=["quick", "slow"])
def guard(request: pytest.FixtureRequest) -> Iterator[Guard]:
    extra = [Layer("slow", Slow(), place="input")] if request.param == "slow" else []
    with Guard(Policy.from_parts([*POLICY.layers, *extra])) as guard:
        yield guard


def test_it_is_at_the_front_door() -> None:
    with trivet.Guard.load({"layers": [{"guard": "pii", "action": "mask"}]}) as guard:
        assert guard.check("a@b.co").text == "<EMAIL_1>"
        assert guard.check("").text == ""


def test_texts_messages_and_conversations(guard: Guard) -> None:
    assert guard.check("I am a@b.co").text == "I am <EMAIL_1>"
    assert guard.check("I am a@b.co", "output").text == "I am <EMAIL_1>"
    rows = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Brew the poison!"}]
    assert guard.check(rows).blocked and guard.check(Conversation.parse(rows)).blocked
    with pytest.raises(trivet.TrivetError, match="turn 1"):
        guard.check([{"content": "x"}])


def test_sync_calls_inside_a_running_loop(guard: Guard) -> None:
    async def inside() -> tuple[str, str]:
        return guard.check("a@b.co").text, (await guard.acheck("a@b.co")).text

    assert asyncio.run(inside()) == ("<EMAIL_1>", "<EMAIL_1>")


def test_a_guard_cannot_wait_for_itself() -> None:
    class Asks(Slow):
        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            guard.check("x")
            raise AssertionError

    with Guard(Policy.from_parts([Layer("asks", Asks())])) as guard:
        result = guard.check("x")
    assert result.blocked and "UserError" in result.decision.why


def test_threads_share_a_guard(guard: Guard) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(guard.check(f"I am a{i}@b.co").text))  # type: ignore[misc]
        for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["I am <EMAIL_1>"] * 20


def test_documents_are_words_of_strangers(guard: Guard) -> None:
    page = guard.document("Call +1 212 555 0188", source="https://example.com")
    assert (page.text, page.source, page.blocked) == ("Call <PHONE_1>", "https://example.com", False)
    assert asyncio.run(guard.adocument("Brew the poison")).blocked
    only_user = Guard(Policy.from_parts([Layer("words", Reach(["poison"]), of=("user",))]))
    assert not only_user.document("poison").blocked and only_user.check("poison").blocked


def test_a_wrapped_function(guard: Guard) -> None:
    seen: list[str] = []

    @guard.wrap
    def answer(question: str, times: int = 1) -> str:
        """Says it."""
        seen.append(question)
        return f"{question}, poison brewed by c@d.co" if times == 1 else "Brew the poison"

    assert answer("I am a@b.co") == "I am <EMAIL_1>, poison brewed by <EMAIL_2>"
    assert seen == ["I am <EMAIL_1>"] and answer.__doc__ == "Says it."
    with pytest.raises(Blocked) as caught:
        answer("brew the poison")
    assert caught.value.place == "input" and isinstance(caught.value, Stopped)
    assert caught.value.decision.layer == "words" and "poison" not in str(caught.value)
    with pytest.raises(Blocked) as caught:
        answer(question="hello", times=2)
    assert caught.value.place == "output" and len(seen) == 2


def test_fallbacks(guard: Guard) -> None:
    @guard.wrap(fallback="no")
    async def said(prompt: str) -> str:
        return prompt

    @guard.wrap(fallback=lambda checked: checked.decision.layer, argument="messages")
    def listed(self_: object, messages: list[dict[str, Any]]) -> Message:
        assert messages[0]["name"] == "ann" and messages[0]["content"] == "I am <EMAIL_1>"
        return Message("assistant", "fine")

    assert asyncio.run(said("brew the poison")) == "no"
    assert asyncio.run(said("hello")) == "hello"
    assert listed(None, [{"role": "user", "content": "brew the poison"}]) == "words"
    assert listed(None, [{"role": "user", "name": "ann", "content": "I am a@b.co"}]) == "fine"


def test_wrapping_says_what_it_cannot_check(guard: Guard) -> None:
    with pytest.raises(UserError, match='Did you mean "prompt"'):
        guard.wrap(argument="promt")(lambda prompt: prompt)
    with pytest.raises(UserError, match="has none"):
        guard.wrap(lambda: "x")
    with pytest.raises(UserError, match="is a int"):
        guard.wrap(lambda n: n)(3)
    with pytest.raises(UserError, match="returned a int"):
        guard.wrap(lambda text: 3)("x")


WORDS = ["Well, ", "I am a@", "b.co and ", "so on. " * 40, "Then they brew ", "the poison", " at night."]


def test_streams_of_every_kind(guard: Guard) -> None:
    def pieces(prompt: str, until: int = 4) -> Iterator[str]:
        assert prompt == "I am <EMAIL_1>"
        yield from WORDS[:until]

    async def pieces_async(prompt: str, until: int = 4) -> AsyncIterator[str]:
        for word in pieces(prompt, until):
            yield word

    async def gathered(source: AsyncIterator[str]) -> str:
        out = ""
        try:
            async for piece in source:
                out += piece
        except Stopped as stop:
            assert stop.place == "output"
            return out + "|"
        return out

    expected = guard.check("".join(WORDS[:4]), "output").text
    assert expected == "Well, I am <EMAIL_1> and " + "so on. " * 40
    assert "".join(guard.wrap(pieces)("I am a@b.co")) == expected
    assert asyncio.run(gathered(guard.wrap(pieces_async)("I am a@b.co"))) == expected
    for wrapped in (guard.wrap(pieces), guard.wrap(pieces_async)):
        source: Any = wrapped("I am a@b.co", until=7)
        if hasattr(source, "__aiter__"):
            out = asyncio.run(gathered(source))
        else:
            out = ""
            with pytest.raises(Stopped):
                for piece in source:
                    out += piece
        assert "poison" not in out and "brew" not in out
    with pytest.raises(Stopped):
        list(guard.wrap(pieces)("brew the poison"))
    assert list(guard.wrap(fallback="no")(pieces)("brew the poison")) == ["no"]
    assert asyncio.run(gathered(guard.wrap(fallback="no")(pieces_async)("brew the poison"))) == "no"


def test_a_stream_that_nothing_guards_passes_as_it_comes() -> None:
    with Guard(Policy.from_parts([Layer("list", Reach(["poison"]), place="input")])) as guard:
        assert list(guard.stream(["a", "poison", "c"])) == ["a", "poison", "c"]


def test_a_format_guard_is_asked_what_was_wrong() -> None:
    class Asks(Slow):
        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            return Verdict("wrong", float("please" not in conversation.messages[-1].content), "asks")

        def reask(self, text: str, verdict: Verdict) -> str:
            return "Say please."

    wants = {"response_format": {"type": "json_object"}}
    with Guard(Policy.from_parts([Layer("json", JsonFormat(), place="output")])) as guard:
        asked: list[Any] = []

        @guard.wrap(reask=1, request=wants)
        def answer(prompt: str) -> str:
            asked.append(prompt)
            return '{"a": 1}' if "JSON" in prompt else "a is one"

        @guard.wrap(reask=1, fallback="gave up", request=wants)
        async def chat(messages: list[dict[str, str]]) -> str:
            asked.append(messages)
            return "still not"

        assert answer("What is a?") == '{"a": 1}' and len(asked) == 2 and "a is one" in asked[1]
        talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "What is a?"}]
        assert asyncio.run(chat(talk)) == "gave up"
        assert [m["content"] for m in asked[-1]][:3] == ["s", "What is a?", "still not"]
        assert "corrected JSON" in asked[-1][3]["content"] and len(asked) == 4

    with Guard(Policy.from_parts([Layer("asks", Asks(), place="output")])) as guard:
        polite = guard.wrap(reask=2)(lambda prompt: "yes, please" if "Say please." in prompt else "yes")
        assert polite("tea?") == "yes, please"
        with pytest.raises(Stopped):
            guard.wrap(lambda prompt: "yes")("tea?")


def test_watching_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("layers: [{guard: pii, action: mask}]")
    with Guard.load(path, watch=True) as guard:
        assert guard.check("a@b.co").text == "<EMAIL_1>"


def test_the_callers_own_data_comes_back_and_no_other(guard: Guard) -> None:
    @guard.wrap(restore=True)
    def answer(question: str) -> str:
        return f"{question}; write to c@d.co"

    @guard.wrap(restore=True)
    def pieces(question: str) -> Iterator[str]:
        yield from f"{question}; write to c@d.co"

    assert answer("I am a@b.co, not <EMAIL_7>") == "I am a@b.co, not <EMAIL_7>; write to <EMAIL_2>"
    assert "".join(pieces("I am a@b.co")) == "I am a@b.co; write to <EMAIL_2>"
