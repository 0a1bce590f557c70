"""Checksums against known numbers, and the phone plans against libphonenumber's own answers."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trivet.monitoring.guards.pii_checks import IBAN_LENGTH, aba, coin, dea, iban, ip, keccak256, luhn, mac, nric, ssn
from trivet.monitoring.guards.pii_kinds import date
from trivet.monitoring.guards.pii_phone import REGIONS, dialled, rate


def test_cards() -> None:
    assert luhn("4111111111111111") and luhn("6011 0009 9013 9424") and luhn("501851387958")
    assert not luhn("4111111111111112") and not luhn("0000000000000000") and not luhn("1234567812345670")
    assert not luhn("411111111111116")  # fifteen digits: no Visa


@given(st.text("0123456789", min_size=15, max_size=15), st.integers(1, 9))
def test_a_card_with_one_digit_changed_is_none(tail: str, by: int) -> None:
    good = next(card for last in range(10) if luhn(card := f"4{tail[:14]}{last}") or last == 9)
    if luhn(good):
        for place in range(16):
            changed = good[:place] + str((int(good[place]) + by) % 10) + good[place + 1 :]
            assert not luhn(changed)


def test_account_numbers() -> None:
    assert iban("GB82 WEST 1234 5698 7654 32") and not iban("GB82 WEST 1234 5698 7654 33") and not iban("XX82")
    assert len(IBAN_LENGTH) == 89 and (IBAN_LENGTH["NO"], IBAN_LENGTH["MT"], IBAN_LENGTH["RU"]) == (15, 31, 33)
    assert aba("021000021") and not aba("021000022") and not aba("991000021")


def test_numbers_of_people() -> None:
    assert ssn("123-45-6789") and not ssn("666-45-6789") and not ssn("900-45-6789")
    assert nric("S1234567D") and not nric("S1234567A") and nric("M1234567K") and not nric("M1234567X")
    assert dea("BB1388568") and not dea("BB1388567")


def test_addresses_of_machines() -> None:
    assert ip("192.168.1.17") and ip("fe80::1ff:fe23:4567:890a")
    assert not any(map(ip, ("127.0.0.1", "::1", "0.0.0.0", "255.255.255.0", "1.2.3", "a::b", "256.1.1.1")))
    assert mac("3c:22:fb:4a:9e:01") and not mac("3c:22-fb:4a:9e:01") and not mac("ff:ff:ff:ff:ff:ff")


def test_keccak_is_not_sha3() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"
    assert len({keccak256(b"a" * size) for size in (135, 136, 137, 300)}) == 4


@pytest.mark.parametrize(
    "address",
    [
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
        "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    ],
)
def test_coins_check_every_character(address: str) -> None:
    assert coin(address)
    for place in range(4, len(address)):
        other = "a" if address[place] not in "aA" else "e"
        assert not coin(address[:place] + other + address[place + 1 :]), place


def test_dates_are_of_the_calendar() -> None:
    assert all(map(date, ("12 May 1980", "May 12th, 1980", "1980-05-12", "31/12/1999", "12.31.99", "3 Sept 2001")))
    assert not any(map(date, ("32 May 1980", "13/13/1999", "1880-05-12", "0/5/2000")))


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_every_region_s_example_numbers_can_be_dialled(region: str) -> None:
    for kind in range(11):
        if example := phonenumbers.example_number_for_type(region, kind):
            assert dialled(f"{example.country_code}{phonenumbers.national_significant_number(example)}")


CODES = st.sampled_from(
    ["1", "7", "20", "33", "34", "44", "46", "48", "49", "55", "61", "81", "82", "86", "90", "91", "353", "971"]
)


@settings(max_examples=400, deadline=None)
@example("1", "12012000000")
@example("7", "89161234567")
@example("49", "496023567")
@given(CODES, st.text("0123456789", min_size=6, max_size=12).filter(lambda s: s[0] != "0"))
def test_what_can_be_dialled_is_what_libphonenumber_says(code: str, rest: str) -> None:
    try:
        valid = phonenumbers.is_valid_number(phonenumbers.parse(f"+{code}{rest}"))
    except phonenumbers.NumberParseException:
        valid = False
    assert dialled(code + rest) == valid


def test_how_a_number_is_written_says_how_sure_it_is() -> None:
    written = ["+44 20 7946 0958", "(212) 555-0123", "030 123 4567 89", "07151508272", "7467205857"]
    scores = [rate(number, REGIONS) for number in written]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores)
    assert rate("2024-05-06") == rate("1111111") == rate("1990 - 1995") == 0
