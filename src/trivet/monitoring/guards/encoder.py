"""A small encoder that reads what a text means: four layers of MiniLM, 19 million weights in eight bits, run by onnxruntime, no torch.

    encoder = Encoder.shipped()
    encoder.logits(["How do I reset my password?"])     # [1, heads]; the highest over the windows of each text
    encoder.vectors(["How do I reset my password?"])    # [1, 384], length one: for likeness to known attacks

Texts are read folded (see text.py: lower case, look-alikes undone), tokenized, and cut into overlapping windows of WINDOW tokens; nothing is cut off.
Windows are run in batches of like length, so that short texts do not pay for long ones.

Not covered: what lies between messages rather than in one, and languages other than English (of Chinese it has seen
insults only). See weights/encoder/MODEL_CARD.md for figures, also on sources it never saw.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trivet.core.errors import DataError
from trivet.monitoring.text import View, read

SHIPPED = Path(__file__).parents[1] / "weights" / "encoder"
FORMAT = 1
WINDOW, STRIDE = 128, 96
SENTENCE = (40, 20)
"""Tokens up to which a sentence is read whole, and from one stretch of a longer one to the next."""
_SENTENCE_END = re.compile(r"[.!?:;\u2026\u3002\uff01\uff1f]+[\"')\]]*\s+|\n+")
BATCH_TOKENS = 512
"""What is run at once. With more, what passes from layer to layer no longer fits a core's cache, which costs a quarter."""
PADDING = 1.25
"""How much longer than the shortest of its batch a text may be; all are filled up to the longest."""
THREADS = "TRIVET_ENCODER_THREADS"
"""The environment variable that says how many cores one process may use for the encoder; else up to four."""


class Tokens(NamedTuple):
    """A reading of a text as tokens: their numbers, and where in the reading each stands."""

    view: View
    ids: Sequence[int]
    offsets: Sequence[tuple[int, int]]


class Piece(NamedTuple):
    """A window of a text: which text, its tokens, its words, and the stretch of the original it covers."""

    text: int
    ids: Sequence[int]
    words: str
    start: int
    end: int


class Deep(NamedTuple):
    """What the encoder made of a text: the highest logit per head, and for each head the stretch it was found in."""

    logits: np.ndarray
    worst: list[tuple[int, int]]


class Encoder:
    """The network and its tokenizer. Safe to call from several threads."""

    def __init__(self, folder: str | Path, threads: int | None = None) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.folder = Path(folder)
        try:
            self.about: Mapping[str, Any] = json.loads((self.folder / "encoder.json").read_text(encoding="utf-8"))
            self._bytes = (self.folder / "encoder.onnx").read_bytes()
            self._tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:
            # tokenizers raises bare Exception.
            raise DataError(f"{folder} is no encoder of `trivet guard train --encoder`: {error}") from error
        if self.about.get("format") != FORMAT:
            raise DataError(f"{folder} has the format {self.about.get('format')!r}, this version reads {FORMAT}")
        self.heads: tuple[str, ...] = tuple(self.about["heads"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get(THREADS) or min(4, os.cpu_count() or 1))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # onnxruntime would join each sum with the normalisation after it, in a kernel several times slower than the two
        # apart (1.32, on a processor with AVX-512: 17 % of all time instead of 6).
        self._session = onnxruntime.InferenceSession(
            self._bytes, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
        self._first, self._last = (self._tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))

    @classmethod
    def shipped(cls) -> Encoder:
        """The one in the package; loaded once."""
        return loaded(SHIPPED)

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self._bytes + json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:32]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, heads]: of each head the highest over the windows of a text."""
        return np.array([deep.logits for deep in self.read(self._all(texts), len(texts))])

    def read(self, pieces: list[Piece], texts: int) -> list[Deep]:
        """Pieces of several texts, read in batches; every text needs one at least."""
        best = np.full((texts, len(self.heads)), -np.inf, dtype=np.float32)
        worst = [[(0, 0)] * len(self.heads) for _ in range(texts)]
        for batch, logits, _ in self._run(pieces):
            for piece, row in zip(batch, logits, strict=True):
                for head in np.flatnonzero(row > best[piece.text]):
                    best[piece.text, head] = row[head]
                    worst[piece.text][head] = (piece.start, piece.end)
        return [Deep(row, spans) for row, spans in zip(best, worst, strict=True)]

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """[texts, width]: the mean direction of a text's windows, at length one."""
        found = np.zeros((len(texts), int(self.about["width"])), dtype=np.float32)
        for batch, _, vectors in self._run(self._all(texts)):
            np.add.at(found, [piece.text for piece in batch], vectors)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    def _all(self, texts: Sequence[str]) -> list[Piece]:
        return [
            piece for number, text in enumerate(texts) for piece in self.pieces(self.tokens(read(text).folded), number)
        ]

    def tokens(self, view: View) -> Tokens:
        """One reading of a text, cut into tokens."""
        encoded = self._tokenizer.encode(view.text, add_special_tokens=False)
        return Tokens(view, encoded.ids, encoded.offsets)

    def pieces(self, tokens: Tokens, text: int = 0) -> Iterator[Piece]:
        """The windows of one reading of a text, which the caller knows by a number."""
        for start, end in spans(len(tokens.ids), WINDOW - 2, STRIDE):
            yield self._piece(tokens, text, start, end)

    def sentences(self, tokens: Tokens, text: int = 0) -> Iterator[Piece]:
        """The sentences and lines of one reading of a text, one by one; a long one in overlapping stretches."""
        starts = [start for start, _ in tokens.offsets]
        ends = (m.end() for m in _SENTENCE_END.finditer(tokens.view.text))
        edges = sorted({0, len(starts), *(bisect_left(starts, end) for end in ends)})
        for low, high in pairwise(edges):
            for start, end in spans(high - low, *SENTENCE):
                yield self._piece(tokens, text, low + start, low + end)

    def _piece(self, tokens: Tokens, text: int, start: int, end: int) -> Piece:
        view = tokens.view
        first, last = (tokens.offsets[start][0], tokens.offsets[end - 1][1]) if start < end else (0, 0)
        place = view.origin(first, last) if first < last else (0, 0)
        return Piece(text, (self._first, *tokens.ids[start:end], self._last), view.text[first:last], *place)

    def _run(self, pieces: Sequence[Piece]) -> Iterator[tuple[list[Piece], np.ndarray, np.ndarray]]:
        pieces = sorted(pieces, key=lambda piece: len(piece.ids))
        at = 0
        while at < len(pieces):
            longest = int(len(pieces[at].ids) * PADDING) + 2
            batch = [pieces[at]]
            for piece in islice(pieces, at + 1, None):
                if len(piece.ids) > longest or (len(batch) + 1) * len(piece.ids) > BATCH_TOKENS:
                    break
                batch.append(piece)
            at += len(batch)
            ids = np.zeros((len(batch), len(batch[-1].ids)), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, piece in enumerate(batch):
                ids[row, : len(piece.ids)] = piece.ids
                mask[row, : len(piece.ids)] = 1
            logits, vectors = self._session.run(None, {"ids": ids, "mask": mask})
            yield batch, logits, vectors


def spans(length: int, window: int, stride: int) -> Iterator[tuple[int, int]]:
    """Overlapping stretches that cover `length` tokens; the last ends at the end."""
    start = 0
    while start + window < length:
        yield start, start + window
        start += stride
    yield max(0, min(start, length - window)), length


_loading = threading.Lock()


def loaded(folder: Path) -> Encoder:
    """The encoder in a folder, loaded once however many ask at the same time."""
    with _loading:
        return _loaded(folder)


@lru_cache(maxsize=4)
def _loaded(folder: Path) -> Encoder:
    return Encoder(folder)
