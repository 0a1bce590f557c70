"""The reward model: a language model's body with one number on top, as an ordinary sequence classifier of transformers.

The reward of a reply is read at the token that ends it, where all of prompt and reply has been seen:

    r(x, y) = w . h_T,    T the place of the reply's end token,    w ~ N(0, 1 / (d + 1)) at the start

(Stiennon et al. 2020, arXiv:2009.01325, for the start of the head: a standard deviation of 1 / sqrt(d + 1) for d hidden
units.) transformers pools its classifiers at the rightmost token that is not padding. Where padding and end token are
the same, as in many folders, that is the token before the end: such a model would give other rewards there than here.
A reward model therefore never pads with a token that can end a reply; a folder without another one gets one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from trivet.alignment import models
from trivet.alignment.batches import Batch, Row, collate, encode_replies, split_by_tokens
from trivet.alignment.pairs import Pair, collate_pairs, reads_alike
from trivet.alignment.parallel import ALONE, Ranks
from trivet.core.errors import ConfigError, DataError, ModelNotFound
from trivet.core.messages import Conversation
from trivet.core.models.chat import ensure_template

PAD = "<|pad|>"
KIND = "ForSequenceClassification"


def start(
    folder: str | Path, *, seed: int, device: str | torch.device = "auto", dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """(reward model, tokenizer) to train: a language model with a fresh head, or a reward model with the head it has."""
    if is_reward_model(folder):
        return load(folder, device=device, dtype=dtype)
    language, tokenizer = models.load(folder, device=device, dtype=dtype)
    own_pad(language, tokenizer)
    return crowned(language, tokenizer, seed), tokenizer


def load(
    folder: str | Path, *, device: str | torch.device = "auto", dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """(reward model, tokenizer) of a folder that was trained as one, here or elsewhere."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

    logging.disable_progress_bar()
    where = models.whereabouts(folder)
    if not is_reward_model(folder):
        raise ModelNotFound(f"{folder} holds no reward model (a sequence classifier); train one with the recipe reward")
    try:
        tokenizer = ensure_template(AutoTokenizer.from_pretrained(where))
        model = AutoModelForSequenceClassification.from_pretrained(where, dtype=dtype)
    except (OSError, ValueError) as why:
        raise ModelNotFound(f"{folder} holds no reward model that transformers can load: {why}") from why
    if model.config.num_labels != 1:
        raise ConfigError(f"{folder} is a classifier of {model.config.num_labels} classes; a reward is one number")
    pad, ends = model.config.get_text_config().pad_token_id, reply_ends_with(tokenizer)
    if pad is None or pad in ends:
        raise ConfigError(
            f"{folder} pads with the token that ends a reply ({pad}), so transformers and Trivet would read its rewards "
            "at different places; set pad_token_id in its config.json to another token"
        )
    _head(model)
    return model.to(models.pick_device(device)), tokenizer


def is_reward_model(folder: str | Path) -> bool:
    """Whether the folder's configuration names a sequence classifier."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(models.whereabouts(folder))
    except (OSError, ValueError) as why:
        raise ModelNotFound(f"{folder} holds no model that transformers can load: {why}") from why
    return any(name.endswith(KIND) for name in config.architectures or ())


def reply_ends_with(tokenizer: Any) -> set[int]:
    """The tokens at which rewards may be read: the end token, and what the chat template closes a turn with."""
    (row,) = encode_replies(tokenizer, [(Conversation.user("Hello"), "Hello")])
    return {int(row.ids[-1]), tokenizer.eos_token_id}


def own_pad(language: Any, tokenizer: Any) -> None:
    """A padding token that never ends a reply; the embeddings grow by a row only where no spare one is left."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in reply_ends_with(tokenizer):
        tokenizer.add_special_tokens({"pad_token": PAD})
        rows = language.get_input_embeddings().weight.shape[0]
        if tokenizer.pad_token_id >= rows:
            language.resize_token_embeddings(tokenizer.pad_token_id + 1, mean_resizing=False)
    language.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def crowned(language: Any, tokenizer: Any, seed: int) -> Any:
    """The language model's body under a fresh head; the body is shared with `language`, not copied."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(language.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):  # only the shell is wanted: its body is replaced
            model = AutoModelForSequenceClassification.from_config(config)
    except ValueError as why:
        raise ConfigError(
            f"transformers has no sequence classifier for {type(language).__name__}, so it cannot become a reward model"
        ) from why
    setattr(model, model.base_model_prefix, language.base_model)
    width = _head(model).in_features
    weight = torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) / sqrt(width + 1)
    model.score = nn.Linear(width, 1, bias=False, device=language.device)
    with torch.no_grad():
        model.score.weight.copy_(weight)
    return model.eval()


def _head(model: Any) -> nn.Linear:
    """The layer that makes the score; raises ConfigError where that is more than one matrix."""
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.bias is not None:
        raise ConfigError(
            f"{type(model).__name__} has another head than a reward model's (one matrix named `score`, on a language model "
            "that reads forwards); use a model of another family"
        )
    return head


def with_lora(model: Any, rank: int, alpha: float, targets: str) -> Any:
    """Fresh low-rank adapters on the body; the head is trained whole and saved with the adapter."""
    from peft import LoraConfig, get_peft_model

    names = targets if targets == "all-linear" else [name.strip() for name in targets.split(",")]
    settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, task_type="SEQ_CLS", lora_dropout=0.0)
    try:
        return get_peft_model(model, settings)
    except ValueError as why:
        known = sorted({name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        raise ConfigError(f'lora_targets: "{targets}" does not fit this model, which has {", ".join(known)}') from why


class RewardScorer(nn.Module):
    """Rewards of replies under one reward model, with or without its adapter: batch -> [replies], float32.

    Owner by owner, for rows of one reply (batches.collate) and for rows of a pair (pairs.collate_pairs) alike.
    """

    def __init__(self, model: Any, *, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.model = model
        self.autocast = autocast
        self.additive = self.inner.config._attn_implementation == "eager"  # which adds its mask to the scores
        self.inner.score.float()  # one number a reply: rounding it would cost more than it saves
        self._prove()

    @property
    def inner(self) -> Any:
        """The classifier without the wrapper that adapters put around it; adapters inside its layers stay."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def forward(self, batch: Batch) -> Tensor:
        """The reward at the last token of each reply."""
        mask = batch.mask
        if mask is not None and self.additive:
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        with torch.autocast(batch.ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            states: Tensor = self.inner.base_model(
                input_ids=batch.ids, attention_mask=mask, position_ids=batch.places, use_cache=False
            ).last_hidden_state
        head = self.inner.score
        chosen = states.flatten(0, 1)[last_tokens(batch)]
        rewards: Tensor = head(chosen.to(next(head.parameters()).dtype))
        return rewards[:, 0].float()

    @torch.no_grad()
    def _prove(self) -> None:
        """Read here and read by transformers, a padded row must have one reward."""
        inner, config = self.inner, self.inner.config.get_text_config()
        was_training = inner.training
        inner.eval()
        tokens = [token for token in range(8) if token != config.pad_token_id and token < config.vocab_size]
        rows = [Row(np.asarray(tokens[:6], dtype=np.int32), 2), Row(np.asarray(tokens[2:5], dtype=np.int32), 1)]
        batch = collate(rows, config.pad_token_id).to(self.model.device)
        seen = (batch.ids != config.pad_token_id).long()
        with torch.autocast(batch.ids.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            whole = inner(input_ids=batch.ids, attention_mask=seen, use_cache=False).logits.float()[:, 0]
        ours = self(batch)
        inner.train(was_training)
        if not torch.allclose(
            whole,
            ours,
            atol=5e-2 if self.autocast or next(inner.parameters()).dtype != torch.float32 else 1e-3,
            rtol=1e-3,
        ):
            raise ConfigError(
                f"{type(inner).__name__} makes its score in a way that Trivet does not know (ours differs by "
                f"{float((whole - ours).abs().max()):.3g}); please report the architecture"
            )


def last_tokens(batch: Batch) -> Tensor:
    """Flat position of the last token of each reply: [replies].

    `positions` are those before the learnt tokens, so the last token stands one further. In a row of a pair the
    rejected reply's first token is foretold at the end of the prompt, so there its end is counted from the chosen's.
    """
    counts = torch.bincount(batch.owners)
    ends = batch.positions[counts.cumsum(0) - 1] + 1
    if batch.mask is not None:
        ends[1::2] = ends[0::2] + counts[1::2]
    return ends


class Offset(NamedTuple):
    """What comparisons leave open: the mean reward of chosen replies, and the spread of chosen and rejected ones."""

    mean: float = 0.0
    std: float = 1.0


def fix(model: Any, offset: Offset) -> None:
    """Write the offset where config.json keeps it: heads of transformers have no bias that could hold it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.config.reward_mean, inner.config.reward_std = offset


def offset_of(model: Any) -> Offset:
    """The offset of a saved reward model; (0, 1) for one that was trained elsewhere and has none."""
    return Offset(float(getattr(model.config, "reward_mean", 0.0)), float(getattr(model.config, "reward_std", 1.0)))


def reads_pairs(scorer: RewardScorer, longest: int) -> bool:
    """Whether this model reads a row that holds a pair as it reads two rows (see pairs.reads_alike)."""
    config = scorer.inner.config.get_text_config()
    return reads_alike(scorer, scorer, config, longest, coarse=scorer.autocast is not None)


@torch.no_grad()
def score_pairs(
    scorer: nn.Module, pairs: Sequence[Pair], *, pad: int, budget: int, share: bool, ranks: Ranks = ALONE
) -> Tensor:
    """Rewards [pairs, 2] of chosen and rejected replies, on the CPU, in batches of like length over all processes."""
    lengths = np.asarray([len(pair) for pair in pairs], dtype=np.int64)
    found = torch.zeros(len(pairs), 2)
    for part in ranks.shares(np.argsort(lengths, kind="stable"), lengths, budget) if pairs else ():
        batch = collate_pairs([pairs[i] for i in part.rows], pad, share=share).to(next(scorer.parameters()).device)
        rewards = scorer(batch).view(-1, 2)
        if part.real:
            found[torch.from_numpy(part.rows)] = rewards.cpu()
    return ranks.total(found)


@torch.no_grad()
def score_rows(scorer: nn.Module, rows: Sequence[Row], *, pad: int, budget: int) -> Tensor:
    """Rewards [rows] of replies that stand alone, on the CPU, without gradient."""
    lengths = np.asarray([len(row) for row in rows], dtype=np.int64)
    found = torch.zeros(len(rows))
    for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, budget) if rows else ():
        batch = collate([rows[i] for i in part], pad).to(next(scorer.parameters()).device)
        found[torch.from_numpy(part)] = scorer(batch).cpu()
    return found


def rows_of(tokenizer: Any, conversations: Sequence[Conversation], longest: int) -> list[Row]:
    """Conversations that end with the assistant as rows; raises DataError for what cannot be scored."""
    for number, talk in enumerate(conversations, start=1):
        if len(talk) < 2 or talk.messages[-1].role != "assistant":
            raise DataError(
                f"conversation {number} does not end with a reply of the assistant; there is nothing to score"
            )
    rows = encode_replies(tokenizer, [(Conversation(talk.messages[:-1]), talk.reply) for talk in conversations])
    for number, row in enumerate(rows, start=1):
        if len(row) > longest:
            raise DataError(
                f"conversation {number} has {len(row)} tokens and the reward model reads {longest}; shorten it"
            )
    return rows
