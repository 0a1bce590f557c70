"""Does this number prove itself? Checksums and issuing rules, each a function of the text as it was written.

Payment cards (Luhn, ISO/IEC 7812), IBANs (mod 97, ISO 13616, and the country's length), US social security numbers,
addresses of networks and machines, coins (Base58Check, Bech32 and Bech32m by BIP 173 and 350, Ethereum by EIP-55). National
numbers are python-stdnum's, imported when the first candidate of a country turns up.

Not covered: whether a number was ever given out; a checksum only says that it could have been.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

# Issuers by the range of the first four digits, with the lengths that they give out.
_ISSUERS = (
    (604, 604, (12,)),  # Maestro UK
    (1800, 1800, (15,)),  # JCB
    (2014, 2014, (15,)),  # Diners Club enRoute
    (2131, 2131, (15,)),  # JCB
    (2149, 2149, (15,)),
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (2221, 2720, (16,)),  # Mastercard
    (3000, 3059, (14, 16, 17, 18, 19)),  # Diners Club
    (3095, 3095, (14, 16, 17, 18, 19)),
    (3400, 3499, (15,)),  # American Express
    (3500, 3599, (16, 17, 18, 19)),  # JCB (3528-3589, and what test data takes for it)
    (3600, 3699, (14, 15, 16, 17, 18, 19)),  # Diners Club
    (3700, 3799, (15,)),  # American Express
    (3800, 3999, (14, 16, 17, 18, 19)),  # Diners Club
    (4000, 4999, (13, 16, 19)),  # Visa
    (5000, 5099, (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (5100, 5599, (16,)),  # Mastercard
    (5600, 6999, (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro, Discover, UnionPay, RuPay, Elo
    (8100, 8171, (16, 17, 18, 19)),  # UnionPay
    (9792, 9792, (16,)),  # Troy
)
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_GAPS = str.maketrans("", "", " -")
_NOT_DIGIT = re.compile(r"\D+")


def luhn(number: str) -> bool:
    """The checksum of payment cards, and a known issuer: every second digit from the right doubled, the sum in tens."""
    digits = number.translate(_GAPS)
    if not 12 <= len(digits) <= 19 or not _issued(digits):
        return False
    figures = [*map(int, digits)]
    return (sum(figures[-1::-2]) + sum(_DOUBLED[d] for d in figures[-2::-2])) % 10 == 0


def _issued(digits: str) -> bool:
    head, length = int(digits[:4]), len(digits)
    for low, high, lengths in _ISSUERS:
        if low <= head <= high:
            return length in lengths
    return False


_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
    "YE30 "
)
IBAN_LENGTH = {row[:2]: int(row[2:]) for row in _LENGTHS.split()}


def iban(text: str) -> bool:
    """Country length and mod 97: the first four characters moved to the end, letters as 10-35, the rest is 1."""
    compact = re.sub(r"[ -]", "", text).upper()
    if IBAN_LENGTH.get(compact[:2]) != len(compact) or not compact.isalnum() or not compact.isascii():
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def ssn(text: str) -> bool:
    """Area, group and serial as SSA issues them: no area 000, 666 or 900-999, no group 00, no serial 0000."""
    digits = _NOT_DIGIT.sub("", text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and len(digits) == 9


def ip(text: str) -> bool:
    """A well-formed address of some machine: not of every machine itself, nor a mask.

    A short IPv6 form needs a group of three digits, or `a::b` in code would be one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or text.startswith("255."):
        return False
    return address.version == 4 or "::" not in text or any(len(group) > 2 for group in text.split(":"))


def mac(text: str) -> bool:
    """One separator throughout, and neither nobody nor everybody."""
    compact = re.sub(r"[:.-]", "", text).lower()
    return len(set(re.findall(r"[:.-]", text))) == 1 and compact not in ("0" * 12, "f" * 12)


def aba(text: str) -> bool:
    """A US routing number: a district that exists, and 3-7-1 weights that sum to tens."""
    digits = [int(c) for c in text if c.isdigit()]
    district = digits[0] * 10 + digits[1]
    known = district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return known and sum(digits) > 0 and sum(d * w for d, w in zip(digits, (3, 7, 1) * 3, strict=True)) % 10 == 0


def dea(text: str) -> bool:
    """The number of a US prescriber: odd places plus twice the even ones end in the last digit."""
    d = [int(c) for c in text[2:]]
    return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]


def nric(text: str) -> bool:
    """Singapore: weights 2-7-6-5-4-3-2 and a letter of the series."""
    text = text.upper()
    total = sum(int(c) * w for c, w in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(text[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[
        text[0]
    ]
    return text[8] == letters[total % 11]


@lru_cache(maxsize=128)
def stdnum(name: str) -> Callable[[str], bool]:
    """`stdnum("pl.pesel")`: the check of python-stdnum's module, imported when it is first asked."""

    def check(text: str) -> bool:
        return bool(import_module(f"stdnum.{name}").is_valid(text))

    return check


_BASE58 = {c: i for i, c in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
_BECH32 = {c: i for i, c in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
# Bitcoin, Litecoin, Dogecoin and Tron: the version byte that Base58Check puts first.
_COINS = {0x00, 0x05, 0x30, 0x32, 0x1E, 0x41}


def coin(text: str) -> bool:
    """An address of a well-known coin whose checksum holds."""
    if text[:2] in ("0x", "0X"):
        return _ether(text[2:])
    if text[:3].lower() in ("bc1", "tb1") or text[:4].lower() == "ltc1":
        return _bech32(text)
    number = 0
    for c in text:
        if c not in _BASE58:
            return False
        number = number * 58 + _BASE58[c]
    if number >= 1 << 200:
        return False
    data = number.to_bytes(25, "big")
    return data[0] in _COINS and hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()[:4] == data[-4:]


def _bech32(text: str) -> bool:
    head, _, body = text.lower().rpartition("1")
    if text not in (text.lower(), text.upper()) or not body or any(c not in _BECH32 for c in body):
        return False
    check = 1
    for value in (*(ord(c) >> 5 for c in head), 0, *(ord(c) & 31 for c in head), *(_BECH32[c] for c in body)):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                check ^= term
    return check in (1, 0x2BC830A3)


def _ether(digits: str) -> bool:
    """EIP-55: the case of each letter is a bit of the hash. One case throughout carries no checksum: a hash in code."""
    if digits in (digits.lower(), digits.upper()):
        return False
    marks = keccak256(digits.lower().encode()).hex()
    return all(c == (c.upper() if int(m, 16) > 7 else c.lower()) for c, m in zip(digits, marks, strict=False))


def keccak256(data: bytes) -> bytes:
    """Keccak as Ethereum uses it: SHA3-256 but for the padding, which hashlib does not offer."""
    rate, lanes = 136, [[0] * 5 for _ in range(5)]
    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % rate))
    padded[-1] |= 0x80
    for block in range(0, len(padded), rate):
        for i in range(rate // 8):
            lanes[i % 5][i // 5] ^= int.from_bytes(padded[block + 8 * i : block + 8 * i + 8], "little")
        _permute(lanes)
    return b"".join(lanes[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


def _turned(value: int, by: int) -> int:
    by %= 64
    return (value << by | value >> (64 - by)) & 0xFFFFFFFFFFFFFFFF


def _permute(a: list[list[int]]) -> None:
    """Keccak-f[1600], FIPS 202 section 3.3, in place; the round constants come from its shift register."""
    register = 1
    for _ in range(24):
        parity = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        for x in range(5):
            change = parity[x - 1] ^ _turned(parity[(x + 1) % 5], 1)
            for y in range(5):
                a[x][y] ^= change
        x, y, current = 1, 0, a[1][0]
        for step in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x][y] = a[x][y], _turned(current, (step + 1) * (step + 2) // 2)
        for y in range(5):
            row = [a[x][y] for x in range(5)]
            for x in range(5):
                a[x][y] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5])
        for bit in range(7):
            register = (register << 1 ^ (register >> 7) * 0x71) % 256
            if register & 2:
                a[0][0] ^= 1 << ((1 << bit) - 1)
