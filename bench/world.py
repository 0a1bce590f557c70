"""What both sides of the comparison get: one random model, one tokenizer, one list of pairs, all from one seed.

The model is a Llama of 17 M parameters with a vocabulary of 8,192, the tokenizer a byte-level BPE trained on the texts of
the pairs themselves. Weights are random: what is measured is work, not learning. The template is ChatML without the new
line after the end mark, so that both sides learn exactly the same tokens (TRL would count the new line as part of the
reply, Trivet ends the row at the mark). Pairs with a row longer than `max_length` are left out for both sides: TRL cuts
them and Trivet drops them, so they would not be the same work.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = 8192


@dataclass(frozen=True)
class Shape:
    """The size of a random model of a family of transformers."""

    family: str
    hidden: int
    inner: int
    layers: int
    heads: int
    key_value_heads: int
    head: int
    tied: bool
    vocabulary: int = VOCABULARY


SHAPES = {
    "llama-17m": Shape("Llama", 384, 1024, 6, 6, 6, 64, tied=False),
    "qwen3-0.6b": Shape("Qwen3", 1024, 3072, 28, 16, 8, 128, tied=True, vocabulary=151_936),
    "qwen3-1.7b": Shape("Qwen3", 2048, 6144, 28, 16, 8, 128, tied=True, vocabulary=151_936),
}


def rows(path: Path) -> list[dict[str, Any]]:
    """The pairs of a file: `prompt` a list of turns, `chosen` and `rejected` texts; empty and equal replies left out."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    kept = [row for row in found if row["chosen"].strip() and row["rejected"].strip()]
    kept = [row for row in kept if row["chosen"].strip() != row["rejected"].strip()]
    return [
        {"prompt": row["prompt"], "chosen": row["chosen"].strip(), "rejected": row["rejected"].strip()} for row in kept
    ]


def tokenizer(pairs: Sequence[dict[str, Any]]) -> Any:
    """A byte-level BPE trained on every text of the pairs."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    texts = [turn["content"] for pair in pairs for turn in pair["prompt"]]
    texts += [pair[name] for pair in pairs for name in ("chosen", "rejected")]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>")
    made.chat_template = TEMPLATE
    return made


def model(shape: Shape, words: Any, seed: int, *, scores: bool = False) -> Any:
    """A random model of this shape for this tokenizer, in float32; with `scores` one that gives a reward."""
    import torch
    import transformers

    settings: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    kind = "ForSequenceClassification" if scores else "ForCausalLM"
    torch.manual_seed(seed)
    config = getattr(transformers, f"{shape.family}Config")(**settings, **({"num_labels": 1} if scores else {}))
    return getattr(transformers, f"{shape.family}{kind}")(config)


def lengths(words: Any, pair: dict[str, Any]) -> tuple[int, int]:
    """Tokens of the chosen and of the rejected row, prompt included."""
    chosen, rejected = (
        words.apply_chat_template([*pair["prompt"], {"role": "assistant", "content": pair[name]}], tokenize=False)
        for name in ("chosen", "rejected")
    )
    ids = words([chosen, rejected], add_special_tokens=False)["input_ids"]
    return len(ids[0]), len(ids[1])


def build(
    folder: Path, data: Path, *, shape: Shape, pairs: int, max_length: int, seed: int, scores: bool = False
) -> dict[str, Any]:
    """Write FOLDER/model, FOLDER/pairs.jsonl and FOLDER/replies.jsonl; returns what they are. `scores` as in `model`."""
    from transformers import logging

    logging.disable_progress_bar()
    everything = rows(data)
    words = tokenizer(everything)
    longest = [max(lengths(words, pair)) for pair in everything]
    chosen = [pair for pair, tokens in zip(everything, longest, strict=True) if tokens <= max_length]
    random.Random(seed).shuffle(chosen)
    if len(chosen) < pairs:
        raise SystemExit(f"error: {data} has {len(chosen)} pairs of at most {max_length} tokens; ask for fewer --pairs")
    chosen = chosen[:pairs]
    made = model(shape, words, seed, scores=scores)
    made.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    replies = [
        {"prompt": pair["prompt"], "completion": pair[name], "label": name == "chosen"}
        for pair in chosen[: pairs // 2]
        for name in ("chosen", "rejected")
    ]
    random.Random(seed).shuffle(replies)
    write(folder / "pairs.jsonl", chosen)
    write(folder / "replies.jsonl", replies)
    return {
        "parameters": sum(weight.numel() for weight in made.parameters()),
        "vocabulary": shape.vocabulary,
        "pairs": pairs,
        "replies": len(replies),
        "tokens_of_two_rows": sum(sum(lengths(words, pair)) for pair in chosen),
        "left_out_as_too_long": sum(tokens > max_length for tokens in longest),
    }


def write(path: Path, made: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
