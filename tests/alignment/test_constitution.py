"""Constitutional AI: strict files, replies and revisions with their lineage, soft labels by hand, resuming to the byte."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path

import pytest

from alignment.tiny import tiny_folder
from core.models.wire import answer, said, serving
from trivet.alignment import constitution as recipe
from trivet.alignment import sources
from trivet.alignment.ai_labels import Judging, Pair, chance_of, clamped, judged, position_bias, share
from trivet.alignment.constitution import Cast, Config
from trivet.alignment.lineage import Ledger, question_of
from trivet.alignment.principles import Constitution, Principle, ask_choice, ask_critique, drawn, read_constitution
from trivet.core.errors import Blocked, ConfigError, DataError, TargetError
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.scripted import Scripted

RULES = """
name: house
principles:
  - {name: one, critique: 'What is wrong?', revision: Again please., question: 'Which is better?'}
  - {name: two, critique: 'Is it rude?', revision: Say it kindly., question: 'Which is kinder?', weight: 3}
  - {name: mute, critique: 'Is it long?', revision: Make it short.}
"""
PROMPTS = [Conversation.user(f"question {number}") for number in range(10)]
ANSWERS = {"reply": ("reply", "by"), "revision": ("critique", "revision", "by"), "label": ("chance", "questions", "by")}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "house.yaml").write_text(RULES)
    return tmp_path / "house.yaml"


def config(rules: Path, out: Path, **changes) -> Config:
    return replace(Config(model="m", out=str(out), constitution=str(rules), rounds=2), **changes)


def talkative(conversation: Conversation) -> str:
    """Replies, criticises and revises so that every step can be told from its words."""
    last = conversation.last_user
    if last in ("What is wrong?", "Is it rude?", "Is it long?"):
        return f"critique of {conversation.messages[-2].content!r}"
    if last in ("Again please.", "Say it kindly.", "Make it short."):
        return conversation.messages[-4].content + "+"
    return f"reply to {last}"


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ------------------------------------------------------------------------------------------------------------ the file


def test_the_packaged_constitutions_can_be_read_and_are_whole():
    for name in ("default", "town"):
        found = read_constitution(name)
        assert found.name == name and len(found.principles) >= 5 and found.comparable == found.principles


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("principles: []", "there are no principles"),
        ("name: x", "principles is missing"),
        ("principles: [{name: a, critique: c}]", r"principles\[0\].revision is missing"),
        ("principles: [{name: a, critique: ' ', revision: r}]", "the principle 'a' has an empty critique; write it out"),
        ("principles: [{name: a, critique: c, revision: r, critic: d}]", "unknown key.*critic.*Did you mean"),
        ("principles: [{name: a, critique: c, revision: r, weight: 0}]", "weight 0; give a number above 0"),
        ("principles: [{name: a, critique: c, revision: r, weight: heavy}]", "weight is 'heavy' .text., wanted float"),
        ("principles: &p [{name: a, critique: c, revision: r}, {name: a, critique: c, revision: r}]", "'a' is there twice"),
        ("principles: [{name: harm, critique: c, revision: r}]\nexamples: [{principle: ham, prompt: p, reply: r, critique: c, "
         "revision: v}]", 'example 1 names the principle \'ham\', which is not there. Did you mean "harm"'),
        ("principles: [{name: a, critique: c, revision: r}]\ncomparisons: [{principle: a, prompt: p, a: x, b: y, answer: (A)}]",
         "comparison 1 answers the question of 'a', which has none"),
        ("principles: [{name: a, critique: c, revision: r}]\ncomparisons: [{principle: a, prompt: p, a: x, b: y, answer: A}]",
         r"answer is 'A' .text., wanted '\(A\)' or '\(B\)'"),
        ("- a list", "wanted a mapping"),
        ("principles: [{name: a, critique: c, revision: r}]\nname: x\nname: y", "given twice"),
    ],
)  # fmt: skip
def test_mistakes_in_a_constitution_are_named(tmp_path, text, why):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=why) as told:
        read_constitution(tmp_path / "bad.yaml")
    assert "bad.yaml" in str(told.value) and "\n" not in str(told.value)


def test_a_constitution_that_is_not_there():
    with pytest.raises(
        ConfigError, match=r"no constitution 'defualt'.*one of: default, town.*Did you mean \"default\""
    ):
        read_constitution("defualt")


def test_principles_are_drawn_by_weight_without_repeats_and_the_same_everywhere():
    found = read_constitution("default").principles
    assert drawn(found, 3, 0, "x") == drawn(found, 3, 0, "x") != drawn(found, 3, 1, "x")
    assert len({rule.name for rule in drawn(found, 5, 7)}) == 5
    assert drawn(found, 0, 1) == list(found) == drawn(found, 99, 1)
    light, heavy = Principle("light", "c", "r"), Principle("heavy", "c", "r", weight=3.0)
    names = [drawn([light, heavy], 1, number)[0].name for number in range(2000)]
    assert 0.72 < names.count("heavy") / 2000 < 0.78


def test_examples_come_first_and_the_system_message_before_them(tmp_path):
    (tmp_path / "shown.yaml").write_text(
        RULES
        + "examples: [{principle: two, prompt: p0, reply: r0, critique: c0, revision: v0}]\n"
        + "comparisons: [{principle: one, prompt: p1, a: x, b: y, answer: (B)}]\n"
    )
    found = read_constitution(tmp_path / "shown.yaml")
    real = Conversation.user("hello", system="be brief")
    asked = ask_critique(found, found["one"], real, "hi")
    assert [m.content for m in asked] == [
        "be brief", "p0", "r0", "Is it rude?", "c0", "Say it kindly.", "v0", "hello", "hi", "What is wrong?",
    ]  # fmt: skip
    choice = ask_choice(found, found["two"], real, "good", "bad")
    assert [m.role for m in choice] == ["user", "assistant", "user"] and choice.messages[1].content == "(B)"
    assert choice.last_user == (
        "System: be brief\nUser: hello\n\n(A) good\n\n(B) bad\n\nWhich is kinder? Which reply is it? "
        "Answer with (A) or (B)."
    )


# ---------------------------------------------------------------------------------------------- critique and revision


def test_every_reply_is_revised_and_its_lineage_is_whole(rules, tmp_path):
    out, model, critic = tmp_path / "out", Scripted(talkative, name="gen"), Scripted(talkative, name="crit")
    seen = []
    made = recipe.run(config(rules, out), PROMPTS, progress=seen.append, cast=Cast(model, critic))
    lessons = sources.demonstrations(made.demonstrations).lessons
    assert [(one.prompt, one.reply) for one in lessons] == [
        (prompt, f"reply to {prompt.last_user}++") for prompt in PROMPTS
    ]
    assert seen[-1] == {"step": 10, "steps": 10}
    assert made.final == {"prompts": 10, "demonstrations": 10, "changed": 1.0} and made.steps == 30
    assert [row["changed"] for row in rows(made.metrics)] == [1.0, 1.0] and not any(made.dropped.values())

    found = {row["id"]: row for row in rows(out / "lineage.jsonl")}
    assert len(found) == 30, "one reply and two revisions for each prompt, nothing twice"
    for row in found.values():
        assert row["id"] == digest_of(question_of(row, ANSWERS[row["kind"]])), "the id is the hash of the question"
    for lesson in rows(made.demonstrations):
        first, *revisions = (found[one] for one in lesson["origin"]["events"])
        assert (
            first["kind"] == "reply" and first["turns"] == lesson["prompt"] and first["model"] == first["by"] == "gen"
        )
        before = first
        for number, row in enumerate(revisions, start=1):
            assert row["parent"] == before["id"] and row["round"] == number and row["critic"] == row["by"] == "crit"
            assert row["before"] == (before.get("revision") or before.get("reply"))
            assert row["critique"] == f"critique of {row['before']!r}" and row["revision"] == row["before"] + "+"
            assert row["principle"] in ("one", "two", "mute") and isinstance(row["sampling"]["seed"], int)
            before = row
        assert lesson["completion"] == before["revision"]
    drawn_names = [row["principle"] for row in found.values() if row["kind"] == "revision"]
    assert drawn_names.count("two") > drawn_names.count("one") > 0, "by weight"


def test_the_model_is_its_own_critic_and_all_revisions_may_be_learnt(rules, tmp_path):
    model = Scripted(talkative)
    made = recipe.run(config(rules, tmp_path / "out", learn="all"), PROMPTS[:2], cast=Cast(model))
    assert [one.reply for one in sources.demonstrations(made.demonstrations).lessons] == [
        "reply to question 0+", "reply to question 0++", "reply to question 1+", "reply to question 1++",
    ]  # fmt: skip


def test_an_empty_revision_leaves_the_reply_and_is_counted(rules, tmp_path):
    def critic(conversation: Conversation) -> str:
        return " " if len(conversation) > 4 else "hm"

    made = recipe.run(config(rules, tmp_path / "out"), PROMPTS, cast=Cast(Scripted(talkative), Scripted(critic)))
    assert sources.demonstrations(made.demonstrations).lessons[0].reply == "reply to question 0"
    assert [row["empty"] for row in rows(made.metrics)] == [1.0, 1.0] and made.final["changed"] == 0


def test_a_prompt_given_twice_is_asked_once(rules, tmp_path):
    model = Scripted(talkative)
    made = recipe.run(config(rules, tmp_path / "out", rounds=1), [*PROMPTS, PROMPTS[3]], cast=Cast(model))
    assert made.dropped["repeated"] == 1 and len(model.seen) == 30 and made.final["prompts"] == 10


def test_what_failed_is_counted_and_tried_again(rules, tmp_path):
    broken = {"question 4": TargetError("timeout"), "question 7": Blocked("no", "input")}

    def model(conversation: Conversation):
        return broken.get(conversation.messages[0].content) or talkative(conversation)

    settings = config(rules, tmp_path / "out")
    made = recipe.run(settings, PROMPTS, cast=Cast(Scripted(model)))
    assert made.dropped["failed"] == 2 and made.final["demonstrations"] == 8
    del broken["question 4"]
    again = Scripted(model)
    made = recipe.run(settings, PROMPTS, cast=Cast(again))
    assert made.dropped["failed"] == 1 and made.final["demonstrations"] == 9
    assert {talk.messages[0].content for talk in again.seen} == {"question 4", "question 7"}, "nothing is asked twice"


def test_a_model_that_is_down_stops_the_run(rules, tmp_path):
    down = Scripted(lambda _: TargetError("connection refused"))
    with pytest.raises(TargetError, match="connection refused"):
        recipe.run(config(rules, tmp_path / "many"), PROMPTS, cast=Cast(down))
    with pytest.raises(TargetError, match="connection refused"):
        recipe.run(config(rules, tmp_path / "few"), PROMPTS[:2], cast=Cast(down))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rounds": -1}, "rounds is -1; it must be at least 0"),
        ({"rounds": 0}, "nothing to do"),
        ({"clamp": (0.6, 0.4)}, "clamp is"),
        ({"labels": "votes", "temperature": 0.0}, "at temperature 0 they are one"),
        ({"labels": "votes", "votes": 0}, "votes is 0"),
    ],
)
def test_settings_that_make_no_sense(rules, tmp_path, changes, why):
    with pytest.raises(ConfigError, match=why):
        config(rules, tmp_path, **changes)


def test_mistakes_of_the_caller(rules, tmp_path):
    with pytest.raises(ConfigError, match="measures nothing"):
        recipe.run(config(rules, tmp_path), PROMPTS, heldout=PROMPTS)
    with pytest.raises(DataError, match="no prompts were given"):
        recipe.run(config(rules, tmp_path), [])
    with pytest.raises(ConfigError, match="model is not said"):
        recipe.run(config(rules, tmp_path, model=""), PROMPTS)
    (tmp_path / "mute.yaml").write_text("principles: [{name: a, critique: c, revision: r}]")
    with pytest.raises(ConfigError, match="labels need principles with a question"):
        recipe.run(config(tmp_path / "mute.yaml", tmp_path, labels="votes"), PROMPTS)


# -------------------------------------------------------------------------------------------------------- soft labels


HOUSE = Constitution((Principle("one", "c", "r", "Which is better?"), Principle("two", "c", "r", "Kinder?", 3.0)), "h")
PAIR = Pair(Conversation.user("hello"), "good", "bad")


def judge(judging: Judging, model: Scripted, rules: Sequence[Principle] = HOUSE.principles[:1]) -> dict:
    [found] = asyncio.run(judged(model, HOUSE, [PAIR], [rules], judging))
    assert not isinstance(found, TargetError), found
    return found


def odds(chances: dict[tuple[str, str], float]):
    """A judge whose P((A)) is known for each (reply shown first, question); what else it could say takes a half."""

    def logprobs(talk: Conversation, options: Sequence[str]) -> list[float]:
        text = talk.messages[0].content
        p = next(p for (first, asked), p in chances.items() if f"(A) {first}\n" in text and asked in text)
        return [log(p / 2), log((1 - p) / 2)]

    return Scripted("because", options=logprobs)


def test_a_soft_label_by_hand():
    """P(A) = 0.9 in order and 0.3 swapped, where the good reply is B: (0.9 + 0.7) / 2; the first place has 0.6."""
    found = judge(Judging(), odds({("good", "better"): 0.9, ("bad", "better"): 0.3}))
    assert found["chance"] == pytest.approx(0.8)
    assert [round(one["first"], 9) for one in found["questions"]] == [0.9, 0.3]
    assert position_bias(found["questions"]) == pytest.approx(0.1)


def test_a_judge_that_always_says_a_is_undecided():
    found = judge(Judging(), odds({("good", "better"): 0.95, ("bad", "better"): 0.95}))
    assert found["chance"] == pytest.approx(0.5) and position_bias(found["questions"]) == pytest.approx(0.45)


def test_swapping_the_replies_swaps_the_chance():
    model = odds({("good", "better"): 0.9, ("bad", "better"): 0.3})
    [swapped] = asyncio.run(judged(model, HOUSE, [PAIR._replace(a="bad", b="good")], [HOUSE.principles[:1]], Judging()))
    assert swapped["chance"] == pytest.approx(0.2)


def test_several_principles_are_averaged_by_weight():
    """0.8 with weight 1 and 0.4 with weight 3: (0.8 + 1.2) / 4."""
    model = odds({("good", "better"): 0.9, ("bad", "better"): 0.3, ("good", "Kinder"): 0.4, ("bad", "Kinder"): 0.6})
    assert judge(Judging(), model, HOUSE.principles)["chance"] == pytest.approx(0.5)
    even = [replace(rule, weight=1.0) for rule in HOUSE.principles]
    assert judge(Judging(), model, even)["chance"] == pytest.approx(0.6)


def test_thoughts_come_before_the_choice_and_clamp_it():
    """0.9 and 0.3 become 0.6 and 0.4: (0.6 + 0.6) / 2; without thoughts nothing is clamped."""
    model = odds({("good", "better"): 0.9, ("bad", "better"): 0.3})
    found = judge(Judging(thoughts=True), model)
    assert found["chance"] == pytest.approx(0.6)
    assert [one["thought"] for one in found["questions"]] == ["because"] * 2
    chosen = model.seen[-1].messages
    assert [m.role for m in chosen] == ["user", "assistant", "user"] and chosen[1].content == "because"
    assert [clamped(p, (0.4, 0.6)) for p in (0.0, 0.4, 0.45, 1.0)] == [0.4, 0.4, 0.45, 0.6]
    assert judge(Judging(thoughts=True, clamp=(0.0, 1.0)), model)["chance"] == pytest.approx(0.8)


def test_a_judge_without_reasons_is_not_counted_as_one_with():
    [found] = asyncio.run(
        judged(Scripted(" ", options=lambda *_: [0, 0]), HOUSE, [PAIR], [HOUSE.principles], Judging(thoughts=True))
    )
    assert isinstance(found, TargetError) and "no reasons" in str(found)


def test_votes_are_counted_in_both_orders_and_what_names_no_option_is_not():
    script = iter(["(A)", "(A)", "It is (A), not (B).", "(B)", "(B)!", "neither"])
    found = judge(Judging("votes", votes=3), Scripted(lambda _: next(script)))
    # asked in turn: in order, swapped, in order, swapped, ...: A, A(not), B(!) and A, B, nothing
    assert [one["first"] for one in found["questions"]] == [pytest.approx(2 / 3), 0.5]
    assert found["chance"] == pytest.approx((2 / 3 + 0.5) / 2)
    silent = share([Message("assistant", "both"), TargetError("late")])
    assert isinstance(silent, TargetError) and str(silent) == "late"
    assert "none of 1 votes" in str(share([Message("assistant", "both")]))


def test_votes_are_sampled_with_seeds_of_their_own():
    class Listening(Scripted):
        def __init__(self) -> None:
            super().__init__("(B)")
            self.how: list[Sampling] = []

        async def reply(self, conversation: Conversation, sampling: Sampling = Sampling()) -> Message:
            self.how.append(sampling)
            return await super().reply(conversation, sampling)

    model = Listening()
    judge(Judging("votes", votes=2, seed=5), model)
    assert [(one.temperature, one.seed) for one in model.how] == [(1.0, 5), (1.0, 5), (1.0, 6), (1.0, 6)]


def test_chances_of_questions_by_hand():
    question = {"principle": "x", "weight": 1.0}
    assert chance_of([{**question, "swapped": False, "first": 0.9}, {**question, "swapped": True, "first": 0.3}]) == (
        pytest.approx(0.8)
    )


# ---------------------------------------------------------------------------------------------------- labels as lessons


def labelling(rules: Path, out: Path, **changes) -> Config:
    return config(rules, out, rounds=0, labels="logprobs", **changes)


def prefers_rival(talk: Conversation, options: Sequence[str]) -> list[float]:
    return [log(0.2), log(0.8)] if "(B) other" in talk.messages[0].content else [log(0.7), log(0.3)]


def test_labels_become_preferences_with_a_chance(rules, tmp_path):
    cast = Cast(Scripted(talkative), Scripted(options=prefers_rival), Scripted("other"))
    made = recipe.run(labelling(rules, tmp_path / "out", per_pair=0), PROMPTS, cast=cast)
    pairs = sources.preferences(made.preferences).lessons
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {("other", f"reply to {p.last_user}") for p in PROMPTS}
    assert [pair.chance for pair in pairs] == [pytest.approx(0.75)] * 10, "(0.8 + 0.7) / 2"
    assert made.final["position_bias"] == pytest.approx(-0.05) and made.final["sureness"] == pytest.approx(0.25)
    assert made.demonstrations is None and made.final["preferences"] == 10
    found = {row["id"]: row for row in rows(tmp_path / "out" / "lineage.jsonl")}
    for row in rows(made.preferences):
        first, second, label = (found[one] for one in row["origin"]["events"])
        assert label["parents"] == [first["id"], second["id"]] and label["replies"] == [first["reply"], second["reply"]]
        assert label["principles"] == ["one", "two"] and label["how"] == "logprobs" and label["critic"] == "scripted"
        assert [(q["principle"], q["weight"], q["swapped"]) for q in label["questions"]] == [
            ("one", 1.0, False), ("one", 1.0, True), ("two", 3.0, False), ("two", 3.0, True),
        ]  # fmt: skip
        assert label["id"] == digest_of(question_of(label, ANSWERS["label"]))


def test_drawn_principles_count_alike_because_the_draw_was_weighted(rules, tmp_path):
    cast = Cast(Scripted(talkative), Scripted(options=prefers_rival), Scripted("other"))
    recipe.run(labelling(rules, tmp_path / "out", per_pair=1), PROMPTS, cast=cast)
    labels = [row for row in rows(tmp_path / "out" / "lineage.jsonl") if row["kind"] == "label"]
    assert {q["weight"] for row in labels for q in row["questions"]} == {1.0}
    assert {tuple(row["principles"]) for row in labels} == {("one",), ("two",)}


def test_pairs_that_teach_nothing_are_dropped_and_counted(rules, tmp_path):
    def rival(conversation: Conversation) -> str:
        return {"question 0": "reply to question 0", "question 1": " "}.get(conversation.last_user, "other")

    def undecided(talk: Conversation, options: Sequence[str]) -> list[float]:
        if "question 3" in talk.messages[0].content:
            raise TargetError("lost")
        return [0.0, 0.0] if "question 2" in talk.messages[0].content else prefers_rival(talk, options)

    cast = Cast(Scripted(talkative), Scripted(options=undecided), Scripted(rival))
    made = recipe.run(labelling(rules, tmp_path / "out"), PROMPTS, cast=cast)
    assert made.final["preferences"] == 6
    assert made.dropped == {"failed": 0, "repeated": 0, "unlabelled": 1, "identical": 1, "tied_or_empty": 2}


def test_an_endpoint_without_logprobs_is_never_silently_counted_as_votes(rules, tmp_path):
    with serving(*[said("(A)")] * 2) as wire, pytest.raises(TargetError, match=r"no log-probabilities.*labels: votes"):
        cast = Cast(Scripted(talkative), rival=Scripted("other"))
        settings = labelling(rules, tmp_path / "out", critic=f"{wire.url}#judge")
        recipe.run(settings, PROMPTS[:1], cast=cast)


def test_an_endpoint_with_logprobs_labels(rules, tmp_path):
    def shown(a: float, b: float):
        top = [{"token": "(A", "logprob": log(a)}, {"token": "(B", "logprob": log(b)}]
        content = [{"token": "(A", "logprob": log(a), "top_logprobs": top}]
        return answer(200, {"choices": [{"message": {"content": "(A)"}, "logprobs": {"content": content}}]})

    with serving(shown(0.9, 0.1), shown(0.3, 0.7)) as wire:
        cast = Cast(Scripted(talkative), rival=Scripted("other"))
        settings = labelling(rules, tmp_path / "out", critic=f"{wire.url}#judge", concurrency=1)
        made = recipe.run(settings, PROMPTS[:1], cast=cast)
    [pair] = sources.preferences(made.preferences).lessons
    assert pair.chosen == "reply to question 0" and pair.chance == pytest.approx(0.8)
    assert rows(tmp_path / "out" / "lineage.jsonl")[-1]["critic"] == f"{wire.url}/chat/completions#judge"


# ------------------------------------------------------------------------------------------------------------ resuming


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import torch; torch.set_num_threads(1)
from pathlib import Path
from trivet.alignment import constitution as recipe, lineage
from trivet.core.messages import Conversation
recipe.SLICE = 4
left = [{kills}]
real = lineage.Ledger.append
def append(self, rows):
    left[0] -= 1
    if left[0] < 0:
        if {torn}:
            with self.path.open("ab") as file: file.write(b'{{"id": "torn", "ki')
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, rows)
lineage.Ledger.append = append
recipe.run(recipe.{config!r}, [Conversation.user("why the lamp " * n) for n in range(1, 8)])
"""


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.mark.slow
def test_killed_by_the_system_at_any_stage_it_ends_in_the_same_bytes(rules, tmp_path, monkeypatch):
    """A real model in a process of its own, killed before each of its writes in turn, once with a torn row."""
    monkeypatch.setattr(recipe, "SLICE", 4)
    folder = tiny_folder(tmp_path / "model")
    settings = config(
        rules, tmp_path / "broken", model=str(folder), labels="logprobs", thoughts=True, max_tokens=12, per_pair=0
    )
    prompts = [Conversation.user("why the lamp " * n) for n in range(1, 8)]
    for kills, torn in ((2, True), (3, False)):
        script = SCRIPT.format(tests=str(Path(__file__).parents[1]), kills=kills, torn=torn, config=settings)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        ended = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    recipe.run(settings, prompts)
    made = recipe.run(replace(settings, out=str(tmp_path / "whole")), prompts)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert made.final["prompts"] == 7 and len(rows(tmp_path / "whole" / "lineage.jsonl")) == 7 * 5


def test_stopped_at_every_write_it_ends_in_the_same_bytes(rules, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SLICE", 3)
    cast = Cast(Scripted(talkative, options=prefers_rival), rival=Scripted("other"))
    settings = config(rules, tmp_path / "broken", labels="logprobs")
    recipe.run(replace(settings, out=str(tmp_path / "whole")), PROMPTS, cast=cast)
    real, stops = Ledger.append, 0

    def once(self: Ledger, found: list[dict]) -> None:
        real(self, found)
        if found:
            raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "append", once)
    while True:
        try:
            recipe.run(settings, PROMPTS, cast=cast)
        except KeyboardInterrupt:
            stops += 1
            continue
        break
    assert stops == 4 * 5, "a reply, two revisions, a second reply and a label for each of four slices"
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_a_finished_run_asks_nothing_and_changes_nothing(rules, tmp_path):
    settings = config(rules, tmp_path / "out")
    first = recipe.run(settings, PROMPTS, cast=Cast(Scripted(talkative)))
    before, silent = files(tmp_path / "out"), Scripted()
    assert recipe.run(settings, PROMPTS, cast=Cast(silent)) == first
    assert files(tmp_path / "out") == before and not silent.seen


def test_other_settings_add_rows_and_take_none_away(rules, tmp_path):
    recipe.run(config(rules, tmp_path / "out"), PROMPTS, cast=Cast(Scripted(talkative)))
    before = (tmp_path / "out" / "lineage.jsonl").read_bytes()
    recipe.run(config(rules, tmp_path / "out", seed=1), PROMPTS, cast=Cast(Scripted(talkative)))
    assert (tmp_path / "out" / "lineage.jsonl").read_bytes().startswith(before)
    assert len(rows(tmp_path / "out" / "lineage.jsonl")) == 60


def test_a_torn_end_is_cut_and_a_broken_middle_is_told(tmp_path):
    path = tmp_path / "lineage.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b", "x')
    assert list(Ledger(path).rows) == ["a"] and path.read_text() == '{"id": "a"}\n'
    path.write_text('{"id": "a"}\nnot a row\n')
    with pytest.raises(DataError, match=r"lineage.jsonl line 2 is no row"):
        Ledger(path)


def test_a_prompt_that_is_too_long_for_a_local_model_loses_only_itself(rules, tmp_path):
    folder = tiny_folder(tmp_path / "model")
    prompts = [*PROMPTS[:3], Conversation.user("the lamp by the well " * 200)]
    made = recipe.run(config(rules, tmp_path / "out", model=str(folder), rounds=1, max_tokens=8), prompts)
    assert made.dropped["failed"] == 1 and made.final["prompts"] == 3
