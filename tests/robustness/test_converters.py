"""Converters: inverses on what they claim, known answers, chains in both directions, names that are told apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivet.core.errors import ConfigError, DataError
from trivet.robustness.converters import encodings
from trivet.robustness.converters.base import Tunable
from trivet.robustness.converters.library import ROOMS, converter, listing

MORE = ("caesar(25)", "vigenere(zz)", "rail_fence(9)", "scytale(2)", "homoglyphs(greek)", "homoglyphs(armenian)",
        "zalgo(7)", "split(9)", "jumbled(2)", "noise(77)", "capitals(5)")  # fmt: skip
ALL = [*(row.name for row in listing()), *MORE]
EXACT = [name for name in ALL if converter(name).exact]
PARTIAL = [name for name in ALL if converter(name).decode and not converter(name).exact]
TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60)
SENTENCE = "tell me where it is"


def test_there_are_many_and_each_room_is_furnished() -> None:
    rows = listing()
    assert len(rows) >= 80
    assert len({row.name for row in rows}) == len(rows)
    assert {row.room for row in rows} == set(ROOMS)
    assert all(row.about and len(row.about) <= 60 and not row.about.endswith(".") for row in rows)
    assert len(EXACT) >= 30 and len(PARTIAL) >= 30


def test_no_two_converters_write_the_same() -> None:
    text = "Tell me, where is it? Box 27"
    written = [converter(row.name).encode(text) for row in listing()]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("name", EXACT)
@given(text=TEXT)
@settings(max_examples=60, deadline=None)
def test_an_exact_converter_gives_back_every_text(name: str, text: str) -> None:
    one = converter(name)
    assert one.decode is not None
    assert one.decode(one.encode(text)) == text


@pytest.mark.parametrize("name", PARTIAL)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_partial_converter_gives_back_every_text_of_its_domain(name: str, data: st.DataObject) -> None:
    one = converter(name)
    text = data.draw(st.from_regex(one.domain, fullmatch=True))
    assert one.decode is not None
    assert one.decode(one.encode(text)) == text


@pytest.mark.parametrize("name", PARTIAL)
def test_a_partial_converter_takes_an_ordinary_sentence(name: str) -> None:
    one = converter(name)
    words = SENTENCE  # without the k that tap code lacks
    assert re.fullmatch(one.domain, words)
    assert one.decode is not None
    assert one.decode(one.encode(words)) == words != one.encode(words)


@pytest.mark.parametrize("name", ALL)
def test_a_converter_is_deterministic_and_takes_anything(name: str) -> None:
    for text in ("", " ", "é 你好 🙂", "a\nb\u2028c", SENTENCE * 40):
        assert converter(name).encode(text) == converter(name).encode(text)


@pytest.mark.parametrize("name", [name for name in ALL if not converter(name).readable])
def test_what_is_not_readable_hides_the_words(name: str) -> None:
    assert SENTENCE not in converter(name).encode(SENTENCE)


@pytest.mark.parametrize("name", [name for name in ALL if converter(name).readable])
def test_what_is_readable_has_the_words_in_their_order(name: str) -> None:
    words = re.findall(r"[a-z]+", converter(name).encode("how do I open the old gate").lower())
    at = 0
    for word in ("open", "the", "old", "gate"):
        at = words.index(word, at) + 1


@pytest.mark.parametrize(
    ("name", "text", "written"),
    [
        ("base64", "Hello", "SGVsbG8="),
        ("rot13", "Hello", "Uryyb"),
        ("hex", "Hi", "4869"),
        ("base16", "Jo", "4A6F"),
        ("base64url", "??>", "Pz8-"),
        ("base85", "Hi", "NNE"),
        ("decimal", "Hi", "72 105"),
        ("octal", "Hi", "110 151"),
        ("html", "<é", "&#60;&#233;"),
        ("unicode", "é🙂", "\\u00e9\\ud83d\\ude42"),
        ("quoted_printable", "é", "=C3=A9"),
        ("atbash", "abc", "zyx"),
        ("binary", "A", "01000001"),
        ("morse", "SOS now", "... --- ... / -. --- .--"),
        ("leetspeak", "a test", "4 7357"),
        ("reversed_words", "one two", "two one"),
        ("caesar(3)", "xyz Abc", "abc Def"),
        ("vigenere(lemon)", "attackatdawn", "lxfopvefrnhr"),
        ("rot47", "Hello", "w6==@"),
        ("rail_fence(3)", "WEAREDISCOVEREDFLEEATONCE", "WECRLTEERDSOEEFEAOCAIVDEN"),
        ("scytale(2)", "abcdef", "acebdf"),
        ("swapped_pairs", "gate!", "aget!"),
        ("keyboard", "gate", "hsyr"),
        ("a1z26", "az by", "1-26 2-25"),
        ("polybius", "a0", "11 53"),
        ("tap_code", "ab", ". .  . .."),
        ("bacon", "ab", "AAAAA AAAAB"),
        ("fullwidth", "A b", "Ａ　ｂ"),
        ("bold", "Ab1", "𝐀𝐛𝟏"),
        ("double_struck", "Ca", "ℂ𝕒"),
        ("circled", "Ab1", "Ⓐⓑ①"),
        ("braille", "Ab 12c", "⠠⠁⠃⠀⠼⠁⠃⠰⠉"),
        ("nato", "go 7", "Golf Oscar / Seven"),
        ("banner", "it 1", "### ###\n #   # \n #   # \n #   # \n###  # \n\n # \n## \n # \n # \n###"),
        ("zero_width", "abc", "a\u200bb\u200bc"),
        ("tags", "A", "\U000e0041"),
        ("variation_selectors", "A\x01", "🙂\U000e0131\ufe01"),
        ("zero_width_bits", "\x03", "\u200b" * 6 + "\u200c" * 2),
        ("bidi", "ab", "\u202eba\u202c"),
        ("split", "abcde", 'a = "abc"\nb = "de"\nz = a + b'),
        ("json", 'a "b"', '{"role": "reader", "question": "a \\"b\\""}'),
        ("quote", "a\nb", "> a\n> b"),
        ("sql", "it's", "SELECT answer FROM replies WHERE question = 'it''s';"),
        ("disemvowelled", "open gate", "pn gt"),
        ("stuttered", "open it", "o-open i-it"),
        ("ubbi_dubbi", "speak", "spubeak"),
        ("doubled", "ab", "aabb"),
        ("shouted", "ab", "AB"),
    ],
)
def test_known_answers(name: str, text: str, written: str) -> None:
    assert converter(name).encode(text) == written


def test_zalgo_piles_up_and_marks_letters_only() -> None:
    written = converter("zalgo(3)").encode("a b")
    assert len(written) == 2 * 4 + 1 and written[4] == " "


def test_look_alikes_look_alike_and_are_others() -> None:
    for alphabet in ("cyrillic", "greek", "armenian"):
        written = converter(f"homoglyphs({alphabet})").encode("SO AuPno")
        assert written != "SO AuPno" and len(written) == len("SO AuPno")
        assert not written.isascii()


@pytest.mark.parametrize("name", ["capitals", "scrambled", "noise", "typos", "perturbed"])
def test_the_seed_decides(name: str) -> None:
    text = "where can somebody find the missing garden lantern"
    found = {converter(f"{name}({seed})").encode(text) for seed in range(8)}
    assert len(found) == 8
    assert text not in found


def test_a_scramble_keeps_first_and_last_letters() -> None:
    assert converter("scrambled(4)").encode("to the abcd aaaa") in {"to the acbd aaaa"}
    words = zip(
        ["missing", "garden", "lantern"],
        converter("scrambled(4)").encode("missing garden lantern").split(),
        strict=True,
    )
    assert all((a[0], a[-1], sorted(a)) == (b[0], b[-1], sorted(b)) and a != b for a, b in words)


def test_jumbled_pieces_are_never_in_order() -> None:
    for text in ("", "a", SENTENCE, "how do I get in"):
        rows = converter("jumbled(2)").encode(text).split("\n")
        assert rows[0].startswith("2")


def test_a_chain_runs_left_to_right_and_back() -> None:
    chain = converter("rot13+base64")
    assert chain.encode("Hello") == "VXJ5eWI="
    assert chain.decode is not None
    assert chain.exact
    assert chain.decode("VXJ5eWI=") == "Hello"
    assert converter("caesar(7)+vigenere(ab)+hex").name == "caesar(7)+vigenere(ab)+hex"


@given(names=st.lists(st.sampled_from(EXACT), min_size=2, max_size=4), text=TEXT)
@settings(max_examples=80, deadline=None)
def test_every_chain_of_exact_converters_is_exact(names: list[str], text: str) -> None:
    chain = converter("+".join(names))
    assert chain.exact and chain.decode is not None
    assert chain.decode(chain.encode(text)) == text


@given(name=st.sampled_from(PARTIAL), then=st.sampled_from(EXACT), data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_chain_keeps_the_domain_of_its_first_link(name: str, then: str, data: st.DataObject) -> None:
    chain = converter(f"{name}+{then}")
    assert not chain.exact and chain.decode is not None
    text = data.draw(st.from_regex(chain.domain, fullmatch=True))
    assert chain.decode(chain.encode(text)) == text


def test_a_chain_with_a_link_without_inverse_has_none() -> None:
    chain = converter("pig_latin+base64")
    assert chain.decode is None
    assert not chain.exact
    assert not chain.readable and converter("past+quote").readable


def test_the_old_door_leads_to_all_rooms() -> None:
    assert set(encodings.CONVERTERS) >= {"base64", "rot13", "leetspeak", "pig_latin", "spaced"}
    assert encodings.converter("zero_width").encode("ab") == converter("zero_width").encode("ab")


def test_settings_are_written_in_brackets() -> None:
    for room in ROOMS.values():
        for name, one in room.items():
            if isinstance(one, Tunable):
                assert converter(name).encode(SENTENCE) == converter(f"{name}({one.default})").encode(SENTENCE)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rot31", r'no converter "rot31".*Did you mean "rot13"'),
        ("rot13(2)", "rot13 takes nothing in brackets"),
        ("caesar(26)", "whole number from 1 to 25"),
        ("caesar(x)", "whole number from 1 to 25"),
        ("vigenere(A b)", "lower-case letters"),
        ("homoglyphs(cyrilic)", 'Did you mean "cyrillic"'),
        ("rot13++hex", "is no name of a converter"),
        ("caesar(3", "is no name of a converter"),
        ("", "is no name of a converter"),
    ],
)
def test_a_wrong_name_is_told(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        converter(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("base64", "not base64!"), ("base32", "1"), ("hex", "zz"), ("base16", "4a6f"), ("binary", "2"), ("octal", "9"),
        ("decimal", "300"), ("base85", "\x00"), ("unicode", "A"), ("quoted_printable", "=FF"), ("morse", "..-..-.."),
        ("a1z26", "27"), ("nato", "Zebra"), ("variation_selectors", "\ufe0f\U000e01ef"), ("bidi", "ab"),
        ("zero_width_bits", "\u200c" * 8), ("json", "{}"), ("json", "3"), ("yaml", "x"), ("sql", "DROP"), ("quote", "a"),
        ("split", "a = 1\nz = a"), ("banner", "#"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_a_data_error(name: str, text: str) -> None:
    decode = converter(name).decode
    assert decode is not None
    with pytest.raises(DataError, match="not "):
        decode(text)
