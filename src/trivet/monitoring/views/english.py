"""Which letters and words are English: enough to tell a disguise from its undoing, far from enough to judge a text.

8,000 words by falling frequency (english.txt, made by runs/views_tables.py); how often each is said follows Zipf's law. From
them: the chance of a letter after a letter, the cost of a word, and the cheapest way to cut letters written without spaces into words
(Viterbi 1967, words of at most LONGEST letters, so linear in the text).
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np

LONGEST = 16
_UNKNOWN = 12.0  # nats for a word that is not in the list, and for each of its letters below
_LETTER = 3.0


@cache
def words() -> dict[str, float]:
    """The cost of every word in nats: minus the logarithm of its share of a text."""
    known = (Path(__file__).parent / "english.txt").read_text(encoding="ascii").split()
    total = sum(1.0 / (rank + 2.7) for rank in range(len(known)))
    return {word: math.log(total * (rank + 2.7)) for rank, word in enumerate(known)}


@cache
def surprise() -> np.ndarray:
    """[27, 27] nats: how surprising letter b is after letter a; 0 is what lies between words. Nothing-nothing is 0."""
    codes = np.frombuffer(f" {' '.join(words())} ".encode(), np.uint8) & 31
    shares = np.exp(-np.array(list(words().values())))
    weights = np.repeat(shares, np.array([len(word) + 1 for word in words()]))
    pairs = codes[:-1].astype(np.intp) * 27 + codes[1:]
    counts = np.bincount(pairs, weights, 27 * 27).reshape(27, 27) + 2e-5
    found: np.ndarray = -np.log(counts / counts.sum(axis=1, keepdims=True))
    found[0, 0] = 0.0
    return found


def known_share(found: list[str]) -> float:
    """How much of some words is in the list, by letters; words of one letter tell nothing."""
    long = [word for word in found if len(word) > 1]
    letters = sum(map(len, long))
    return sum(len(word) for word in long if word in words()) / letters if letters else 0.0


def cut(letters: str) -> list[str]:
    """The likeliest words that `letters` (lower case, no gaps) are written from; what is in no list stays together."""
    known, size = words(), len(letters)
    best = [0.0] + [math.inf] * size
    step = [0] * (size + 1)
    for end in range(1, size + 1):
        for length in range(1, min(LONGEST, end) + 1):
            word = letters[end - length : end]
            cost = best[end - length] + known.get(word, _UNKNOWN + _LETTER * length)
            if cost < best[end]:
                best[end], step[end] = cost, length
    found = []
    while size:
        found.append(letters[size - step[size] : size])
        size -= step[size]
    return found[::-1]
