"""One pass over a text, then only the rules that can match in it.

The text is made *flat* first: one byte for each character, so that RE2 runs on bytes and its offsets are ours. One RE2 Set
tells which shapes occur at all, one Aho-Corasick walk finds every word that speaks for a type, one pattern cuts out the
runs of digits, and everything dearer (checksums, numbering plans, Python's `re`) sees only these runs. Where two findings
overlap the surer one stands, then the longer one.

A word that speaks for a type counts within BEFORE characters before a finding and AFTER behind it, more the nearer it is.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from trivet.monitoring.guards.pii_addresses import emails, urls
from trivet.monitoring.guards.pii_checks import IBAN_LENGTH, iban
from trivet.monitoring.guards.pii_kinds import RULES, Kind, Rule
from trivet.monitoring.guards.pii_phone import REGIONS, phones, warm

BEFORE = 64
AFTER = 16
LIFT = 0.5
LONGEST = 400
REACH = 512
"""Every finding but a private key is at most LONGEST characters and hangs on nothing farther away than this."""
LOOKAHEAD = 96
"""What must be known of the text behind a word: the rest of the longest finding with gaps in it, and a word after that."""

RUN = rb"[+(]?\d(?:(?:[ .\-/]?\(?|\)[ .\-/]?| [/\-] )\d){6,}"
# No digit or letter may touch a finding, nor a decimal point with a digit behind it.
_LEFT, _RIGHT = r"(?<!\w)(?<!\d[.,\-/])", r"(?!\w)(?![.,\-/]\d)"
# What may be an address or a number in code: Base64, pairs of hex digits, escapes, percent signs, entities.
_BASE64 = rb"[A-Za-z0-9+/_-]{20,}"
_ESCAPED = rb"(?:[2-7][0-9A-Fa-f][ :]?){10}|(?:\\x[0-9A-Fa-f]{2}){4}|%(?:40|2[BbDd]|3[0-9])|&#[0-9x]"


class Found(NamedTuple):
    """Personal data in a text: `text[start:end]`, of which type, and how sure we are."""

    start: int
    end: int
    kind: str
    score: float


def raised(score: float, lift: float) -> float:
    """A score with the word that speaks for it: two signs, taken as independent."""
    return 1 - (1 - score) * (1 - lift) if lift else score


class _Flat(dict[int, str]):
    """Characters outside ASCII as one of three: a digit as itself, a letter as ÿ, a dash as -, the rest as ¿."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if code < 128:
            flat = char
        elif category == "Nd":
            flat = str(unicodedata.digit(char))
        elif category == "Pd" or char == "\u2212":
            flat = "-"
        else:
            flat = "ÿ" if char.isalpha() or category.startswith("M") else " " if category == "Zs" else "¿"
        if len(self) > 1 << 16:
            self.clear()
        self[code] = flat
        return flat


_FLAT = _Flat()


_BEYOND = re.compile(r"[^\x00-\x7f]+")


def flat(text: str) -> str:
    """The text with one Latin-1 character for each of its own."""
    return text if text.isascii() else _BEYOND.sub(lambda match: match.group().translate(_FLAT), text)


def lowered(text: str) -> str:
    """Lower case that keeps every offset."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class Context:
    """The words that speak for types of personal data, found in one walk."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        import ahocorasick_rs

        self.bits = {kind.name: 1 << number for number, kind in enumerate(kinds)}
        masks: dict[str, int] = {}
        for kind in kinds:
            for word in kind.context.split("|") if kind.context else ():
                masks[word] = masks.get(word, 0) | self.bits[kind.name]
        self._words = list(masks)
        self._masks = list(masks.values())
        self._automaton = ahocorasick_rs.AhoCorasick(self._words or ["\0"])

    def words(self, text: str) -> Words:
        """All of them in a text, as words of their own."""
        low = lowered(text)
        found = []
        for number, start, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            word = self._words[number]
            if _apart(low, start, end, word):
                found.append((start, end, self._masks[number]))
        found.sort()
        return Words(found)


def _apart(text: str, start: int, end: int, word: str) -> bool:
    """Whether a word stands by itself. Scripts without spaces need not; a letter may not touch one that starts with one."""
    if not (word[0] < "\u0e00" or "\uac00" > word[0] > "\ud7ff"):
        return True
    if start and text[start - 1].isalnum() and word[0].isalnum():
        return False
    return not (end < len(text) and text[end].isalpha() and word[-1].isalnum()) or (
        text[end : end + 1] == "s" and not text[end + 1 : end + 2].isalpha()
    )


class Words:
    """Where the words of a text stand, and for which types they speak."""

    def __init__(self, found: list[tuple[int, int, int]]) -> None:
        self._found = found
        self._starts = [start for start, _, _ in found]
        self.all = 0
        for _, _, mask in found:
            self.all |= mask

    def lift(self, bit: int, start: int, end: int) -> float:
        """How much the nearest word that speaks for a type raises the score of `[start:end]`."""
        if not self.all & bit:
            return 0.0
        nearest = BEFORE + 1
        for at in range(bisect_left(self._starts, start - 2 * BEFORE), len(self._found)):
            first, last, mask = self._found[at]
            if first > end + AFTER:
                break
            if mask & bit:
                gap = start - last if last <= start else (first - end) * (BEFORE // AFTER) if first >= end else 0
                nearest = min(nearest, max(gap, 0))
        return LIFT * (1 - nearest / BEFORE / 4) if nearest <= BEFORE else 0.0


class Shape(NamedTuple):
    """A rule made ready: how it is searched, the bit of its type, and whether a word must speak for it to count."""

    rule: Rule
    bit: int
    search: Any
    needs_word: bool
    outline: re.Pattern[str]


def _outline(shape: str) -> str:
    """A shape that asks for any digit wherever the shape asks for certain ones: it fits whatever the shape fits."""
    pieces = re.split(r"(\\.|\{[\d,]+\}|\[[^\]]*\])", shape)
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            pieces[i] = re.sub(r"\d", r"\\d", piece)
        elif re.fullmatch(r"\[[\d-]+\]", piece):
            pieces[i] = r"\d"
    return "".join(pieces)


# A card in its groups, or more digits at a stretch than a number has (E.164 and a prefix): dialling it leads nowhere.
_NO_PHONE = re.compile(r"(?:0{4}([ -])0{4}\1(?:0{4}\1){1,2}0{1,4}|0{18,})[^\d \-.(+]?$")
_ZEROS = str.maketrans("123456789", "000000000")
# What is as sure as this leaves no room for a phone number in the same digits.
_SURE = 0.75
_HEAD = rb"\b[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]"


class Finder:
    """Looks for some types of personal data, in some regions, from a score on."""

    def __init__(self, kinds: Sequence[Kind], minimum: float, regions: tuple[str, ...] | None = None) -> None:
        import re2

        self.minimum = minimum
        self.regions = regions or REGIONS
        self.names = {kind.name for kind in kinds}
        self.context = Context(kinds)
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = 64 << 20
        self._run, self._head = re2.compile(RUN, options), re2.compile(_HEAD, options)
        self._base64 = re2.compile(_BASE64, options)
        shapes = [self._made(rule, options) for rule in RULES if rule.kind in self.names]
        shapes = [shape for shape in shapes if raised(shape.rule.score, LIFT) >= minimum]
        self._runs = [shape for shape in shapes if shape.rule.run]
        self._worded = [shape for shape in shapes if not shape.rule.run and shape.needs_word]
        self._texts = [shape for shape in shapes if not shape.rule.run and not shape.needs_word]
        self._set = re2.Set.SearchSet(options)
        for pattern in (*(shape.rule.shape.encode() for shape in self._texts), RUN, _HEAD, _BASE64, _ESCAPED, b""):
            self._set.Add(pattern)
        self._set.Compile()
        self._fitting: dict[tuple[str, int], tuple[tuple[Shape, ...], bool]] = {}
        if "PHONE_NUMBER" in self.names:
            warm(self.regions)

    def _made(self, rule: Rule, options: Any) -> Shape:
        import re2

        whole = f"{_LEFT}(?:{rule.shape}){_RIGHT}"
        search = re.compile(whole, re.ASCII) if rule.run else re2.compile(rule.shape.encode(), options)
        outline = re.compile(_outline(rule.shape) if rule.run else "", re.ASCII)
        # What nothing checks counts only beside a word, however low the minimum.
        needs_word = rule.score < self.minimum or (rule.check is bool and rule.score < 0.5)
        return Shape(rule, self.context.bits[rule.kind], search, needs_word, outline)

    def shapes(self, data: bytes) -> frozenset[int]:
        """The numbers of the shapes that occur. The last one is empty and always does: without it RE2 gave up, and all may."""
        found = frozenset(self._set.Match(data) or ())
        last = len(self._texts) + 4
        return found if last in found else frozenset(range(last + 1))

    def find(self, text: str) -> tuple[list[Found], bool]:
        """Everything above the minimum, overlaps and all, in a text that shows what it says (a clean view), and whether a
        part of it looks as if something readable were encoded there."""
        plain = flat(text)
        data = plain.encode("latin-1")
        shapes = self.shapes(data)
        found = self._all(plain, data, shapes, self.context.words(text))
        base = len(self._texts) + 2
        encoded = base + 1 in shapes or (base in shapes and any(map(_decodes, self._base64.findall(data))))
        return [one for one in found if one.score >= self.minimum], encoded

    def _all(self, plain: str, data: bytes, shapes: frozenset[int], words: Words) -> Iterator[Found]:
        if "@" in plain and "EMAIL_ADDRESS" in self.names:
            yield from (Found(start, end, "EMAIL_ADDRESS", 1.0) for start, end in emails(plain))
        if len(self._texts) + 1 in shapes and "IBAN_CODE" in self.names:
            yield from self._ibans(plain, data)
        hit = [shape for number, shape in enumerate(self._texts) if number in shapes]
        for shape in (*hit, *(shape for shape in self._worded if words.all & shape.bit)):
            for match in shape.search.finditer(data):
                start, end = match.span()
                if not _touched(plain, start, end):
                    yield from self._scored(shape, start, end, plain, words)
        if len(self._texts) in shapes:
            for match in self._run.finditer(data):
                yield from self._in_run(plain, *match.span(), words)
        if "URL" in self.names and ("://" in plain or "www." in plain):
            bit = self.context.bits["URL"]
            for start, end, score in urls(plain):
                yield Found(start, end, "URL", raised(score, words.lift(bit, start, end)))

    def _in_run(self, plain: str, start: int, end: int, words: Words) -> Iterator[Found]:
        shapes, callable_ = self._fit(plain[start : end + 1].translate(_ZEROS), words.all)
        sure = []
        for shape in shapes:
            for first, last in _spans(shape, plain, start, end):
                for one in self._scored(shape, first, last, plain, words):
                    yield one
                    if one.score >= _SURE:
                        sure.append((first, last))
        if callable_:
            bit = self.context.bits["PHONE_NUMBER"]
            for left, right in _gaps(start, end, sure):
                for first, last, score in phones(plain, left, right, self.regions):
                    yield Found(first, last, "PHONE_NUMBER", raised(score, words.lift(bit, first, last)))

    def _fit(self, outline: str, words: int) -> tuple[tuple[Shape, ...], bool]:
        """The shapes that can match in a run of this outline (its digits all zero), and whether it can be a phone number.

        Remembered for short ones: outlines are few, and hold nothing of a person."""
        key = (outline, words)
        if (found := self._fitting.get(key)) is None:
            active = (shape for shape in self._runs if not shape.needs_word or words & shape.bit)
            fit = tuple(shape for shape in active if shape.outline.search(outline))
            found = fit, "PHONE_NUMBER" in self.names and not _NO_PHONE.match(outline)
            if len(outline) <= 40:
                if len(self._fitting) >= 4096:
                    self._fitting.clear()
                self._fitting[key] = found
        return found

    def _scored(self, shape: Shape, start: int, end: int, plain: str, words: Words) -> Iterator[Found]:
        lift = words.lift(shape.bit, start, end)
        score = raised(shape.rule.score, lift)
        if score >= self.minimum and (lift or not shape.needs_word) and shape.rule.check(plain[start:end]):
            yield Found(start, end, shape.rule.kind, score)

    def _ibans(self, plain: str, data: bytes) -> Iterator[Found]:
        for match in self._head.finditer(data):
            end = _iban_end(plain, match.start())
            if end and iban(plain[match.start() : end]):
                yield Found(match.start(), end, "IBAN_CODE", 1.0)


def _decodes(run: bytes) -> bool:
    """Whether a run is Base64 of something that is mostly ASCII text."""
    body = run.translate(_STANDARD)
    data = binascii.a2b_base64(body[: len(body) // 4 * 4])
    return len(data.translate(None, _READABLE)) * 8 < len(data)


_STANDARD = bytes.maketrans(b"-_", b"+/")
_READABLE = bytes(range(32, 127)) + b"\t\n\r"


def _gaps(start: int, end: int, taken: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a run between what is taken of it."""
    for first, last in sorted(taken):
        if first > start:
            yield start, first
        start = max(start, last)
    yield start, end


def _iban_end(plain: str, start: int) -> int:
    """Where an IBAN that starts here ends: its country says how long it is. 0 where it cannot be one."""
    left = IBAN_LENGTH.get(plain[start : start + 2].upper(), 0)
    at = start
    while left and at < len(plain):
        if plain[at].isascii() and plain[at].isalnum():
            left -= 1
        elif plain[at] not in " -" or plain[at - 1] in " -":
            return 0
        at += 1
    return 0 if left or (plain[at : at + 1].isalnum() and plain[at] != "ÿ") else at


def _spans(shape: Shape, plain: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where a shape stands in a run, each next one from the following group on, so that a neighbour hides nothing."""
    at, limit = start, min(len(plain), end + 2)
    while match := shape.search.search(plain, at, limit):
        yield match.span()
        at = match.start() + 1
        while at < limit and plain[at].isdigit():
            at += 1


def _touched(plain: str, start: int, end: int) -> bool:
    """Whether a letter or digit of ASCII touches a finding, or a number goes on behind a point."""
    before, after = plain[max(0, start - 2) : start], plain[end : end + 2]
    if before and before[-1].isascii() and (before[-1].isalnum() or before[-1] == "_"):
        return True
    if after and after[0].isascii() and (after[0].isalnum() or after[0] == "_"):
        return True
    if len(before) == 2 and before[1] in ".,-/:" and before[0].isdigit():
        return True
    return len(after) == 2 and after[0] in ".,-/:" and after[1].isdigit()
