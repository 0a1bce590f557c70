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
from torch import Tensor, nn

from trivet.alignment.files import write_file
from trivet.alignment.logprobs import per_owner
from trivet.alignment.models import evaluating
from trivet.alignment.pairs import Pair, collate_pairs, pairs_digest
from trivet.alignment.parallel import ALONE, Ranks
from trivet.core.messages import digest_of


def reference_logps(
    scorer: nn.Module,
    pairs: Sequence[Pair],
    *,
    weights: str,
    folder: Path,
    pad: int,
    budget: int,
    share: bool,
    arithmetic: str = "fp32",
    ranks: Ranks = ALONE,
) -> Tensor:
    """[pairs, 2] summed log-probabilities of chosen and rejected under the reference; `weights` is its digest.

    `scorer` may be a Scorer or what spreads one over processes.
    """
    key = digest_of([weights, pairs_digest(pairs, weights=False), arithmetic])
    place = folder / f"{key}.npy"
    known = place.exists()
    ranks.wait()  # all have looked before anyone writes
    if known:
        kept: Any = np.load(place)
        if kept.shape == (len(pairs), 2):
            return torch.from_numpy(kept)
    logps = score_pairs(scorer, pairs, pad=pad, budget=budget, share=share, ranks=ranks)
    if ranks.main:
        write_file(place, lambda path: path.write_bytes(_npy(logps.numpy())))
    return logps


@torch.no_grad()
def score_pairs(
    scorer: nn.Module, pairs: Sequence[Pair], *, pad: int, budget: int, share: bool, ranks: Ranks = ALONE
) -> Tensor:
    """[pairs, 2] summed log-probabilities of both replies, on the CPU, in batches of like length over all processes."""
    logps = torch.zeros(len(pairs), 2)
    if not pairs:
        return logps
    lengths = np.asarray([len(pair) for pair in pairs])
    with evaluating(scorer):
        for part in ranks.shares(np.argsort(lengths, kind="stable"), lengths, budget):
            batch = collate_pairs([pairs[i] for i in part.rows], pad, share=share).to(next(scorer.parameters()).device)
            found = per_owner(scorer(batch), batch.owners, 2 * len(part.rows)).view(-1, 2)
            if part.real:
                logps[torch.from_numpy(part.rows)] = found.cpu()
    return ranks.total(logps)


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()
