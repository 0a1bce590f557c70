"""Likeness to known attacks: exact cosine between a text and a corpus that grows while requests run.

    corpus = AttackCorpus(path="attacks.jsonl")      # rows {"text": ...}; read again when the file changes
    corpus.add("a new jailbreak")                    # counts in the next request, in every thread
    corpus.from_store(store)                         # what reviewers found harmful, once
    Similarity(corpus, reviews=True)                 # the same, followed while requests run (reviewed.py)

A text is embedded in all its views, a long one in overlapping windows (an attack quoted inside it still fills one of
them), attacks in lower case and in the same windows, and the highest cosine counts. The corpus is a matrix of unit rows; comparing is one matrix product for all windows of all
texts that are asked about together, exact: below some 100,000 rows that beats approximate indexes in time and in recall.

The embedding shipped is `hashed_ngrams`: the light classifier's word and character n-grams, folded into 1,024 dimensions.
It finds copies and light rewordings, not paraphrases; pass `embed` (texts to a matrix) for an encoder's.

Not covered: attacks that resemble none of the corpus; near copies that a defender's own texts resemble too (put such
texts into `allow`: what is closer to one of them than to any attack passes).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trivet.core.errors import ConfigError, DataError
from trivet.core.events import Attempt, Exchange, Review
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.ngrams import buckets
from trivet.core.store.events import Store
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.shared import newest
from trivet.monitoring.text import read

Embed = Callable[[Sequence[str]], np.ndarray]
DIMENSIONS = 1024
SCALES = (160, 480)
"""Lengths of the windows: an attack is compared at the smallest that holds it, the longest in several."""
SMALL = 1000
"""With up to so many attacks a short text is compared on the event loop; that is quicker than asking a thread."""


def hashed_ngrams(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors of hashed n-grams, one row a text. Signs come from the hash too, so that collisions cancel."""
    out = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in zip(out, texts, strict=True):
        places, values = buckets(text, DIMENSIONS * 2)
        row[:] = np.bincount(places >> 1, weights=np.where(places & 1, values, -values), minlength=DIMENSIONS)
        row /= max(float(np.linalg.norm(row)), 1e-12)
    return out


class _Rows(NamedTuple):
    """The corpus at one moment: readers take the reference once and never see it change."""

    vectors: np.ndarray
    count: int
    known: frozenset[str]
    scales: frozenset[int] = frozenset()
    owners: tuple[str, ...] = ()
    """Whose attack each row is."""


_EMPTY = _Rows(np.zeros((0, 0), dtype=np.float32), 0, frozenset())


class AttackCorpus:
    """Known attacks as unit vectors. `add` may be called from any thread; what it adds is seen at once."""

    def __init__(
        self, texts: Iterable[str] = (), *, path: str | Path | None = None, embed: Embed = hashed_ngrams
    ) -> None:
        self.embed = embed
        self.path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        self._rows = _EMPTY
        self._added: dict[str, str] = {}
        self._mark: tuple[int, int] | None = None
        self.add_all(texts)
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows.known)

    @property
    def windows(self) -> int:
        """How many windows the attacks are compared by: one for a short attack, several for a long one."""
        return self._rows.count

    @property
    def scales(self) -> tuple[int, ...]:
        """The lengths of window at which there is something to compare with."""
        return tuple(sorted(self._rows.scales))

    @property
    def digest(self) -> str:
        """Of all texts at this moment. A policy's version is taken when it is loaded, and knows what was there then."""
        return digest_of(sorted(self._rows.known))

    def add(self, text: str) -> bool:
        """Take an attack in; False where it is there already."""
        return self.add_all([text]) == 1

    def add_all(self, texts: Iterable[str]) -> int:
        """Take attacks in; how many were new. Several at once are embedded together."""
        with self._lock:
            rows = self._rows
            plain = map(plainly, texts)
            fresh = {key: text for text in plain if text and (key := digest_of(text)) not in rows.known}
            if fresh:
                scales = {key: _scale(len(text)) for key, text in fresh.items()}
                places = [(key, a, b) for key, text in fresh.items() for a, b in _stretches(len(text), scales[key])]
                vectors = self.vectors([fresh[key][a:b] for key, a, b in places])
                grown = _grown(rows, vectors, tuple(key for key, _, _ in places))
                self._rows = grown._replace(scales=rows.scales | frozenset(scales.values()))
            return len(fresh)

    def drop(self, texts: Iterable[str]) -> int:
        """Forget attacks; how many were there. Those of a file come again when the file changes."""
        with self._lock:
            rows = self._rows
            gone = {digest_of(plainly(text)) for text in texts} & rows.known
            if gone == rows.known:
                self._rows = _EMPTY
            elif gone:
                # A copy: whoever compares now goes on with the rows as they were.
                stays = np.array([owner not in gone for owner in rows.owners])
                owners = tuple(owner for owner in rows.owners if owner not in gone)
                kept = rows.vectors[: rows.count][stays]
                self._rows = _Rows(kept, len(kept), rows.known - gone, rows.scales, owners)
            return len(gone)

    def refresh(self) -> int:
        """Read the file again if it has changed; how many attacks are new. What was in it before stays."""
        if self.path is None:
            return 0
        try:
            stat = self.path.stat()
        except OSError as error:
            if self._mark is not None:
                return 0  # it was there; an editor may be swapping it
            raise ConfigError(
                f'the attacks {self.path} cannot be read ({error.strerror}); give a JSONL of {{"text": ...}}'
            ) from error
        mark = (stat.st_mtime_ns, stat.st_size)
        if mark == self._mark:
            return 0
        first, self._mark = self._mark is None, mark
        return self.add_all(_texts(self.path, strict=first))

    def from_store(self, store: Store, *, limit: int = 5000) -> int:
        """Take in the requests of exchanges and attempts that reviewers labelled harmful, newest first; how many are new.

        One voice is not enough where another said `fine`: the newest label of an event counts."""
        newest_label: dict[str, str] = {}
        for event in store.events("review", limit=limit, newest=True):
            if isinstance(event, Review) and event.label != "unsure":
                newest_label.setdefault(event.event, event.label)
        found = []
        for id, label in newest_label.items():
            event = store.get(id) if label == "harmful" else None
            if isinstance(event, Exchange | Attempt) and event.conversation.last_user:
                found.append(event.conversation.last_user)
        return self.add_all(found)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Texts as unit rows, for `against`."""
        return _unit(self.embed(texts))

    def against(self, vectors: np.ndarray) -> np.ndarray:
        """The highest cosine of each row with any attack; zeros while there are none."""
        rows = self._rows
        if not rows.count or not len(vectors):
            return np.zeros(len(vectors), dtype=np.float32)
        best: np.ndarray = (vectors @ rows.vectors[: rows.count].T).max(axis=1)
        return best

    def nearest(self, texts: Sequence[str]) -> np.ndarray:
        """The highest cosine of each text with any attack; zeros while there are none."""
        return self.against(self.vectors(texts)) if len(self) and texts else np.zeros(len(texts), dtype=np.float32)


class Similarity:
    """A guard that fires on what resembles a known attack. Its score is the cosine, below zero counted as zero.

    It has no `scan`: a policy may remember what a scan said, and a text that passed may be an attack a second later. With
    `reviews` it also knows what reviewers confirmed, once somebody who follows a store has set `learned` (reviewed.py); what
    it learned is not part of its digest, or every label would be another policy. While it knows no attack it is left out.
    """

    cheap = False
    learned: AttackCorpus | None = None

    def __init__(
        self,
        corpus: AttackCorpus,
        *,
        allow: Iterable[str] = (),
        threshold: float = 0.75,
        category: str = "prompt_injection",
        reviews: bool = False,
    ) -> None:
        self.corpus, self.threshold, self.category, self.reviews = corpus, threshold, category, reviews
        self.allow = AttackCorpus(allow, embed=corpus.embed)

    @classmethod
    def load(
        cls,
        corpus: str | Path | None = None,
        texts: Iterable[str] = (),
        allow: Iterable[str] = (),
        threshold: float = 0.75,
        category: str = "prompt_injection",
        reviews: bool = False,
    ) -> Similarity:
        """From a JSONL file of `{"text": ...}`, from texts in the policy, and from what reviewers confirm."""
        if not isinstance(reviews, bool):
            raise ConfigError(f"reviews is {reviews!r}; it is true (what reviewers confirm is an attack) or false")
        if corpus is None and not texts and not reviews:
            raise ConfigError(
                "similarity needs known attacks: `settings: {corpus: attacks.jsonl}`, `texts: [...]` or `reviews: true`"
            )
        return cls(
            AttackCorpus(texts, path=corpus), allow=allow, threshold=threshold, category=category, reviews=reviews
        )

    @property
    def digest(self) -> str:
        name = f"{self.corpus.embed.__module__}.{getattr(self.corpus.embed, '__qualname__', '')}"
        return digest_of(["similarity-2", name, self.corpus.digest, self.allow.digest, self.category, self.reviews])

    def bind(self, request: Mapping[str, Any]) -> Similarity | None:
        """Nothing to check while there is nothing to compare with; a file may grow, so it is looked at."""
        return self if self._known() or self.corpus.path else None

    def _known(self) -> list[AttackCorpus]:
        return [corpus for corpus in (self.corpus, self.learned) if corpus is not None and len(corpus)]

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        text = newest(conversation)
        return (
            self.look(text)
            if len(text) <= SCALES[-1] and sum(map(len, self._known())) <= SMALL
            else await asyncio.to_thread(self.look, text)
        )

    async def scan_many(self, texts: Sequence[str]) -> list[Verdict]:
        return await asyncio.to_thread(self.look_many, texts)

    def look(self, text: str) -> Verdict:
        return self.look_many([text])[0]

    def look_many(self, texts: Sequence[str]) -> list[Verdict]:
        """Verdicts on several texts, all windows of all of them in one product."""
        self.corpus.refresh()
        known = self._known()
        if not known or not any(texts):
            return [self._verdict(0.0, 0, 0)] * len(texts)
        scales = sorted({scale for corpus in known for scale in corpus.scales})
        pieces = [(number, *window) for number, text in enumerate(texts) for window in _windows(text, scales)]
        vectors = self.corpus.vectors([piece for _, piece, _, _ in pieces])
        near = np.max([corpus.against(vectors) for corpus in known], axis=0)
        if len(self.allow):
            near = np.where(self.allow.against(vectors) > near, 0.0, near)
        best: dict[int, tuple[float, int, int]] = {}
        for (number, _, start, end), cosine in zip(pieces, near.tolist(), strict=True):
            if number not in best or cosine > best[number][0]:
                best[number] = (cosine, start, end)
        return [self._verdict(*best.get(number, (0.0, 0, 0))) for number in range(len(texts))]

    def _verdict(self, cosine: float, start: int, end: int) -> Verdict:
        score = min(1.0, max(0.0, cosine))
        why = f"like a known attack, cosine {score:.2f}"
        if score < self.threshold:
            return Verdict("safe", score, "similarity", self.category, why)
        return Verdict("known_attack", score, "similarity", self.category, why, (Span(start, end, "known_attack"),))


def plainly(text: str) -> str:
    """A text as attacks are kept and told apart: without disguises, in lower case."""
    return read(text).folded.text.strip()


def _windows(text: str, scales: Sequence[int]) -> Iterable[tuple[str, int, int]]:
    """Every view of a text, whole when short, else in overlapping windows, with its place in the original."""
    for view in read(text):
        length = len(view.text)
        for start, end in dict.fromkeys(stretch for scale in scales for stretch in _stretches(length, scale)):
            yield view.text[start:end], *view.origin(start, end)


def windows_of(attack: str) -> int:
    """By how many windows an attack, as `plainly` gives it, is compared."""
    return sum(1 for _ in _stretches(len(attack), _scale(len(attack))))


def _scale(length: int) -> int:
    return next((scale for scale in SCALES if length <= scale), SCALES[-1])


def _stretches(length: int, window: int) -> Iterable[tuple[int, int]]:
    """Windows that overlap by half and cover a text."""
    for start in range(0, max(1, length - window // 2), window // 2):
        if start < length:
            yield start, min(length, start + window)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return unit


def _grown(rows: _Rows, fresh: np.ndarray, owners: tuple[str, ...]) -> _Rows:
    """With more rows: written behind those in use, into room kept for that, so that readers are not disturbed and a
    corpus that grows one by one is not copied each time."""
    need = rows.count + len(fresh)
    vectors = rows.vectors
    if need > len(vectors):
        vectors = np.zeros((max(64, 2 * need), fresh.shape[1]), dtype=np.float32)
        if rows.count:
            vectors[: rows.count] = rows.vectors[: rows.count]
    vectors[rows.count : need] = fresh
    return _Rows(vectors, need, rows.known | frozenset(owners), rows.scales, rows.owners + owners)


def _texts(path: Path, *, strict: bool) -> list[str]:
    """The texts of a JSONL file. A file that is being written may end in half a line: that one comes with the next look."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(str(json.loads(line)["text"]))
        except (ValueError, KeyError, TypeError) as error:
            if strict:
                raise DataError(f'{path}, line {number}: a row needs `text`, as in {{"text": "..."}}') from error
    return found
