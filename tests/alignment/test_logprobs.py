"""The log-probability primitive: only what is asked for, in tiles, and equal to the whole model's softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from trivet.alignment import models
from trivet.alignment.batches import Row, collate
from trivet.alignment.logprobs import Scorer, per_owner
from trivet.alignment.pairs import Pair, can_share, collate_pairs

SMALL = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "initializer_range": 0.2,
}  # fmt: skip
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL),
    "mistral": MistralConfig(**SMALL, sliding_window=None),
    "mistral-window": MistralConfig(**SMALL, sliding_window=16),
    "gemma2": Gemma2Config(**SMALL, sliding_window=64, final_logit_softcapping=5.0),
    "granite": GraniteConfig(**SMALL, logits_scaling=4.0),
    "cohere2": Cohere2Config(**SMALL, logit_scale=0.25, sliding_window=64),
    "gpt2": GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.2),
}


def build(family: str):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(FAMILIES[family]).eval()


def some_pairs(count: int = 5, seed: int = 0) -> list[Pair]:
    dice = np.random.default_rng(seed)
    sizes = dice.integers(1, 20, size=(count, 3))
    return [Pair(*(dice.integers(3, 97, size).astype(np.int32) for size in three)) for three in sizes]


def sums(scorer: Scorer, pairs: list[Pair], *, share: bool) -> torch.Tensor:
    batch = collate_pairs(pairs, 0, share=share)
    return per_owner(scorer(batch), batch.owners, 2 * len(pairs)).view(-1, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_the_whole_models_softmax(family):
    model = build(family)
    rows = [Row(np.arange(3, 20, dtype=np.int32), 4), Row(np.arange(30, 39, dtype=np.int32), 1)]
    batch = collate(rows, 0)
    ours = per_owner(Scorer(model)(batch), batch.owners, 2)
    for at, row in enumerate(rows):
        logits = model(input_ids=torch.from_numpy(row.ids.astype(np.int64))[None]).logits[0].float().log_softmax(-1)
        dense = sum(logits[i - 1, row.ids[i]] for i in range(row.start, len(row)))
        assert ours[at].item() == pytest.approx(dense.item(), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_rows_equal_two_rows_or_are_not_used(family):
    model = build(family)
    scorer = Scorer(model)
    if family == "mistral-window":
        assert not can_share(scorer, 128)
        return
    assert can_share(scorer, 40)
    torch.testing.assert_close(
        sums(scorer, some_pairs(), share=True), sums(scorer, some_pairs(), share=False), atol=1e-4, rtol=1e-5
    )


def test_shared_rows_give_the_same_gradient():
    grads = []
    for share in (True, False):
        model = build("llama")
        (sums(Scorer(model), some_pairs(), share=share) * torch.tensor([1.0, -1.0])).sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_replies_in_one_row_do_not_see_each_other():
    scorer, (pair,) = Scorer(build("llama")), some_pairs(1)
    other = Pair(pair.prompt, pair.chosen[::-1].copy(), pair.rejected)
    assert sums(scorer, [pair], share=True)[0, 1] == sums(scorer, [other], share=True)[0, 1]


def test_tiles_equal_one_piece_in_value_and_gradient():
    found = []
    for tile in (1 << 25, 97 * 3):
        model = build("llama")
        batch = collate_pairs(some_pairs(), 0, share=True)
        logps = Scorer(model, tile=tile)(batch)
        logps.sum().backward()
        found.append((logps.detach(), [p.grad for p in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for one, two in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_padding_order_and_neighbours_do_not_matter():
    scorer, pairs = Scorer(build("llama")), some_pairs(6)
    together = sums(scorer, pairs, share=True)
    alone = torch.cat([sums(scorer, [pair], share=True) for pair in pairs])
    turned = sums(scorer, pairs[::-1], share=True).flip(0)
    padded = sums(scorer, [*pairs, Pair(*(np.full(40, 5, dtype=np.int32),) * 3)], share=True)[:-1]
    for other in (alone, turned, padded):
        torch.testing.assert_close(together, other, atol=1e-4, rtol=1e-5)


def test_the_adapter_turned_off_is_the_start_model():
    pairs = some_pairs()
    frozen = sums(Scorer(build("llama")), pairs, share=True)
    model = models.with_lora(build("llama"), 4, 8.0, "all-linear")
    scorer = Scorer(model)
    torch.testing.assert_close(sums(scorer, pairs, share=True), frozen, atol=0, rtol=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    assert (sums(scorer, pairs, share=True) - frozen).abs().max() > 0.1
    with model.disable_adapter():
        torch.testing.assert_close(sums(scorer, pairs, share=True), frozen, atol=0, rtol=0)
