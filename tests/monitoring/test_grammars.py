"""What our own grammars write for training: complete, varied, and labelled as it was meant."""

from __future__ import annotations

import json
import random
import re

import pytest

from trivet.monitoring.learning.carriers import boxed, carrier, escaped
from trivet.monitoring.learning.contrasts import contrasts, sides
from trivet.monitoring.learning.fine_frames import doubles
from trivet.monitoring.learning.gibberish import suffix
from trivet.monitoring.learning.jailbreak_frames import FAMILIES, filled, jailbreaks
from trivet.monitoring.learning.orders import injected, order
from trivet.monitoring.learning.slights import slights
from trivet.monitoring.learning.slots import lines, spun
from trivet.monitoring.learning.wishes import harmful, harmless

_LEFT = re.compile(
    r"\{(?:wish\d?|Wish|any|bot|obey|secret|role|villain|detail|name|ask|news|step|mine|url|tool|group|figure)\}|\[\[[^\]]*\|"
)


def test_a_choice_may_stand_in_a_choice_and_braces_that_name_no_pool_stay() -> None:
    text = '[[a|[[b|c]]]] {thing} {"id": {n}} {unknown}'
    seen = {spun(random.Random(seed), text, {"thing": ["x", "y"], "n": ["1"]}) for seed in range(60)}

    assert seen == {f'{first} {thing} {{"id": 1}} {{unknown}}' for first in "abc" for thing in "xy"}


def test_lines_drops_empty_ones_and_reads_line_breaks() -> None:
    assert lines("\n  one\\ntwo\n\n three \n") == ["one\ntwo", "three"]


def test_what_a_pool_holds_is_spun_too() -> None:
    assert spun(random.Random(1), "{a}", {"a": ["[[x|x]]{b}"], "b": ["!"]}) == "x!"


@pytest.mark.parametrize("seed", [0, 7])
def test_the_grammars_write_the_same_for_the_same_seed_and_rarely_the_same_twice(seed: int) -> None:
    for written in (
        [attack.text for attack in jailbreaks(600, harmful(), harmless(), seed)],
        doubles(600, harmless(), seed),
        [planted.text for planted, _ in injected(600, [". ".join(map(str, range(200)))], seed)],
    ):
        assert len(set(written)) > 0.93 * len(written)
        assert not [text for text in written if _LEFT.search(text)]
    assert jailbreaks(50, harmful(), harmless(), seed) == jailbreaks(50, harmful(), harmless(), seed)


def test_every_frame_takes_its_wish() -> None:
    rng = random.Random(3)
    for family in FAMILIES[:-2]:
        for frame in family:
            text = filled(rng, frame, ["sell the moon", "sell the moon", "sell the moon"], ["sell the moon"] * 3)
            plain = re.sub(r"[\W_]", "", text.lower())
            # Cut in two, a wish stands in two places.
            assert "sellthemoon" in plain or "{half}" in frame, frame


def test_a_jailbreak_that_surely_asks_for_harm_says_which() -> None:
    wishes = harmful()
    plain = [re.sub(r"[\W_]", "", wish.lower()) for wish in wishes]
    rows = jailbreaks(500, wishes, harmless())
    asking = [text for text, harm, _ in rows if harm and "Let A =" not in text and "Join" not in text]

    assert 0.6 * len(rows) < len(asking) and any(row.direct for row in rows)
    named = [any(wish in re.sub(r"[\W_]", "", text.lower()) for wish in plain) for text in asking]
    assert sum(named) > 0.97 * len(named)


def test_no_harmless_double_holds_a_harmful_wish() -> None:
    wishes = harmful()
    assert not [text for text in doubles(800, harmless()) if any(wish in text for wish in wishes)]
    assert not set(harmful()) & set(harmless())


def test_the_wishes_of_the_contrasts_keep_their_sides() -> None:
    bad, good = sides()
    texts = {text.lower() for text, harm in contrasts() if harm}

    assert any(bad[0] in text for text in texts)
    assert not any(good[0].lower() in text for text in texts)


def test_the_span_of_a_planted_order_is_what_was_planted() -> None:
    rows = injected(400, ["The sea was calm. The boat lay still. We ate bread."])
    for planted, addressed in rows:
        assert planted.bad == (planted.span is not None)
        assert addressed or planted.bad
        if planted.span:
            start, end = planted.span
            assert 0 <= start < end <= len(planted.text)
            assert planted.text[start:end].strip()
    shares = sum(planted.bad for planted, _ in rows) / len(rows)
    assert 0.5 < shares < 0.7


def test_an_order_in_a_tool_s_result_leaves_valid_json() -> None:
    rng = random.Random(5)
    for _ in range(100):
        opened, closed = boxed(rng)
        if opened[0] in "{[":
            json.loads(opened + escaped(f'{order(rng)[0]}\n"quoted"') + closed)


def test_a_document_without_orders_asks_nobody() -> None:
    rng = random.Random(2)
    for _ in range(200):
        assert "Please" not in " ".join(carrier(rng, orders=False)[0]).replace("Please check back", "")


def test_slights_have_one_label_each_and_both_labels() -> None:
    rows = slights(1000)

    assert len({text for text, _ in rows}) == len(rows)
    assert {bad for _, bad in rows} == {True, False}


def test_suffixes_differ_and_hold_no_sentence() -> None:
    made = {suffix(random.Random(seed)) for seed in range(50)}

    assert len(made) > 45
    assert all(len(text) > 10 for text in made)
