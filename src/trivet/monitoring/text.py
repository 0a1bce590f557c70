"""Read a text once, in every way a model might read it, with offsets back to what was typed.

Attackers write the same words so that a filter does not see them: look-alike letters, zero-width characters, hidden
tag characters, leetspeak, letters spaced apart, Base64, hex, ROT13. `read(text)` undoes each into a *view*: a plain
string plus, for every character in it, the stretch of the original that it came from. Guards match on the views and
report spans of the original, so a mask lands on what was typed.

Method: NFKC by Unicode Standard Annex 15, cut at safe boundaries so that each piece keeps its place; look-alikes in
the spirit of UTS 39 skeletons, but only for words that become wholly Latin, so that Russian stays Russian; ROT13 by
the stretch of words whose letter frequencies fit English better after turning than before (Kadane's maximum sum).
Everything is one pass per view; decoding goes at most DEPTH deep and never makes a text longer.

Not covered: pig latin, reversed text, Morse, percent-encoding, Base64 broken over several lines, leetspeak that draws
one letter with several signs (`|_|`), look-alikes outside Latin, Cyrillic, Greek and Armenian.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

DEPTH = 3
SHORT = 8192

# Latin look-alikes, as pairs: what is seen, what it passes for. The close ones count in any word; the loose ones (small
# letters that only look like small capitals) count in a word that holds a Latin letter, so that Russian stays Russian.
_CLOSE = (
    "аaеeоoрpсcуyхxіiјjѕsԁdԛqԝwһhӏlԍgѵvАAВBЕEКKМMНHОOРPСCТTУYХXІIЈJЅSԌGԚQԜWӀI"  # Cyrillic
    "αaοoνvρpιiϲcϳjΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹC"  # Greek
    "օoսuոnհhցgզqՏSՕOՍU"  # Armenian
    "ıiȷjɑaɡgɩiʟlɴnʀrʏyᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpᴛtᴜuᴠvᴡwᴢzʙbɢgʜhꜱsꜰføołlđdħhŧtƀbɓbƈcɗdƙkƭtƴyƶzØOŁLĐDĦHŦT"  # Latin
)
_LOOSE = "кkмmтtнhвbгrпnиuьbτtυuκkηnχxγyωwσo"


def _pairs(text: str) -> dict[int, str]:
    return {ord(seen): meant for seen, meant in zip(text[::2], text[1::2], strict=True)}


CLOSE = _pairs(_CLOSE)
LOOSE = CLOSE | _pairs(_LOOSE)
_LEET = str.maketrans("0134578@$!|+€", "oieastbasilte")
_LEET_WORD = re.compile(r"[a-z0134578@$!|+€]+")
_APART = re.compile(r"(?<!\w)\w(?:([ .\-_*])\w)(?:\1\w)+(?!\w)")
_WORD = re.compile(r"\w+")
_LETTERS = re.compile(r"[A-Za-z]+")
_ENCODED = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:0x)?(?:[0-9A-Fa-f]{2}[ :]?){7,}[0-9A-Fa-f]{2}(?![A-Za-z0-9+/_-])"
    r"|(?:\\x[0-9A-Fa-f]{2}){4,}"
    r"|(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}={0,2}"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_HEX_NOISE = re.compile(r"\\x|0x|[ :]")
# Characters that show nothing and are not in the category Cf: grapheme joiner, Hangul fillers, Braille blank.
_BLANK = frozenset("\u034f\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5")
# Starters that compose with the character before them (checked against the whole of Unicode by a test).
_JOINS_BACK = re.compile(
    "[\u0cd5\u0cd6\u0cc2\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0ccf\u0d3e\u0d57\u0dcf\u0ddf\u102e\u1161-\u1175"
    "\u11a8-\u11c2\u1b35\U000110ba\U00011127\U0001133e\U00011357\U000114b0\U000114ba\U000114bd\U000115af\U00011930]"
)
# The blocks of combining marks: accents, Cyrillic number signs, extended, supplement, for symbols, halves.
_MARK = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_ENGLISH = "e12.7t9.1a8.2o7.5i7n6.7s6.3h6.1r6d4.3l4c2.8u2.8m2.4w2.4f2.2g2y2p1.9b1.5v1k.8j.15x.15q.1z.07"
_FREQUENCY = {m[1]: float(m[2]) for m in re.finditer(r"([a-z])([0-9.]+)", _ENGLISH)}
ROT13 = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM"
)
# How much better a letter fits English after ROT13 than before, in nats.
_TURN = {c: math.log(_FREQUENCY[c.translate(ROT13)] / _FREQUENCY[c]) for c in _FREQUENCY}
_TURN_ENOUGH = 7.0


@dataclass(frozen=True, slots=True)
class View:
    """One way to read a text. `starts[i]:ends[i]` is the stretch of the original behind character i; None: the same."""

    name: str
    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original behind `text[start:end]` (which must not be empty)."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text in all its views: `clean` keeps case and script, `folded` is plain lower case, the rest undo disguises."""

    original: str
    clean: View
    folded: View
    others: tuple[View, ...] = ()

    def __iter__(self) -> Iterator[View]:
        """The views to match lower-case words on."""
        yield self.folded
        yield from self.others


def read(text: str) -> Reading:
    """All views of a text. The newest are remembered, so that the guards of one request share the work."""
    return _read_short(text) if len(text) <= SHORT else _read_long(text)


def _read(text: str) -> Reading:
    clean = _clean(text)
    folded = _fold(clean)
    seen, others = {folded.text}, list[View]()

    def keep(view: View) -> None:
        if view.text and view.text not in seen:
            seen.add(view.text)
            others.append(view)

    for view in (folded, *(_fold(v) for v in (*_hidden(text), *_decodings(clean)))):
        keep(view)
        keep(_leet(view))
        keep(_together(view))
    return Reading(text, clean, folded, tuple(others))


# Two memories, so that a few very long texts cannot fill much of it.
_read_short = lru_cache(maxsize=64)(_read)
_read_long = lru_cache(maxsize=2)(_read)


def _rebuilt(view: View, name: str, pieces: Iterator[tuple[str, int, int]]) -> View:
    """A view made of (text, start, end) pieces of another view, with the offsets carried through to the original."""
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for piece, start, end in pieces:
        first, last = view.origin(start, end)
        out.append(piece)
        starts.extend([first] * len(piece))
        ends.extend([last] * len(piece))
    return View(name, "".join(out), starts, ends)


def _clean(text: str) -> View:
    """NFKC without the characters that show nothing."""
    plain = View("clean", text)
    if text.isascii():
        return plain
    return _rebuilt(plain, "clean", _normal_pieces(text))


def _normal_pieces(text: str) -> Iterator[tuple[str, int, int]]:
    """Pieces that NFKC never joins to their neighbours, each where its first visible character starts and its last ends."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or _breaks_before(text[end]):
            seen = [i for i in range(start, end) if not invisible(text[i])]
            if seen and (piece := unicodedata.normalize("NFKC", "".join(text[i] for i in seen))):
                yield piece, seen[0], seen[-1] + 1
            start = end


@lru_cache(maxsize=65536)
def _breaks_before(char: str) -> bool:
    """Whether NFKC never joins this character to the one before it."""
    if char.isascii():
        return True
    if invisible(char):
        return False
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.combining(first) == 0 and not _JOINS_BACK.match(first)


@lru_cache(maxsize=65536)
def invisible(char: str) -> bool:
    """Zero-width, bidirectional, tag and variation characters, fillers, and control characters but for white space."""
    category = unicodedata.category(char)
    if category in ("Cf", "Cs") or char in _BLANK:
        return True
    if category == "Cc":
        return char not in "\t\n\r\x0b\x0c"
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def _fold(view: View) -> View:
    """Lower case, without accents, look-alikes turned into Latin."""
    if view.text.isascii():
        return View("folded" if view.name == "clean" else view.name, view.text.lower(), view.starts, view.ends)
    latin = _WORD.sub(_as_latin, view.text)
    pieces = ((_plain(char), i, i + 1) for i, char in enumerate(latin))
    return _rebuilt(view, "folded" if view.name == "clean" else view.name, pieces)


def _as_latin(match: re.Match[str]) -> str:
    """The word in Latin letters, if every letter of it looks like one; else unchanged. Keeps the length."""
    word = match.group()
    if word.isascii():
        return word
    turned = word.translate(LOOSE if _LETTERS.search(word) else CLOSE)
    return turned if all(_plain(c).isascii() for c in turned) else word


@lru_cache(maxsize=65536)
def _plain(char: str) -> str:
    """A character in lower case; Latin ones without accents, and the loose accents of the Latin block dropped."""
    if _MARK.match(char):
        return ""
    base = unicodedata.normalize("NFD", char)[0]
    return base.lower() if base.isascii() else char.casefold()


def _leet(view: View) -> View:
    """Digits and signs read as letters, in words that hold a letter."""
    return View(f"{view.name}+leet", _LEET_WORD.sub(_as_letters, view.text), view.starts, view.ends)


def _as_letters(match: re.Match[str]) -> str:
    word = match.group()
    return word.translate(_LEET) if _LETTERS.search(word) else word


def _together(view: View) -> View:
    """`b o m b` and `b-o-m-b` without the gaps."""
    if not _APART.search(view.text):
        return view
    return _rebuilt(view, f"{view.name}+joined", _without_gaps(view.text))


def _without_gaps(text: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    for match in _APART.finditer(text):
        yield from ((text[i], i, i + 1) for i in range(at, match.start()))
        yield from ((text[i], i, i + 1) for i in range(match.start(), match.end(), 2))
        at = match.end()
    yield from ((text[i], i, i + 1) for i in range(at, len(text)))


def _hidden(text: str) -> Iterator[View]:
    """Text smuggled in invisible characters: tag characters spell ASCII, variation selectors spell bytes."""
    if text.isascii():
        return
    tags = [(chr(ord(c) - 0xE0000), i, i + 1) for i, c in enumerate(text) if "\U000e0020" <= c <= "\U000e007e"]
    if tags:
        yield _rebuilt(View("tags", text), "tags", iter(tags))
    places = [i for i, c in enumerate(text) if "\ufe00" <= c <= "\ufe0f" or "\U000e0100" <= c <= "\U000e01ef"]
    if len(places) >= 4:
        data = bytes(ord(text[i]) - (0xFE00 if text[i] <= "\ufe0f" else 0xE00F0) for i in places)
        if found := _readable(data):
            yield _rebuilt(View("selectors", text), "selectors", iter([(found, places[0], places[-1] + 1)]))


def _decodings(view: View) -> Iterator[View]:
    """The text with encoded stretches decoded in place, and the decoded stretches alone; again, to DEPTH."""
    for _ in range(DEPTH):
        found = sorted(_encoded(view.text), key=lambda piece: piece[1])
        if not found:
            return
        yield _rebuilt(view, "payload", ((f"{text}\n", start, end) for text, start, end in found))
        view = _rebuilt(view, "decoded", _spliced(view.text, found))
        yield view


def _spliced(text: str, found: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
    at = 0
    for piece, start, end in found:
        yield from ((text[i], i, i + 1) for i in range(at, start))
        yield piece, start, end
        at = end
    yield from ((text[i], i, i + 1) for i in range(at, len(text)))


def _encoded(text: str) -> Iterator[tuple[str, int, int]]:
    """Every stretch that decodes to something readable, as (decoded, start, end); stretches do not overlap."""
    taken: list[tuple[int, int]] = []
    for match in _ENCODED.finditer(text):
        if found := _from_hex(match.group()) or _from_base64(match.group()):
            taken.append(match.span())
            yield found, *match.span()
    cuts = [0, *(edge for stretch in taken for edge in stretch), len(text)]
    for start, end in zip(cuts[::2], cuts[1::2], strict=True):
        yield from _turned(text, start, end)


def _from_hex(run: str) -> str:
    try:
        return _readable(binascii.unhexlify(_HEX_NOISE.sub("", run)))
    except binascii.Error:
        return ""


def _from_base64(run: str) -> str:
    if not _BASE64.fullmatch(run):
        return ""
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    whole = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return _readable(base64.b64decode(whole + "=" * (-len(whole) % 4)))
    except binascii.Error:
        return ""


def _readable(data: bytes) -> str:
    """The bytes as text, if they are UTF-8 that a person could read; else an empty string."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    odd = sum(not (c.isprintable() or c in "\t\r\n") for c in text)
    return text if odd == 0 and any(c.isalpha() for c in text) else ""


def _turned(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Runs of words that read as English only after ROT13."""
    gain, best, first, last = 0.0, 0.0, start, start
    for match in _LETTERS.finditer(text, start, end):
        step = _word_gain(match.group())
        if gain <= 0:
            gain, best, first = 0.0, 0.0, match.start()
        gain += step
        if gain > best:
            best, last = gain, match.end()
        elif gain <= 0 or best - gain > _TURN_ENOUGH:
            if best >= _TURN_ENOUGH:
                yield text[first:last].translate(ROT13), first, last
            gain = 0.0
    if gain > 0 and best >= _TURN_ENOUGH:
        yield text[first:last].translate(ROT13), first, last


@lru_cache(maxsize=16384)
def _word_gain(word: str) -> float:
    return sum(_TURN[c] for c in word.lower())
