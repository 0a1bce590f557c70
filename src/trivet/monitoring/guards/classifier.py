"""A light classifier of texts: hashed n-grams, logistic regression, calibrated, with a threshold for a stated false-alarm rate.

One file of at most 2 MB holds several *heads* (what to look for: `unsafe`, `jailbreak`, `injection`), each with its own
weights, calibration (Platt 1999: a logistic curve through the scores of texts kept back from training) and threshold.
A text is scored in every view (see text.py) and, when long, in overlapping windows; the highest score counts.

Not covered: meaning. It knows words and spellings like those it was trained on; a polite paraphrase, another language,
or harm that lies in the whole conversation rather than in a message gets past it. See weights/MODEL_CARD.md for figures.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trivet.core.errors import ConfigError, DataError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.ngrams import buckets_of
from trivet.core.verdicts import Verdict
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.text import View, read

FORMAT = 1
SHIPPED = Path(__file__).parents[1] / "weights" / "light.npz"
WINDOW, STRIDE = 480, 240
# How many stretches of a text are scored at once: as many as keep the arrays small.
TOGETHER = 64
# By how much, in logits, another view must look worse than the text as typed to be worth a second stage's reading.
WORSE = 1.0


@dataclass(frozen=True)
class Head:
    """What one column of the weights looks for: probability = sigmoid(slope * score + offset)."""

    name: str
    bias: float
    slope: float
    offset: float
    threshold: float


class Look(NamedTuple):
    """What the light stage made of a text: calibrated logits [heads], and the views that a second stage should read."""

    logits: np.ndarray
    views: tuple[View, ...]


@dataclass(frozen=True, eq=False)
class LightClassifier:
    """`score(text)` is the calibrated probability in [0, 1]; `flags(text)` compares it with the head's threshold."""

    weights: np.ndarray
    heads: tuple[Head, ...]
    notes: Mapping[str, object]

    @property
    def threshold(self) -> float:
        return self.heads[0].threshold

    def head(self, name: str | None) -> Head:
        for head in self.heads:
            if name in (None, head.name):
                return head
        raise ConfigError(f"this classifier has no head {name!r}; it has {', '.join(h.name for h in self.heads)}")

    def score(self, text: str, head: str | None = None) -> float:
        """The calibrated probability of a head (default: the first)."""
        index = self.heads.index(self.head(head))
        return float(self.probabilities(text)[index])

    def flags(self, text: str, head: str | None = None) -> bool:
        return self.score(text, head) >= self.head(head).threshold

    def probabilities(self, text: str) -> np.ndarray:
        """Of every head, over all views and windows of a text."""
        return _probabilities(self, text) if len(text) <= 8192 else self._measured(text)

    def _measured(self, text: str) -> np.ndarray:
        return _sigmoid(self.looked(text).logits)

    def looked(self, text: str) -> Look:
        """Every view and window of a text scored; and which other view looks worse than the text as typed does."""
        reading = read(text)
        views = list(reading)
        stretches = (
            (v, view.text[start:end]) for v, view in enumerate(views) for start, end in windows(len(view.text))
        )
        scores = np.full((len(views), len(self.heads)), -np.inf)
        while some := list(islice(stretches, TOGETHER)):
            np.maximum.at(scores, [v for v, _ in some], self.logits_of([piece for _, piece in some]))
        plain = scores[0]
        other = max(range(1, len(views)), key=lambda v: float((scores[v] - plain).max()), default=0)
        worse = (views[other],) if other and (scores[other] - plain).max() >= WORSE else ()
        return Look(scores.max(axis=0), (reading.folded, *worse))

    def logits(self, piece: str) -> np.ndarray:
        """Calibrated scores [heads] of one piece of text as it stands, before the logistic curve."""
        return self.logits_of([piece])[0]

    def logits_of(self, pieces: Sequence[str]) -> np.ndarray:
        """The same of several, [pieces, heads]."""
        return self._slopes * self.raw_of(pieces) + self._offsets

    def raw(self, piece: str) -> np.ndarray:
        """Uncalibrated scores [heads] of one piece of text as it stands."""
        return self.raw_of([piece])[0]

    def raw_of(self, pieces: Sequence[str]) -> np.ndarray:
        """The same of several, [pieces, heads]."""
        rows, places, values = buckets_of(pieces, len(self.weights))
        parts = values[:, None] * self.weights[places].astype(np.float32)
        sums = [np.bincount(rows, part, len(pieces)) for part in parts.T]
        return np.stack(sums, axis=1) + self._biases

    @cached_property
    def _slopes(self) -> np.ndarray:
        return np.array([h.slope for h in self.heads])

    @cached_property
    def _offsets(self) -> np.ndarray:
        return np.array([h.offset for h in self.heads])

    @cached_property
    def _biases(self) -> np.ndarray:
        return np.array([h.bias for h in self.heads])

    @cached_property
    def digest(self) -> str:
        heads = [[h.name, h.bias, h.slope, h.offset, h.threshold] for h in self.heads]
        return digest_of(["light", FORMAT, hashlib.sha256(self.weights.tobytes()).hexdigest(), heads])

    def save(self, path: str | Path) -> None:
        """One .npz: half-precision weights and a JSON header. The same classifier gives the same bytes."""
        heads = [vars(head) for head in self.heads]
        header = json.dumps({"format": FORMAT, "heads": heads, "notes": self.notes}, sort_keys=True).encode()
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, array in (("header", np.frombuffer(header, dtype=np.uint8)), ("weights", self.weights)):
                data = io.BytesIO()
                np.save(data, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data.getvalue(), zipfile.ZIP_DEFLATED, 9)

    @classmethod
    def load(cls, path: str | Path) -> LightClassifier:
        try:
            with np.load(path, allow_pickle=False) as data:
                header, weights = json.loads(data["header"].tobytes()), data["weights"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not a classifier of `trivet guard train`: {error}") from error
        if header["format"] != FORMAT:
            raise DataError(f"{path} has the format {header['format']}, this version reads {FORMAT}; train it again")
        return cls(weights, tuple(Head(**head) for head in header["heads"]), header["notes"])


@lru_cache(maxsize=64)
def _probabilities(classifier: LightClassifier, text: str) -> np.ndarray:
    """Remembered, so that the heads of one policy share the work."""
    return classifier._measured(text)


def pieces(text: str) -> Iterator[str]:
    """What is scored: every view of the text, in overlapping windows when it is long. Nothing is cut off."""
    for view in read(text):
        for start, end in windows(len(view.text)):
            yield view.text[start:end]


def windows(length: int) -> Iterator[tuple[int, int]]:
    """Overlapping windows that cover a text of some length; a short harm in a long text fills one of them."""
    for start in range(0, max(1, length - WINDOW + STRIDE), STRIDE):
        yield start, min(length, start + WINDOW)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))


def train(
    rows: Iterable[tuple[str, bool]],
    *,
    false_positives: float = 0.01,
    dev_share: float = 0.25,
    size: int = 1 << 16,
    strength: float = 20.0,
    name: str = "unsafe",
) -> LightClassifier:
    """A one-head classifier from (text, bad) pairs. A quarter of the texts, drawn by their hash, is kept back to
    calibrate it and to set the threshold at which at most `false_positives` of the good ones are flagged."""
    from trivet.monitoring.learning.training import Row, fit

    parts: dict[bool, list[Row]] = {True: [], False: []}
    for text, bad in rows:
        kept_back = int(digest_of(["dev", text])[:8], 16) < dev_share * 2**32
        parts[kept_back].append(Row(text, {name: bool(bad)}))
    return fit(parts[False], parts[True], (name,), false_positives=false_positives, size=size, strength=strength)


class ClassifierGuard:
    """A head of a light classifier as a guard; its threshold is the head's own unless the layer names another."""

    # In a stream, a sentence is scored with about a window of what came before it.
    reach = WINDOW

    def __init__(self, classifier: LightClassifier, head: str | None = None, category: str = "") -> None:
        self.classifier = classifier
        self.head = classifier.head(head)
        self.threshold = self.head.threshold
        self.category = category
        self.digest = digest_of([classifier.digest, self.head.name])

    @classmethod
    def load(cls, weights: str | Path = "shipped", head: str | None = None, category: str = "") -> ClassifierGuard:
        return cls(_loaded(SHIPPED if str(weights) == "shipped" else Path(weights)), head, category)

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        score = self.classifier.score(text, self.head.name)
        label = self.head.name if score >= self.threshold else "safe"
        return Verdict(label, score, "classifier", self.category, f"{self.head.name} {score:.3f}")

    def scan_all(self, texts: Sequence[str]) -> list[Verdict]:
        return [self.scan(text) for text in texts]


@lru_cache(maxsize=8)
def _loaded(path: Path) -> LightClassifier:
    return LightClassifier.load(path)
