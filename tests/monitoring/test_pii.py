"""Personal data: what is found, what is not, and that masks land exactly on it."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation
from trivet.monitoring.guards.pii import KINDS, Pii, Placeholders, find, iban, luhn, masked, ssn

VALUES = {
    "EMAIL": ["bob@example.com", "first.last+tag@sub.example.co.uk", "o'x".replace("'", "_") + "@example.org"],
    "PHONE": ["+44 20 7946 0958", "(212) 555-0123", "212-555-0123", "+1-212-555-0123", "030 123 4567 89"],
    "CREDIT_CARD": ["4111 1111 1111 1111", "4111-1111-1111-1111", "378282246310005", "5555555555554444"],
    "IBAN": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947"],
    "SSN": ["123-45-6789", "078 05 1120"],
    "IP": ["192.168.1.17", "2001:db8:85a3::8a2e:370:7334"],
    "SECRET": ["AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "sk-" + "abcd" * 8, "xoxb-" + "1234567890-abc"],
}
CASES = [(kind, value) for kind, values in VALUES.items() for value in values]


@pytest.mark.parametrize(("kind", "value"), CASES)
def test_each_kind_is_found_where_it_stands(kind: str, value: str) -> None:
    text = f"Well, here it is: {value}, as agreed."
    assert [(s.label, text[s.start : s.end]) for s in find(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111 1111 1111 1112 is not a card",
        "IBAN GB82 WEST 1234 5698 7654 33 has a wrong checksum",
        "000-12-3456 and 666-12-3456 and 900-12-3456 and 123-00-4567 and 123-45-0000 were never issued",
        "version 1.2.3.4 and 300.1.1.1 are no addresses",
        "On 2024-05-06 at 10:30:15 we met; 12.11.2023 too",
        "std::vector and a::b are C++",
        "3.141592653589793 and 1,000,000 and 20240506",
        "me@localhost and @handle and a @ b",
        "",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert list(find(text)) == []


def test_neighbouring_groups_do_not_hide_a_card() -> None:
    assert masked("order 12 4111 1111 1111 1111 12/27") == "order 12 <CREDIT_CARD_1> 12/27"


def test_disguised_digits_are_found_in_place() -> None:
    assert masked("card ４１１１ 1111\u200b 1111 1111!") == "card <CREDIT_CARD_1>!"
    assert masked("b\u200bob@exam\u00adple.com.") == "<EMAIL_1>."


def test_checksums() -> None:
    assert luhn("4111111111111111") and not luhn("4111111111111112") and not luhn("0000000000000000")
    assert iban("GB82 WEST 1234 5698 7654 32") and not iban("GB82 WEST 1234 5698 7654 33") and not iban("XX82")
    assert ssn("123-45-6789") and not ssn("666-45-6789")


def test_placeholders_are_typed_and_consistent() -> None:
    names = Placeholders()
    assert masked("a@b.co, c@d.co and A@B.CO", names) == "<EMAIL_1>, <EMAIL_2> and <EMAIL_1>"
    assert masked("reply to c@d.co from e@f.co", names) == "reply to <EMAIL_2> from <EMAIL_3>"


def test_a_placeholder_in_the_text_is_not_taken_again() -> None:
    assert masked("<EMAIL_1> is not a@b.co") == "<EMAIL_1> is not <EMAIL_2>"


def test_only_the_chosen_kinds_are_looked_for() -> None:
    verdict = Pii(["PHONE"]).scan("a@b.co and +44 20 7946 0958")
    assert [s.label for s in verdict.spans] == ["PHONE"]
    with pytest.raises(ConfigError, match='Did you mean "EMAIL"'):
        Pii(["EMIAL"])


def test_the_guard_says_what_and_never_the_text() -> None:
    verdict = asyncio.run(Pii().judge(Conversation.user("write to bob@example.com")))
    assert (verdict.label, verdict.score, verdict.why) == ("personal_data", 1.0, "found EMAIL")
    assert Pii().scan("nothing here").label == "safe"


WORDS = st.text(alphabet="abc xyz,.\u200bé日", max_size=12).map(lambda s: f" {s} ")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WORDS, st.sampled_from(CASES)), max_size=5))
def test_masks_land_on_the_values_and_nothing_else(parts: list[tuple[str, tuple[str, str]]]) -> None:
    text = "".join(before + value for before, (_, value) in parts) + " end"
    spans = list(find(text))
    assert [(s.label, text[s.start : s.end]) for s in spans] == [case for _, case in parts]
    rest = Placeholders().mask(text, spans)
    assert all(value not in rest for _, (_, value) in parts)
    outside = "".join(before for before, _ in parts) + " end"
    shown = rest
    for span in {f"<{s.label}_{i}>" for s in spans for i in range(1, 6)}:
        shown = shown.replace(span, "")
    assert shown == outside


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text_masks_without_trouble_and_only_once(text: str) -> None:
    spans = list(find(text))
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("piece", ["1", "1 ", "a", "a.", "a@", "a@b.", "+1", "::", "1.1.", "DE12 3456 ", "eyJ", "-"])
def test_no_shape_backtracks(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    for kind in KINDS:
        start = time.perf_counter()
        list(find(text, [kind]))
        assert time.perf_counter() - start < 4, kind.name
