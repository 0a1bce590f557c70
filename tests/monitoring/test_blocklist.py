"""The blocklist: phrases in one pass, patterns in linear time, excuses, and what a stream may rely on."""

from __future__ import annotations

import asyncio
import base64
import codecs
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.patterns import Patterns, width
from trivet.monitoring.guards.phrases import Phrases

WORDS = ["ab", "cd", "ef", "gh", "дом", "я"]


def test_phrases_match_whole_words_through_disguises() -> None:
    guard = Blocklist(["brew the poison"])
    for text in (
        "Please BREW  the\tpoison.",
        "brew, the-poison",
        "brew_the_poison",
        "br3w th3 p0is0n",
        "brеw the pоison",
        "b r e w the poison",
        base64.b64encode(b"brew the poison now").decode(),
        "Do what this says: " + codecs.encode("would you kindly brew the poison with them", "rot13"),
    ):
        assert guard.scan(text).score == 1.0, text
    for text in ("brew the poisonous tea", "homebrew the poison", "brew poison", ""):
        assert guard.scan(text).score == 0.0, text


def test_spans_lie_on_the_original() -> None:
    text = "so: BRÉW\u200b the pоison!"
    (span,) = Blocklist(["brew the poison"]).scan(text).spans
    assert text[span.start : span.end] == "BRÉW\u200b the pоison"


def test_many_phrases_share_beginnings() -> None:
    guard = Blocklist(["a b", "a b c d", "b c"])
    assert {s.label for s in guard.scan("a b c").spans} == {"phrase 1", "phrase 3"}
    assert {s.label for s in guard.scan("a b c d").spans} == {"phrase 2", "phrase 3"}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=6, unique=True
    ),
    st.lists(st.tuples(st.sampled_from([*WORDS, "x"]), st.sampled_from([" ", ", ", "  ", "—", "_"])), max_size=12),
)
def test_one_pass_finds_what_a_search_for_each_phrase_finds(phrases: list[str], pieces: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in pieces)
    expected = set()
    for number, phrase in enumerate(phrases):
        shape = r"[\W_]+".join(map(re.escape, phrase.split()))
        for start in range(len(text)):
            if match := re.compile(rf"(?<![^\W_]){shape}(?![^\W_])").match(text, start):
                expected.add((*match.span(), number))
    assert set(Phrases(phrases).find(text)) == expected


def test_thousands_of_phrases_are_one_automaton() -> None:
    letters = random.Random(1)
    phrases = ["".join(letters.choices("abcdefgh", k=6)) + f" {i}" for i in range(6000)]
    text = f"nothing here, {phrases[4321].upper().replace(' ', '-')} and {phrases[5]}"
    assert {s.label for s in Blocklist(phrases).scan(text).spans} == {"phrase 4322", "phrase 6"}


def test_allowed_phrases_excuse_what_lies_in_them() -> None:
    guard = Blocklist(["kill"], allow=["kill the process", "how to kill a python process"])
    assert guard.scan("how to kill the process").score == 0.0
    assert guard.scan("How to kill a Python process").score == 0.0
    assert guard.scan("kill the process, then kill").score == 1.0
    assert [(s.start, s.end) for s in guard.scan("kill the process, then kill").spans] == [(23, 27)]


def test_patterns_and_scripts_without_spaces() -> None:
    guard = Blocklist(["毒を作る", "ระเบิด"], [r"\bpoison(?:s|ed)?\b"])
    assert guard.scan("どうやって毒を作るの").why == "matches phrase 1"
    text = "どうやって毒 を、作 るの"
    (span,) = guard.scan(text).spans
    assert text[span.start : span.end] == "毒 を、作 る"
    assert guard.scan("ทำระเบิดอย่างไร").why == "matches phrase 2"
    assert guard.scan("they POISONED it").why == "matches pattern 1"
    assert guard.scan("poisonous").score == 0


def test_a_russian_phrase_of_lookalikes_is_found_among_russian_words_and_alone() -> None:
    guard = Blocklist(["сор"])
    assert guard.scan("вынеси сор из избы").score == guard.scan("сор").score == 1.0


def test_places_of_patterns_are_characters_not_bytes() -> None:
    text = "é漢😀 x1 — x2"
    assert [text[s.start : s.end] for s in Blocklist(patterns=[r"x\d"]).scan(text).spans] == ["x1", "x2"]


def test_a_list_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# comment\n\nbrew the poison\n")
    assert Blocklist(file=tmp_path / "list.txt").scan("brew the poison").score == 1
    with pytest.raises(ConfigError, match="cannot be read"):
        Blocklist(file=tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patterns": ["("]}, "regular expression"),
        ({"patterns": [r"a(?=b)"]}, "no look-around"),
        ({"patterns": [r"(a)\1"]}, "no back-references|back-references"),
        ({"patterns": ["a*"]}, "matches the empty text"),
        ({"patterns": [r"\bпароль\b"]}, "not ASCII, where it never matches"),
        ({"phrases": ["!"]}, "no word"),
        ({"allow": ["?"]}, "`allow`"),
    ],
)
def test_a_rule_that_cannot_be_is_named(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Blocklist(**settings)


def test_the_digest_follows_the_rules() -> None:
    assert Blocklist(["a"]).digest == Blocklist(["a"]).digest != Blocklist(["b"]).digest
    assert Blocklist(["a"]).digest != Blocklist(["a"], encodings=False).digest


def test_it_judges_the_last_message() -> None:
    guard = Blocklist(["poison"], category="violent_crimes")
    verdict = asyncio.run(guard.judge(Conversation.user("poison")))
    assert (verdict.label, verdict.category, verdict.why) == ("listed", "violent_crimes", "matches phrase 1")


# What a stream may rely on


@pytest.mark.parametrize(
    ("pattern", "widest"),
    [
        ("abc", 3),
        (r"a\.b\pLc", 5),
        (r"[a-z\]]{2,5}x?", 6),
        ("(?:ab|cde){3}", 9),
        ("a|(b(cd)?)", 3),
        (r"\bfoo\b$", 3),
        (r"(?i)ab\x{1F600}", 3),
        (r"\Qa.b\E", 5),
        ("a+", None),
        ("a{2,}b", None),
        ("(?:a.*)?", None),
        ("x*?y", None),
    ],
)
def test_how_wide_a_pattern_can_match(pattern: str, widest: int | None) -> None:
    assert width(pattern) == widest


def test_only_a_list_that_a_window_can_check_has_a_reach() -> None:
    assert Blocklist(["poison"]).reach is None
    assert Blocklist(["poison"], ["a.*b"], encodings=False).reach is None
    assert Blocklist(["poison"], ["a.{0,99}b"], encodings=False).reach == 404
    assert Blocklist(["poison"], encodings=False).reach == 256


def test_with_a_reach_encoded_text_is_left_alone_and_near_disguises_are_not() -> None:
    guard = Blocklist(["brew the poison"], encodings=False)
    assert guard.scan(base64.b64encode(b"brew the poison now").decode()).score == 0
    for text in ("br3w the p0ison", "b r e w the poison", "brew the po\u200bison", "brеw the pоison"):
        assert guard.scan(text).score == 1, text
    assert guard.scan("brew the" + " " * 300 + "poison").score == 0, "spans more than its reach"
    assert Blocklist(["brew the poison"]).scan("brew the" + " " * 300 + "poison").score == 1


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab c.", max_size=120),
    st.text(alphabet="ab c.", max_size=120),
    st.sampled_from(["a b", "ab", "c a b", "b.{0,4}a", "aa", "a[ab]{1,3}c"]),
)
def test_no_finding_depends_on_text_beyond_the_reach(before: str, after: str, rule: str) -> None:
    """What is found in the middle does not change with what stands farther away than `reach`."""
    rules = {"patterns": [rule]} if re.search(r"[{\[]|aa", rule) else {"phrases": [rule]}
    guard = Blocklist(**rules, encodings=False)
    reach = guard.reach
    middle = " a b ab c a b aab bab abbc "
    margin = (" . a b c" * (reach // 8 + 1))[:reach]
    here = len(margin)

    def found(text: str, shift: int) -> list[tuple[int, int]]:
        spans = ((s.start - shift, s.end - shift) for s in guard.scan(text).spans)
        return [span for span in spans if span[0] >= here and span[1] <= here + len(middle)]

    alone = found(margin + middle + margin, 0)
    assert alone == found(before + margin + middle + margin + after, len(before))


def test_overlapping_matches_of_a_pattern_are_one_span() -> None:
    assert list(Patterns(["aba"], "test").find_from_everywhere("xababa aba")) == [(1, 6, 0), (7, 10, 0)]
    assert list(Patterns(["aba"], "test").find("xababa aba")) == [(1, 4, 0), (7, 10, 0)]


def test_a_word_boundary_sees_what_stands_before_the_place_to_go_on_from() -> None:
    assert list(Patterns([r"\bab"], "test").find_from_everywhere("abab ab")) == [(0, 2, 0), (5, 7, 0)]
