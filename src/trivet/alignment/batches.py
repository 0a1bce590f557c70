"""Lessons to tensors: chat template, token-exact boundary, length buckets, rows without waste.

A reply begins exactly where the model begins to speak when it is asked for one. The prompt is rendered with the
template's opening of the assistant's turn, the whole conversation is rendered with the reply in it, and the tokens of
the first must be a prefix of the tokens of the second. Where they are not, the model would learn from another context
than it is used in; that is an error that shows both, never a silent shift of the boundary.

What is learnt includes the token that ends the turn: the whole is cut after the template's end-of-turn mark, and where
a template has none the tokenizer's end token is added, so that the model learns to stop.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trivet.core.errors import DataError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation, Message
from trivet.core.models.chat import render

_log = logging.getLogger(__name__)

POOL = 50  # batches that are sorted by length together; more is less padding and less mixing


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Token ids of one row, of which those from `start` on are learnt."""

    ids: np.ndarray
    start: int

    def __len__(self) -> int:
        return len(self.ids)


class Batch(NamedTuple):
    """A rectangle of rows: `ids` [B, L]; flat positions [N] whose next token is learnt; those tokens [N]; owners [N].

    Padding stands on the right, where a causal model's earlier positions cannot see it: no mask is needed. Rows that
    hold more than one reply (pairs.py) bring a mask [B, 1, L, L], true where a position may look, and their places
    [B, L], the position ids.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    owners: Tensor
    mask: Tensor | None = None
    places: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return Batch(*(None if part is None else part.to(device) for part in self))


def _token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of texts that carry their own special tokens already."""
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


class _Whole(NamedTuple):
    """A conversation with its reply as text, and whether the template marks the end of the turn."""

    text: str
    marked: bool


def _whole(tokenizer: Any, prompt: Conversation, reply: str, opening: str) -> _Whole:
    """The conversation with the reply, cut after the mark that ends the turn (templates like to add a new line)."""
    text = render(tokenizer, prompt.then(Message("assistant", reply)), open_reply=False)
    spoken = reply.strip()
    place = text.rfind(spoken) if spoken else len(opening)
    if place < 0:  # the template rewrites replies; its own last words count
        return _Whole(text.rstrip(), True)
    end = place + len(spoken)
    mark = text[end:].rstrip()
    return _Whole(text[:end] + mark, True) if mark.strip() else _Whole(text, False)


def encode_replies(tokenizer: Any, pairs: Sequence[tuple[Conversation, str]]) -> list[Row]:
    """One row per (prompt, reply); raises DataError when a prompt's tokens are not a prefix of the whole's."""
    asked = [render(tokenizer, prompt, open_reply=True) for prompt, _ in pairs]
    told = [_whole(tokenizer, *pair, opening) for pair, opening in zip(pairs, asked, strict=True)]
    openings, wholes = _token_ids(tokenizer, asked), _token_ids(tokenizer, [whole.text for whole in told])
    special = set(tokenizer.all_special_ids)
    rows, broken = [], []
    for number, (opening, whole) in enumerate(zip(openings, wholes, strict=True)):
        if whole[: len(opening)] != opening:
            broken.append(number)
            continue
        ended = told[number].marked and whole[-1] in special
        rows.append(Row(np.asarray(whole if ended else [*whole, tokenizer.eos_token_id], dtype=np.int32), len(opening)))
    if broken:
        raise _shifted(tokenizer, openings[broken[0]], wholes[broken[0]], broken, len(pairs))
    return rows


def _shifted(tokenizer: Any, opening: list[int], whole: list[int], broken: list[int], total: int) -> DataError:
    same = next(
        (i for i, (a, b) in enumerate(zip(opening, whole, strict=False)) if a != b), min(len(opening), len(whole))
    )
    asked, taught = tokenizer.decode(opening[max(0, same - 4) :]), tokenizer.decode(whole[max(0, same - 4) : same + 8])
    return DataError(
        f"in {len(broken)} of {total} rows (first: row {broken[0] + 1}) the prompt's tokens are not the beginning of the "
        f"whole's: from token {same} on the model is asked with {asked!r} but would be taught {taught!r}. "
        "Change the chat template so that the prompt ends on a token boundary (a special token or a new line)."
    )


def encode_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Row]:
    """Plain texts between begin and end tokens, every token learnt; longer ones are cut into windows."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    rows = []
    for ids in _token_ids(tokenizer, texts):
        whole = np.asarray([*begin, *ids, tokenizer.eos_token_id], dtype=np.int32)
        windows = [whole[at : at + max_length] for at in range(0, len(whole), max_length)]
        rows += [Row(window, 1) for window in windows if len(window) > 1]
    return rows


def tell_long(lessons: Sequence[Any], max_length: int) -> None:
    """Says on the log which lessons are left out because they are too long, by file and line where they have one."""
    if lessons:
        named = ", ".join(str(lesson.origin) for lesson in lessons[:5])
        _log.warning(
            "%d lessons are longer than %d tokens and are left out (%s%s); raise max_length to keep them",
            len(lessons),
            max_length,
            named,
            ", ..." if len(lessons) > 5 else "",
        )


class Encoded(NamedTuple):
    """Batch ready for training, and how many lessons were dropped because they were too long."""

    rows: list[Row]
    too_long: int


def encode_demonstrations(tokenizer: Any, lessons: Sequence[Demonstration], max_length: int) -> Encoded:
    """Demonstrations as rows in the order given, plain texts last; too long ones are counted, never cut short."""
    spoken = [lesson for lesson in lessons if len(lesson.prompt)]
    texts = [lesson.reply for lesson in lessons if not len(lesson.prompt)]
    replies = encode_replies(tokenizer, [(lesson.prompt, lesson.reply) for lesson in spoken])
    tell_long([one for one, row in zip(spoken, replies, strict=True) if len(row) > max_length], max_length)
    kept = [row for row in replies if len(row) <= max_length]
    return Encoded(kept + encode_texts(tokenizer, texts, max_length), len(replies) - len(kept))


def rows_digest(rows: Sequence[Row]) -> str:
    """The content of encoded rows as a hash: data, template and tokenizer in one."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.int64([len(row), row.start]).tobytes())
        digest.update(row.ids.tobytes())
    return digest.hexdigest()[:32]


def collate(rows: Sequence[Row], pad: int) -> Batch:
    """A rectangle as wide as its longest row."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    positions, owners = [], []
    for at, row in enumerate(rows):
        ids[at, : len(row)] = row.ids
        positions.append(np.arange(row.start - 1, len(row) - 1) + at * width)
        owners.append(np.full(len(row) - row.start, at))
    flat = np.concatenate(positions)
    targets = ids.reshape(-1)[flat + 1]
    return Batch(*(torch.from_numpy(part) for part in (ids, flat, targets, np.concatenate(owners))))


def mask_of(parts: Tensor) -> Tensor:
    """Who may see whom in rows of several parts: [B, L] part numbers to [B, 1, L, L], true where a position may look.

    A position sees what stands before it in its own part, and in part 0, which everyone shares.
    """
    width = parts.shape[1]
    sees = (parts[:, None, :] == 0) | (parts[:, None, :] == parts[:, :, None])
    return (sees & torch.ones(width, width, dtype=torch.bool).tril())[:, None]


def collate_packed(rows: Sequence[Row], pad: int) -> Batch:
    """The same rows side by side in as few rows as they fit in, each as wide as the longest; none sees another.

    First fit, longest first. Owners are the numbers of `rows`, so sums per row are those of `collate`.
    """
    width = max(len(row) for row in rows)
    bins: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(rows)), key=lambda one: -len(rows[one])):
        at = next((at for at, left in enumerate(room) if left >= len(rows[number])), None)
        if at is None:
            bins.append([])
            room.append(width)
            at = len(bins) - 1
        bins[at].append(number)
        room[at] -= len(rows[number])
    ids = np.full((len(bins), width), pad, dtype=np.int64)
    places, part = np.zeros_like(ids), np.full_like(ids, len(rows) + 1)
    positions, owners = [], []
    for at, numbers in enumerate(bins):
        begin = 0
        for number in numbers:
            row, end = rows[number], begin + len(rows[number])
            ids[at, begin:end], places[at, begin:end], part[at, begin:end] = row.ids, np.arange(len(row)), number + 1
            positions.append(np.arange(begin + row.start - 1, end - 1) + at * width)
            owners.append(np.full(len(row) - row.start, number))
            begin = end
    flat = np.concatenate(positions)
    targets = ids.reshape(-1)[flat + 1]
    tensors = (torch.from_numpy(one) for one in (ids, flat, targets, np.concatenate(owners)))
    return Batch(*tensors, mask=mask_of(torch.from_numpy(part)), places=torch.from_numpy(places))


def split_by_tokens(order: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """`order` cut into runs whose padded rectangle (rows x longest) holds at most `budget` tokens, one row at least."""
    parts, first, longest = [], 0, 0
    for at, index in enumerate(order):
        longest = max(longest, int(lengths[index]))
        if at > first and (at - first + 1) * longest > budget:
            parts.append(order[first:at])
            first, longest = at, int(lengths[index])
    parts.append(order[first:])
    return parts


def _one_epoch(lengths: np.ndarray, batch_tokens: int, batch_size: int, dice: np.random.Generator) -> list[np.ndarray]:
    """Micro-batches of one pass: rows shuffled, sorted by length within pools, micro-batches shuffled again."""
    per_batch = batch_size or max(1, int(batch_tokens / lengths.mean()))
    order, batches = dice.permutation(len(lengths)), []
    for at in range(0, len(order), per_batch * POOL):
        pool = order[at : at + per_batch * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        if batch_size:
            batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        else:
            batches += split_by_tokens(pool, lengths, batch_tokens)
    return [batches[i] for i in dice.permutation(len(batches))]


def plan(
    lengths: Sequence[int],
    *,
    batch_tokens: int = 0,
    batch_size: int = 0,
    accumulate: int = 1,
    epochs: float = 1.0,
    max_steps: int = 0,
    seed: int = 0,
) -> list[list[np.ndarray]]:
    """The whole run's data order: for each optimiser step its micro-batches of row numbers.

    Micro-batches hold `batch_size` rows, or as many as fit in `batch_tokens` padded tokens. A pure function of its
    arguments: a run resumed at step n goes on with plan[n]. `max_steps` > 0 decides instead of `epochs`.
    """
    if not len(lengths):
        raise DataError("there is nothing to train on: every lesson was dropped or none was given")
    sizes, steps, wanted = np.asarray(lengths), [], max_steps
    for epoch in range(1_000_000):
        batches = _one_epoch(sizes, batch_tokens, batch_size, np.random.default_rng([seed, epoch]))
        if not max_steps and epochs - epoch < 1:
            batches = batches[: round(len(batches) * (epochs - epoch))]
        steps += [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
        if (max_steps and len(steps) >= max_steps) or (not max_steps and epoch + 1 >= epochs):
            break
    return steps[:wanted] if wanted else steps
