"""The scripted model and batches of replies."""

from __future__ import annotations

import asyncio

import pytest

from trivet.core.errors import TargetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models import batch
from trivet.core.models.batch import reply_all
from trivet.core.models.scripted import Scripted

A, B = Conversation.user("a"), Conversation.user("b")


def said(model: Scripted, *conversations: Conversation) -> list[str]:
    async def all_of_them() -> list[str]:
        return [(await model.reply(conversation)).content for conversation in conversations]

    return asyncio.run(all_of_them())


def test_scripts() -> None:
    assert said(Scripted("x"), A, B) == ["x", "x"]
    assert said(Scripted({"a": "1"}, "2"), A, B) == ["1", "2"]
    assert said(Scripted(["1", "2"], "rest"), A, A, A) == ["1", "2", "rest"]
    assert said(Scripted(lambda conversation: conversation.last_user * 2), A, B) == ["aa", "bb"]
    assert said(Scripted(default="d"), A) == ["d"]


def test_what_was_seen() -> None:
    model = Scripted("x", delay=0.0001)
    said(model, A, B)
    assert model.seen == [A, B]


def test_misbehaviour() -> None:
    with pytest.raises(TargetError, match="the script of bob has no reply to 'a'"):
        said(Scripted(name="bob"), A)
    with pytest.raises(TargetError, match="down"):
        said(Scripted(["1", TargetError("down")]), A, A)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(Scripted("x", hang=True).reply(A), 0.01))


def test_stream_is_the_reply() -> None:
    async def pieces() -> list[str]:
        return [piece async for piece in Scripted("one  two three").stream(A)]

    found = asyncio.run(pieces())
    assert "".join(found) == "one  two three" and len(found) == 4


def many(count: int) -> list[Conversation]:
    return [Conversation.user(str(number)) for number in range(count)]


def test_replies_are_in_order_and_failures_in_their_place() -> None:
    broken = TargetError("no 7")
    model = Scripted(lambda conversation: broken if conversation.last_user == "7" else conversation.last_user)
    found = asyncio.run(reply_all(model, many(50), concurrency=4))
    assert found[7] is broken
    assert [message.content for message in found if isinstance(message, Message)] == [
        str(n) for n in range(50) if n != 7
    ]
    assert asyncio.run(reply_all(model, [])) == []


def test_concurrency_is_kept() -> None:
    class Counting:
        running = most = 0

        async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0)
            self.running -= 1
            return Message("assistant", "")

    model = Counting()
    asyncio.run(reply_all(model, many(20), concurrency=3))
    assert model.most == 3


def test_other_exceptions_end_the_whole() -> None:
    model = Scripted(
        lambda conversation: ZeroDivisionError("a bug") if conversation.last_user == "3" else "x", delay=1e-6
    )
    with pytest.raises(ZeroDivisionError):
        asyncio.run(reply_all(model, many(100), concurrency=2))
    assert len(model.seen) < 10


class Batching:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
        raise AssertionError("replies should have been used")

    def replies(self, conversations: list[Conversation], sampling: Sampling) -> list[Message]:
        self.sizes.append(len(conversations))
        if conversations[0].last_user == "4":
            raise TargetError("out of memory")
        return [Message("assistant", f"{c.last_user}@{sampling.temperature}") for c in conversations]


class AsyncBatching(Batching):
    async def replies(self, conversations: list[Conversation], sampling: Sampling) -> list[Message]:  # type: ignore[override]
        return super().replies(conversations, sampling)


@pytest.mark.parametrize("kind", [Batching, AsyncBatching])
def test_a_model_that_batches_gets_slices(kind: type[Batching], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "SLICE", 4)
    model = kind()
    found = asyncio.run(reply_all(model, many(10), Sampling(temperature=0.5)))
    assert model.sizes == [4, 4, 2, 1, 1, 2, 2]  # halves find the one that cannot be answered
    texts = [message.content if isinstance(message, Message) else str(message) for message in found]
    assert texts == [*(f"{n}@0.5" for n in range(4)), "out of memory", *(f"{n}@0.5" for n in range(5, 10))]
