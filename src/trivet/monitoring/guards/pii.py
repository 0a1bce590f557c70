"""Personal data and keys by shape and checksum, with exact spans, and masks with typed, consistent placeholders.

Finds e-mail addresses, phone numbers, payment cards (Luhn, ISO/IEC 7812), IBANs (mod 97, ISO 13616, and the country's
length), US social security numbers (the ranges that SSA never issues are left out), IPv4 and IPv6 addresses, and keys
and secrets of well-known shapes. It looks at the clean view, so zero-width characters and full-width digits do not
hide a number, and reports spans of the original text.

Not covered: names, postal addresses, dates of birth, national ids of other countries, phone numbers without a country
code, area-code grouping or a leading zero, anything written in words or inside Base64 and the like.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.text import read


class Kind(NamedTuple):
    """One kind of data: its name, its shape, a check, and whether a shape may have taken in neighbouring groups."""

    name: str
    shape: re.Pattern[str]
    check: Callable[[str], bool] = bool
    grouped: bool = False


def luhn(number: str) -> bool:
    """The checksum of payment cards: every second digit from the right doubled, all digits summed, divisible by ten."""
    if len(number) < 13 or number[0] not in "123456":
        return False
    digits = [int(c) for c in number if c.isdigit()]
    issued = digits[0] in (2, 3, 4, 5, 6) or digits[:4] == [1, 8, 0, 0]
    if not issued or not 13 <= len(digits) <= 19:
        return False
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


_IBAN_LENGTH = {
    m[:2]: int(m[2:])
    for m in [
        "AD24",
        "AE23",
        "AL28",
        "AT20",
        "AZ28",
        "BA20",
        "BE16",
        "BG22",
        "BH22",
        "BR29",
        "BY28",
        "CH21",
        "CR22",
        "CY28",
        "CZ24",
        "DE22",
        "DK18",
        "DO28",
        "EE20",
        "EG29",
        "ES24",
        "FI18",
        "FO18",
        "FR27",
        "GB22",
        "GE22",
        "GI23",
        "GL18",
        "GR27",
        "GT28",
        "HR21",
        "HU28",
        "IE22",
        "IL23",
        "IQ23",
        "IS26",
        "IT27",
        "JO30",
        "KW30",
        "KZ20",
        "LB28",
        "LC32",
        "LI21",
        "LT20",
        "LU20",
        "LV21",
        "LY25",
        "MC27",
        "MD24",
        "ME22",
        "MK19",
        "MR27",
        "MT31",
        "MU30",
        "NL18",
        "NO15",
        "PK24",
        "PL28",
        "PS29",
        "PT25",
        "QA29",
        "RO24",
        "RS22",
        "SA24",
        "SC31",
        "SE24",
        "SI19",
        "SK24",
        "SM27",
        "ST25",
        "SV28",
        "TL23",
        "TN24",
        "TR26",
        "UA29",
        "VA22",
        "VG24",
        "XK20",
    ]
}


def iban(text: str) -> bool:
    """Country length and mod 97: the first four characters moved to the end, letters as 10-35, the rest is 1."""
    compact = re.sub(r"[ -]", "", text).upper()
    if _IBAN_LENGTH.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def ssn(text: str) -> bool:
    """Area, group and serial as SSA issues them: no area 000, 666 or 900-999, no group 00, no serial 0000."""
    area, group, serial = re.split(r"[ -]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def ip(text: str) -> bool:
    """A well-formed address; a short IPv6 form needs a group of three digits, or `a::b` in code would be one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 or "::" not in text or any(len(group) > 2 for group in text.split(":"))


_DATE = re.compile(r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4})(?!\d)")
_NANP = re.compile(r"(?:1[ .-]?)?(?:\([2-9]\d{2}\)[ ]?|[2-9]\d{2}[ .-])\d{3}[ .-]\d{4}")


def phone(text: str) -> bool:
    """With `+` or `00` and 8 to 15 digits (E.164), in North American grouping, or grouped with a leading zero."""
    if len(text) < 8 or not (text[0] in "+(0" or _NANP.match(text)):
        return False
    text = str(re.split(r"[ ]?(?:x|ext)", text)[0])
    digits = sum(c.isdigit() for c in text)
    if text.startswith(("+", "00")) and not text.startswith("000"):
        return 8 <= digits <= 17
    if _DATE.match(text):
        return False
    if _NANP.fullmatch(text):
        return True
    return bool(re.match(r"\(?0[1-9]", text)) and 9 <= digits <= 12 and not re.fullmatch(r"[\d.]*", text)


def _shape(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


# In order of trust: where two overlap, the earlier one wins.
KINDS: tuple[Kind, ...] = (
    Kind(
        "SECRET",
        _shape(
            r"-----BEGIN (?:[A-Z]{1,12} ){0,3}PRIVATE KEY-----[A-Za-z0-9+/=\s:,.\-]{0,8192}?-----END (?:[A-Z]{1,12} ){0,3}PRIVATE KEY-----"
            r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
            r"|\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{22,255}\b"
            r"|\bglpat-[A-Za-z0-9_\-]{20,64}\b"
            r"|\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_\-]{20,256}\b"  # OpenAI, Anthropic
            r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,128}\b"  # Stripe
            r"|\bxox[abeoprs]-[A-Za-z0-9\-]{10,256}\b"  # Slack
            r"|\bAIza[A-Za-z0-9_\-]{35}(?![A-Za-z0-9_\-])"  # Google
            r"|\bhf_[A-Za-z0-9]{30,64}\b"
            r"|\beyJ[A-Za-z0-9_\-]{8,4096}\.eyJ[A-Za-z0-9_\-]{4,4096}\.[A-Za-z0-9_\-]{8,4096}"  # JSON Web Token
        ),
    ),
    Kind(
        "EMAIL",
        _shape(
            r"(?<![\w.%+\-])[\w%+\-](?:[\w.%+\-]{0,62}[\w%+\-])?@"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![\w\-])"
        ),
    ),
    Kind("IBAN", _shape(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b"), iban, True),
    Kind("CREDIT_CARD", _shape(r"(?<![\w.\-])\d(?:[ \-]?\d){12,18}(?![\w\-]|\.\d)"), luhn, True),
    Kind("SSN", _shape(r"(?<![\w.\-])\d{3}([ \-])\d{2}\1\d{4}(?![\w\-]|\.\d)"), ssn),
    Kind(
        "IP",
        _shape(
            r"(?<![\w.:])(?<!version )(?:\d{1,3}\.){3}\d{1,3}(?![\w:]|\.\d)|(?<![\w.:])[0-9A-Fa-f:]{2,39}(?![\w:]|\.\d)"
        ),
        ip,
    ),
    Kind(
        "PHONE",
        _shape(
            r"(?<![\w.+\-/])(?:\+|\()?\d(?:(?:[ .\-/]?\(?|\)[ .\-]?)\d){6,17}(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?(?![\w\-/]|\.\d)"
        ),
        phone,
        True,
    ),
)
NAMES = tuple(kind.name for kind in KINDS)


class Pii:
    """A guard that finds personal data. `Pii(kinds=["EMAIL", "PHONE"])` looks for those only."""

    threshold = 0.5

    def __init__(self, kinds: Sequence[str] = NAMES) -> None:
        for name in kinds:
            if name not in NAMES:
                known = ", ".join(NAMES)
                raise ConfigError(f"no kind of personal data {name!r}; known: {known}.{did_you_mean(name, NAMES)}")
        self.kinds = tuple(kind for kind in KINDS if kind.name in kinds)
        self.digest = digest_of(["pii-1", [kind.name for kind in self.kinds]])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        spans = tuple(find(text, self.kinds))
        if not spans:
            return Verdict("safe", 0.0, "pii")
        found = sorted({span.label for span in spans})
        return Verdict("personal_data", 1.0, "pii", "privacy", f"found {', '.join(found)}", spans)


def find(text: str, kinds: Sequence[Kind] = KINDS) -> Iterator[Span]:
    """Personal data in a text, in order, not overlapping."""
    clean = read(text).clean
    taken = bytearray(len(clean.text))
    found = []
    for kind in kinds:
        for start, end in _matches(kind, clean.text):
            if not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)
                found.append(Span(*clean.origin(start, end), kind.name))
    yield from _apart(sorted(found, key=lambda span: span.start))


def _matches(kind: Kind, text: str) -> Iterator[tuple[int, int]]:
    """Where the shape and the check agree. A shape may take in a neighbour (`4111 1111 1111 1111 12/27`), so groups are
    given up from the right, then from the left; a shape is at most a few groups long, so this stays linear."""
    at = 0
    while match := kind.shape.search(text, at):
        start, end = match.span()
        cuts = (i for i in range(end - 1, start, -1) if text[i] in " -") if kind.grouped else ()
        edges = [end, *cuts]
        good = next((edge for edge in edges if kind.check(text[start:edge])), None)
        if good is not None:
            yield start, good
        at = good or (edges[-1] + 1 if len(edges) > 1 else max(end, start + 1))


def _apart(spans: Sequence[Span]) -> Iterator[Span]:
    """Without those that overlap the one before in the original (two view characters can share one of it)."""
    at = 0
    for span in spans:
        if span.start >= at:
            yield span
            at = span.end


class Placeholders:
    """Names for the values of one request: the same value gets the same `<EMAIL_1>`, in the prompt and in the reply."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def mask(self, text: str, spans: Sequence[Span]) -> str:
        """The text with every span replaced by its name. Where spans overlap, the earlier one covers both."""
        out, at = [], 0
        for span in sorted(spans, key=lambda s: (s.start, -s.end)):
            if span.start >= at:
                out += [text[at : span.start], self._name(span.label, text[span.start : span.end], text)]
            at = max(at, span.end)
        return "".join(out) + text[at:]

    def _name(self, label: str, value: str, text: str) -> str:
        label = re.sub(r"\W+", "_", label).upper()
        key = (label, read(value).folded.text)
        while key not in self._names:
            self._counts[label] = self._counts.get(label, 0) + 1
            name = f"<{label}_{self._counts[label]}>"
            # A placeholder that the text already holds means something else there.
            if name not in text:
                self._names[key] = name
        return self._names[key]


def masked(text: str, names: Placeholders | None = None) -> str:
    """A text with all personal data replaced: what may be stored."""
    return (names or Placeholders()).mask(text, tuple(find(text)))
