"""The comparison with LiteLLM: what it asks, what it hands to both sides, and its sums."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module


def test_no_two_questions_are_alike_and_none_holds_a_phrase(module):
    gateway = module("gateway")
    questions = module("gateway_wire").Questions(1, "k")
    asked = [questions.next() for _ in range(1200)]
    assert len(set(asked)) == 1200
    for request in asked[:3]:
        head, _, body = request.partition(b"\r\n\r\n")
        assert int(head.rpartition(b": ")[2]) == len(body) and b"authorization: Bearer k" in head
        text = json.loads(body)["messages"][1]["content"]
        assert 3900 < len(text) < 4100 and not any(phrase in text for phrase in gateway.PHRASES)
    assert len(set(gateway.PHRASES)) == 200 and gateway.PHRASES[17] in gateway.BAD


def test_both_sides_look_for_the_same_phrases(module):
    peer = module("gateway_peer")
    (guardrail,) = peer.config(1, module("gateway").PHRASES)["guardrails"]
    words = guardrail["litellm_params"]["blocked_words"]
    assert [word["keyword"] for word in words] == list(module("gateway").PHRASES)
    assert guardrail["litellm_params"]["default_on"] and "post_call" in guardrail["litellm_params"]["mode"]


def test_the_middle_of_the_rounds_is_reported(module):
    gateway = module("gateway")
    rounds = [{"added_p50_ms": value, "direct": {"p50_ms": 1.0}} for value in (3.0, 1.0, 2.0)]
    assert gateway.median(rounds) == {"added_p50_ms": 2.0}


def test_processor_time_and_memory_are_those_of_the_process(module):
    gateway = module("gateway")
    before = gateway.cpu_seconds(os.getpid())
    sum(n * n for n in range(3_000_000))
    assert before < gateway.cpu_seconds(os.getpid()) < before + 60
    assert 10e6 < gateway.resident(os.getpid()) < 100e9
