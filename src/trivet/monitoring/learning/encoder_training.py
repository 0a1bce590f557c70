"""How the encoder is trained: a small BERT read from a folder, one logit per head, masked binary cross-entropy, whole step visible.

The model is a MiniLM-class encoder (Wang et al. 2020, arXiv:2002.10957) in the form of Sentence-Transformers: mean of
the last layer's token vectors (Reimers and Gurevych 2019, arXiv:1908.10084), then one linear layer for all heads. A row
says something about some heads; the others are left out of its loss. Long texts are cut into overlapping windows, and
where it is known which stretch of a text is the bad one, windows that do not touch it are good.

Weights: within a head, bad and good weigh the same in sum, and a source of n rows weighs as the root of n, so that a big
source does not decide what the small ones mean.

    L = mean_i sum_h lambda_h w_ih bce(z_ih, y_ih)

Needs torch (`trivet[train]`); what comes out is an ONNX file that runs without it (see encoder.py).
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from trivet.core.errors import DataError
from trivet.monitoring.guards.encoder import STRIDE, WINDOW, spans
from trivet.monitoring.learning.corpus import HEADS, KINDS, Example
from trivet.monitoring.text import read

NAMES = (*HEADS, *KINDS)


@dataclass(frozen=True)
class Settings:
    """`start` is a folder with config.json, model.safetensors and tokenizer.json of a BERT encoder. Of its layers the
    lowest `layers` are kept (all where it has fewer): what the upper ones add is little, and each costs a sixth."""

    start: Path
    layers: int = 4
    epochs: int = 3
    rows: int = 32
    rate: float = 5e-5
    head_rate: float = 1e-3
    decay: float = 0.01
    warmup: float = 0.06
    dropout: float = 0.1
    kinds_weight: float = 0.25
    heaviest: float = 12.0
    window: int = WINDOW
    stride: int = STRIDE
    windows_per_row: int = 3
    rows_per_source: int = 1200
    seed: int = 0


class Bert(nn.Module):
    """BERT (Devlin et al. 2019, arXiv:1810.04805) with post-norm, and one linear layer over the mean of its tokens.

    `ids`, `mask`: [rows, tokens]. Returns logits [rows, heads] and unit vectors [rows, width]. Dropout is on the mean
    alone: inside the layers it would cost a third of the time on a CPU."""

    def __init__(self, config: dict[str, int], heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        width, self.parts = config["hidden_size"], config["num_attention_heads"]
        self.words = nn.Embedding(config["vocab_size"], width)
        self.places = nn.Embedding(config["max_position_embeddings"], width)
        self.kinds = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "query": nn.Linear(width, width),
                    "key": nn.Linear(width, width),
                    "value": nn.Linear(width, width),
                    "out": nn.Linear(width, width),
                    "out_norm": nn.LayerNorm(width, 1e-12),
                    "up": nn.Linear(width, config["intermediate_size"]),
                    "down": nn.Linear(config["intermediate_size"], width),
                    "down_norm": nn.LayerNorm(width, 1e-12),
                }
            )
            for _ in range(config["num_hidden_layers"])
        )
        self.head = nn.Linear(width, heads)
        self.dropout = dropout

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, tokens = ids.shape
        places = self.places.weight[:tokens].unsqueeze(0)
        x = self.norm(self.words(ids) + places + self.kinds.weight[0])
        hidden = (mask[:, None, None, :] == 0).to(x.dtype) * -10000.0
        for layer in self.layers:

            def split(y: torch.Tensor) -> torch.Tensor:
                return y.view(rows, tokens, self.parts, -1).transpose(1, 2)

            q, k, v = (split(layer[name](x)) for name in ("query", "key", "value"))
            seen = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + hidden).softmax(-1) @ v
            x = layer["out_norm"](x + layer["out"](seen.transpose(1, 2).reshape(rows, tokens, -1)))
            x = layer["down_norm"](x + layer["down"](F.gelu(layer["up"](x))))
        weight = mask.unsqueeze(-1).to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1)
        return self.head(F.dropout(mean, self.dropout, self.training)), F.normalize(mean, dim=-1)


_NAMES_IN_FILE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "out_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "down_norm": "output.LayerNorm",
}


def started(settings: Settings) -> tuple[Bert, Tokenizer]:
    """The encoder of a Sentence-Transformers or Hugging Face folder, with a fresh last layer."""
    from safetensors.torch import load_file

    try:
        config = json.loads((settings.start / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(settings.start / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(settings.start / "tokenizer.json"))
    except Exception as error:
        raise DataError(
            f"{settings.start} is no folder of a BERT encoder (config.json, model.safetensors, tokenizer.json): {error}"
        ) from error
    if config.get("model_type") != "bert":
        raise DataError(f"{settings.start} holds a {config.get('model_type')!r}; the encoder must be a bert")
    tensors = {name.removeprefix("bert."): tensor.float() for name, tensor in tensors.items()}
    torch.manual_seed(settings.seed)
    config["num_hidden_layers"] = min(settings.layers, config["num_hidden_layers"])
    model = Bert(config, len(NAMES), settings.dropout)
    renamed = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "places.weight": tensors["embeddings.position_embeddings.weight"],
        "kinds.weight": tensors["embeddings.token_type_embeddings.weight"],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    for number in range(len(model.layers)):
        for ours, theirs in _NAMES_IN_FILE.items():
            for part in ("weight", "bias"):
                renamed[f"layers.{number}.{ours}.{part}"] = tensors[f"encoder.layer.{number}.{theirs}.{part}"]
    renamed |= {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
    model.load_state_dict(renamed)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return model, tokenizer


@dataclass(frozen=True)
class Window:
    """A stretch of a row as tokens, with a label and a weight per head; NaN where the row says nothing."""

    row: int
    ids: tuple[int, ...]
    labels: np.ndarray


def windows_of(examples: Sequence[Example], tokenizer: Tokenizer, settings: Settings) -> list[list[Window]]:
    """The windows of each row: at most `window` tokens with the two special ones, overlapping."""
    first, last = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    views = [read(example.text).folded for example in examples]
    encoded = tokenizer.encode_batch([view.text for view in views], add_special_tokens=False)
    found = []
    for row, (example, view, tokens) in enumerate(zip(examples, views, encoded, strict=True)):
        labels = np.array([float(example.labels.get(name, np.nan)) for name in NAMES], dtype=np.float32)
        mine = []
        for start, end in spans(len(tokens.ids), settings.window - 2, settings.stride):
            here = labels
            if example.span and start < end:
                a, b = view.origin(tokens.offsets[start][0], tokens.offsets[end - 1][1])
                if not (a < example.span[1] and example.span[0] < b):
                    here = np.where(labels == 1, 0, labels)
            mine.append(Window(row, (first, *tokens.ids[start:end], last), here))
        found.append(mine)
    return found


def weights_of(examples: Sequence[Example], settings: Settings) -> np.ndarray:
    """[rows, heads]: the root rule by source and label, bad and good balanced over what an epoch draws."""
    sizes = Counter(example.source for example in examples)
    drawn = np.array([min(1.0, settings.rows_per_source / sizes[example.source]) for example in examples])
    weights = np.zeros((len(examples), len(NAMES)), dtype=np.float32)
    for column, name in enumerate(NAMES):
        groups: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for row, example in enumerate(examples):
            if name in example.labels:
                groups[example.source, example.labels[name]].append(row)
        for rows in groups.values():
            weights[rows, column] = drawn[rows].sum() ** -0.5
        for bad in (False, True):
            mine = [row for (_, label), rows in groups.items() if label is bad for row in rows]
            expected = (weights[mine, column] * drawn[mine]).sum()
            weights[mine, column] *= drawn.sum() / 2 / max(expected, 1e-9)
        weights[:, column] = np.minimum(weights[:, column], settings.heaviest)
        weights[:, column] *= settings.kinds_weight if name in KINDS else 1.0
    return weights


def batches(
    rows: Sequence[Sequence[Window]], sources: Sequence[str], settings: Settings, rng: random.Random
) -> list[list[Window]]:
    """One epoch: of each source up to `rows_per_source` rows drawn anew, of each row up to `windows_per_row` windows,
    in batches of like length, in random order.

    Of a row with bad and good windows the bad ones are kept: they are what it was made for."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, source in enumerate(sources):
        groups[source].append(number)
    drawn = [i for mine in groups.values() for i in rng.sample(mine, min(len(mine), settings.rows_per_source))]
    chosen: list[Window] = []
    for mine in (rows[i] for i in drawn):
        bad = [w for w in mine if (w.labels == 1).any()]
        good = [w for w in mine if not (w.labels == 1).any()]
        keep = rng.sample(bad, min(len(bad), settings.windows_per_row))
        chosen += keep + rng.sample(good, min(len(good), max(1, settings.windows_per_row - len(keep))))
    rng.shuffle(chosen)
    size = settings.rows
    pools = [sorted(chosen[i : i + 40 * size], key=lambda w: len(w.ids)) for i in range(0, len(chosen), 40 * size)]
    found = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
    rng.shuffle(found)
    return found


def padded(windows: Sequence[Window]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(w.ids) for w in windows)
    ids = torch.zeros(len(windows), length, dtype=torch.long)
    mask = torch.zeros(len(windows), length, dtype=torch.long)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
        mask[row, : len(window.ids)] = 1
    return ids, mask


def trained(
    examples: Sequence[Example], settings: Settings, say: Callable[[str], None] = lambda text: None
) -> tuple[Bert, Tokenizer]:
    """The encoder fine-tuned on the rows."""
    model, tokenizer = started(settings)
    rng = random.Random(settings.seed)
    rows, weights = windows_of(examples, tokenizer, settings), torch.from_numpy(weights_of(examples, settings))
    sources = [example.source for example in examples]
    # Epochs draw different windows, so their lengths in steps differ by a few.
    steps = settings.epochs * len(batches(rows, sources, settings, random.Random(settings.seed)))
    body = [p for n, p in model.named_parameters() if not n.startswith("head.")]
    optimiser = torch.optim.AdamW(
        [{"params": body, "lr": settings.rate}, {"params": model.head.parameters(), "lr": settings.head_rate}],
        weight_decay=settings.decay,
        fused=True,
    )
    rising = max(1, int(settings.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))
    )
    model.train()
    step, total = 0, 0.0
    for _ in range(settings.epochs):
        for batch in batches(rows, sources, settings, rng):
            ids, mask = padded(batch)
            labels = torch.from_numpy(np.stack([w.labels for w in batch]))
            weight = weights[[w.row for w in batch]] * ~labels.isnan()
            with torch.autocast("cpu", torch.bfloat16):
                logits, _ = model(ids, mask)
            losses = F.binary_cross_entropy_with_logits(logits.float(), labels.nan_to_num(), reduction="none")
            loss = (losses * weight).sum(1).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            schedule.step()
            step, total = step + 1, total + loss.detach().item()
            if step % 100 == 0:
                say(f"step {step} of {steps}: loss {total / 100:.3f}")
                total = 0.0
    return model.eval(), tokenizer


@torch.no_grad()
def logits_of(
    model: Bert, tokenizer: Tokenizer, examples: Sequence[Example], settings: Settings, rows: int = 64
) -> np.ndarray:
    """[rows, heads]: the highest logit over the windows of each text."""
    every = sorted((w for mine in windows_of(examples, tokenizer, settings) for w in mine), key=lambda w: len(w.ids))
    found = np.full((len(examples), len(NAMES)), -np.inf, dtype=np.float32)
    for start in range(0, len(every), rows):
        batch = every[start : start + rows]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(*padded(batch))[0].float().numpy()
        np.maximum.at(found, [w.row for w in batch], logits)
    return found
