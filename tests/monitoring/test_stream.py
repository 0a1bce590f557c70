"""The law of streams: however a text is cut, the same goes out and the same is decided, and nothing covered gets out."""

from __future__ import annotations

import asyncio
import base64
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Decision, Span, Verdict
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.format import JsonFormat
from trivet.monitoring.guards.pii import Pii, Placeholders
from trivet.monitoring.policy import Layer, Policy
from trivet.monitoring.segments import HARD

REACH = 160


class Words(Blocklist):
    """The blocklist with a reach, whatever it says of itself today."""

    cheap = True
    reach = REACH


class Data(Pii):
    cheap = True
    reach = REACH


class Mood:
    """A guard that scores: the share of `grim` among the words, so that every word around changes it."""

    threshold, reach, lookahead, cheap, digest = 0.3, 120, 0, True, "mood"

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        return self.scan(conversation.messages[-1].content)

    def scan(self, text: str) -> Verdict:
        words = text.split()
        return Verdict("grim", words.count("grim") / (len(words) + 3), "mood")


class Greedy:
    """A guard that breaks its promise: what it finds depends on the whole of what it is given."""

    threshold, reach, cheap, digest = 0.5, 40, True, "greedy"

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        return self.scan(conversation.messages[-1].content)

    def scan(self, text: str) -> Verdict:
        at = text.find("n")
        spans = (Span(at, min(len(text), at + 1 + len(text) % 50), "odd"),) if at >= 0 and len(text) % 3 else ()
        return Verdict("odd" if spans else "safe", 1.0 if spans else 0.0, "greedy", spans=spans)


class Cracks(Mood):
    """A guard that raises at some windows."""

    digest = "cracks"

    def scan(self, text: str) -> Verdict:
        if "crash" in text:
            raise RuntimeError("no")
        return Verdict("safe", 0.0, "cracks")


PHRASES = ["brew the black potion", "secret word"]
LIST = Layer("list", Words(PHRASES), "output")
MASKED_LIST = Layer("words", Words(PHRASES), "output", "mask")
PII = Layer("pii", Data(), "both", "mask")
POLICIES: dict[str, list[Layer]] = {
    "list": [LIST],
    "pii": [PII],
    "both": [PII, LIST],
    "other order": [LIST, PII],
    "two masks": [MASKED_LIST, PII],
    "overlap": [PII, Layer("mail", Words(["example com", "email"]), "output", "mask")],
    "mood": [Layer("mood", Mood(), "output")],
    "all": [PII, LIST, Layer("mood", Mood(), "output"), Layer("note", Mood(), "output", "flag", threshold=0.1)],
    "shadow": [Layer("was", Words(PHRASES), mode="shadow"), PII, Layer("watch", Mood(), "output", "review")],
    "cracks closed": [PII, Layer("cracks", Cracks(), "output")],
    "cracks open": [Layer("cracks", Cracks(), "output", failure="open"), PII],
    "json": [PII, Layer("json", JsonFormat(), "output")],
    "only watched": [Layer("note", Words(PHRASES), "output", "flag")],
    "none": [],
}
ASKS = {"response_format": {"type": "json_object"}}

HITS = ["brew the black potion", "Secret Word", "ann@example.com", "+44 20 7946 0958", "4111 1111 1111 1111"]


def _disguised(text: str) -> list[str]:
    return [
        "\u200b".join(text),
        text.replace("o", "0").replace("e", "3"),
        text.replace("e", "\u0435").replace("o", "\u043e"),
        base64.b64encode(text.encode()).decode(),
        " ".join(text),
        text.replace(" ", "\n"),
        text.upper(),
    ]


PIECES = [
    *HITS,
    *(form for hit in HITS for form in _disguised(hit)),
    *("a word here and there", "This is a sentence.", "Yes!", "\n\n", " ", "grim", "grim grim grim", "crash"),
    *(
        "漢字かな交じり文。",
        "x" * 70,
        "é",
        "<EMAIL_1>",
        '{"a": 1}',
        "no, not so quick; 12",
        "ann@",
        ".com",
        "\u200b",
        "9",
    ),
]
TEXTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=8), st.sampled_from(["lorem ipsum dolor sit amet "] * 3)),
    max_size=40,
).map(lambda parts: " ".join(parts))


class Result(tuple[str, str, str, tuple[Any, ...], str]):
    """What must not depend on the cutting: what went out, the action, the layer, what was masked, and what was noted."""


def _masks(decision: Decision) -> tuple[Any, ...]:
    return tuple(
        (v.judge, v.spans) for v in decision.verdicts if v.spans and v.judge in ("pii", "words", "mail", "greedy")
    )


async def _streamed(policy: Policy, parts: list[str], request: Any = None) -> tuple[Result, Decision]:
    stream = policy.stream(conversation=Conversation.user("hello"), names=Placeholders(), request=request)
    out = []
    for part in parts:
        step = await stream.feed(part)
        out.append(step.release)
        assert step.release == "" or part or stream.passthrough
        if step.stopped:
            break
    last = await stream.finish()
    out.append(last.release)
    decision = stream.decision
    assert decision is not None and last.stopped == (decision.action == "block") == stream.stopped
    assert stream.text == "".join(out)
    assert await stream.feed("more") == ("", stream.stopped)
    return Result((stream.text, decision.action, decision.layer, _masks(decision), decision.would)), decision


async def _whole(policy: Policy, text: str, request: Any = None) -> tuple[str, Decision]:
    talk = Conversation((Message("user", "hello"), Message("assistant", text)))
    checked = await policy.acheck(talk, "output", names=Placeholders(), request=request)
    return checked.text, checked.decision


def _cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=TEXTS, places=st.lists(st.integers(0, 5000), max_size=40))
def test_streamed_is_whole_for_every_cutting(name: str, text: str, places: list[int]) -> None:
    policy = Policy.from_parts(POLICIES[name])
    request = ASKS if name == "json" else None

    async def all_ways() -> None:
        said, decision = await _whole(policy, text, request)
        cut, cut_decision = await _streamed(policy, _cut(text, places), request)
        letters, _ = await _streamed(policy, list(text), request)
        assert cut == letters
        assert (decision.action, decision.layer, decision.would) == (cut[1], cut[2], cut[4])
        assert _masks(decision) == cut[3]
        if decision.action != "block":
            assert cut[0] == said
            assert cut_decision.review == decision.review
        elif name == "list":
            first = min(span.start for span in (cut_decision.deciding or decision.verdicts[0]).spans)
            assert text.startswith(cut[0]) and len(cut[0]) <= first
        if name in ("pii", "both", "other order", "all"):
            assert "ann@example.com" not in cut[0] and "4111 1111" not in cut[0]
        if name in ("list", "both", "other order", "all", "two masks"):
            assert PHRASES[0] not in cut[0].lower() and PHRASES[1] not in cut[0].lower()

    asyncio.run(all_ways())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=TEXTS, places=st.lists(st.integers(0, 5000), max_size=40))
def test_a_guard_that_breaks_its_promise_still_does_not_depend_on_the_cutting(text: str, places: list[int]) -> None:
    for action in ("mask", "block"):
        policy = Policy.from_parts([Layer("greedy", Greedy(), "output", action), PII])  # type: ignore[arg-type]

        async def both_ways(policy: Policy = policy) -> None:
            assert (await _streamed(policy, _cut(text, places)))[0] == (await _streamed(policy, list(text)))[0]

        asyncio.run(both_ways())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    run=st.integers(HARD - 300, 3 * HARD),
    letter=st.sampled_from(["x", "A", "漢", "\u200b", "9"]),
    tail=st.sampled_from(HITS),
    places=st.lists(st.integers(0, 10000), max_size=60),
)
@example(run=HARD, letter="x", tail=HITS[0], places=[])
def test_runs_without_a_break(run: int, letter: str, tail: str, places: list[int]) -> None:
    text = f"so {letter * run} {tail} {letter * run} and {tail}."
    policy = Policy.from_parts([MASKED_LIST, PII])

    async def all_ways() -> None:
        said, _ = await _whole(policy, text)
        (cut, *_), _ = await _streamed(policy, _cut(text, places))
        (fine, *_), _ = await _streamed(policy, [text[i : i + 7] for i in range(0, len(text), 7)])
        assert cut == fine == said
        assert tail not in said

    asyncio.run(all_ways())
