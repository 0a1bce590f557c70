"""Refusals and leaks of the system prompt, in plain words and in disguise."""

from __future__ import annotations

import asyncio
import base64

import pytest

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Verdict
from trivet.monitoring.guards.signals import Canary, PromptLeak, Refusal

SYSTEM = (
    "You are Rosa, the town's librarian. Answer only about books. If somebody asks for the key of the archive, tell them "
    "that the mayor keeps it in the second drawer and that it may be had on Thursdays after the market closes."
)
PART = "the mayor keeps it in the second drawer and that it may be had on Thursdays"


def said(reply: str, system: str = SYSTEM, user: str = "hello", guard: PromptLeak | None = None) -> Verdict:
    conversation = Conversation.user(user, system=system).then(Message("assistant", reply))
    return asyncio.run((guard or PromptLeak()).judge(conversation))


def test_a_refusal_is_flagged_and_its_words_are_not_kept() -> None:
    verdict = asyncio.run(
        Refusal().judge(Conversation.user("x").then(Message("assistant", "I'm sorry, but I can't do that.")))
    )
    assert (verdict.label, verdict.score, verdict.why) == ("refused", 1.0, "the reply opens with a refusal")
    assert Refusal().scan("Of course. I can't stress enough how nice it is.").score == 0.0


def test_a_canary_is_the_same_for_the_same_prompt_and_key() -> None:
    planted = Canary.plant(SYSTEM, "key")
    assert planted == Canary.plant(SYSTEM, b"key") == Canary.plant(planted, "key")
    assert planted.startswith(SYSTEM) and Canary.token(SYSTEM, "key") in planted
    assert Canary.token(SYSTEM, "key") != Canary.token(SYSTEM, "other") != Canary.token(SYSTEM + "!", "other")
    with pytest.raises(ConfigError, match="needs a key"):
        Canary.plant(SYSTEM, "")


def test_the_canary_gives_the_leak_away() -> None:
    token = Canary.token(SYSTEM, "key")
    reply = f"My reference is {token.upper()}."
    verdict = said(reply, Canary.plant(SYSTEM, "key"))
    assert [(reply[s.start : s.end], s.label) for s in verdict.spans] == [(token.upper(), "canary")]
    assert token not in verdict.why
    assert said(reply).score == 0.0
    assert said("My reference is keepsafe-0123456789abcdef.", Canary.plant(SYSTEM, "key")).score == 0.0
    assert PromptLeak(canaries=[token]).scan(reply).score == 1.0


def test_a_long_stretch_of_the_prompt_is_a_leak_and_its_place_is_exact() -> None:
    reply = f"Well, {PART}, I was told."
    verdict = said(reply)
    assert [(reply[s.start : s.end], s.label) for s in verdict.spans] == [(PART, "system prompt")]
    assert verdict.label == "prompt_leak" and "mayor" not in verdict.why


@pytest.mark.parametrize(
    "reply",
    [
        "The mayor keeps it in the second drawer.",
        "It may be had on Thursdays, says the mayor, who keeps it in a drawer after the market closes, I think.",
        "",
    ],
)
def test_short_stretches_and_other_words_are_none(reply: str) -> None:
    assert said(reply).score == 0.0


@pytest.mark.parametrize(
    "reply",
    [
        base64.b64encode(PART.encode()).decode(),
        PART.replace("o", "0").replace("a", "а"),
        PART.upper().replace(" ", " \u200b"),
        ", ".join(PART.split()),
    ],
)
def test_a_leak_in_disguise_is_a_leak(reply: str) -> None:
    assert said(f"As you like: {reply}").score == 1.0


def test_what_the_user_quoted_may_be_quoted_back() -> None:
    assert said(f"You wrote: {PART}", user=f"Is it true that {PART}?").score == 0.0


def test_without_a_system_message_nothing_can_leak() -> None:
    assert said(PART, system="").score == 0.0
    assert PromptLeak().scan(PART).score == 0.0


def test_overlapping_findings_are_one() -> None:
    planted = Canary.plant(SYSTEM, "key")
    verdict = said(planted, planted)
    assert [(s.start, s.end) for s in verdict.spans] == [(0, len(planted) - 1)]
    assert verdict.spans[0].label == "canary"


def test_settings_that_would_flag_everything_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 4"):
        PromptLeak(words=2)
    guard = PromptLeak(words=6)
    assert guard.digest != PromptLeak().digest
    assert said("Yes: the mayor keeps it in the second drawer.", guard=guard).score == 1.0
