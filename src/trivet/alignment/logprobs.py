"""One log-probability primitive for all recipes: completion positions only, in tiles, statistics in float32.

The backbone runs over the whole rectangle; the language-model head runs only on the positions whose next token is
asked for, in tiles of at most TILE logits, whose gradients are written out below. A [B, L, V] tensor is never built. That
the backbone plus the head (with the final scaling or soft cap that some families add) is the model is not guessed:
`Scorer` checks it once on a short probe and says so where it does not hold.

A Scorer is a module and is always called as one, `scorer(batch)`: data-parallel wrappers and shards hook into the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trivet.alignment.batches import Batch
from trivet.core.errors import ConfigError

TILE = 1 << 25
"""Logits of a tile: 128 MiB in float32."""


class TokenScores(NamedTuple):
    """For each learnt token: log pi [N], and the entropy of the distribution it was drawn from [N], without gradient."""

    logps: Tensor
    entropies: Tensor


class Scorer(nn.Module):
    """Log-probabilities of given tokens under one model, with or without its adapter."""

    def __init__(self, model: Any, *, autocast: torch.dtype | None = None, tile: int = TILE) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.tile = tile
        self.scale, self.cap = _final_shape(self.inner.config)
        self.additive = self.inner.config._attn_implementation == "eager"  # which adds its mask to the scores
        self._prove()

    @property
    def inner(self) -> Any:
        """The model without the wrapper that adapters put around it; adapters inside its layers stay."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def head(self) -> nn.Module:
        found: nn.Module = self.inner.get_output_embeddings()
        return found

    @torch.no_grad()
    def _prove(self) -> None:
        """The split model must give the whole model's logits."""
        inner = self.inner
        was_training = inner.training
        inner.eval()
        ids = torch.arange(4, device=self.model.device)[None] % inner.config.get_text_config().vocab_size
        whole = inner(input_ids=ids, use_cache=False).logits.float()
        ours = self.shaped(self.head(inner.base_model(input_ids=ids, use_cache=False).last_hidden_state))
        inner.train(was_training)
        # Some families scale or cap in the weights' own arithmetic; ours is float32, so 16-bit weights differ by rounding.
        close = 1e-3 if next(inner.parameters()).dtype == torch.float32 else 3e-2
        if not torch.allclose(whole, ours, atol=close * max(1.0, float(whole.abs().max())), rtol=0.0):
            raise ConfigError(
                f"{type(inner).__name__} computes its logits in a way that Trivet does not know (backbone + head differ "
                f"from the model by {float((whole - ours).abs().max()):.3g}); please report the architecture"
            )

    def shaped(self, logits: Tensor) -> Tensor:
        """What the head gives as the model's logits: scaled and capped as its family does it, in float32."""
        logits = logits.float() * self.scale if self.scale != 1.0 else logits.float()
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states [B, L, H] of the backbone."""
        mask = batch.mask
        if mask is not None and self.additive:
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        with torch.autocast(batch.ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            states: Tensor = self.inner.base_model(
                input_ids=batch.ids, attention_mask=mask, position_ids=batch.places, use_cache=False
            ).last_hidden_state
        return states

    def forward(self, batch: Batch, entropy: bool = False) -> Tensor | TokenScores:
        """log pi of each target given what its row shows before it: [N], float32; with `entropy` a TokenScores."""
        hidden = self.hidden(batch).flatten(0, 1)[batch.positions]
        head = self.head
        size = max(1, self.tile // self.inner.config.get_text_config().vocab_size)
        if type(head) is nn.Linear:
            shape = _Head(self.scale, self.cap, self.autocast, size)
            logps, entropies = _TokenLogProbs.apply(hidden, head.weight, head.bias, batch.targets, shape, entropy)
            return TokenScores(logps, entropies) if entropy else logps
        parts = [self._tile(*part, entropy) for part in zip(hidden.split(size), batch.targets.split(size), strict=True)]
        logps = torch.cat([logps for logps, _ in parts])
        return TokenScores(logps, torch.cat([entropies for _, entropies in parts])) if entropy else logps

    def _tile(self, hidden: Tensor, targets: Tensor, entropy: bool) -> tuple[Tensor, Tensor]:
        """A head that is more than a matrix (adapters, quantised weights) is called, and called again for the gradient."""

        def run(states: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(states.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                logits = self.head(states)
            spread = self.shaped(logits).log_softmax(-1)
            entropies = -(spread.detach().exp() * spread.detach()).sum(-1) if entropy else spread.new_zeros(0)
            return spread.gather(1, targets[:, None])[:, 0], entropies

        found: tuple[Tensor, Tensor] = checkpoint(run, hidden, use_reentrant=False, preserve_rng_state=False)
        return found


class _Head(NamedTuple):
    """How logits are made of hidden states, and how many rows go at once."""

    scale: float
    cap: float
    autocast: torch.dtype | None
    rows: int


class _TokenLogProbs(torch.autograd.Function):
    """log softmax(cap tanh(scale (h W^T + b) / cap))[target], row by row, without keeping what the vocabulary makes wide.

    Forward keeps one number a row, the log of the normaliser. Backward makes the logits of a tile again and from them

        d logp / d logits = onehot(target) - softmax(logits)

    A batch that is a single tile keeps its probabilities instead: there they cost no more than a tile would.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: _Head,
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        logps = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty(len(hidden) if entropy else 0, dtype=torch.float32, device=hidden.device)
        normalisers = torch.empty_like(logps)
        kept = None
        for rows in _tiles(len(hidden), head.rows):
            logits = _logits(hidden[rows], weight, bias, head)
            normalisers[rows] = logits.logsumexp(-1)
            logps[rows] = logits.gather(1, targets[rows, None])[:, 0] - normalisers[rows]
            if entropy or (len(hidden) <= head.rows and not head.cap):
                shifted = logits - normalisers[rows, None] if entropy else logits.sub_(normalisers[rows, None])
                chances = shifted.exp_()
                if entropy:
                    entropies[rows] = normalisers[rows] - (chances * logits).sum(-1)
                kept = chances if len(hidden) <= head.rows and not head.cap else None
        ctx.head = head
        ctx.mark_non_differentiable(entropies)
        ctx.save_for_backward(hidden, weight, bias, targets, normalisers, kept)
        return logps, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias, targets, normalisers, kept = ctx.saved_tensors
        head: _Head = ctx.head
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if needs_hidden else None
        to_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight and kept is None else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_bias else None
        arithmetic = head.autocast or weight.dtype
        matrix = weight.to(arithmetic)
        for rows in _tiles(len(hidden), head.rows):
            logits = None if kept is not None else _logits(hidden[rows], weight, bias, head)
            bend = 1 - (logits / head.cap).square_() if head.cap and logits is not None else None
            chances = kept if logits is None else logits.sub_(normalisers[rows, None]).exp_()
            slopes = chances * -grad[rows, None]
            slopes.scatter_add_(1, targets[rows, None], grad[rows, None])
            if bend is not None:
                slopes.mul_(bend)
            if head.scale != 1.0:
                slopes.mul_(head.scale)
            if to_bias is not None:
                to_bias += slopes.sum(0)
            slopes = slopes.to(arithmetic)
            if to_hidden is not None:
                to_hidden[rows] = (slopes @ matrix).to(hidden.dtype)
            if to_weight is not None:
                to_weight += slopes.T @ hidden[rows].to(arithmetic)
            elif needs_weight:
                to_weight = slopes.T @ hidden[rows].to(arithmetic)
        typed = (None if found is None else found.to(weight.dtype) for found in (to_weight, to_bias))
        return to_hidden, *typed, None, None, None


def _tiles(count: int, size: int) -> Iterator[slice]:
    return (slice(at, min(at + size, count)) for at in range(0, count, size))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, head: _Head) -> Tensor:
    """[rows, V] in float32."""
    arithmetic = head.autocast or weight.dtype
    logits = F.linear(
        hidden.to(arithmetic), weight.to(arithmetic), None if bias is None else bias.to(arithmetic)
    ).float()
    if head.scale != 1.0:
        logits = logits.mul_(head.scale)
    return logits.div_(head.cap).tanh_().mul_(head.cap) if head.cap else logits


def per_owner(token_values: Tensor, owners: Tensor, count: int) -> Tensor:
    """Sums over the tokens of each reply: [N] -> [count]."""
    return torch.zeros(count, dtype=token_values.dtype, device=token_values.device).index_add(0, owners, token_values)


def _final_shape(config: Any) -> tuple[float, float]:
    """(multiplier, soft cap) that the family applies after its head; (1, 0) for most."""
    config = config.get_text_config()
    scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    scale *= getattr(config, "logit_scale", None) or 1.0
    return scale, float(getattr(config, "final_logit_softcapping", None) or 0.0)
