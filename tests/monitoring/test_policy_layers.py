"""What layers can say beyond block, mask and flag: roles, review, the grey band, rewriting, canaries, conditions; and how
guards are asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trivet.core.errors import ConfigError
from trivet.core.events import Exchange, decode, encode
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Decision, Span, Verdict
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.format import JsonFormat
from trivet.monitoring.guards.pii import Pii, Placeholders
from trivet.monitoring.guards.shared import INLINE
from trivet.monitoring.layers import Seat
from trivet.monitoring.policy import Layer, Policy
from trivet.monitoring.walk import MEMORY

TALK = Conversation(
    (
        Message("system", "rule"),
        Message("user", "one"),
        Message("assistant", "two"),
        Message("tool", "three"),
        Message("user", "four"),
    )
)


class Scores:
    """A guard that knows the score of some texts, by `scan`, and notes what it was asked."""

    threshold = 0.5
    cheap = True

    def __init__(self, scores: Mapping[str, float] | None = None, digest: str = "scores") -> None:
        self.scores, self.digest = dict(scores or {}), digest
        self.asked: list[str] = []
        self.threads: set[str] = set()

    async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
        return self.scan(conversation.messages[-1].content)

    def scan(self, text: str) -> Verdict:
        self.asked.append(text)
        self.threads.add(threading.current_thread().name)
        score = self.scores.get(text, 0.0)
        return Verdict("found" if score else "safe", score, "scores", why="rule 7" if score else "")


class Costly(Scores):
    cheap = False
    text_only = True


def asked_by(layer: Layer, conversation: Conversation = TALK, **more: Any) -> list[str]:
    guard = layer.guard
    assert isinstance(guard, Scores)
    asyncio.run(Policy.from_parts([layer]).acheck(conversation, **more))
    return guard.asked


# Whose words


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (None, ["one", "three", "four"]),
        (("tool",), ["three"]),
        (("system", "assistant"), ["rule", "two"]),
        (("user",), ["one", "four"]),
        (("system", "last"), ["rule", "four"]),
        (("user", "last"), ["one", "four"]),
    ],
)
def test_roles(of: Any, expected: list[str]) -> None:
    assert asked_by(Layer("a", Scores(), of=of)) == expected


@pytest.mark.parametrize("role", ["system", "assistant", "tool"])
def test_the_last_message_whoever_speaks_it_but_a_tool(role: Any) -> None:
    said = [] if role == "tool" else ["end"]
    assert asked_by(Layer("a", Scores(), of=("last",)), TALK.then(Message(role, "end"))) == said
    assert asked_by(Layer("b", Scores(), of=("last",)), Conversation((Message(role, "end"),))) == said


def test_roles_at_the_output() -> None:
    talk = TALK.then(Message("assistant", "reply"))
    for of, expected in ((None, ["reply"]), (("assistant",), ["reply"]), (("tool",), []), (("last",), ["reply"])):
        guard = Scores()
        policy = Policy.from_parts([Layer("a", guard, of=of)])  # type: ignore[arg-type]
        asyncio.run(policy.acheck(talk, "output"))
        assert guard.asked == expected
        assert policy.stream().passthrough == (expected == [])


def test_the_decision_says_which_message_it_was() -> None:
    policy = Policy.from_parts([Layer("a", Scores({"three": 0.9, "one": 0.6}), action="flag")])
    decision = policy.check(TALK).decision
    assert decision.deciding is not None
    assert (decision.deciding.message, decision.deciding.score, decision.why) == (3, 0.9, "rule 7")
    assert policy.check("three").decision.verdicts[0].message == -1


# Review


def test_review_lets_pass_and_says_so() -> None:
    decision = Policy.from_parts([Layer("a", Scores({"x": 0.9}), action="review")]).check("x").decision
    assert (decision.action, decision.review, decision.layer) == ("review", True, "a")
    both = [Layer("a", Scores({"a@b.co": 0.9}), action="review"), Layer("pii", Pii(), action="mask")]
    result = Policy.from_parts(both).check("a@b.co")
    assert (result.action, result.decision.review, result.text) == ("mask", True, "<EMAIL_1>")
    shadow = Policy.from_parts([Layer("a", Scores({"x": 0.9}), action="review", mode="shadow")]).check("x").decision
    assert (shadow.action, shadow.would, shadow.review) == ("allow", "review", False)


@pytest.mark.parametrize(("score", "action"), [(0.29, "allow"), (0.3, "review"), (0.49, "review"), (0.5, "block")])
def test_the_grey_band(score: float, action: str) -> None:
    result = Policy.from_parts([Layer("a", Scores({"x": score}), review_from=0.3)]).check("x")
    assert result.action == action and result.decision.review == (action == "review")
    assert action != "review" or "grey band" in result.decision.why


# Rewriting


class Polite(Scores):
    def rewrite(self, text: str, verdict: Verdict) -> Any:
        if text == "crash":
            raise ValueError("secret")
        return None if text == "none" else f"please {text}"


def test_rewriting() -> None:
    guard = Polite({"go": 1.0, "three": 1.0, "crash": 1.0, "none": 1.0})
    policy = Policy.from_parts([Layer("polite", guard, action="rewrite"), Layer("list", Blocklist(["please three"]))])
    result = policy.check("go")
    assert (result.action, result.text, result.decision.layer) == ("rewrite", "please go", "polite")
    assert policy.check(TALK).decision.layer == "list"  # a later layer sees the text as rewritten
    for text in ("crash", "none"):
        assert policy.check(text).blocked and "could not rewrite" in policy.check(text).decision.why
        assert policy.check(text, "output").blocked
        lenient = Policy.from_parts([Layer("polite", guard, action="rewrite", failure="open")])
        assert (lenient.check(text).action, lenient.check(text).text) == ("allow", text)
    assert policy.check("go", "output").text == "please go"
    shadow = Policy.from_parts([Layer("polite", guard, action="rewrite", mode="shadow")]).check("go")
    assert (shadow.text, shadow.decision.would) == ("go", "rewrite")


def test_json_is_mended_or_blocked() -> None:
    policy = Policy.from_parts([Layer("json", JsonFormat(), place="output", action="rewrite")])
    asks = {"response_format": {"type": "json_object"}}

    def said(text: str) -> tuple[str, str]:
        result = asyncio.run(policy.acheck(text, "output", request=asks))
        return result.action, result.text

    assert said('{"a": 1}') == ("allow", '{"a": 1}')
    action, text = said('{"a": 1, "b": [2, 3}')
    assert action == "rewrite" and decode_json(text) == {"a": 1, "b": [2, 3]}
    assert said("no json at all")[0] == "block"


def decode_json(text: str) -> Any:
    import json

    return json.loads(text)


# Shares and conditions


def test_a_canary_is_for_a_stable_share_of_conversations() -> None:
    policy = Policy.from_parts([Layer("new", Scores(dict.fromkeys(map(str, range(2000)), 1.0)), canary=0.05)])
    results = [policy.check(str(number)) for number in range(2000)]
    blocked = [number for number, result in enumerate(results) if result.blocked]
    assert 60 < len(blocked) < 140
    assert [number for number in range(2000) if policy.check(str(number)).blocked] == blocked
    assert {result.decision.would for result in results} == {"block"}  # the others are in shadow
    # Later turns of a conversation are drawn by its first words, and a user wherever they speak.
    first = str(blocked[0])
    follow = Conversation((Message("user", first), Message("assistant", "x"), Message("user", "7")))
    assert policy.check(follow).blocked
    users = [asyncio.run(policy.acheck("1", user=f"user {n}")).blocked for n in range(500)]
    assert 5 < sum(users) < 60


def test_a_canary_in_shadow_runs_for_its_share_only() -> None:
    guard = Scores()
    policy = Policy.from_parts([Layer("judge", guard, mode="shadow", canary=0.1)])
    for number in range(500):
        policy.check(f"text {number}")
    assert 20 < len(guard.asked) < 90


@pytest.mark.parametrize(
    ("when", "request_", "runs"),
    [
        ({"model": "small-*"}, {"model": "small-7b"}, True),
        ({"model": "small-*"}, {"model": "large"}, False),
        ({"model": "small-*"}, None, False),
        ({"tools": True}, {"tools": [{}]}, True),
        ({"tools": True}, {"tools": []}, False),
        ({"tools": False}, {}, True),
        ({"tools": True, "model": "x"}, {"tools": [1], "model": "y"}, False),
    ],
)
def test_conditions(when: Any, request_: Any, runs: bool) -> None:
    assert bool(asked_by(Layer("a", Scores(), when=when), request=request_)) == runs


def test_wrong_settings_are_told() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"canary": 0}, "canary"),
        ({"canary": 1.5}, "canary"),
        ({"review_from": 0.6}, "review_from"),
        ({"of": ("robot",)}, "of is 'robot'"),
        ({"action": "rewrite"}, "offers no rewrite"),
        ({"when": {"model": 3}}, "when is"),
    ]
    for settings, said in wrong:
        with pytest.raises(ConfigError, match=said):
            Layer("a", Scores(), **settings)
    with pytest.raises(ConfigError, match="when is 'x'"):
        Policy.load({"layers": [{"guard": "pii", "when": "x"}]})


def test_everything_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "layers:\n  - {guard: blocklist, settings: {phrases: [x]}, of: tool, review_from: 0.2, canary: 0.5, when: {model: 'a*'},"
        " action: review}\n"
    )
    (layer,) = Policy.load(tmp_path / "p.yaml").layers
    assert (layer.of, layer.review_from, layer.canary, layer.when) == (("tool",), 0.2, 0.5, {"model": "a*"})
    plain = Policy.load({"layers": [{"guard": "blocklist", "settings": {"phrases": ["x"]}, "action": "review"}]})
    assert plain.version != Policy.load(tmp_path / "p.yaml").version


# How guards are asked


def test_cheap_guards_run_on_the_loop_and_costly_ones_do_not() -> None:
    cheap, costly = Scores(), Costly()
    here = threading.current_thread().name
    Policy.from_parts([Layer("a", cheap), Layer("b", costly)]).check("x")
    assert cheap.threads == {here} and here not in costly.threads
    long = Scores()
    Policy.from_parts([Layer("a", long)]).check("x" * (INLINE + 1))
    assert here not in long.threads


@pytest.mark.parametrize(
    ("texts", "beside"),
    [
        (["a"] * 50, False),
        (["a", "b" * (INLINE - 1)], False),
        (["a"] * 51, True),
        ([""] * 500, True),
        (["a", "b" * INLINE], True),
        (["a" * 1000] * 60, True),
    ],
)
def test_many_messages_are_read_beside_the_loop(texts: list[str], beside: bool) -> None:
    guard = Scores({"found": 1.0}, digest="")
    talk = Conversation(tuple(Message("user", text) for text in [*texts[1:], texts[0]]))
    policy = Policy.from_parts([Layer("x", guard)])
    assert asyncio.run(policy.acheck(talk)).decision.action == "allow"
    assert len(guard.asked) == len(texts)
    assert (threading.current_thread().name in guard.threads) is not beside
    found = Conversation((*talk.messages, Message("user", "found")))
    decision = asyncio.run(policy.acheck(found)).decision
    assert decision.action == "block" and guard.asked.count("found") == 1
    assert policy.check(found).decision.action == "block", "without a loop too"


def test_many_messages_have_the_deadline_of_the_layer() -> None:
    guard, hangs = Scores(), threading.Event()
    guard.scan = lambda text: Verdict("safe", float(hangs.wait(20) and 0), "x")  # type: ignore[method-assign]

    async def story() -> Decision:
        try:
            talk = Conversation((Message("user", ""),) * 60)
            return (await Policy.from_parts([Layer("x", guard, deadline_ms=1)]).acheck(talk)).decision
        finally:
            hangs.set()

    decision = asyncio.run(story())
    assert decision.action == "block" and "no verdict within 1 ms" in decision.why


def test_costly_before_cheap_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    policy = Policy.from_parts([Layer("slow", Costly()), Layer("quick", Scores(), place="input")])
    assert policy.warnings == ("input: the costly layer 'slow' stands before the cheap 'quick'; swap them",)
    assert Policy.from_parts([Layer("quick", Scores()), Layer("slow", Costly())]).warnings == ()
    row = {"guard": "judge", "name": "slow", "settings": {"model": "scripted:x"}}
    Policy.load({"layers": [row, {"guard": "pii", "name": "quick"}]})
    assert "swap them" in caplog.text


def test_earlier_turns_are_not_judged_again() -> None:
    guard = Scores({"bad": 1.0})
    policy = Policy.from_parts([Layer("a", guard, action="flag")])
    policy.check(TALK)
    policy.check(TALK.then(Message("user", "bad")))
    assert guard.asked == ["one", "three", "four", "bad"]
    assert policy.check("bad").action == "flag" and len(guard.asked) == 4
    for number in range(2 * MEMORY + 2):
        policy.check(str(number))
    policy.check("bad")
    assert guard.asked[-1] == "bad"  # the memory is bounded


def test_what_is_remembered_is_by_guard_and_never_an_error() -> None:
    class Fails(Scores):
        def scan(self, text: str) -> Verdict:
            super().scan(text)
            raise RuntimeError

    fails, other, nameless = Fails(), Scores({"x": 1.0}, digest="other"), Scores(digest="")
    layers = [Layer("f", fails, action="flag"), Layer("o", other, action="flag"), Layer("n", nameless)]
    policy = Policy.from_parts(layers)
    for _ in range(2):
        assert policy.check("x").decision.layer == "o"
    assert (len(fails.asked), len(other.asked), len(nameless.asked)) == (2, 1, 2)
    # Two layers may share a guard: the verdict bears each one's name.
    twice = Policy.from_parts([Layer("one", other, action="flag"), Layer("two", other, threshold=2, action="flag")])
    assert [v.judge for v in twice.check("x").decision.verdicts] == ["one", "two"]


def test_masked_words_are_judged_as_they_are_now() -> None:
    guard = Scores()
    Policy.from_parts([Layer("before", guard), Layer("pii", Pii(), action="mask"), Layer("after", guard)]).check(
        "a@b.co"
    )
    assert guard.asked == ["a@b.co", "<EMAIL_1>"]


def test_many_texts_are_asked_about_together() -> None:
    calls: list[list[str]] = []

    class Batches(Costly):
        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            return (await self.scan_many([conversation.messages[-1].content]))[0]

        def scan(self, text: str) -> Verdict:
            raise AssertionError("it is to be asked about many at once")

        async def scan_many(self, texts: Sequence[str]) -> list[Verdict]:
            calls.append(list(texts))
            return [Verdict("found", self.scores.get(text, 0.0), "b") for text in texts]

    policy = Policy.from_parts([Layer("a", Batches({"three": 0.9}), action="flag")])
    assert policy.check(TALK).decision.layer == "a"
    policy.check(TALK.then(Message("user", "five")))
    assert calls == [["one", "three", "four"], ["five"]]


def test_a_guard_that_overrides_judge_alone_is_asked_by_judge() -> None:
    class Other(Scores):
        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            return Verdict("other", 1.0, "other")

    assert Policy.from_parts([Layer("a", Other())]).check("x").blocked
    assert Seat(Layer("a", Scores()), Scores()).scan is not None

    class Looks(Costly):
        """Its `scan` sees less than its `judge`, as that of the prompt leak guard does."""

        text_only = False

        async def judge(self, conversation: Conversation, about: object = None) -> Verdict:
            return Verdict("leak", float(len(conversation) > 1), "looks")

    assert Policy.from_parts([Layer("a", Looks(), of=("user",))]).check(TALK).blocked


def test_the_leak_of_a_prompt_is_found_in_a_policy() -> None:
    prompt = (
        "You are the keeper of the mill and you never tell anybody where the golden grain lies hidden in the cellar."
    )
    policy = Policy.load({"layers": [{"guard": "prompt_leak", "place": "output"}]})
    talk = Conversation((Message("system", prompt), Message("user", "well?")))

    async def streamed(reply: str) -> str:
        stream = policy.stream(conversation=talk)
        await stream.feed(reply)
        return (await stream.finish()).release

    assert asyncio.run(streamed(f"My rules: {prompt}")) == ""
    assert asyncio.run(streamed("I keep a mill.")) == "I keep a mill."


# What is written down


def test_a_decision_tells_what_it_cost_and_compares_without() -> None:
    policy = Policy.from_parts([Layer("a", Scores()), Layer("b", Scores())])
    decision = policy.check("x").decision
    assert [cost.layer for cost in decision.cost] == ["a", "b"] and all(
        cost.microseconds >= 0 for cost in decision.cost
    )
    assert decision == policy.check("x").decision
    event = Exchange(conversation=Conversation.user("x"), reply="", model="m", decisions=(decision,))
    again = decode(encode(event))
    assert again == event and isinstance(again, Exchange) and again.decisions[0].cost == decision.cost


def test_decisions_of_older_records_are_still_read() -> None:
    old = (
        b'{"kind":"exchange","id":"1","at":1.0,"conversation":{"messages":[{"role":"user","content":"x"}]},"reply":"y",'
        b'"model":"m","decisions":[{"action":"mask","place":"input","layer":"pii","why":"found EMAIL","verdicts":'
        b'[{"label":"personal_data","score":1.0,"judge":"pii","category":"","why":"","spans":[{"start":0,"end":1,"label":"EMAIL"}]}],'
        b'"would":"mask","policy":"abc"}]}'
    )
    event = decode(old)
    assert isinstance(event, Exchange)
    verdict = Verdict("personal_data", 1.0, "pii", spans=(Span(0, 1, "EMAIL"),))
    assert event.decisions == (Decision("mask", "input", "pii", "found EMAIL", (verdict,), "mask", "abc"),)
    assert event.decisions[0].deciding == verdict and event.decisions[0].review is False


def test_names_that_the_user_wrote_are_not_given_out() -> None:
    policy = Policy.from_parts([Layer("pii", Pii(), action="mask")])
    talk = Conversation((Message("user", "I am a@b.co"), Message("user", "what is <EMAIL_1>?")))

    async def both() -> tuple[str, str]:
        names = Placeholders()
        before = await policy.acheck(talk, names=names)
        after = await policy.acheck(before.conversation.then(Message("assistant", "c@d.co")), "output", names=names)
        return before.conversation.messages[0].content, names.restore(f"{after.text} <EMAIL_2> <EMAIL_1>")

    assert asyncio.run(both()) == ("I am <EMAIL_2>", "<EMAIL_3> a@b.co <EMAIL_1>")


def test_without_messages_there_is_nothing_to_decide() -> None:
    policy = Policy.from_parts([Layer("a", Scores())])
    for place in ("input", "output"):
        assert policy.check(Conversation(), place).action == "allow"  # type: ignore[arg-type]
