"""Texts that are nearly the same: normal forms, hashed shingles, and near pairs by MinHash.

A text is cut into words of its normal form (no case, punctuation, accents' encodings or spacing), and every run of `width`
words is a shingle; a shorter text is one shingle. Two texts are near where the Jaccard overlap of their shingle sets,
|A and B| / |A or B|, reaches the threshold: five-word shingles and 0.8 as in Lee et al. 2022 (arXiv:2107.06499).

Candidates come from MinHash (Broder 1997): 256 least values in 32 bands of 8, so that a pair of overlap 0.8 is found with
probability 0.997, one of 0.9 almost surely, and one of 0.3 seldom enough to be cheap. Every candidate is then checked by
its exact overlap: nothing is called near that is not. Of very large groups not every pair is told (CROWD).

Not covered: paraphrase, translation and texts in scripts without spaces, whose words are whole sentences here.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import chain, combinations, pairwise

import numpy as np

WIDTH = 5
NEAR = 0.8
BANDS, ROWS = 32, 8
CROWD = 500
"""Texts in one bucket beyond which not all pairs are compared: thousands of near-equal texts have millions of pairs."""

NO_WORD = re.compile(r"[\W_]+")
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, odd: multiplying by it spreads neighbouring numbers over all 64 bits."""


def normal(text: str) -> str:
    """The text without what does not make it another text: compatibility forms, case, punctuation, spacing."""
    return NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def shingles(text: str, width: int = WIDTH) -> np.ndarray:
    """The sorted hashes (uint64) of a text's shingles, each once; empty for a text without words."""
    words = normal(text).split()
    if not words:
        return np.zeros(0, np.uint64)
    found = np.array([_number(word) for word in words], np.uint64)
    width = min(width, len(found))
    mixed = np.zeros(len(found) - width + 1, np.uint64)
    for at in range(width):
        mixed = (mixed ^ found[at : at + len(mixed)]) * MIX
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """The Jaccard overlap of two sets of shingles, 0..1; two texts without words overlap in nothing."""
    if not len(one) or not len(two):
        return 0.0
    shared = len(np.intersect1d(one, two, assume_unique=True))
    return shared / (len(one) + len(two) - shared)


def near_pairs(
    texts: Sequence[str], others: Sequence[str] | None = None, *, threshold: float = NEAR, width: int = WIDTH
) -> Iterator[tuple[int, int, float]]:
    """(place, place, overlap) of near texts: two of `texts`, or one of `texts` and one of `others`.

    Texts of the same normal form are near too; give each once where they should not be told.
    """
    sets = [shingles(text, width) for text in (*texts, *(others or ()))]
    border = len(texts)
    for one, two in _candidates(sets):
        if others is not None and (one < border) == (two < border):
            continue
        if (share := overlap(sets[one], sets[two])) >= threshold:
            yield (one, two - border, share) if others is not None else (one, two, share)


def groups(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of some pairs, each sorted, ordered by their first member."""
    leader: dict[int, int] = {}

    def lead(place: int) -> int:
        while leader.setdefault(place, place) != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for one, two in pairs:
        first, last = sorted((lead(one), lead(two)))
        leader[last] = first
    found: dict[int, list[int]] = defaultdict(list)
    for place in sorted(leader):
        found[lead(place)].append(place)
    return sorted(found.values())


def _candidates(sets: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Pairs that share a band of their MinHash signatures, each once and in order."""
    dice = np.random.default_rng(0)
    factors = dice.integers(1, 1 << 63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, hashes in enumerate(sets):
        if len(hashes):
            least = _least(hashes, factors).reshape(BANDS, ROWS)
            for band, row in enumerate(least):
                buckets[band, row.tobytes()].append(place)
    return sorted({pair for bucket in buckets.values() if len(bucket) > 1 for pair in _paired(bucket)})


def _paired(bucket: list[int]) -> Iterator[tuple[int, int]]:
    """All pairs of a bucket; of a crowded one, each text with the first and with the one before it."""
    if len(bucket) <= CROWD:
        return combinations(bucket, 2)
    return chain(((bucket[0], place) for place in bucket[1:]), pairwise(bucket))


def _least(hashes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The least value of each of many hash functions over a set, [len(factors)]."""
    least = np.full(len(factors), np.iinfo(np.uint64).max)
    for start in range(0, len(hashes), 256):
        mixed = hashes[start : start + 256, None] * factors
        mixed ^= mixed >> np.uint64(32)
        least = np.minimum(least, (mixed * MIX).min(0))
    return least


_numbers: dict[str, int] = {}


def _number(word: str) -> int:
    """A word as 64 bits, the same in every process."""
    if word not in _numbers:
        if len(_numbers) > 1_000_000:
            _numbers.clear()
        _numbers[word] = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
    return _numbers[word]
