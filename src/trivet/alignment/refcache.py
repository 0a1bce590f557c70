"""Log-probabilities of the reference, computed once per content and kept on disk.

The key is a hash of everything that they depend on: the reference's weights (adapters merged in or not), the token ids
of every pair, which carry data, chat template and tokenizer, and the arithmetic. The same pairs under the same
reference are never computed twice, whatever beta or learning rate is tried next; anything else is another key.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivet.alignment.batches import split_by_tokens
from trivet.alignment.files import write_file
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.alignment.pairs import Pair, collate_pairs, pairs_digest
from trivet.core.messages import digest_of


def reference_logps(
    scorer: Scorer, pairs: Sequence[Pair], *, weights: str, folder: Path, pad: int, budget: int, share: bool
) -> Tensor:
    """[pairs, 2] summed log-probabilities of chosen and rejected under the reference; `weights` is its digest."""
    key = digest_of([weights, pairs_digest(pairs, weights=False), str(scorer.autocast)])
    place = folder / f"{key}.npy"
    if place.exists():
        kept: Any = np.load(place)
        if kept.shape == (len(pairs), 2):
            return torch.from_numpy(kept)
    logps = score_pairs(scorer, pairs, pad=pad, budget=budget, share=share)
    write_file(place, lambda path: path.write_bytes(_npy(logps.numpy())))
    return logps


@torch.no_grad()
def score_pairs(scorer: Scorer, pairs: Sequence[Pair], *, pad: int, budget: int, share: bool) -> Tensor:
    """[pairs, 2] summed log-probabilities of both replies, on the CPU, in batches of like length."""
    lengths = np.asarray([len(pair) for pair in pairs])
    logps = torch.zeros(len(pairs), 2)
    was_training = scorer.model.training
    scorer.model.eval()
    for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, budget) if len(pairs) else []:
        batch = collate_pairs([pairs[i] for i in part], pad, share=share).to(scorer.model.device)
        found = per_owner(scorer(batch), batch.owners, 2 * len(part)).view(-1, 2)
        logps[torch.from_numpy(part)] = found.cpu()
    scorer.model.train(was_training)
    return logps


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
