"""Families of models: what the scorer computes is what the model itself says, in every way that a row can be laid out.

Tiny random models made from configs, float32. Three claims for each family:

    chunked == dense         log-probabilities and their gradients, against log_softmax over the model's own logits
    padding changes nothing  a row alone and the same row beside a longer one
    shared == two rows       or `can_share` says no and pairs go in as two rows

`can_share` has to say no for families that read a row in order (recurrent and linear layers), count distances between
columns (ALiBi) or look through a window that is shorter than the row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from trivet.alignment.logprobs import Scorer, per_owner
from trivet.alignment.pairs import Pair, can_share, collate_pairs

VOCAB = 96
LONGEST = 64


class Family(NamedTuple):
    """A config class of transformers, what it needs beyond COMMON, and whether its pairs can share a row."""

    config: str
    settings: dict[str, Any]
    shares: bool = True


COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "initializer_range": 0.2,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8}
FAMILIES = {
    "llama": Family("LlamaConfig", {}),
    "llama, tied": Family("LlamaConfig", {"tie_word_embeddings": True}),
    "qwen2": Family("Qwen2Config", {}),
    "qwen3": Family("Qwen3Config", {"head_dim": 8}),
    "gemma": Family("GemmaConfig", {"head_dim": 8}),
    "gemma2": Family("Gemma2Config", {"head_dim": 8, "sliding_window": 256, "query_pre_attn_scalar": 8}),
    "gemma3": Family("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 256, "query_pre_attn_scalar": 8}),
    "mistral": Family("MistralConfig", {"sliding_window": None}),
    "phi3": Family("Phi3Config", {}),
    "gpt2": Family("GPT2Config", GPT2),
    "gpt_neox": Family("GPTNeoXConfig", {"num_key_value_heads": None}),
    "olmo2": Family("Olmo2Config", {}),
    "granite": Family("GraniteConfig", {"logits_scaling": 4.0, "residual_multiplier": 0.5}),
    "cohere": Family("CohereConfig", {"logit_scale": 0.25}),
    "smollm3": Family("SmolLM3Config", {"use_sliding_window": False}),
    "stablelm": Family("StableLmConfig", {}),
    "mixtral": Family("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "qwen3_moe": Family("Qwen3MoeConfig", EXPERTS),
    "gpt_neo": Family("GPTNeoConfig", {"num_layers": 2, "num_heads": 4, "attention_types": [[["global"], 2]]}),
    "opt": Family("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": Family("BloomConfig", {"n_layer": 2, "n_head": 4}, shares=False),
    "mamba": Family("MambaConfig", {"state_size": 4}, shares=False),
    "mamba2": Family("Mamba2Config", {"state_size": 4, "head_dim": 8, "num_heads": 8, "n_groups": 1}, shares=False),
    "qwen3_next": Family(
        "Qwen3NextConfig",
        {
            **EXPERTS,
            "shared_expert_intermediate_size": 24,
            "linear_num_value_heads": 2,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
        shares=False,
    ),
}


def made(name: str) -> Any:
    family = FAMILIES[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(getattr(transformers, family.config)(**{**COMMON, **family.settings}))
    return model.float().eval()


def pairs() -> list[Pair]:
    """Three pairs of random tokens, of unlike lengths; prompts of 7, 3 and 12 tokens."""
    dice = np.random.default_rng(0)
    sizes = [(7, 5, 8), (3, 9, 4), (12, 2, 6)]
    return [Pair(*(dice.integers(3, VOCAB, size, dtype=np.int32) for size in three)) for three in sizes]


def gradients(model: Any, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    value.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def same_gradients(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys() and ours
    for name, expected in theirs.items():
        torch.testing.assert_close(
            ours[name], expected, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_chunked_is_dense_in_value_and_gradient(name):
    model = made(name)
    batch = collate_pairs(pairs(), 2, share=False)
    logits = model(input_ids=batch.ids, use_cache=False).logits.float()
    dense = logits.log_softmax(-1).flatten(0, 1)[batch.positions].gather(1, batch.targets[:, None])[:, 0]
    slopes = torch.linspace(-1, 1, len(dense))
    expected = gradients(model, (dense * slopes).sum())
    for tile in (VOCAB * 5, VOCAB * 1000):  # many tiles, which are computed again, and one, which is kept
        logps = Scorer(model, tile=tile)(batch)
        torch.testing.assert_close(logps, dense.detach(), atol=1e-5, rtol=1e-4)
        same_gradients(gradients(model, (logps * slopes).sum()), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_changes_nothing(name):
    scorer = Scorer(made(name))
    together = collate_pairs(pairs(), 2, share=False)
    summed = per_owner(scorer(together), together.owners, 6)
    for at, pair in enumerate(pairs()):
        for side, reply in enumerate((pair.chosen, pair.rejected)):
            alone = collate_pairs([Pair(pair.prompt, reply, reply)], 2, share=False)
            torch.testing.assert_close(
                per_owner(scorer(alone), alone.owners, 2)[0], summed[2 * at + side], atol=1e-4, rtol=1e-5
            )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_shared_row_is_two_rows_or_is_not_used(name):
    model = made(name)
    scorer = Scorer(model)
    assert can_share(scorer, LONGEST) is FAMILIES[name].shares
    if not FAMILIES[name].shares:
        return
    weights = torch.linspace(-1, 1, 6)
    found = {}
    for share in (True, False):
        batch = collate_pairs(pairs(), 2, share=share)
        summed = per_owner(scorer(batch), batch.owners, 6)
        found[share] = summed.detach(), gradients(model, (summed * weights).sum())
    torch.testing.assert_close(found[True][0], found[False][0], atol=1e-4, rtol=1e-5)
    same_gradients(found[True][1], found[False][1])


WINDOWS = {
    "mistral": {"sliding_window": 8},
    "gemma2": {"sliding_window": 8},
    "gemma3": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
    "smollm3": {"use_sliding_window": True, "sliding_window": 8, "no_rope_layer_interval": 2},
    "mixtral": {"sliding_window": 8},
    "gpt_neo": {"attention_types": [[["local"], 2]], "window_size": 8},
}


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("window", [8, 40])
def test_windows_shorter_than_the_row_are_not_shared(name, window):
    """At 40 the window is longer than any short probe, and still shorter than the row."""
    family = FAMILIES[name]
    places = {key: window if value == 8 else value for key, value in WINDOWS[name].items()}
    torch.manual_seed(0)
    settings = {**COMMON, **family.settings, **places}
    model = AutoModelForCausalLM.from_config(getattr(transformers, family.config)(**settings)).float().eval()
    scorer = Scorer(model)
    dice = np.random.default_rng(1)
    long = Pair(*(dice.integers(3, VOCAB, size, dtype=np.int32) for size in (50, 6, 6)))
    summed = {}
    for share in (True, False):
        batch = collate_pairs([long], 2, share=share)
        summed[share] = per_owner(scorer(batch), batch.owners, 2).detach()
    assert not torch.allclose(summed[True], summed[False], atol=1e-3)  # the window does cut this row
    assert not can_share(scorer, LONGEST)
