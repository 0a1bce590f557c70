"""Characters: normal forms, the invisible, case, accents, look-alikes, and text smuggled in what shows nothing.

`cleaned` is NFKC (Unicode Standard Annex 15) without the characters that show nothing, cut at safe boundaries so that each piece keeps its
place. `folded` is that in lower case, without accents, with look-alikes turned Latin in the spirit of UTS 39 skeletons: only
in words that become wholly Latin, and not in a word made of another script alone whose neighbour belongs to that script for
certain, so that Russian and Greek prose stays what it is.

Speed: what a single character needs is remembered (`_Marks`, `_Folds` fill as characters are met, from this Python's own
Unicode data) and looked up by `str.translate`; stretches that need nothing are copied whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from trivet.monitoring.views.view import Builder, Change, View, replaced

# Latin look-alikes, as pairs: what is seen, what it passes for. The close ones count in any word; the loose ones (small
# letters that only look like small capitals, digits and letters of far scripts) count in a word that holds a Latin letter.
_CLOSE = (
    "аaеeоoрpсcуyхxіiјjѕsԁdԛqԝwһhӏlԍgѵvАAВBЕEКKМMНHОOРPСCТTУYХXІIЈJЅSԌGԚQԜWӀI"  # Cyrillic
    "αaοoνvρpιiϲcϳjΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXϹC"  # Greek
    "օoսuոnհhցgզqՏSՕOՍU"  # Armenian
    "ıiȷjɑaɡgɩiʟlɴnʀrʏyᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpᴛtᴜuᴠvᴡwᴢzʙbɢgʜhꜱsꜰføołlđdħhŧtƀbɓbƈcɗdƙkƭtƴyƶzØOŁLĐDĦHŦT"  # Latin
    "ǝeɐaɔcɟfɥhɾjɯmɹrʇtʌvʍwʎyƃgʞk"  # Latin letters turned round
)
_LOOSE = "кkмmтtнhвbгrпnиuьbτtυuκkηnχxγyωwσoεeбbдdзzлlяrеeэeъbыbщwшwцuчy"
_SIGNS = "€e£l¥y§s¢cµu∂dƒf×x†t℮e"
_NEAR = re.compile("[Ͱ-ϿЀ-ԯⷠ-ⷿꙀ-ꚟ԰-֏֐-ࣿऀ-ೀೀ-࿿ᄀ-ᇿ⺀-꓏ꬰ-꭯가-힣]")


def _pairs(text: str) -> dict[int, str]:
    return {ord(seen): meant for seen, meant in zip(text[::2], text[1::2], strict=True)}


def _tables() -> tuple[dict[int, str], dict[int, str]]:
    """Our own pairs first; of UTS 39's the rest: near scripts and those that people write today loose, others close."""
    close, loose = _pairs(_CLOSE), dict[int, str]()
    for line in (Path(__file__).parent / "confusables.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            letter, seen = line.split(" ", 1)
            for char in seen:
                if char.isalpha() or char.isdigit() or unicodedata.category(char)[0] in "MN":
                    (loose if _NEAR.match(char) else close).setdefault(ord(char), letter)
    loose = {code: letter for code, letter in loose.items() if code not in close}
    return close, close | loose | _pairs(_LOOSE)


CLOSE, LOOSE = _tables()
SIGNS = _pairs(_SIGNS)
_DISCS = {first + i: chr(97 + i) for first in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
"""Letters in discs and squares, and the letters that flags are spelt with; NFKC knows other ones."""
_WORD = re.compile(r"\w+")
_LATIN = re.compile(r"[A-Za-z]")
# Characters that show nothing and are not in the category Cf: grapheme joiner, Hangul fillers, Braille blank.
_BLANK = frozenset("\u034f\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5")
# Starters that compose with the character before them (checked against the whole of Unicode by a test).
_JOINS_BACK = re.compile(
    "[\u0cd5\u0cd6\u0cc2\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0ccf\u0d3e\u0d57\u0dcf\u0ddf\u102e\u1161-\u1175"
    "\u11a8-\u11c2\u1b35\U000110ba\U00011127\U0001133e\U00011357\U000114b0\U000114ba\U000114bd\U000115af\U00011930]"
)
# The blocks of combining marks: accents, Cyrillic number signs, extended, supplement, for symbols, halves.
_MARK = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
_CHANGES, _RESIZES, _FOREIGN = "\x00", "\x01", "\x02"
_STRETCH = re.compile(f"{_CHANGES}+")
_RESIZED = re.compile(f"[{_CHANGES}{_RESIZES}]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
_CONTROLS = bytes(c for c in (*range(32), 127) if c not in b"\t\n\r\x0b\x0c")
_NEIGHBOURHOOD, _NEAR_ENOUGH = 24, 64


class _Marks(dict[int, str]):
    """Every character as one of: `\\x00` where NFKC may change or move it, `\\x01` where folding changes its length, `\\x02` for a
    letter that does not pass for Latin by itself, else `a`."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if not breaks_before(char) or invisible(char) or unicodedata.normalize("NFKC", char) != char:
            mark = _CHANGES
        elif len(plain(char)) != 1:
            mark = _RESIZES
        else:
            mark = _FOREIGN if char.isalpha() and not plain(CLOSE.get(code, char)).isascii() else "a"
        self[code] = mark
        return mark


class _Folds(dict[int, str]):
    """Every character as `plain` has it."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = plain(chr(code))
        return folded


_marks, _folds = _Marks(), _Folds()


def _by_character(text: str, table: dict[int, str]) -> str:
    """Every character beyond ASCII as the table has it; the others too, or left alone where the first are few."""
    if _sparse(text):
        return _BEYOND_ASCII.sub(lambda match: match.group().translate(table), text)
    return text.translate(table)


def _sparse(text: str) -> bool:
    """Whether little of a text is beyond ASCII."""
    return len(text.encode("utf-8", "replace")) - len(text) <= len(text) // 4


@lru_cache(maxsize=2)
def _marked(text: str) -> str:
    """Remembered, because a clean text is asked for once more when it is folded."""
    return _by_character(text, _marks)


def cleaned(text: str) -> View:
    """NFKC without the characters that show nothing."""
    original = View("clean", text)
    if text.isascii() and len(text.encode().translate(None, _CONTROLS)) == len(text):
        return original
    marks = text.translate(_marks) if text.isascii() or _CONTROL.search(text) else _marked(text)
    if _CHANGES not in marks:
        return original
    builder, at = Builder(original), 0
    for match in _STRETCH.finditer(marks):
        start, end = match.span()
        if start > at and not breaks_before(text[start]):
            start -= 1  # the letter that an accent belongs to
        builder.keep(at, start)
        for piece, first, last in _normal_pieces(text, start, end):
            builder.put(piece, first, last)
        at = end
    builder.keep(at, len(text))
    return builder.view("clean")


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


def _normal_pieces(text: str, begin: int, stop: int) -> Iterator[tuple[str, int, int]]:
    """Pieces that NFKC never joins to their neighbours, each where its first visible character starts and its last ends."""
    start = begin
    for end in range(begin + 1, stop + 1):
        if end == stop or breaks_before(text[end]):
            if end == start + 1:
                if piece := _alone(text[start]):
                    yield piece, start, end
            else:
                seen = [i for i in range(start, end) if not invisible(text[i])]
                if seen and (piece := unicodedata.normalize("NFKC", "".join(text[i] for i in seen))):
                    yield piece, seen[0], seen[-1] + 1
            start = end


@lru_cache(maxsize=65536)
def _alone(char: str) -> str:
    return "" if invisible(char) else unicodedata.normalize("NFKC", char)


@lru_cache(maxsize=65536)
def breaks_before(char: str) -> bool:
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


def folded(view: View, name: str) -> View:
    """Lower case, without accents, look-alikes turned into Latin."""
    text = view.text
    if text.isascii():
        return View(name, text.lower(), view)
    marks = _marked(text)
    return _lowered(view, name, _latin(text, marks), marks)


def lowered(view: View, name: str) -> View:
    """Lower case, without accents."""
    return _lowered(view, name, view.text, _marked(view.text))


def _lowered(view: View, name: str, latin: str, marks: str) -> View:
    if _RESIZES not in marks and _CHANGES not in marks:
        return View(name, _lower(latin), view)
    parts, changes, at = [], list[Change](), 0
    for place in (match.start() for match in _RESIZED.finditer(marks)):
        if len(new := plain(latin[place])) != 1:
            parts += [_lower(latin[at:place]), new]
            changes.append(Change(place, place + 1, new))
            at = place + 1
    kept = replaced(view, name, changes)
    return View(name, "".join(parts) + _lower(latin[at:]), kept.base, kept.edges)


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else _by_character(text, _folds).lower()


def _latin(text: str, marks: str) -> str:
    """The text with every word in Latin letters that can pass for a Latin one. Keeps the length."""
    parts, at = [], 0
    for match in _may_pass(text):
        start, end = match.span()
        turned = _as_latin(match.group())
        if turned and (turned[0] == "L" or not _at_home(marks, start, end)):
            parts += [text[at:start], turned[1:]]
            at = end
    return "".join(parts) + text[at:] if parts else text


def _may_pass(text: str) -> Iterator[re.Match[str]]:
    """Words to look at: where little is beyond ASCII, only near that."""
    if not _sparse(text):
        yield from _PASSES.finditer(text)
        return
    at = 0
    for found in _ONE_SEEN.finditer(text):
        if found.start() >= at:
            stop = min(len(text), found.end() + _NEAR_ENOUGH)
            for match in _PASSES.finditer(text, max(at, found.start() - _NEAR_ENOUGH), stop):
                if match.end() < stop or stop == len(text):
                    yield match
                    at = match.end()


@lru_cache(maxsize=16384)
def _as_latin(word: str) -> str:
    """The word in Latin letters, or nothing where a letter does not pass for one; before it L if it holds a Latin letter, else N."""
    latin = _LATIN.search(word) is not None
    turned = word.translate(LOOSE if latin else CLOSE)
    return f"{'L' if latin else 'N'}{turned}" if all(plain(c).isascii() for c in turned) else ""


def _at_home(marks: str, start: int, end: int) -> bool:
    """Whether letters near a word that holds no Latin one are of another script for certain: then so is the word."""
    return _FOREIGN in marks[max(0, start - _NEIGHBOURHOOD) : start] or _FOREIGN in marks[end : end + _NEIGHBOURHOOD]


# A word that may become Latin: letters that pass for Latin ones, Latin ones with accents, ASCII; at least one of the first.
_SEEN = re.escape("".join(map(chr, sorted(LOOSE))))
_OTHER = "A-Za-z0-9_" + "".join(chr(c) for c in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)) if c not in LOOSE)
_ONE_SEEN = re.compile(f"[{_SEEN}]")
_PASSES = re.compile(rf"(?<!\w)[{_OTHER}]*+[{_SEEN}][{_SEEN}{_OTHER}]*+(?!\w)")


@lru_cache(maxsize=65536)
def plain(char: str) -> str:
    """A character in lower case; Latin ones without accents, and the loose accents of the Latin block dropped."""
    if _MARK.match(char):
        return ""
    if disc := _DISCS.get(ord(char)):
        return disc
    base = unicodedata.normalize("NFD", char)[0]
    return base.lower() if base.isascii() else char.casefold().lower()


def hidden(original: View) -> Iterator[View]:
    """Text smuggled in invisible characters: tag characters spell ASCII, variation selectors spell bytes."""
    text = original.text
    if text.isascii():
        return
    tags = [match.start() for match in _TAG.finditer(text)]
    if tags:
        builder = Builder(original)
        for i in tags:
            builder.put(chr(ord(text[i]) - 0xE0000), i, i + 1)
        yield builder.view("tags")
    places = [match.start() for match in _SELECTOR.finditer(text)]
    if len(places) >= 4:
        data = bytes(ord(text[i]) - (0xFE00 if text[i] <= "\ufe0f" else 0xE00F0) for i in places)
        if found := readable(data):
            builder = Builder(original)
            builder.put(found, places[0], places[-1] + 1)
            yield builder.view("selectors")


_TAG = re.compile("[\U000e0020-\U000e007e]")
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def readable(data: bytes) -> str:
    """The bytes as text, if they are UTF-8 that a person could read; else an empty string."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    whole = text.isprintable() or all(c.isprintable() or c in "\t\r\n" for c in text)
    return text if whole and any(c.isalpha() for c in text) else ""
