"""One log-probability primitive for all recipes: completion positions only, in tiles, statistics in float32.

The backbone runs over the whole rectangle; the language-model head runs only on the positions whose next token is
asked for, in tiles of at most TILE logits, recomputed in the backward pass when there is more than one. A [B, L, V]
tensor is never built. That the backbone plus the head (with the final scaling or soft cap that some families add) is
the model is not guessed: `Scorer` checks it once on a short probe and says so where it does not hold.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trivet.alignment.batches import Batch
from trivet.core.errors import ConfigError

TILE = 1 << 25  # logits per tile: 128 MiB in float32


class Scorer:
    """Log-probabilities of given tokens under one model, with or without its adapter."""

    def __init__(self, model: Any, *, autocast: torch.dtype | None = None, tile: int = TILE) -> None:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.model = model
        self.autocast = autocast
        self.tile = tile
        self.backbone = inner.base_model
        self.head = inner.get_output_embeddings()
        self.scale, self.cap = _final_shape(inner.config)
        self.additive = inner.config._attn_implementation == "eager"  # which adds its mask to the scores
        self._prove(inner)

    @torch.no_grad()
    def _prove(self, inner: Any) -> None:
        """The split model must give the whole model's logits."""
        was_training = inner.training
        inner.eval()
        ids = torch.arange(4, device=self.model.device)[None] % inner.config.get_text_config().vocab_size
        whole = inner(input_ids=ids, use_cache=False).logits.float()
        ours = self._logits(self.backbone(input_ids=ids, use_cache=False).last_hidden_state)
        inner.train(was_training)
        if not torch.allclose(whole, ours, atol=1e-3, rtol=1e-3):
            raise ConfigError(
                f"{type(inner).__name__} computes its logits in a way that Trivet does not know (backbone + head differ "
                f"from the model by {float((whole - ours).abs().max()):.3g}); please report the architecture"
            )

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.head(hidden).float() * self.scale
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states [B, L, H] of the backbone."""
        mask = batch.mask
        if mask is not None and self.additive:
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        with torch.autocast(batch.ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.backbone(
                input_ids=batch.ids, attention_mask=mask, position_ids=batch.places, use_cache=False
            ).last_hidden_state

    def tokens(self, batch: Batch) -> Tensor:
        """log pi of each target given what its row shows before it: [N], float32."""
        hidden = self.hidden(batch).flatten(0, 1)[batch.positions]
        size = max(1, self.tile // self.head.weight.shape[0])
        if len(hidden) <= size:
            return self._tile(hidden, batch.targets)
        parts = zip(hidden.split(size), batch.targets.split(size), strict=True)
        return torch.cat(
            [checkpoint(self._tile, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        )

    def _tile(self, hidden: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            logits = self._logits(hidden)
        return -F.cross_entropy(logits.float(), targets, reduction="none")


def per_owner(token_values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Sums over the tokens of each reply: [N] -> [count]."""
    return torch.zeros(count, dtype=token_values.dtype, device=token_values.device).index_add(0, owners, token_values)


def _final_shape(config: Any) -> tuple[float, float]:
    """(multiplier, soft cap) that the family applies after its head; (1, 0) for most."""
    config = config.get_text_config()
    scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    scale *= getattr(config, "logit_scale", None) or 1.0
    return scale, float(getattr(config, "final_logit_softcapping", None) or 0.0)
