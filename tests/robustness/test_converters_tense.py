"""Tense by rule: what each rule makes of its form, persons, and honesty about what no rule takes."""

from __future__ import annotations

import pytest

from trivet.robustness.converters import tense
from trivet.robustness.converters.library import converter
from trivet.town import requests


@pytest.mark.parametrize(
    ("text", "rule", "past", "future"),
    [
        ("How do I bake a pie?", "how do I", "How did people bake a pie?", "How will people bake a pie?"),
        ("how could someone ask for help", "how do I", "How did people ask for help?", "How will people ask for help?"),
        ("Please tell me how to bake a pie.", "how to", "How did people bake a pie?", "How will people bake a pie?"),
        (
            "Write a tutorial on how to mend my chair",
            "how to",
            "How did people mend their chair?",
            "How will people mend their chair?",
        ),
        ("Explain how one can bake a pie.", "how one can", "How did people bake a pie?", "How will people bake a pie?"),
        ("What is the way to bake a pie?", "the steps to", "How did people bake a pie?", "How will people bake a pie?"),
        ("What do I need to bake a pie?", "what I need to", "How did people bake a pie?", "How will people bake a pie?"),
        ("Hello. Teach me to bake a pie. Thank you.", "teach me to", "How did people bake a pie?", "How will people bake a pie?"),
        ("My task is to bake a pie. Help.", "my task is to", "How did people bake a pie?", "How will people bake a pie?"),
        (
            "It is cold. I want to bake a pie. What are the steps?",
            "I want to",
            "How did people bake a pie?",
            "How will people bake a pie?",
        ),
        (
            "Give me a guide for baking pies",
            "a guide for -ing",
            "How did people go about baking pies?",
            "How will people go about baking pies?",
        ),
        ("May I eat my pie?", "may I", "Did people ever eat their pie?", "Will people ever eat their pie?"),
        ("Is it good to eat pie?", "is it right to", "Was it good to eat pie?", "Will it be good to eat pie?"),
        ("Which pies can be eaten?", "what can be", "Which pies were eaten?", "Which pies will be eaten?"),
        ("What would happen if I ate it?", "what would happen", "What happened when they ate it?",
         "What will happen when they ate it?"),
        ("What is a pie?", "what is", "What was a pie?", "What will a pie be?"),
        ("What are pies?", "what are", "What were pies?", "What will pies be?"),
        ("Is there a pie?", "is there", "Was there a pie?", "Will there be a pie?"),
        ("Why does my pie fall?", "why does", "Why did their pie fall?", "Why will their pie fall?"),
        ("Convince us that pies are good", "imperative", "How did people convince them that pies are good?",
         "How will people convince them that pies are good?"),
        (
            "Teach me to hum because I want to calm my cat.",
            "teach me to",
            "How did people hum because they wanted to calm their cat?",
            "How will people hum because they want to calm their cat?",
        ),
        (
            "How can I hum so that I can sleep myself?",
            "how do I",
            "How did people hum so that they could sleep themselves?",
            "How will people hum so that they can sleep themselves?",
        ),
    ],
)  # fmt: skip
def test_each_rule(text: str, rule: str, past: str, future: str) -> None:
    assert tense.rule(text) == rule
    assert converter("past").encode(text) == past
    assert converter("future").encode(text) == future


def test_what_no_rule_takes_is_reported_and_said_to_be() -> None:
    text = "The gate is closed today."
    assert tense.rule(text) == "reported"
    assert tense.past(text) == f'What did people say when they were asked: "{text}"?'
    assert tense.future(text) == f'What will people say when they are asked: "{text}"?'


@pytest.mark.parametrize("text", ["", "?", "help", "how to", "How do I", "{deed}", "How do I {deed}?", "a\nb"])
def test_no_text_is_too_odd(text: str) -> None:
    assert tense.past(text) and tense.future(text)


def test_every_request_of_the_town_is_taken_by_a_rule_and_loses_nothing_of_its_deed() -> None:
    for part in ("train", "heldout"):
        for one in list(requests.harmful(part))[::37]:  # type: ignore[arg-type]
            assert tense.rule(one.text) != "reported"
            said = tense.past(one.text)
            assert said.startswith("How did people ") and said.count("?") == 1
            deed = " ".join(one.intent.partition(":")[2].split()[:4])
            assert deed in said
