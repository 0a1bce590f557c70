"""Thousands of phrases found in one pass, as whole words with anything but words between them.

A text is brought into the form ` word word word `: lower case (it is that already), every run of other characters one space. In that form a
phrase with a space before and after is a plain string, and Aho and Corasick's automaton (1975; ahocorasick_rs) finds all of them at once,
so neither their number nor what stands between the words costs anything. Phrases in scripts that write no spaces (Chinese,
Japanese, Thai ...) are found as plain strings in the text without its other characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from ahocorasick_rs import BytesAhoCorasick, Implementation

from trivet.core.errors import ConfigError
from trivet.monitoring.guards.patterns import Found, in_characters
from trivet.monitoring.text import read
from trivet.monitoring.views.characters import lowered

LEAST_GLUED = 10  # bytes with both spaces: shorter phrases are part of many a word
SMALL = 2000  # phrases for which the faster automaton is still small
_WORD = re.compile(r"[^\W_]+")
_GAPS = re.compile(r"[\W_]+")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SPACE = 32
_ASCII = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else _SPACE for c in range(256))


class Phrases:
    """`find(text)`, text in lower case: where phrases are."""

    def __init__(self, phrases: Iterable[str], whose: str = "blocklist") -> None:
        spaced: dict[bytes, int] = {}
        unspaced: dict[bytes, int] = {}
        self.longest = 0
        for number, phrase in enumerate(phrases):
            for form in _forms(phrase):
                words = _WORD.findall(form)
                if not words:
                    raise ConfigError(f"phrase {number + 1} of the {whose}, {phrase!r}, holds no word")
                self.longest = max(self.longest, len(form))
                if _UNSPACED.search(form):
                    unspaced.setdefault("".join(words).encode(), number)
                else:
                    spaced.setdefault(f" {' '.join(words)} ".encode(), number)
        glued = {form.replace(b" ", b""): number for form, number in spaced.items() if len(form) >= LEAST_GLUED}
        self._glued_numbers = tuple(glued.values())
        self._glued = _automaton(glued)
        self._numbers = tuple(spaced.values())
        self._spaced = _automaton(spaced)
        self._unspaced_numbers = tuple(unspaced.values())
        self._unspaced = _automaton(unspaced)

    def find(self, text: str) -> Iterator[Found]:
        """Every phrase, those within others too."""
        if self._spaced is not None:
            data = (
                _words_of_ascii(text)
                if text.isascii()
                else f" {_GAPS.sub(' ', text).strip()} ".encode("utf-8", "replace")
            )
            if hits := self._spaced.find_matches_as_indexes(data, overlapping=True):
                spans = [(start + 1, end - 1) for _, start, end in hits]
                places = self._places(text, data, spans, gap=1)
                yield from (Found(*at, self._numbers[hit[0]]) for at, hit in zip(places, hits, strict=True))
        if self._unspaced is not None and not text.isascii():
            data = _GAPS.sub("", text).encode("utf-8", "replace")
            if hits := self._unspaced.find_matches_as_indexes(data, overlapping=True):
                places = self._places(text, data, [hit[1:] for hit in hits], gap=0)
                yield from (Found(*at, self._unspaced_numbers[hit[0]]) for at, hit in zip(places, hits, strict=True))

    def find_glued(self, text: str) -> Iterator[Found]:
        """Longer phrases in letters that have no gaps at all (`Reading.glued`), wherever words may end."""
        if self._glued is not None:
            data = text.encode("utf-8", "replace")
            hits = self._glued.find_matches_as_indexes(data, overlapping=True)
            for (number, *_), at in zip(hits, in_characters(text, data, [hit[1:] for hit in hits]), strict=True):
                yield Found(*at, self._glued_numbers[number])

    @staticmethod
    def _places(text: str, data: bytes, spans: Sequence[tuple[int, int]], gap: int) -> Iterator[tuple[int, int]]:
        """Where in the text stretches of its form are; made only when something was found."""
        origins: list[int] = []
        for match in _WORD.finditer(text):
            origins.extend([-1] * gap)
            origins.extend(range(*match.span()))
        for start, end in in_characters(data.decode(), data, spans):
            yield origins[start], origins[end - 1] + 1


def _forms(phrase: str) -> set[str]:
    """As every text is read, and without look-alikes turned: what is Latin in a phrase alone may be Russian among Russian words."""
    reading = read(phrase)
    return {reading.folded.text, lowered(reading.clean, "phrase").text}


def _automaton(forms: dict[bytes, int]) -> BytesAhoCorasick | None:
    if not forms:
        return None
    kind = Implementation.DFA if len(forms) <= SMALL else Implementation.ContiguousNFA
    return BytesAhoCorasick(list(forms), implementation=kind)


def _words_of_ascii(text: str) -> bytes:
    """The form ` word word `, twenty times as fast as by regular expression."""
    data = np.frombuffer(b" %b " % text.encode().translate(_ASCII), np.uint8)
    space = data == _SPACE
    keep = np.ones(len(data), bool)
    np.logical_not(space[1:] & space[:-1], out=keep[1:])
    return data[keep].tobytes()
