"""What is said about a set of lessons: repeats, contradictions, leaks, leanings; and the measures under it."""

from __future__ import annotations

import random
from math import log2

import pytest

from trivet.alignment import diversity, quality
from trivet.alignment.data_page import quality_page
from trivet.alignment.shingles import CROWD, groups, near_pairs, normal, overlap, shingles
from trivet.core.lessons import Demonstration, Feedback, Origin, Preference
from trivet.core.messages import Conversation

ASK = Conversation.user("why is it so")


def pair(chosen, rejected, line=0, prompt=ASK, **more):
    return Preference(prompt, chosen, rejected, origin=Origin("set", line=line), **more)


def flags(*lessons):
    return [tuple(flag) for flag in quality.figures(lessons)[1]]


def test_a_lesson_that_stood_before_is_named_after_case_and_punctuation():
    found = flags(pair("Yes, it is.", "No!", 1), pair("yes it  is", "no", 2), pair("yes it is", "not", 3))
    assert found == [("set:2", "duplicate", "set:1")]


def test_a_pair_and_its_swap_contradict_each_other():
    other = pair("b", "a", 3, prompt=Conversation.user("who was it then"))
    found = flags(pair("a", "b", 1), pair("B.", "a", 2), other)
    assert found == [("set:1", "swapped", "set:2"), ("set:2", "swapped", "set:1")]


def test_a_circle_is_found_and_a_ranking_is_none():
    ranking = [pair("a", "b", 1), pair("b", "c", 2), pair("a", "c", 3)]
    figures, found = quality.figures(ranking)
    assert not found and figures["both_sides"] == 1
    found = flags(*ranking, pair("c", "a", 4), pair("d", "a", 5))
    assert found == [
        ("set:1", "cyclic", ""),
        ("set:2", "cyclic", ""),
        ("set:3", "swapped", "set:4"),
        ("set:4", "swapped", "set:3"),
    ]


def test_replies_that_hardly_differ_are_alike_and_no_contradiction():
    long = (
        "the quick brown fox jumps over the lazy dog and then it sleeps for the rest of the day by the old river bank"
    )
    figures, found = quality.figures([pair("Yes.", "yes", 1), pair(long, long + " now", 2), pair(long, "no", 3)])
    assert [flag[:2] for flag in found] == [("set:1", "alike"), ("set:2", "alike")] and figures["both_sides"] == 0


def test_replies_without_words_are_told_apart():
    assert flags(pair("🙂", "🙁", 1), pair("🙂", "!?", 2)) == []


def test_the_same_reply_with_two_labels_is_a_contradiction():
    lessons = [
        Feedback(ASK, "so", True, Origin("set", line=1)),
        Feedback(ASK, "So.", False, Origin("set", line=2)),
        Feedback(ASK, "no", False, Origin("set", line=3)),
    ]
    assert flags(*lessons) == [("set:1", "two_labels", "set:2"), ("set:2", "two_labels", "set:1")]
    figures, _ = quality.figures(lessons)
    assert figures["words"]["desirable"]["mean"] == figures["words"]["undesirable"]["max"] == 1.0
    assert figures["flagged"] == {"duplicate": 0, "near_prompt": 0, "two_labels": 2}


WORDS = [f"w{number}" for number in range(400)]


def sentence(dice, count):
    return " ".join(dice.choice(WORDS) for _ in range(count))


def test_near_prompts_are_named_by_the_first_of_their_kind():
    dice = random.Random(0)
    first = sentence(dice, 60)
    prompts = [first, sentence(dice, 60), first + " please", first.upper() + " please now"]
    figures, found = quality.figures(
        [pair("a", "b", at, Conversation.user(text)) for at, text in enumerate(prompts, 1)]
    )
    assert found == [("set:3", "near_prompt", "set:1"), ("set:4", "near_prompt", "set:1")]
    assert figures["near_groups"] == 1 and figures["prompts"] == 4


def test_length_bias_is_the_share_of_longer_replies_chosen():
    lessons = [pair("a b c", "a", at, Conversation.user(f"ask {at}")) for at in range(30)]
    lessons += [pair("x", "y z", at, Conversation.user(f"say {at}")) for at in range(10)]
    lessons += [pair("u", "v", at, Conversation.user(f"tell {at}")) for at in range(5)]
    figures, _ = quality.figures(lessons)
    assert figures["longer_chosen"]["rate"] == 0.75 and figures["longer_chosen"]["n"] == 40
    assert figures["words_more"] == pytest.approx((30 * 2 - 10) / 45, abs=1e-3)


@pytest.mark.parametrize(
    ("chosen", "rejected", "wanted"),
    [
        ("I'm here", "I am here", ("I", False)),
        ("It is", "Its", ("It", True)),
        ("yes", "no", ("", False)),
        (" Paris is big", "Paris is bad", ("Paris is b", True)),
        ("No.", "No. Never", ("No.", False)),
        ("a b", "a c", ("a", False)),
        ("over", "overt", ("over", True)),
    ],
)
def test_what_replies_begin_with_alike(chosen, rejected, wanted):
    assert quality._shared_opening(chosen, rejected) == wanted


def test_weights_and_soft_labels_are_counted():
    figures, _ = quality.figures([pair("a", "b", 1, weight=0.5), pair("a", "c", 2, chance=0.75)])
    assert (figures["weight"], figures["uncertain"]) == (1.5, 1)


def test_demonstrations_prompts_and_nothing_at_all():
    tales = [Demonstration(Conversation(), "a tale of two", Origin("set", line=at)) for at in (1, 2)]
    figures, found = quality.figures(tales)
    assert figures["prompts"] == 0 and figures["diversity"]["vendi"] is None and figures["words"]["reply"]["mean"] == 4
    assert found == [("set:2", "duplicate", "set:1")]
    figures, _ = quality.figures([ASK, ASK.user("who")])
    assert figures["prompts"] == 2 and list(figures["words"]) == ["prompt"]
    assert quality.figures([])[0]["lessons"] == 0


def test_leaks_are_told_by_what_is_found():
    dice = random.Random(1)
    talk = Conversation.user("tell me about rivers")
    asked = sentence(dice, 50)
    data = [
        pair("a reply of six whole words", "no", 1),
        pair("b", "c", 2, Conversation.user(asked)),
        Preference(talk, "x", "y", origin=Origin("set", line=3)),
    ]
    longer = Conversation.parse(
        [*talk.rows(), {"role": "assistant", "content": "x"}, {"role": "user", "content": "and"}]
    )
    heldout = [
        pair("A reply of six whole words!", "no", 1),
        pair("p", "q", 2),
        pair("p", "a reply of six whole words", 3, Conversation.user("else")),
        pair("p", "q", 4, Conversation.user(asked + " please")),
        pair("p", "q", 5, longer),
        pair("no", "b", 6, Conversation.user("nothing of it")),
    ]
    figures, found = quality.leakage(data, heldout)
    hits = {name: rate["rate"] * 6 for name, rate in figures.items()}
    assert {name: round(hit) for name, hit in hits.items()} == {
        "lesson": 1, "prompt": 2, "opening": 3, "reply": 2, "near_prompt": 1,
    }  # fmt: skip
    assert quality.Flag("set:4", "near_prompt", "set:2") in found
    assert quality.Flag("set:5", "opening", "set:3") in found
    assert all(rate["rate"] == 0 for rate in quality.leakage(data, heldout[-1:])[0].values())


def test_the_page_holds_the_figures_and_escapes_what_it_shows():
    figures, found = quality.figures([pair("<b>a</b>", "b", 1), pair("b", "<b>a</b>", 2)])
    figures |= {"rows": 3, "dropped": {"empty": 1}, "leakage": quality.leakage([pair("a", "b")], [pair("a", "b")])[0]}
    page = quality_page("<set>", figures, found)
    assert "&lt;set&gt;" in page and "swapped" in page and "set:2" in page and "near prompt" in page


# Shingles.


def test_normal_forms():
    assert normal("  Ｈello,\n WORLD_x! ") == "hello world x" and normal("?!") == ""
    assert normal("Straße") == normal("STRASSE")


def test_shingles_are_sets_of_runs_of_words():
    assert len(shingles("a b c d e f")) == 2 and len(shingles("a b")) == 1 and not len(shingles("..."))
    assert shingles("a b c d e").tolist() == shingles("A, b: c d e!").tolist()
    assert shingles("a b c d e").tolist() != shingles("b a c d e").tolist()
    assert overlap(shingles("a b c", 1), shingles("b c d", 1)) == 0.5
    assert overlap(shingles(""), shingles("")) == 0.0


def test_near_pairs_are_all_and_only_those_that_every_comparison_finds():
    """Sixty texts with copies changed in one to many words: MinHash against the overlap of every two."""
    dice, texts = random.Random(2), []
    for _ in range(60):
        words = sentence(dice, 80).split()
        texts.append(" ".join(words))
        for at in dice.sample(range(80), dice.choice([1, 2, 6, 20])):
            words[at] = "changed"
        texts.append(" ".join(words))
    sets = [shingles(text) for text in texts]
    wanted = {
        (one, two)
        for one in range(len(texts))
        for two in range(one + 1, len(texts))
        if overlap(sets[one], sets[two]) >= 0.8
    }
    assert {(one, two) for one, two, _ in near_pairs(texts)} == wanted and 10 < len(wanted) < 60
    across = {(one, two) for one, two, _ in near_pairs(texts[::2], texts[1::2])}
    assert across == {(one // 2, two // 2) for one, two in wanted}


def test_a_crowd_of_equal_texts_is_one_group_without_all_its_pairs():
    texts = ["the same words stand here again and again"] * (CROWD + 5)
    pairs = [(one, two) for one, two, _ in near_pairs(texts)]
    assert len(pairs) < 2 * len(texts) and groups(pairs) == [list(range(len(texts)))]


def test_groups_are_connected_parts():
    assert groups([(5, 3), (1, 2), (3, 1), (8, 9)]) == [[1, 2, 3, 5], [8, 9]] and groups([]) == []


# Diversity.


def test_distinct_counts_new_n_grams():
    assert diversity.distinct(["a b a", "a b"], 1) == 0.4
    assert diversity.distinct(["a b c", "a b"], 2) == pytest.approx(2 / 3)
    assert diversity.distinct(["a b c d", "a b"], 1, words=3) == 1.0
    assert diversity.distinct(["a"], 2) is None


def test_self_overlap_is_the_share_of_runs_that_others_have():
    assert diversity.self_overlap(["a b c d e", "x y z u v"]) == 0.0
    assert diversity.self_overlap(["a b c d", "a b c d"]) == 1.0
    assert diversity.self_overlap(["a b c d e", "a b c d z"]) == 0.5
    assert diversity.self_overlap(["..."]) is None


def test_the_vendi_score_at_its_limits_and_by_hand():
    """Two texts of cosine c have the eigenvalues (1 + c) / 2 and (1 - c) / 2.

    "a a b" has a twice, b, "a a" and "a b" once, so its squared norm is 7; "a a c" likewise; they share a and "a a", so
    c = (2 * 2 + 1) / 7.
    """
    assert diversity.vendi(["a", "b", "c", "d"]) == pytest.approx(4)
    assert diversity.vendi(["a b"] * 5) == pytest.approx(1)
    assert diversity.vendi(["a", "a", "b", "b"]) == pytest.approx(2)
    shares = (6 / 7, 1 / 7)
    assert diversity.vendi(["a a b", "a a c"]) == pytest.approx(2 ** -sum(share * log2(share) for share in shares))
    assert diversity.vendi(["?"]) is None


def test_diversity_does_not_depend_on_the_order():
    dice = random.Random(3)
    texts = [sentence(dice, 12) for _ in range(700)]
    found = diversity.figures(texts)
    assert found == diversity.figures(texts[::-1]) and found["vendi_texts"] == 512
    assert found["vendi"] > 400 > diversity.figures([f"please {text[:6]}" for text in texts])["vendi"]
