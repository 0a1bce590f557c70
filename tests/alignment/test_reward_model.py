"""Reward models of many families: saved and opened again they give the rewards they had, in one row or in two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from alignment.tiny import tiny_tokenizer
from trivet.alignment import reward_model
from trivet.alignment.pairs import Pair, collate_pairs
from trivet.alignment.reward_model import RewardScorer
from trivet.core.errors import ConfigError

COMMON = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
FAMILIES = {
    "llama": {}, "qwen2": {}, "qwen3": {}, "gemma": {}, "gemma2": {}, "gemma3_text": {}, "mistral": {}, "phi3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4}, "gpt_neox": {}, "olmo2": {}, "smollm3": {},
    "mixtral": {"num_local_experts": 4}, "qwen3_moe": EXPERTS, "stablelm": {}, "opt": {}, "bloom": {},
}  # fmt: skip
TWO_ROWS = ("bloom",)
"""Bloom's attention takes no place of its own for a token: a shared row would be read differently."""


def newborn(folder: Path, kind: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = {"vocab_size": len(tokenizer), "pad_token_id": 2, "eos_token_id": 1, "bos_token_id": 0}
    sizes = COMMON if kind != "gpt2" else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **ids, **sizes, **FAMILIES.get(kind, {}))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_keeps_its_rewards_through_the_disk_and_in_shared_rows(kind, tmp_path):
    newborn(tmp_path / "start", kind)
    model, tokenizer = reward_model.start(tmp_path / "start", seed=0, device="cpu")
    scorer = RewardScorer(model)
    share = reward_model.reads_pairs(scorer, 100)
    assert share == (kind not in TWO_ROWS)
    model.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    again = RewardScorer(reward_model.load(tmp_path / "rm", device="cpu")[0])
    ids = np.arange(3, 40, dtype=np.int32)
    pairs = [Pair(ids[:5], ids[5:9], ids[9:12]), Pair(ids[:3], ids[5:19], ids[9:22])]
    with torch.no_grad():
        before, after = scorer(collate_pairs(pairs, 2, share=share)), again(collate_pairs(pairs, 2, share=False))
    assert before.shape == (4,) and before.unique().numel() == 4
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)


def test_a_family_without_a_classifier_is_told(tmp_path):
    newborn(tmp_path, "granite")
    with pytest.raises(ConfigError, match="no sequence classifier for GraniteForCausalLM"):
        reward_model.start(tmp_path, seed=0, device="cpu")
