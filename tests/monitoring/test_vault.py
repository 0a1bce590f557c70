"""Placeholders: the same value, the same name; the way back, also in a stream that is cut anywhere; and what never comes back."""

from __future__ import annotations

import copy
import itertools
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError
from trivet.core.verdicts import Span
from trivet.monitoring.guards.pii import masked
from trivet.monitoring.guards.vault import Placeholders, Restorer, json_escaped


def test_placeholders_are_typed_and_consistent() -> None:
    names = Placeholders()
    assert masked("a@b.co, c@d.co and A@B.CO", names) == "<EMAIL_1>, <EMAIL_2> and <EMAIL_1>"
    assert masked("reply to c@d.co from e@f.co", names) == "reply to <EMAIL_2> from <EMAIL_3>"
    assert names.mask("x", [Span(0, 1, "some label")]) == "<SOME_LABEL_1>"


def test_where_spans_overlap_the_earlier_covers_both() -> None:
    assert Placeholders().mask("abcdef", [Span(1, 3, "A"), Span(2, 5, "B")]) == "a<A_1>f"


def test_a_placeholder_in_the_text_is_not_taken_again() -> None:
    assert masked("<EMAIL_1> is not a@b.co") == "<EMAIL_1> is not <EMAIL_2>"


def test_nor_one_of_another_script_or_beside_another_bracket() -> None:
    text = "<<ÉTAT_1> <A <ÉTAT_2>> x"
    assert Placeholders().mask(text, [Span(len(text) - 1, len(text), "état")]) == text[:-1] + "<ÉTAT_3>"


def test_a_text_is_searched_for_placeholders_once_however_many_values_it_holds() -> None:
    class Counted(str):
        searched = 0

        def __contains__(self, part: object) -> bool:
            Counted.searched += 1
            return super().__contains__(str(part))

    text = Counted("<EMAIL_1>" + "".join(f" u{n}@b.co" for n in range(300)))
    spans = [Span(n, n + 1, "EMAIL") for n in range(9, len(text))]
    assert Placeholders().mask(text, spans).count("<EMAIL_") > 10
    assert Counted.searched <= 1


def test_what_a_user_typed_is_never_restored() -> None:
    names = Placeholders()
    names.reserve("what is <EMAIL_1>?")
    assert masked("a@b.co", names) == "<EMAIL_2>"
    assert names.restore("<EMAIL_1> <EMAIL_2>") == "<EMAIL_1> a@b.co"


def test_what_was_typed_after_it_was_given_out_is_not_restored_either() -> None:
    names = Placeholders()
    masked("a@b.co", names)
    names.reserve("<EMAIL_1>")
    assert names.restore("<EMAIL_1>") == "<EMAIL_1>"


def test_names_given_after_the_seal_stay() -> None:
    names = Placeholders()
    masked("a@b.co", names)
    names.seal()
    reply = masked("<EMAIL_1> or other@b.co", names)
    assert names.restore(reply) == "a@b.co or <EMAIL_2>"


def test_a_seal_can_keep_only_what_was_masked_reversibly() -> None:
    names = Placeholders()
    text = names.mask("a@b.co", [Span(0, 6, "EMAIL")], reversible=True) + names.mask("12", [Span(0, 2, "CODE")])
    assert names.restore(text) == "a@b.co12", "before the seal everything has a way back"
    names.seal(every=False)
    names.seal()
    assert names.restore(text) == "a@b.co<CODE_1>" and dict(names.restorable()) == {"<EMAIL_1>": "a@b.co"}


def test_a_vault_is_of_one_tenant_and_shows_nothing() -> None:
    names = Placeholders("acme")
    masked("a@b.co", names)
    assert names.for_tenant("acme") is names
    with pytest.raises(ConfigError, match="another tenant"):
        names.for_tenant("other")
    assert "a@b" not in repr(names)
    for keep in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            keep(names)


def test_values_in_json_are_escaped() -> None:
    names = Placeholders()
    value = 'Main "St"\n1'
    text = names.mask(value, [Span(0, len(value), "LOCATION")])
    restorer = Restorer(names, escape=json_escaped)
    assert json.loads(restorer.feed(json.dumps({"where": text})) + restorer.finish()) == {"where": value}


PIECES = st.lists(
    st.sampled_from(
        ["<EMAIL_1>", "<EMAIL_2>", "<EMAIL_12>", "<PHONE_1>", "<", "<E", "EMAIL_1>", "<<EMAIL_1>", "_1", "x ", "日", ""]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(PIECES, st.lists(st.integers(0, 120), max_size=20))
def test_however_a_stream_is_cut_it_is_restored_like_the_whole(text: str, cuts: list[int]) -> None:
    names = Placeholders()
    masked("one@b.co two@b.co +44 20 7946 0958", names)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    restorer = Restorer(names)
    out = [restorer.feed(text[a:b]) for a, b in itertools.pairwise(edges)]
    assert "".join(out) + restorer.finish() == names.restore(text)


@given(st.text("<EMAIL_1>x", max_size=40))
def test_at_most_the_beginning_of_one_name_is_held_back(text: str) -> None:
    names = Placeholders()
    masked("one@b.co", names)
    restorer = Restorer(names)
    released = restorer.feed(text)
    held = restorer.finish()
    assert "<EMAIL_1>".startswith(held) and held != "<EMAIL_1>"
    assert released + held == names.restore(text)


def test_without_names_a_stream_passes_through_at_once() -> None:
    assert Restorer(Placeholders()).feed("<EMAIL_1> <") == "<EMAIL_1> <"
