"""What a policy says when it is asked: replies drawn from the model in training, as rows that the same model can learn from.

Replies are drawn with a key-value cache (core/models/decode.py) and nothing but their tokens is kept. Their
log-probabilities are computed afterwards by the training path (logprobs.py), for the policy of the time, the policy of
later steps and the reference alike, at the one temperature that they were drawn at: a ratio of two paths that round
differently would be wrong from the first step on. Nucleus sampling is left out for the same reason: it draws from another
distribution than the one whose gradient is taken.

Every draw has its own random numbers, a pure function of the seeds given and of its place, so a run that was stopped draws
the same replies again. Rectangles are [B, T]: reply b has its tokens on the left, the token that ended it included, and
`mask` is true where they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivet.alignment import models, rewards
from trivet.alignment.batches import Batch, Row, collate, split_by_tokens
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, DataError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.chat import end_ids, render
from trivet.core.models.decode import Draft, generate
from trivet.core.protocols import Reward


class Asked(NamedTuple):
    """A prompt, in words and as the tokens after which the model begins to speak."""

    talk: Conversation
    ids: list[int]


class Rollout(NamedTuple):
    """Replies and what is known of them without any model; entry b of everything is reply b."""

    rows: list[Row]  # prompt and reply, the token that ended it included
    talks: list[Conversation]  # the same in words
    ended: Tensor  # [B], false where a reply was cut at its longest
    mask: Tensor  # [B, T], true on the tokens of a reply

    @property
    def lengths(self) -> Tensor:
        return self.mask.sum(1)


def encode_prompts(tokenizer: Any, prompts: Sequence[Conversation], longest: int) -> tuple[list[Asked], int]:
    """Prompts of at most `longest` tokens, and how many were longer."""
    texts = [render(tokenizer, talk, open_reply=True) for talk in prompts]
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    asked = [Asked(talk, ids) for talk, ids in zip(prompts, tokens, strict=True) if 0 < len(ids) <= longest]
    return asked, len(prompts) - len(asked)


def prompt_room(max_length: int, max_tokens: int) -> int:
    """How long a prompt may be when a reply must fit behind it; raises ConfigError where there is no room at all."""
    if max_tokens < 1 or max_length <= max_tokens:
        raise ConfigError(
            f"max_tokens is {max_tokens} and prompt with reply may have {max_length} tokens; leave room for a prompt"
        )
    return max_length - max_tokens


def drawn(count: int, wanted: int, turn: int, seed: int) -> np.ndarray:
    """Which of `count` prompts are asked in turn `turn` = 0, 1, ...: all of them, shuffled, before one comes again."""
    places = np.arange(turn * wanted, (turn + 1) * wanted)
    orders = {lap: np.random.default_rng([seed, lap]).permutation(count) for lap in set(places // count)}
    return np.asarray([orders[place // count][place % count] for place in places])


def roll(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Asked],
    *,
    max_tokens: int,
    temperature: float = 1.0,
    seed: Sequence[int] = (0,),
    together: int = 128,
) -> Rollout:
    """One reply to each prompt (give a prompt K times for K replies), at most `together` drawn side by side.

    `seed` is any list of whole numbers; draw i adds i to it. Longest prompts go first, so that neighbours are alike.
    """
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    drafts = [Draft(one.ids, sampling, np.random.default_rng([*seed, i])) for i, one in enumerate(asked)]
    ends = end_ids(tokenizer, getattr(model, "generation_config", None))
    context = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
    order = sorted(drafts, key=lambda draft: -len(draft.prompt))
    was_training = model.training
    model.eval()
    for at in range(0, len(order), together):
        generate(model, order[at : at + together], ends=ends, pad=tokenizer.pad_token_id, context=context)
    model.train(was_training)
    return _rollout(tokenizer, asked, drafts)


def _rollout(tokenizer: Any, asked: Sequence[Asked], drafts: Sequence[Draft]) -> Rollout:
    rows, talks = [], []
    for one, draft in zip(asked, drafts, strict=True):
        tail = [] if draft.end is None else [draft.end]
        rows.append(Row(np.asarray([*draft.prompt, *draft.ids, *tail], dtype=np.int32), len(draft.prompt)))
        said = str(tokenizer.decode(draft.ids, skip_special_tokens=True)).lstrip()
        talks.append(one.talk.then(Message("assistant", said)))
    return Rollout(rows, talks, torch.tensor([draft.end is not None for draft in drafts]), reply_mask(rows))


def reply_mask(rows: Sequence[Row]) -> Tensor:
    """[B, T], true on the tokens of each reply."""
    lengths = torch.tensor([len(row) - row.start for row in rows])
    return torch.arange(int(lengths.max()))[None] < lengths[:, None]


def sample_replies(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Conversation],
    *,
    replies: int = 1,
    max_tokens: int = 256,
    temperature: float = 1.0,
    seed: int = 0,
    together: int = 128,
) -> list[list[str]]:
    """`replies` texts for each prompt from a model in memory: for best-of-n, for pairs drawn from the policy, for reports.

    Raises ConfigError when a prompt leaves no room for a reply in the model's context; nothing is cut.
    """
    context = int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30)
    asked, too_long = encode_prompts(tokenizer, prompts, prompt_room(context, max_tokens))
    if too_long:
        raise ConfigError(
            f"{too_long} of {len(prompts)} prompts leave no room for {max_tokens} tokens in a context of {context}; "
            "lower max_tokens or shorten them"
        )
    many = [one for one in asked for _ in range(replies)]
    talks = roll(
        model, tokenizer, many, max_tokens=max_tokens, temperature=temperature, seed=(seed,), together=together
    ).talks
    return [[talk.reply for talk in talks[at : at + replies]] for at in range(0, len(talks), replies)]


# -------------------------------------------------------------------------------------------- what models say of rows


def at_temperature(scorer: Scorer, temperature: float) -> Scorer:
    """The scorer of log softmax(logits / temperature), changed in place.

    The logits are cap * tanh(scale * h / cap), so dividing both by the temperature divides the whole.
    """
    scorer.scale, scorer.cap = scorer.scale / temperature, scorer.cap / temperature
    return scorer


@torch.no_grad()
def rectangle(read: Callable[[Batch], Tensor], rows: Sequence[Row], *, pad: int, budget: int, device: Any) -> Tensor:
    """`read(batch)`, numbers [N] (or [N, F]) for the reply tokens of a batch, over all rows as [B, T] (or [B, T, F]).

    Rows of like length go together, at most `budget` padded tokens at a time; places without a token hold 0.
    """
    mask = reply_mask(rows).to(device)
    lengths = np.asarray([len(row) for row in rows])
    found: Tensor | None = None
    for part in split_by_tokens(np.argsort(lengths, kind="stable"), lengths, budget):
        values = read(collate([rows[i] for i in part], pad).to(device)).float()
        if found is None:
            found = values.new_zeros(*mask.shape, *values.shape[1:])
        chosen = torch.as_tensor(part, device=device)
        block = found[chosen]
        block[mask[chosen]] = values
        found[chosen] = block
    assert found is not None
    return found


def flat(values: Tensor, mask: Tensor) -> Tensor:
    """[B, T] as the [N] numbers of real tokens, in the order in which a batch of the same rows has them."""
    return values[mask]


def scores(reward: Reward, talks: Sequence[Conversation]) -> Tensor:
    """The reward of each conversation, [B]; raises TrivetError when there are too few of them or one is no number."""
    return torch.tensor(rewards.score_now(reward, talks))


def reward_of(spec: str, *, join: rewards.How, k: float, device: str) -> Reward:
    """The reward that a recipe names (see rewards.resolve); folders with commas between are an ensemble."""
    folders = [folder.strip() for folder in spec.split(",") if folder.strip()]
    if len(folders) > 1:
        return rewards.RewardEnsemble.load(folders, join, k=k, device=device)
    return rewards.resolve(spec, how=join, k=k, device=device)


def reward_mark(reward: Reward) -> str:
    """What a reward is, for the identity of a run: a hash of its weights, or of its members', else the name of its kind.

    Other rewards may change between two starts of a run without being noticed.
    """
    if hasattr(reward, "members"):
        return " ".join([type(reward).__name__, *map(reward_mark, reward.members)])
    return models.weights_digest(reward.model) if hasattr(reward, "model") else type(reward).__name__


def refuse_several() -> None:
    """Raises ConfigError in a launch of several processes: they would draw and write the same."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        raise ConfigError(
            f"policy gradients draw and learn in one process, and {world} were launched; start without torchrun"
        )


def place_scores(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores [B] as rewards [B, T] that stand at the last real token of each reply, the one that ended it where it ended."""
    last = mask.sum(1, keepdim=True) - 1
    return torch.zeros(mask.shape, dtype=scores.dtype, device=scores.device).scatter(1, last, scores[:, None])


def rounds_of(prompts: int, per_round: int, epochs: float, rounds: int) -> int:
    """How many rounds a run has: `rounds` where it is above 0, else as many as ask every prompt `epochs` times."""
    if not prompts:
        raise DataError("there is nothing to ask: every prompt was dropped or none was given")
    return rounds or max(1, round(epochs * prompts / per_round))


def minibatches(count: int, size: int, passes: int, *, seed: Sequence[int]) -> Iterator[np.ndarray]:
    """Reply numbers of each optimiser step of a round: all of them, shuffled anew for every pass."""
    for lap in range(passes):
        order = np.random.default_rng([*seed, lap]).permutation(count)
        yield from (order[at : at + size] for at in range(0, count, size))
