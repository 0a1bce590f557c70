"""Encodings: exact inverses where claimed, readable ones elsewhere, chains in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.errors import ConfigError, DataError
from trivet.robustness.converters.encodings import CONVERTERS, converter

EXACT = [name for name, one in CONVERTERS.items() if one.exact]
TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.mark.parametrize("name", EXACT)
@given(text=TEXT)
def test_an_exact_converter_gives_back_every_character(name: str, text: str) -> None:
    one = converter(name)
    assert one.decode is not None
    assert one.decode(one.encode(text)) == text


@pytest.mark.parametrize("name", ["spaced", "leetspeak", "morse"])
def test_the_others_give_back_the_words(name: str) -> None:
    one = converter(name)
    assert one.decode is not None
    assert one.encode("open the gate") != "open the gate"
    assert one.decode(one.encode("open the gate")) == "open the gate"


@pytest.mark.parametrize("name", list(CONVERTERS))
def test_a_converter_hides_the_words(name: str) -> None:
    assert "tell me where it is" not in converter(name).encode("tell me where it is") or name == "url"


def test_known_answers() -> None:
    assert converter("base64").encode("Hello") == "SGVsbG8="
    assert converter("rot13").encode("Hello") == "Uryyb"
    assert converter("hex").encode("Hi") == "4869"
    assert converter("atbash").encode("abc") == "zyx"
    assert converter("binary").encode("A") == "01000001"
    assert converter("morse").encode("SOS now") == "... --- ... / -. --- .--"
    assert converter("leetspeak").encode("a test") == "4 7357"
    assert converter("reversed_words").encode("one two") == "two one"


def test_a_chain_runs_left_to_right_and_back() -> None:
    chain = converter("rot13+base64")
    assert chain.encode("Hello") == "VXJ5eWI="
    assert chain.decode is not None
    assert chain.exact
    assert chain.decode("VXJ5eWI=") == "Hello"


def test_a_chain_with_a_link_without_inverse_has_none() -> None:
    chain = converter("pig_latin+base64")
    assert chain.decode is None
    assert not chain.exact


def test_an_unknown_name_is_told_with_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r'no converter "rot31".*Did you mean "rot13"'):
        converter("rot31")


@pytest.mark.parametrize(
    ("name", "text"),
    [("base64", "not base64!"), ("base32", "1"), ("hex", "zz"), ("binary", "2"), ("morse", "..-..-..")],
)
def test_what_cannot_be_decoded_is_a_data_error(name: str, text: str) -> None:
    decode = converter(name).decode
    assert decode is not None
    with pytest.raises(DataError, match="not "):
        decode(text)
