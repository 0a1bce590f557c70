"""Hashed word and character n-grams, all computed at once with numpy: what the small linear classifiers read.

Every n-gram of a text is a substring, and the hash of a substring follows from prefix sums of a polynomial in an odd
base modulo 2^64 (Rabin-Karp, with the base's inverse to move each substring to the origin), so there is no Python loop
over n-grams. Words, pairs of neighbouring words and character 3-, 4- and 5-grams share one table of buckets
(Weinberger et al. 2009, arXiv:0902.2206, without the signs); a text's vector is the log counts, at length one.

The hash is part of a saved classifier's meaning: change anything here and old weights no longer fit (see FORMAT in
monitoring/guards/classifier.py and core/judges/classifier.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_CHARACTER = (3, 4, 5)
_SALT_PAIR = np.uint64(0xD6E8FEB86659FD93)
_SPACE = re.compile(r"\s+")
_powers = np.ones(1, dtype=np.uint64)
_inverses = np.ones(1, dtype=np.uint64)


def _powers_to(n: int) -> tuple[np.ndarray, np.ndarray]:
    """BASE^i and BASE^-i for i < n, kept and grown as longer texts come."""
    global _powers, _inverses
    if len(_powers) < n:
        size = max(n, 2 * len(_powers), 4096)
        with np.errstate(over="ignore"):
            powers = np.full(size, _BASE, dtype=np.uint64)
            inverses = np.full(size, _INVERSE, dtype=np.uint64)
            powers[0] = inverses[0] = 1
            _inverses = np.multiply.accumulate(inverses)
            _powers = np.multiply.accumulate(powers)
    return _powers, _inverses


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The finaliser of MurmurHash3: spreads every bit over all."""
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * np.uint64(0xFF51AFD7ED558CCD)
    hashes = hashes ^ (hashes >> np.uint64(33))
    hashes = hashes * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: np.ndarray = hashes ^ (hashes >> np.uint64(33))
    return mixed


def buckets(text: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The buckets of a text's n-grams, ascending, and their weights (Euclidean length one). `size`: a power of two."""
    _, places, values = buckets_of([text], size)
    return places, values


def buckets_of(texts: Sequence[str], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of several texts at once, as numpy is slow to call and quick to run: for every bucket that a text fills
    the number of the text, the bucket and its weight, ascending. An empty text fills none."""
    spaced = [f" {_SPACE.sub(' ', text).strip()} " for text in texts]
    codes = np.frombuffer("".join(spaced).encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    owner = np.repeat(np.arange(len(spaced), dtype=np.uint64), [len(text) for text in spaced])
    powers, inverses = _powers_to(len(codes) + 1)
    with np.errstate(over="ignore"):
        sums = np.zeros(len(codes) + 1, dtype=np.uint64)
        np.cumsum((codes + np.uint64(1)) * powers[: len(codes)], out=sums[1:])

        def hashed(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
            found: np.ndarray = (sums[ends] - sums[starts]) * inverses[starts]
            return found

        # A text begins and ends with a blank, so a word lies in one text; pairs and grams may reach into the next.
        starts, ends = _words(codes)
        words, of_word = hashed(starts, ends) + np.uint64(1), owner[starts]
        within = of_word[:-1] == of_word[1:]
        found = [words * np.uint64(3), (words[:-1] * _SALT_PAIR + words[1:])[within]]
        owners = [of_word, of_word[:-1][within]]
        for n in _CHARACTER:
            if len(codes) >= n:
                at = np.flatnonzero(owner[: len(codes) - n + 1] == owner[n - 1 :])
                found.append(hashed(at, at + n) + np.uint64(n) * _SALT_PAIR)
                owners.append(owner[at])
        places = _mixed(np.concatenate(found)) & np.uint64(size - 1)
    keys, counts = np.unique(np.concatenate(owners) * np.uint64(size) + places, return_counts=True)
    rows, places = (keys // np.uint64(size)).astype(np.int64), (keys & np.uint64(size - 1)).astype(np.int64)
    weights = 1.0 + np.log(counts)
    lengths = np.sqrt(np.bincount(rows, weights**2, len(spaced)))
    return rows, places, (weights / np.maximum(lengths, 1e-12)[rows]).astype(np.float32)


def _words(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words start and end: runs of ASCII letters and digits, the apostrophe, and all that is not ASCII."""
    inside = (codes >= 128) | ((codes >= 48) & (codes <= 57)) | ((codes >= 97) & (codes <= 122))
    inside |= ((codes >= 65) & (codes <= 90)) | (codes == 39)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]
