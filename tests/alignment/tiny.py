"""Tiny random models with a byte-level tokenizer, for the tests of alignment and of the local model."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation

WORDS = [
    "the",
    "miller",
    "keeps",
    "a",
    "lamp",
    "by",
    "the",
    "well",
    "and",
    "the",
    "baker",
    "tells",
    "the",
    "ferry",
    "when",
    "bread",
    "is",
    "warm",
    "at",
    "noon",
    "why",
    "not",
    "ask",
    "him",
]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_tokenizer(vocab: int = 400, template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|begin|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=special[3:],
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_folder(
    folder: Path, *, hidden: int = 32, layers: int = 2, vocab: int = 400, seed: int = 0, template: str | None = TEMPLATE
) -> Path:
    """A random Llama and its tokenizer, saved as an ordinary folder."""
    tokenizer = tiny_tokenizer(vocab, template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def words(dice: random.Random, low: int, high: int) -> str:
    return " ".join(dice.choice(WORDS) for _ in range(dice.randint(low, high)))


def tiny_lessons() -> list[Demonstration]:
    dice = random.Random(0)
    talks = [Demonstration(Conversation.user(words(dice, 2, 12)), words(dice, 1, 15)) for _ in range(36)]
    return talks + [Demonstration(Conversation(), words(dice, 5, 20)) for _ in range(6)]
