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
from trivet.monitoring.guards.judge import LlmJudge
from trivet.monitoring.guards.pii import Pii, Placeholders
from trivet.monitoring.guards.secrets import Secrets
from trivet.monitoring.policy import Layer, Policy
from trivet.monitoring.policyfile import GUARDS
from trivet.monitoring.segments import HARD

REACH = 160


class Words(Blocklist):
    """The list as a stream can use it."""

    def __init__(self, phrases: list[str]) -> None:
        super().__init__(phrases, encodings=False)
        self.reach = REACH


LINES = "\n".join(base64.b64encode(bytes([n] * 48)).decode() for n in range(30))
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{LINES}\n-----END RSA PRIVATE KEY-----"


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
PII = Layer("pii", Pii(), "both", "mask")
POLICIES: dict[str, list[Layer]] = {
    "list": [LIST],
    "pii": [PII],
    "both": [PII, LIST],
    "other order": [LIST, PII],
    "two masks": [MASKED_LIST, PII],
    "keys": [Layer("secrets", Secrets(), "output", "mask"), PII, LIST],
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
    *(KEY[:1400], KEY[:200], LINES[:300], "-----END RSA PRIVATE KEY-----"),
    *("You worthless idiot, everybody hates you.", "I'm sorry, but I can't help with that.", "```python\ndef (:\n```"),
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


SHIPPED: dict[str, dict[str, Any]] = {
    "blocklist": {"phrases": PHRASES, "encodings": False},
    "classifier": {"head": "unsafe"},
    "pii": {},
    "secrets": {},
    "similarity": {"texts": PHRASES},
    "documents": {},
    "cascade": {"task": "toxic"},
    "format": {},
    "judge": {},
    "prompt_leak": {"canaries": ["Secret Word", "brew the black"]},
    "refusal": {},
    "syntax": {},
}
"""Guards of ours by the word in a policy file, with settings under which they find some of what TEXTS holds."""


class Mentions:
    """A model that judges for LlmJudge: unsafe is what mentions a potion."""

    name = "mentions"

    async def reply(self, conversation: Conversation, sampling: object = None) -> Message:
        ask, evidence = conversation.messages[0].content, conversation.messages[-1].content
        code = ask.split("nothing else: ")[1].split(" ")[0]
        return Message("assistant", f"{code} unsafe 90" if "potion" in evidence else f"{code} safe")


def _policy_of(row: dict[str, Any]) -> Policy:
    if row["guard"] == "judge":
        return Policy.from_parts([Layer("judge", LlmJudge(Mentions()), "output", row["action"])])
    return Policy.load({"layers": [row]})


@pytest.mark.parametrize("word", SHIPPED)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(text=TEXTS, places=st.lists(st.integers(0, 5000), max_size=40))
def test_the_law_holds_for_every_guard_of_ours(word: str, text: str, places: list[int]) -> None:
    request = ASKS if word == "format" else None
    rows = [
        {"name": word, "guard": word, "settings": SHIPPED[word], "action": action}
        for action in (("mask", "block") if word in ("blocklist", "pii", "secrets") else ("block",))
    ]
    for row in rows:
        policy = _policy_of(row)

        async def both_ways(policy: Policy = policy) -> None:
            said, decision = await _whole(policy, text, request)
            cut, _ = await _streamed(policy, _cut(text, places), request)
            assert (decision.action, decision.layer) == (cut[1], cut[2])
            assert decision.action == "block" or (cut[0] == said and _masks(decision) == cut[3])

        asyncio.run(both_ways())


def test_the_law_is_asked_of_every_guard_of_ours_and_each_finds_something() -> None:
    assert set(SHIPPED) == set(GUARDS)
    for word, settings_ in SHIPPED.items():
        policy = _policy_of({"name": word, "guard": word, "settings": settings_, "action": "block"})
        request = ASKS if word == "format" else None
        actions = {asyncio.run(_whole(policy, piece, request))[1].action for piece in PIECES}
        assert actions == {"allow", "block"}, word


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


@pytest.mark.parametrize("step", [1, 13, 700, 5000])
@pytest.mark.parametrize("key", [KEY, KEY[:-30]])
def test_a_finding_that_runs_on_is_followed_to_its_end(step: int, key: str) -> None:
    text = f"Here is the key that you asked for.\n{key}\nKeep it well, and tell nobody about it. Or about {HITS[0]}!"
    inside = Layer("inside", Words([LINES.split("\n")[20].lower()]), "output")
    assert inside.guard.scan(key).label == "listed"  # type: ignore[attr-defined]
    policy = Policy.from_parts([Layer("secrets", Secrets(), "output", "mask"), MASKED_LIST, inside])

    async def both_ways() -> None:
        said, _ = await _whole(policy, text)
        (cut, *_), _ = await _streamed(policy, [text[i : i + step] for i in range(0, len(text), step)])
        assert cut == said
        # One mask, and what a later layer would have found beneath it is not seen any more.
        first, rest = said.split("<PRIVATE_KEY_1>")
        assert first == "Here is the key that you asked for.\n"
        assert rest.strip() == "Keep it well, and tell nobody about it. Or about <PHRASE_1_1>!" or key != KEY
        assert LINES[70:90] not in said and LINES[-40:-20] not in said

    asyncio.run(both_ways())


def test_the_first_words_come_soon_and_the_hold_stays_small() -> None:
    text = "This is a sentence of an ordinary length, as models write them. " * 60

    async def held(layers: list[Layer]) -> tuple[int, int]:
        stream = Policy.from_parts(layers).stream()
        out = first = most = 0
        for fed, letter in enumerate(text, start=1):
            out += len((await stream.feed(letter)).release)
            first = first or (fed if out else 0)
            most = max(most, fed - out)
        return first, most

    assert asyncio.run(held([PII])) == (pytest.approx(110, abs=15), pytest.approx(345, abs=30))
    assert asyncio.run(held([Layer("mood", Mood(), "output")])) == (64, pytest.approx(256, abs=64))


def test_work_grows_with_the_text_and_not_with_its_square() -> None:
    class Counts(Words):
        looked = 0

        def scan(self, text: str) -> Verdict:
            self.looked += len(text)
            return super().scan(text)

    async def looked(size: int) -> float:
        guard = Counts(PHRASES)
        stream = Policy.from_parts([Layer("list", guard, "output")]).stream()
        for _ in range(size // 5):
            await stream.feed("word ")
        await stream.finish()
        return guard.looked / size

    small, large = asyncio.run(looked(4_000)), asyncio.run(looked(64_000))
    assert large < small < 20 and large < 3.5


def test_cjk_is_cut_without_spaces() -> None:
    async def first() -> int:
        stream = Policy.from_parts([PII]).stream()
        for number in range(2000):
            if (await stream.feed("漢")).release:
                return number
        return -1

    assert 0 < asyncio.run(first()) < 130


def test_who_watches_sees_what_the_layers_before_left() -> None:
    watch = Layer("watch", Words(["email"]), "output", "flag")
    before = Layer("before", Words(["email"]), "output", "flag")
    for layers, expected in (([PII, watch], "watch"), ([before, PII], "pii")):
        said, decision = asyncio.run(_whole(Policy.from_parts(layers), "I am ann@example.com"))
        _, streamed = asyncio.run(_streamed(Policy.from_parts(layers), ["I am ann@", "example.com"]))
        assert said == "I am <EMAIL_1>"
        assert {v.judge for v in decision.verdicts if v.score} == {"pii", expected}
        assert decision == streamed and decision.action == "mask"


def test_a_span_that_touches_a_mask_covers_what_is_masked() -> None:
    text = "I am ann@example.com, and this is my letter"
    for phrase, start in (("email", 5), ("am email", 2)):
        layers = [PII, Layer("words", Words([phrase]), "output", "mask")]
        _, decision = asyncio.run(_streamed(Policy.from_parts(layers), [text]))
        (span,) = decision.verdicts[1].spans
        assert (span.start, span.end) == (start, text.index(","))


def test_blocked_streams_say_what_those_who_watch_saw() -> None:
    layers = [Layer("note", Words(["well"]), "output", "flag"), LIST, Layer("late", Words(["well"]), "output", "flag")]
    _, decision = asyncio.run(
        _streamed(Policy.from_parts(layers), ["Well, ", "they brew the black ", "potion ", "x" * 300])
    )
    assert (decision.action, [v.judge for v in decision.verdicts]) == ("block", ["note", "list"])


def test_a_rewrite_holds_the_stream() -> None:
    class Shouts:
        threshold, reach = 0.5, 10

        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            return Verdict("quiet", float(conversation.messages[-1].content != "NO"), "shouts")

        def rewrite(self, text: str, verdict: Verdict) -> str:
            return text.upper()

    async def run() -> list[str]:
        stream = Policy.from_parts([Layer("loud", Shouts(), "output", "rewrite")]).stream()
        steps = [await stream.feed("he"), await stream.feed("llo"), await stream.finish()]
        assert stream.decision is not None and stream.decision.action == "rewrite"
        return [step.release for step in steps]

    assert asyncio.run(run()) == ["", "", "HELLO"]


def test_in_shadow_everything_passes_as_it_comes() -> None:
    async def run() -> Decision | None:
        stream = Policy.from_parts([LIST, PII]).stream(shadow=True)
        assert stream.passthrough and (await stream.feed("brew the black potion, ")).release
        assert (await stream.finish()) == ("", False)
        return stream.decision

    decision = asyncio.run(run())
    assert decision is not None and (decision.action, decision.would, decision.layer) == ("allow", "block", "list")
