"""Two attacks on a model that is said to have forgotten: teach it a little, and round its weights.

Relearning (arXiv:2406.13356; arXiv:2410.08827): a few steps of plain supervised fine-tuning on a few rows of the forget
set. What matters is whether the *rest* comes back, and whether it comes back faster than to a model that never knew it.

Quantisation (arXiv:2410.16454): weights are rounded to 8 or 4 bits, as is done to serve a model cheaply. Unlearning that
moved the weights by less than half a step of the grid is undone by it.

Not covered: attacks by prompts (the robustness pillar has them), by activations, by fine-tuning on unrelated data, and
other quantisers (GPTQ, AWQ, NF4), which round differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trivet.alignment import engine, models, objectives
from trivet.alignment.batches import collate, encode_demonstrations, split_by_tokens
from trivet.alignment.files import write_folder
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, DataError
from trivet.core.lessons import Demonstration

BETAS = (0.9, 0.95)


def relearn(
    folder: str | Path,
    rows: Sequence[Demonstration],
    place: Path,
    *,
    at: Sequence[int],
    lr: float,
    device: str = "auto",
    max_length: int = 1024,
    batch_tokens: int = 8192,
) -> Iterator[tuple[int, Path]]:
    """(steps, folder of the model after them) for each number in `at`, in order; the folder is written over each time.

    Every step sees all of `rows` (they are few) at a constant rate without warm-up, as an attacker in a hurry would.
    """
    model, tokenizer = models.load(folder, device=device)
    models.still(model, checkpointing=False)
    encoded, _ = encode_demonstrations(tokenizer, rows, models.longest(max_length, model))
    if not encoded:
        raise DataError(f"none of the {len(rows)} rows to relearn fits in {max_length} tokens")
    scorer = Scorer(model)
    optimizer = engine.adamw(scorer, betas=BETAS, weight_decay=0.0)
    for group in optimizer.param_groups:
        group["lr"] = lr
    lengths = np.asarray([len(row) for row in encoded])
    learnt = sum(len(row) - row.start for row in encoded)
    step = 0
    for stop in sorted(set(at)):
        while step < stop:
            for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, batch_tokens):
                batch = collate([encoded[i] for i in part], tokenizer.pad_token_id).to(model.device)
                (objectives.sft(scorer(batch)).sum() / learnt).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
        write_folder(place, lambda fresh: (model.save_pretrained(fresh), tokenizer.save_pretrained(fresh)))
        yield step, place


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A matrix [out, in] after symmetric round-to-nearest quantisation per output channel, in its own dtype.

        s = max |w| / (2^(bits-1) - 1) of the channel,   w' = s round(w / s)

    The error of no weight is above s / 2, and the largest weight of a channel stays what it is. Raises ValueError for
    less than 2 bits, which leave no grid. By hand, 3 bits: (3, 1.4, -0.4) has s = 1 and becomes (3, 1, 0).
    """
    if bits < 2:
        raise ValueError(f"bits is {bits}; a sign and one step need 2")
    wide = weight.detach().double()
    steps = 2 ** (bits - 1) - 1
    scale = wide.abs().amax(dim=1, keepdim=True) / steps
    return (torch.where(scale > 0, (wide / scale).round(), wide) * scale).to(weight.dtype)


def quantised(folder: str | Path, place: Path, bits: int) -> Path:
    """The model of a folder with all its linear layers but the head rounded, written to `place` in full precision."""
    model, tokenizer = models.load(folder, device="cpu")
    head = model.get_output_embeddings()
    layers = [part for part in model.modules() if _is_matrix(part) and part is not head]
    if not layers:
        raise ConfigError(f"{folder} has no linear layer to quantise")
    for part in layers:
        turned = type(part).__name__ == "Conv1D"  # GPT-2 keeps its matrices as [in, out]
        weight = part.weight.data
        part.weight.data = rounded(weight.T, bits).T.contiguous() if turned else rounded(weight, bits)
    write_folder(place, lambda fresh: (model.save_pretrained(fresh), tokenizer.save_pretrained(fresh)))
    return place


def _is_matrix(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"
