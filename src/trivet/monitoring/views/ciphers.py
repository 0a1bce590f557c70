"""Letters turned, mirrored or moved: Caesar's cipher in all its turns (ROT13 is one), Atbash, words or whole text reversed, pig latin.

What gives a cipher away is that its letters follow each other as they never do in English. A table of pairs tells how surprising
each letter is after the one before it; where a block of the text is surprising, the undoings are tried on the stretch around it, and
one is believed if it makes the stretch read as English by a wide margin. A text of another language is as surprising, but no turn
makes it English.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from trivet.monitoring.views.english import known_share, surprise, words
from trivet.monitoring.views.view import Builder, Change, View, patched

BLOCK = 32
ODD, BACK, FEWEST = -10, 10, 10  # hundredths of a nat for each pair of letters in a block, and how many it must have
ENOUGH, EACH = 12.0, 0.9  # nats by which a turned stretch must read better: in all, and for each of its letters
SHARE = 0.5  # of the letters of an undone stretch must be in known words
NEAR = 2  # blocks on either side that belong to a stretch
_WORD = re.compile(r"[A-Za-z]+")
_CODES = bytes((c & 31) if c < 128 and chr(c).isalpha() else 0 for c in range(256))
_ALPHABET = np.arange(32)
_IN_IT = (_ALPHABET >= 1) & (_ALPHABET <= 26)
# Turn n of Caesar's for n in 1..25 stands at n - 1, Atbash last.
_TURNS = [np.where(_IN_IT, (_ALPHABET - 1 + n) % 26 + 1, _ALPHABET) for n in range(1, 26)]
_TURNS.append(np.where(_IN_IT, 27 - _ALPHABET, _ALPHABET))


class Model(NamedTuple):
    """By pair of letters, in hundredths of a nat."""

    both: (
        np.ndarray
    )  # by 256 * second + first; low half: how much more surprising than letters drawn blindly; high half: how
    # much less surprising when read backwards. Packed, because one look-up for both is half the time.
    turned: np.ndarray  # [turn, 32 * first + second]: how much less surprising after each turn


@cache
def model() -> Model:
    pairs = np.zeros((32, 32))
    pairs[:27, :27] = surprise()
    blind = np.where(pairs == 0, 0.0, math.log(27))
    turned = [pairs - pairs[np.ix_(turn, turn)] for turn in _TURNS]
    odd, back, *rest = (np.round(100 * table).astype(np.int32) for table in (pairs - blind, pairs - pairs.T, *turned))
    both = np.zeros((256, 256), np.int32)
    both[:32, :32] = ((back << 16) + odd - np.where(blind > 0, ODD, 0)).T
    return Model(both.ravel(), np.stack([table.ravel() for table in rest]))


class Look(NamedTuple):
    """The letters as numbers, whole blocks of them and one more, and which blocks are surprising, and which less so backwards."""

    codes: np.ndarray
    odd: np.ndarray
    backward: np.ndarray

    def pairs(self, start: int, end: int) -> np.ndarray:
        codes = self.codes[start : end + 1].astype(np.intp)
        return (codes[:-1] << 5) | codes[1:]


def look(text: str) -> Look | None:
    """Where a text may be in cipher; None mostly. Table look-ups and sums, whatever the text."""
    data = text.encode("ascii", "replace").translate(_CODES)
    data += bytes(-len(data) % BLOCK + 2)
    both = model().both
    sums = np.einsum("ij->i", both.take(np.frombuffer(data[:-2], "<u2")).reshape(-1, BLOCK // 2))
    sums += np.einsum("ij->i", both.take(np.frombuffer(data[1:-1], "<u2")).reshape(-1, BLOCK // 2))
    odd = sums.astype(np.int16)
    strange, backward = odd > 0, (sums - odd) >> 16 > BACK * FEWEST
    if not (strange | backward).any():
        return None
    return Look(np.frombuffer(data[:-1], np.uint8), np.flatnonzero(strange), np.flatnonzero(backward))


def _stretches(seen: Look, blocks: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Neighbouring blocks with enough letters, as (start, end, histogram of their pairs); start and end reach out a little."""
    for group in np.split(blocks, np.flatnonzero(np.diff(blocks) > 2 * NEAR) + 1) if len(blocks) else ():
        pairs = np.concatenate([seen.pairs(i * BLOCK, (i + 1) * BLOCK) for i in group.tolist()])
        if np.count_nonzero(pairs) >= FEWEST:
            start, end = (int(group[0]) - NEAR) * BLOCK, (int(group[-1]) + 1 + NEAR) * BLOCK
            yield max(0, start), min(len(seen.codes) - 1, end), np.bincount(pairs, minlength=1024)


def turned(text: str, seen: Look) -> Iterator[Change]:
    """Runs of words that read as English only after a turn of the alphabet."""
    free = 0
    for start, end, counts in _stretches(seen, seen.odd):
        gains = model().turned @ counts
        turn = int(np.argmax(gains))
        letters = int(counts[1:].sum())
        if gains[turn] >= 100 * max(ENOUGH, EACH * letters):
            for change in _best_run(text, seen, turn, max(start, free), end):
                free = change.end
                yield change


def _best_run(text: str, seen: Look, turn: int, start: int, end: int) -> Iterator[Change]:
    """The words whose turning gains most (Kadane's maximum sum, which starts anew where the sum falls below nothing)."""
    sums = np.concatenate([[0], np.cumsum(model().turned[turn].take(seen.pairs(start, end)), dtype=np.int64)])
    gain, best, first, last, runs = 0, 0, start, start, list[tuple[int, int, int]]()
    for match in _WORD.finditer(text, start, end):
        a, b = match.span()
        step = int(sums[b - start] - sums[max(a - 1, start) - start])
        if gain <= 0 or best - gain > 100 * ENOUGH:
            runs.append((best, first, last))
            gain, best, first = 0, 0, a
        gain += step
        if gain > best:
            best, last = gain, b
    table = _letters_turned(turn)
    for gained, a, b in (*runs, (best, first, last)):
        if gained >= 100 * ENOUGH:
            new = text[a:b].translate(table)
            if _says_something(new):
                yield Change(a, b, new)


def _says_something(text: str) -> bool:
    """Whether half of a text is English words, enough of them longer than chance makes them."""
    found = _WORD.findall(text.lower())
    return known_share(found) >= SHARE and sum(len(word) for word in found if len(word) > 2 and word in words()) >= 9


@cache
def _letters_turned(turn: int) -> dict[int, str]:
    to = _TURNS[turn]
    return {base + i: chr(base + int(to[i + 1]) - 1) for base in (65, 97) for i in range(26)}


def mirrored(view: View, seen: Look) -> Iterator[View]:
    """Stretches written backwards: read from their end, and each word in its place read backwards."""
    whole, single = Builder(view), list[Change]()
    for start, end, _ in _stretches(seen, seen.backward):
        found = [match.span() for match in _WORD.finditer(view.text, start, end)]
        if _reads_backward(view.text, found):
            single += [Change(a, b, view.text[a:b][::-1]) for a, b in found if not single or a >= single[-1].end]
            start, end = found[0][0], found[-1][1]
            for i in reversed(range(start, end)):
                whole.put(view.text[i], i, i + 1)
            whole.put("\n", start, start + 1)
    if single:
        yield whole.view("reversed")
        yield patched(view, "mirrored", single)


def _reads_backward(text: str, found: list[tuple[int, int]]) -> bool:
    """Whether enough of some words is English backwards and less of it forwards. Those at the ends that are not are taken away."""
    forward = [text[a:b].lower() for a, b in found]
    while found and forward[0][::-1] not in words():
        del found[0], forward[0]
    while found and forward[-1][::-1] not in words():
        del found[-1], forward[-1]
    back = known_share([word[::-1] for word in forward])
    return len(found) >= 3 and back >= SHARE and back > known_share(forward) + 0.2


_AY = re.compile(r"[aA][yY](?![A-Za-z])")
_ONSET = re.compile(
    r"(?:s?[ckpt][lr]|[bfg][lr]|[dsw]r|s[cklmnpqtw]|s?ch|sh|thr?|shr|[wpg]h|kn|gn|ps|[dst]w|s?qu|[^aeiou])$"
)


def pig_latin(text: str) -> Iterator[Change]:
    """`owhay otay ewbray`: three or more such words close together, that are English when undone."""
    group: list[int] = []
    for match in _AY.finditer(text):
        if group and match.end() - group[-1] > 32:
            yield from _unpigged(text, group)
            group = []
        group.append(match.end())
    yield from _unpigged(text, group)


def _unpigged(text: str, ends: list[int]) -> list[Change]:
    if len(ends) < 3:
        return []
    spans = [(_begin(text, end), end) for end in ends]
    undone = [_home(text[a:b]) for a, b in spans]
    before = known_share([text[a:b].lower() for a, b in spans])
    share = known_share([word.lower() for word in undone])
    if share < SHARE or share < before + 0.2:
        return []
    return [Change(*span, word) for span, word in zip(spans, undone, strict=True)]


def _begin(text: str, end: int) -> int:
    """Where the word that ends here begins; of a very long one the last letters."""
    start = end
    while start > 0 and end - start < 24 and text[start - 1].isascii() and text[start - 1].isalpha():
        start -= 1
    return start


@lru_cache(maxsize=4096)
def _home(word: str) -> str:
    """The commonest English word that a word of pig latin may stand for; without one, the longest move."""
    stem = word.lower()[:-2]
    longest = _ONSET.search(stem)
    tails = range(len(stem) - longest.start(), 0, -1) if longest else ()
    guesses = [stem[-n:] + stem[:-n] for n in tails if n < len(stem) and _ONSET.fullmatch(stem[-n:])]
    if stem[-1:] in ("w", "y", "h") and len(stem) > 1:
        guesses.append(stem[:-1])
    guesses.append(stem)
    return min(guesses, key=_oddity) if stem else word


def _oddity(word: str) -> float:
    """How much speaks against a word: its rareness, or 100 and how oddly its letters follow each other."""
    codes = [0, *(ord(c) - 96 for c in word), 0]
    return words().get(word) or 100.0 + float(surprise()[codes[:-1], codes[1:]].sum())
