"""Personal data and keys, with exact spans and scores; what is found can be masked by typed, consistent placeholders.

Finds e-mail addresses, phone numbers, payment cards, IBANs, bank accounts, the national numbers of some thirty countries,
passports and driving licences beside words that say so, addresses of machines, coins and pages about a person, dates of
birth, and keys (`secrets.py`). What proves itself by a checksum counts alone; what does not needs a word that speaks
for it nearby. Names and postal addresses come from a plug-in (`names="presidio"`).

It looks at the clean view (`text.py`), so zero-width characters and full-width digits hide nothing, and at what Base64,
hexadecimal digits and percent signs decode to. Spans are of the original text.

Not covered: names and postal addresses without the plug-in, numbers written in words, data in pictures, countries that
are not in `pii_kinds.py`, phone numbers in bare digits without a word such as `call` nearby. A web address longer than
400 characters is masked up to there. A key that reads as Base64 with the start of an e-mail address right after it is masked
with that as one address: nothing but the key's first letters stays, and the type is wrong.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards import secrets
from trivet.monitoring.guards.pii_finder import AFTER, BEFORE, LOOKAHEAD, REACH, Finder, Found, flat
from trivet.monitoring.guards.pii_kinds import BY_NAME, KINDS
from trivet.monitoring.guards.pii_phone import REGIONS, known_regions
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.guards.vault import WORDS, Placeholders
from trivet.monitoring.text import View, read

NAMES = tuple(kind.name for kind in KINDS if kind.default)
EVERY = tuple(kind.name for kind in KINDS)
_BY_WORD = {word: name for name, word in WORDS.items()}


class Pii:
    """A guard that finds personal data.

    `kinds` are types or the words of their placeholders (`EMAIL` is `EMAIL_ADDRESS`); `regions` the countries (`["DE",
    "FR"]`) whose national numbers are looked for and in which a phone number without a country code is read; `allow` values
    that are no secret: a whole value, or a domain (`"@example.com"`: its addresses, its pages and those of its subdomains);
    `minimum` the score from which a finding counts; `names="presidio"` adds people and places; `reversible` puts what was
    masked in the input back in the reply.
    """

    threshold = 0.5

    def __init__(
        self,
        kinds: Sequence[str] = NAMES,
        regions: Sequence[str] | None = None,
        allow: Iterable[str] = (),
        minimum: float = 0.5,
        names: str | None = None,
        reversible: bool = False,
    ) -> None:
        chosen = [_kind(name) for name in kinds]
        where = None if regions is None else _regions(regions)
        here = [k for k in KINDS if k.name in chosen and (where is None or not k.region or k.region in where)]
        if not 0 < minimum <= 1:
            raise ConfigError(f"`minimum` is a score above 0 and at most 1, not {minimum!r}; 0.5 is the default")
        if not isinstance(reversible, bool):
            raise ConfigError(f"`reversible` is true or false, not {reversible!r}")
        self.kinds = tuple(kind.name for kind in here)
        self.minimum, self.reversible = minimum, reversible
        self.allow = frozenset(_plain(value) for value in allow)
        self._domains = tuple(value.lower() for value in self.allow if value.startswith("@"))
        self._finder = Finder(here, minimum, where)
        self._secrets = "SECRET" in self.kinds
        self._people = _people(names)
        self.cheap = self._people is None
        self.reach = None if self._people else REACH
        self.lookahead = LOOKAHEAD
        form = "pii-2-reversible" if reversible else "pii-2"
        self.digest = digest_of([form, self.kinds, where, sorted(self.allow), minimum, names])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        found = self.find(text)
        if not found:
            return Verdict("safe", 0.0, "pii")
        kinds = ", ".join(sorted({one.kind for one in found}))
        spans = tuple(Span(one.start, one.end, one.kind) for one in found)
        return Verdict("personal_data", max(one.score for one in found), "pii", "privacy", f"found {kinds}", spans)

    def find(self, text: str) -> tuple[Found, ...]:
        """What is found in a text, in order, not overlapping, with scores."""
        found = _best(self._everything(text))
        return tuple(one for one in found if not self._allowed(one, text)) if self.allow else found

    def _everything(self, text: str) -> Iterator[Found]:
        clean = read(text).clean
        found, encoded = self._finder.find(clean.text)
        yield from (Found(*clean.origin(one.start, one.end), one.kind, one.score) for one in found)
        if encoded:
            yield from self._hexed(clean)
        for view in read(text).others if encoded else ():
            if view.name in _DECODED:
                for one in self._finder.find(view.text)[0]:
                    yield Found(*view.origin(one.start, one.end), one.kind, one.score)
        if self._secrets:
            yield from _keys(clean)
        if self._people:
            yield from (one for one in self._people.find(text) if one.score >= self.minimum)

    def _hexed(self, clean: View) -> Iterator[Found]:
        """Numbers in pairs of hex digits: `34 31 31 31` is 4111, and has no letter by which a reader would know it for text."""
        for match in _HEX.finditer(clean.text):
            said = bytes.fromhex(match.group().replace(":", " ")).decode("ascii")
            before, after = (
                clean.text[max(0, match.start() - BEFORE) : match.start()],
                clean.text[match.end() : match.end() + AFTER],
            )
            for one in self._finder.find(before + said + after)[0]:
                if one.start < len(before) + len(said) and one.end > len(before):
                    yield Found(*clean.origin(*match.span()), one.kind, one.score)

    def _allowed(self, one: Found, text: str) -> bool:
        value = _plain(text[one.start : one.end])
        if value in self.allow:
            return True
        if one.kind not in ("EMAIL_ADDRESS", "URL") or not self._domains:
            return False
        host = value.rpartition("@")[2] if one.kind == "EMAIL_ADDRESS" else value.partition("://")[2]
        host = host.partition("/")[0].partition("?")[0].partition(":")[0]
        return any(host == domain[1:] or host.endswith("." + domain[1:]) for domain in self._domains)


_HEX = re.compile(r"(?<![0-9A-Za-z])(?:[2-7][0-9A-Fa-f][ :]?){7,200}(?<=[0-9A-Fa-f])(?![0-9A-Za-z])")
# What encoded stretches say, in their place and alone; the rest of a text stands in the clean view already.
_DECODED = ("decoded", "payload")


def _kind(name: str) -> str:
    name = _BY_WORD.get(name, name)
    if name not in BY_NAME:
        known = (*_BY_WORD, *BY_NAME)
        listed = ", ".join(BY_NAME)
        raise ConfigError(f"no kind of personal data {name!r}; known: {listed}.{did_you_mean(name, known)}")
    return name


def _regions(regions: Sequence[str]) -> tuple[str, ...]:
    try:
        return known_regions(regions)
    except ValueError as error:
        raise ConfigError(
            f"no region {error.args[0]!r}; regions are ISO 3166 codes in capitals, such as {', '.join(REGIONS[:5])}"
        ) from error


def _people(names: str | None) -> Any:
    if names is None:
        return None
    if names != "presidio":
        raise ConfigError(f"no plug-in for names {names!r}; the one there is: presidio")
    from trivet.monitoring.guards.presidio_names import PresidioNames

    return PresidioNames()


def _plain(value: str) -> str:
    return flat(read(value).clean.text).lower().strip()


def _best(found: Iterable[Found]) -> tuple[Found, ...]:
    """The surest of those that overlap, then the longest; in the order of the text."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (-f.score, f.start - f.end, f.start)):
        at = bisect_left(kept, one)
        if (at == len(kept) or kept[at].start >= one.end) and (at == 0 or kept[at - 1].end <= one.start):
            kept.insert(at, one)
    return tuple(kept)


# Surest first; what only looks like a key leaves room for a surer reading.
_GUESSED = ("HIGH_ENTROPY", "PASSWORD")


def _keys(clean: View) -> Iterator[Found]:
    for start, end, kind in secrets.find(clean.text):
        yield Found(*clean.origin(start, end), "SECRET", 0.6 if kind in _GUESSED else 1.0)


@lru_cache(maxsize=8)
def _finder(kinds: tuple[str, ...]) -> Pii:
    return Pii(kinds)


def find(text: str, kinds: Sequence[str] = NAMES) -> tuple[Found, ...]:
    """Personal data in a text, in order, not overlapping."""
    return _finder(tuple(kinds)).find(text)


def masked(text: str, names: Placeholders | None = None) -> str:
    """A text with all personal data replaced: what may be stored."""
    spans = tuple(Span(one.start, one.end, one.kind) for one in find(text))
    return (names or Placeholders()).mask(text, spans)
