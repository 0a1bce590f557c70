"""Words written otherwise: leetspeak, letters drawn from signs, letters spaced apart, words broken by signs.

Each undoing is a view of the neighbourhoods where it changes anything (`patched`), so that the digits in an ordinary prompt cost
little. Where a sign may stand for two letters there are two views: `leet` reads 1 as i, `leet-l` as l where a vowel is near.
Letters set apart are put together in `joined`; where nothing tells which gaps are between words, `split` cuts them into the likeliest
English ones. All of it is decided by the word and its neighbours, never by the far text.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Container, Iterator

import numpy as np

from trivet.monitoring.views.characters import SIGNS
from trivet.monitoring.views.english import cut
from trivet.monitoring.views.view import Builder, Change, View, patched

# What a sign or digit stands for; where it may be one of two letters, the usual one.
_LEET = {"0": "o", "1": "i", "2": "z", "3": "e", "4": "a", "5": "s", "6": "g", "7": "t", "8": "b", "9": "g"}
_LEET |= {"@": "a", "$": "s", "!": "i", "|": "i", "+": "t", "(": "c", "<": "c"}
_SIGNS_AT_THE_END = "!|(<"  # there they end a sentence or open something
_ALONE = {"4": "a", "@": "a", "1": "i"}  # words of one letter
_LETTER, _SIGN, _GAP = 97, 48, 32
_CLASSES = bytes(
    _GAP if c > 127 else _LETTER if chr(c).isalpha() else _SIGN if chr(c) in _LEET else _GAP for c in range(256)
)
# Letters drawn from several signs. `()` alone is a call in code: it counts between letters only, and beside another.
_ART = {"|_|": "u", "|-|": "h", "|\\|": "n", "/\\/\\": "m", "|v|": "m", "\\/\\/": "w", "/\\": "a", "\\/": "v"}
_ART |= {"|<": "k", "|)": "d", "|>": "p", "|3": "b", "|2": "r", "}{": "h", "><": "x", "()": "o"}
_DRAWN = re.compile("|".join(re.escape(art) for art in sorted(_ART, key=len, reverse=True)))
_BROKEN = re.compile(r"[-_.*~^·•+=/\\|]{1,2}(?=[^\W\d_])")
_BREAKING = bytes(
    _GAP if c > 127 else _LETTER if chr(c).isalpha() else _SIGN if chr(c) in "-_.*~^+=/\\|" else _GAP
    for c in range(256)
)
_SIGN_BEYOND_ASCII = re.compile(f"[{''.join(map(chr, SIGNS))}]")
_VOWELS = frozenset("aeiouy")


def leet(view: View, *, made: bool = False) -> Iterator[View]:
    """Digits and signs read as letters, in words that hold a letter. `made`: only in words that were put together here, because the
    others are read so in the view that this one was made from."""
    text = view.text
    if not text.isascii() and _SIGN_BEYOND_ASCII.search(text):
        text = text.translate(SIGNS)
    found = [span for span in _mixed(text) if not made or _put_together(view, *span)]
    if found:
        places = sorted(
            {i for start, end in found for i in (*range(start, end), *_lone(text, start, end)) if text[i] in _LEET}
        )
        yield patched(view, f"{view.name}+leet", [Change(i, i + 1, _LEET[text[i]]) for i in places])
        if any(text[i] in "1!|" for i in places):
            yield patched(view, f"{view.name}+leet-l", list(_with_l(text, found)))
    elif not made and text is not view.text and text != view.text:
        yield View(f"{view.name}+leet", text, view)


def _put_together(view: View, start: int, end: int) -> bool:
    """Whether a stretch of the view begins within a word."""
    at = view.edges.at if view.edges else ()
    stretch = bisect_right(at, start)
    return stretch < len(at) and at[stretch] < end


def _mixed(text: str) -> Iterator[tuple[int, int]]:
    """Runs of letters, digits and signs in which a letter meets a digit or sign; signs at the end are punctuation."""
    classes = text.encode("ascii", "replace").translate(_CLASSES)
    codes = np.frombuffer(classes, np.uint8)
    at = 0
    for place in np.flatnonzero((codes[1:] ^ codes[:-1]) == _LETTER ^ _SIGN).tolist():
        if place >= at:
            start = max(at, classes.rfind(b" ", at, place) + 1)
            at = classes.find(b" ", place)
            end = at = at if at >= 0 else len(text)
            while text[end - 1] in _SIGNS_AT_THE_END:
                end -= 1
            if classes.find(b"0", start, end) >= 0:
                yield start, end


def _lone(text: str, start: int, end: int) -> Iterator[int]:
    """Next to a word in leetspeak, a word of one sign."""
    for place in (start - 2, end + 1):
        if (
            0 <= place < len(text)
            and text[place] in _ALONE
            and not text[place - 1 : place + 2].replace(text[place], "").strip()
        ):
            yield place


def _with_l(text: str, found: list[tuple[int, int]]) -> Iterator[Change]:
    """As `leet`, but 1, ! and | are l beside a vowel and i elsewhere: `ki11`, `p1an`."""
    for start, end in found:
        before = ""
        for i in range(start, end):
            letter = _LEET.get(text[i], text[i])
            if text[i] in "1!|":
                after = _LEET.get(text[i + 1], text[i + 1]) if i + 1 < end else ""
                letter = "l" if before in _VOWELS or before == "l" or (after in _VOWELS and after != "i") else "i"
            if text[i] in _LEET:
                yield Change(i, i + 1, letter)
            before = letter


def drawn(view: View) -> View | None:
    """Letters drawn from several signs: `p()i50|\\|`."""
    runs: list[list[re.Match[str]]] = []
    for match in _DRAWN.finditer(view.text):
        if runs and match.start() == runs[-1][-1].end():
            runs[-1].append(match)
        else:
            runs.append([match])
    found = [match for run in runs if _in_a_word(view.text, run) for match in run]
    if all(match.group() == "()" for match in found):
        return None
    return patched(view, f"{view.name}+drawn", [Change(*match.span(), _ART[match.group()]) for match in found])


def _in_a_word(text: str, run: list[re.Match[str]]) -> bool:
    start, end = run[0].start(), run[-1].end()
    before, after = text[start - 1 : start].isalnum(), text[end : end + 1].isalnum()
    return before and after if len(run) == 1 and run[0].group() == "()" else before or after


def glued(view: View) -> View | None:
    """Letters set apart, alone and without any gap: for those who look for phrases without regard to where words end."""
    builder = Builder(view)
    for run in _spaced(view.text):
        for place in run:
            builder.put(view.text[place], place, place + 1)
        builder.put("\n", run[-1], run[-1] + 1)
    return builder.view(f"{view.name}+glued") if builder.length else None


def joined(view: View, possible: Container[str]) -> Iterator[View]:
    """`b o m b`, `b-o-m-b` and `bo.mb` without what stands between. A wider gap stays: it was between words. And, whatever the
    gaps, letters set apart cut into the likeliest words."""
    text = view.text
    runs = list(_spaced(text)) if "spaced" in possible else []
    drop = {a + 1: b for run in runs for a, b in itertools.pairwise(run) if b - a == 2}
    if "broken" in possible:
        drop.update(_breaks(text))
    if drop:
        yield patched(view, f"{view.name}+joined", [Change(a, b, "") for a, b in sorted(drop.items())])
    if runs:
        yield patched(view, f"{view.name}+split", [change for run in runs for change in _cut(text, run)])


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """One or two signs between letters."""
    if not text.isascii():
        yield from (m.span() for m in _BROKEN.finditer(text) if text[m.start() - 1 : m.start()].isalpha())
        return
    codes = np.frombuffer(text.encode().translate(_BREAKING), np.uint8)
    for place in np.flatnonzero((codes[1:-1] == _SIGN) & (codes[:-2] == _LETTER) & (codes[2:] != _GAP)).tolist():
        end = place + 2 if codes[place + 2] == _LETTER else place + 3
        if end < len(codes) and codes[end] == _LETTER:
            yield place + 1, end


def _cut(text: str, run: list[int]) -> Iterator[Change]:
    starts, at = set(), 0
    letters = "".join(text[i] for i in run)
    for word in cut(letters) if letters.isascii() else ():
        starts.add(at)
        at += len(word)
    for number, (before, place) in enumerate(itertools.pairwise(run), start=1):
        yield Change(before + 1, place, " " if number in starts else "")


def _spaced(text: str) -> Iterator[list[int]]:
    """Where three or more characters stand alone with at most three others between two."""
    alone = _alone(text)
    close = np.diff(alone) <= 4
    for begin in (
        np.flatnonzero(close[1:] & close[:-1] & ~np.concatenate([[False], close[:-2]])).tolist()
        if len(close) > 1
        else ()
    ):
        end = begin + 1
        while end < len(close) and close[end]:
            end += 1
        run = alone[begin : end + 1].tolist()
        if sum(text[i].isalpha() for i in run) >= 2:
            yield run


def _alone(text: str) -> np.ndarray:
    """Where a letter, digit or leet sign stands with neither beside it."""
    if text.isascii():
        inside = np.frombuffer(text.encode().translate(_CLASSES), np.uint8) != _GAP
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        table = np.frombuffer(_CLASSES, np.uint8) != _GAP
        far = (codes >= 0xC0) & ~((codes >= 0x2000) & (codes < 0x2C00)) & ~((codes >= 0x3000) & (codes < 0x3040))
        inside = np.where(codes < 128, table[codes & 127], far)
    edges = np.concatenate([[False], inside, [False]])
    return np.flatnonzero(edges[1:-1] & ~edges[:-2] & ~edges[2:])
