"""Preference pairs as rows: prompt, chosen and rejected reply in one row, so that the prompt is read once.

    row        [ prompt | chosen | rejected ]
    places     0 .. p-1 | p ..   | p ..           the rejected reply starts where the chosen one started
    may see    prompt   | prompt, itself | prompt, itself

(Prefix sharing for preference pairs: arXiv:2410.20305.) The result equals two rows to rounding. Models that would read
such a row differently (sliding windows shorter than a row, recurrent layers) get two rows instead; `can_share` finds
out by comparing the two on a probe, and looks at the window's length, which a short probe cannot show.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trivet.alignment.batches import Batch, Row, collate, encode_replies, mask_of, tell_long
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.alignment.models import evaluating
from trivet.core.lessons import Preference

CHOSEN, REJECTED, PADDING = 1, 2, 3
WINDOW = re.compile("sliding_window$|window_size|attention_chunk_size|local_attention")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Token ids of a prompt and of its two replies, end tokens included; the rest as in lessons.Preference."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    weight: float = 1.0
    margin: float = 0.0
    chance: float = 1.0

    def __len__(self) -> int:
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    def row(self, reply: np.ndarray) -> Row:
        return Row(np.concatenate([self.prompt, reply]), len(self.prompt))


class EncodedPairs(NamedTuple):
    """Pairs ready for training, and how many lessons were dropped for which reason."""

    pairs: list[Pair]
    dropped: dict[str, int]


def encode_preferences(tokenizer: Any, lessons: Sequence[Preference], max_length: int) -> EncodedPairs:
    """Pairs in the order given, without those that are too long, have an empty reply, or two equal ones.

    Nothing is cut: a cut pair can become two equal replies, and always teaches not to end.
    """
    chosen = encode_replies(tokenizer, [(lesson.prompt, lesson.chosen) for lesson in lessons])
    rejected = encode_replies(tokenizer, [(lesson.prompt, lesson.rejected) for lesson in lessons])
    pairs, long, dropped = [], [], Counter({"too_long": 0, "empty": 0, "identical": 0})
    for lesson, won, lost in zip(lessons, chosen, rejected, strict=True):
        if not lesson.chosen.strip() or not lesson.rejected.strip():
            dropped["empty"] += 1
        elif np.array_equal(won.ids, lost.ids):
            dropped["identical"] += 1
        elif max(len(won), len(lost)) > max_length:
            dropped["too_long"] += 1
            long.append(lesson)
        else:
            at = won.start
            pairs.append(Pair(won.ids[:at], won.ids[at:], lost.ids[at:], lesson.weight, lesson.margin, lesson.chance))
    tell_long(long, max_length)
    return EncodedPairs(pairs, dict(dropped))


def pairs_digest(pairs: Sequence[Pair], *, weights: bool = True) -> str:
    """The content of encoded pairs as a hash: data, template and tokenizer in one."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(np.int64([len(pair.prompt), len(pair.chosen), len(pair.rejected)]).tobytes())
        for part in (pair.prompt, pair.chosen, pair.rejected):
            digest.update(part.tobytes())
        if weights:
            digest.update(np.float64([pair.weight, pair.margin, pair.chance]).tobytes())
    return digest.hexdigest()[:32]


def collate_pairs(pairs: Sequence[Pair], pad: int, *, share: bool) -> Batch:
    """Rows of pairs; owner 2 i is the chosen, 2 i + 1 the rejected reply of pair i."""
    return _shared(pairs, pad) if share else _two_rows(pairs, pad)


def _two_rows(pairs: Sequence[Pair], pad: int) -> Batch:
    return collate([pair.row(reply) for pair in pairs for reply in (pair.chosen, pair.rejected)], pad)


def _shared(pairs: Sequence[Pair], pad: int) -> Batch:
    width = max(len(pair) for pair in pairs)
    ids = np.full((len(pairs), width), pad, dtype=np.int64)
    places = np.zeros_like(ids)
    part = np.full_like(ids, PADDING)
    positions, targets, owners = [], [], []
    for at, pair in enumerate(pairs):
        p, c, r = len(pair.prompt), len(pair.chosen), len(pair.rejected)
        ids[at, : p + c + r] = np.concatenate([pair.prompt, pair.chosen, pair.rejected])
        places[at, : p + c + r] = np.concatenate([np.arange(p + c), np.arange(p, p + r)])
        part[at, : p + c + r] = np.repeat([0, CHOSEN, REJECTED], [p, c, r])
        # The first token of either reply is foretold at the end of the prompt, the others at the token before.
        before = [np.arange(p - 1, p + c - 1), [p - 1], np.arange(p + c, p + c + r - 1)]
        positions.append(np.concatenate(before).astype(np.int64) + at * width)
        targets.append(np.concatenate([pair.chosen, pair.rejected]).astype(np.int64))
        owners.append(np.repeat([2 * at, 2 * at + 1], [c, r]))
    flat = (torch.from_numpy(np.concatenate(lists)) for lists in (positions, targets, owners))
    return Batch(torch.from_numpy(ids), *flat, mask=mask_of(torch.from_numpy(part)), places=torch.from_numpy(places))


def can_share(scorer: Scorer, longest: int) -> bool:
    """Whether this language model reads a shared row as it reads two rows."""

    def read(batch: Batch) -> Tensor:
        return per_owner(scorer(batch), batch.owners, int(batch.owners.max()) + 1)

    return reads_alike(scorer, read, scorer.inner.config.get_text_config(), longest, coarse=scorer.autocast is not None)


@torch.no_grad()
def reads_alike(
    module: nn.Module, read: Callable[[Batch], Tensor], config: Any, longest: int, *, coarse: bool = False
) -> bool:
    """Whether `read`, a number for each reply of a batch, gives the same for shared rows and for two rows.

    Windows shorter than `longest`, which a short probe cannot show, are looked up. A model that takes no mask of its own
    says so by an error, and then the answer is no; running out of memory says nothing about masks and is raised.
    """
    if any(0 < window < longest for window in windows(config)):
        return False
    ids = np.arange(24, dtype=np.int32) % config.vocab_size
    pairs = [Pair(ids[:9], ids[9:14], ids[14:20]), Pair(ids[3:6], ids[18:24], ids[6:9])]
    first = next(module.parameters())
    try:
        with evaluating(module):
            one, two = (read(collate_pairs(pairs, 0, share=share).to(first.device)) for share in (True, False))
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError, TypeError, IndexError, NotImplementedError):
        return False  # the answer, not a failure: families refuse a mask of ours each in its own way
    return torch.allclose(one, two, atol=5e-2 if coarse or first.dtype != torch.float32 else 1e-3)


def windows(config: Any) -> list[int]:
    """Every length by which a config may limit how far back a token looks; families have named it in several ways."""
    return [value for name, value in vars(config).items() if WINDOW.search(name) and type(value) is int]
