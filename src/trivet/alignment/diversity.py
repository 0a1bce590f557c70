"""How different a set's texts are from one another, without clusters, embeddings or a model.

    distinct-n     the share of n-grams of words that are new (Li et al. 2016). It falls as a set grows, so it is taken on a
                   sample of a fixed number of words as well, where two sets can be compared
    self-overlap   the mean share of a text's 4-grams that another text of the set has too: what self-BLEU (Zhu et al. 2018)
                   measures, in one pass instead of one for every pair of texts
    Vendi score    the effective number of different texts (Friedman and Dieng 2023, arXiv:2210.02410): the exponential of
                   the entropy of the eigenvalues of K / n, where K holds the cosines of all pairs. n texts that share
                   nothing score n; n equal texts score 1. Texts are compared by their words and pairs of words

The Vendi score is taken on at most SAMPLE texts, chosen by their content, so that the order of a file does not matter.

Not covered: meaning. Two questions in different words are different here, and a template filled with many names is varied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np

from trivet.alignment.shingles import normal, shingles

SAMPLE = 512
WORDS = 5000
"""The words of the sample on which sets of different size can be compared by distinct-n."""


def distinct(texts: Sequence[str], n: int, words: int | None = None) -> float | None:
    """Different n-grams / all n-grams; of the first so many words where `words` is given. None where there are none.

    >>> distinct(["a b a", "a b"], 2)
    0.6666666666666666
    """
    seen: set[tuple[str, ...]] = set()
    count = left = 0
    for text in texts:
        said = normal(text).split()
        if words is not None:
            said = said[: words - left]
            left += len(said)
        grams = list(zip(*(said[at:] for at in range(n)), strict=False))
        seen.update(grams)
        count += len(grams)
    return len(seen) / count if count else None


def self_overlap(texts: Sequence[str], n: int = 4) -> float | None:
    """The mean share of a text's n-grams that another text has too; texts of fewer words are compared whole."""
    sets = [found for found in (shingles(text, n) for text in texts) if len(found)]
    if not sets:
        return None
    values, counts = np.unique(np.concatenate(sets), return_counts=True)
    shared = values[counts > 1]
    return float(np.mean([np.isin(found, shared, assume_unique=True).mean() for found in sets]))


def vendi(texts: Sequence[str]) -> float | None:
    """The effective number of different texts, 1..n, by the cosines of their words and pairs of words."""
    bags = [bag for bag in map(_bag, texts) if bag]
    if not bags:
        return None
    from scipy.sparse import csr_array  # slow to load, and not every caller wants this measure

    columns = {gram: at for at, gram in enumerate(sorted({gram for bag in bags for gram in bag}))}
    values = np.concatenate([np.array(list(bag.values()), float) / _norm(bag) for bag in bags])
    ends = np.cumsum([0, *map(len, bags)])
    matrix = csr_array((values, [columns[gram] for bag in bags for gram in bag], ends), shape=(len(bags), len(columns)))
    shares = np.linalg.eigvalsh((matrix @ matrix.T).toarray() / len(bags))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def sample(texts: Sequence[str], size: int) -> list[str]:
    """So many of the texts, chosen and ordered by their content."""
    return sorted(texts, key=lambda text: blake2b(text.encode(errors="replace"), digest_size=8).digest())[:size]


def figures(texts: Sequence[str]) -> dict[str, Any]:
    """All measures of a set of texts, rounded."""
    some = sample(texts, SAMPLE)
    ordered = sample(texts, len(texts))
    found = {
        **{f"distinct_{n}": distinct(texts, n) for n in (1, 2, 3)},
        **{f"distinct_{n}_of_{WORDS}_words": distinct(ordered, n, WORDS) for n in (1, 2, 3)},
        "self_overlap": self_overlap(texts),
        "vendi": vendi(some),
    }
    return {
        **{name: None if value is None else round(value, 5) for name, value in found.items()},
        "vendi_texts": len(some),
    }


def _bag(text: str) -> Counter[str]:
    """How often each word and each pair of words occurs."""
    words = normal(text).split()
    return Counter([*words, *(" ".join(pair) for pair in pairwise(words))])


def _norm(bag: Counter[str]) -> float:
    return sum(count * count for count in bag.values()) ** 0.5
