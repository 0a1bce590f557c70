"""Phone numbers: shapes found in runs of digits, then rated by the numbering plans of the world.

The plans are those of Google's libphonenumber, by way of the package `phonenumbers`. Its own matcher takes milliseconds
for a page, so here the patterns of a country code, and those of all default regions together, are compiled once into
one RE2 each and asked with the bare digits; a test holds the answers against the package's own.

How sure we are depends on how a number is written. `+44 20 7946 0958` says that it is one. `(212) 555-0123` has the North
American form. `030 123 4567 89` has a leading zero, groups, and is dialled so in one of the regions. Bare digits are a
phone number only beside a word such as `call` or `Fax`.

Not covered: short numbers (112, 08/15), vanity numbers (1-800-FLOWERS), numbers in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

_REGIONS = "US GB DE FR ES IT NL BE CH AT PL SE DK NO FI IE PT CZ GR IN BR AU NZ JP KR CN SG ZA MX TR IL"
REGIONS = tuple(_REGIONS.split())
"""Where a number without a country code may be dialled, unless the guard is told."""

TABLE = 80
_SIGNS = str.maketrans("", "", " .-/()+")
_TYPES = "fixed_line mobile toll_free premium_rate shared_cost personal_number voip pager uan voicemail"
_GAP = r"(?:[ .\-/]?\(?|\)[ .\-/]?| [/\-] )"
# First what shows itself to be one, then whatever digits are left.
_SHAPES = tuple(
    re.compile(rf"(?<![\w+])(?<!&#)(?:{shape})", re.ASCII)
    for shape in (
        rf"(?:\+|\(\+|00|011[ -])[1-9](?:{_GAP}\d){{6,14}}"
        r"|(?:1[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .\-/])\d{3}[ .-]\d{4}(?!\d)",
        rf"\(?\d(?:{_GAP}\d){{6,12}}",
    )
)
_DIGITS_AROUND = re.compile(r"\d[.,\-/:]$", re.ASCII)
_NANP = re.compile(r"(?:\+?1[ .-]?|001[ .-]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .\-/])\d{3}[ .-]\d{4}")
_DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}(?!\d)|\d{1,2}[-./]\d{1,2}[-./]\d{2,4}(?!\d)")
_EXTENSION = re.compile(
    r"(?: ?(?:x|ext\.?|#) ?|(?: |, ?)extension )\d{1,6}(?!\w|[ .\-/]?\d|[:@][\w:])", re.IGNORECASE | re.ASCII
)
_YEARS = re.compile(r"(?:1[89]|20)\d\d(?:[ /-]{1,3}(?:1[89]|20)\d\d)*")


def phones(flat: str, start: int, end: int, regions: tuple[str, ...]) -> Iterator[tuple[int, int, float]]:
    """The phone numbers in a run of digits, as (start, end, how sure)."""
    stretches = [(start, end)]
    # A table of numbers is read for numbers that show themselves only: where one group ends is a guess in it.
    for shape in _SHAPES if end - start <= TABLE else _SHAPES[:1]:
        left = []
        for first, last in stretches:
            at = first
            for one in _of_shape(shape, flat, first, last, regions):
                yield one
                left.append((at, one[0]))
                at = one[1]
            left.append((at, last))
        stretches = left


def _of_shape(
    shape: re.Pattern[str], flat: str, start: int, end: int, regions: tuple[str, ...]
) -> Iterator[tuple[int, int, float]]:
    at = start
    while end - at >= 7 and (match := shape.search(flat, at, end)):
        first, last = match.span()
        best, score = last, 0.0
        if not _DIGITS_AROUND.search(flat[max(0, first - 2) : first]):
            best, score = _rated(flat, first, last, regions)
        if score:
            extension = _EXTENSION.match(flat, best)
            at = extension.end() if extension else best
            yield first, at, score
        else:
            at = _next_group(flat, first, last)


def _rated(flat: str, start: int, end: int, regions: tuple[str, ...]) -> tuple[int, float]:
    """The end that makes the likeliest number, and how likely it is."""
    best, score = end, 0.0
    for edge in _edges(flat, start, end):
        if flat[edge : edge + 1].isalnum() and not _EXTENSION.match(flat, edge):
            continue
        if (here := rate(flat[start:edge], regions)) > score:
            best, score = edge, here
        if score >= 0.7:
            break
    return best, score


def _edges(flat: str, start: int, end: int) -> Iterator[int]:
    """Where the number may end: the whole, then without its last groups (`+44 20 7946 0958 12 people`)."""
    yield end
    for i in range(end - 1, start, -1):
        if flat[i] in " -" and flat[i - 1].isdigit():
            yield i


def _next_group(flat: str, start: int, end: int) -> int:
    """Where the next group of digits begins."""
    at = start + 1
    while at < end and (flat[at - 1].isdigit() or not (flat[at].isdigit() or flat[at] in "+(")):
        at += 1
    return at


def rate(text: str, regions: tuple[str, ...] = REGIONS) -> float:
    """How likely a text of this shape is a phone number, from 0 to 1."""
    digits = text.replace("(0)", "").translate(_SIGNS)
    count = len(digits)
    if not 7 <= count <= 17 or _DATE.match(text) or _YEARS.fullmatch(text) or len(set(digits)) < 2:
        return 0.0
    if text.startswith(("+", "(+")):
        return (0.9 if dialled(digits) else 0.6) if count <= 15 else 0.0
    grouped = not text.isdigit()
    if _NANP.fullmatch(text):
        return 0.7 if dialled("1" + digits[-10:]) else 0.5
    if text.startswith(("00", "011")):
        return (0.75 if grouped else 0.5) if dialled(digits[2 if text[1] == "0" else 3 :]) else 0.2
    if re.fullmatch(r"[\d.]*", text) and "." in text:
        return 0.12
    known = bool(_together(regions).fullmatch(digits))
    if text.startswith(("0", "(0")):
        return (0.6 if grouped else 0.3) if known else (0.25 if grouped else 0.15)
    return (0.25 if known else 0.2) if grouped else (0.2 if known else 0.12)


def dialled(digits: str) -> bool:
    """Whether some country gives out this number, written with its country code."""
    return any(
        plan[0].fullmatch(rest) and plan[1].fullmatch(rest)
        for size in (1, 2, 3)
        if (plan := _plan(digits[:size])) is not None
        for rest in {digits[size:], digits[size:].removeprefix("0"), _inland(digits[:size], digits[size:])}
    )


def _inland(code: str, rest: str) -> str:
    """A number behind a country code without the prefix that is dialled inside the country (`+1 1 201 ...`), as
    libphonenumber takes it away."""
    prefix, rule = _prefix(code)
    found = prefix.match(rest) if prefix else None
    if not found:
        return rest
    kept = found.expand(rule) if rule and found.lastindex and found[found.lastindex] else ""
    return kept + rest[found.end() :]


@lru_cache(maxsize=256)
def _prefix(code: str) -> tuple[re.Pattern[str] | None, str | None]:
    """What a country puts before its numbers inside, and what is kept of it, by the plan of its main region."""
    import phonenumbers

    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code or 0), ())
    plan = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0]) if regions else None
    pattern = plan.national_prefix_for_parsing if plan else None
    return (re.compile(pattern) if pattern else None), (plan.national_prefix_transform_rule if plan else None)


@lru_cache(maxsize=256)
def _plan(code: str) -> tuple[Any, Any] | None:
    """All numbers behind a country code as two patterns that must both hold, the plan's general one and those of its kinds
    of numbers, or None where there is no such code."""
    import phonenumbers

    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code or 0))
    if not regions:
        return None
    found = [phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), region) for region in regions]
    plans = [one for one in found if one]
    general = (one.general_desc and one.general_desc.national_number_pattern for one in plans)
    return (
        _compiled("|".join(f"(?:{pattern})" for pattern in general if pattern) or r"\d{4,15}"),
        _compiled("|".join(map(_numbers, plans))),
    )


@lru_cache(maxsize=16)
def _together(regions: tuple[str, ...]) -> Any:
    """The numbers of all regions as they are dialled inside them, with or without the national prefix."""
    import phonenumbers

    found = [phonenumbers.PhoneMetadata.metadata_for_region(region) for region in regions]
    return _compiled("|".join(f"(?:{one.national_prefix_for_parsing or ''})?(?:{_numbers(one)})" for one in found))


def _numbers(plan: Any) -> str:
    described = [getattr(plan, name) for name in _TYPES.split()]
    patterns = [one.national_number_pattern for one in described if one and one.national_number_pattern]
    return "|".join(f"(?:{pattern})" for pattern in patterns) or r"\d{4,15}"


def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = 64 << 20
    return re2.compile(pattern, options)


def known_regions(regions: Sequence[str]) -> tuple[str, ...]:
    """The regions that there are; a ValueError names the first that there is not."""
    import phonenumbers

    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(region)
    return tuple(regions)


def warm(regions: tuple[str, ...]) -> None:
    """Compile what the first number would have to wait for."""
    _together(regions)
    for code in ("1", "44", "49", "33"):
        _plan(code)
