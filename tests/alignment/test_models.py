"""Models to train: adapters on quantised weights, checkpointed activations, dropout taken out."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from alignment.tiny import tiny_folder
from trivet.alignment import memory, models, preference, sft
from trivet.alignment.batches import Row, collate
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, TrivetError

FLOAT16 = "ignore:MatMul8bitLt:UserWarning"


@pytest.mark.filterwarnings(FLOAT16, "ignore::FutureWarning")
def test_adapters_on_8_bit_weights_are_merged_into_the_whole_ones(tmp_path, demonstrations):
    start = tiny_folder(tmp_path / "start")
    config = sft.Config(
        model=str(start),
        out=str(tmp_path / "run"),
        lora=4,
        quantize="int8",
        lr=2e-2,
        max_steps=12,
        log_every=1,
        threads=1,
    )
    result = sft.run(config, demonstrations)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 12 and result.loss < 5.8 < 6.0
    before, after = (load_file(folder / "model.safetensors") for folder in (start, result.folder))
    assert set(before) == set(after) and all(after[name].dtype == torch.float32 for name in after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # All linear layers have adapters and nothing was left rounded to 8 bits: norms and embeddings are as they were.
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    merged = AutoModelForCausalLM.from_pretrained(result.folder)
    loss = sft.heldout_loss(Scorer(merged), sft.encode_demonstrations(*_tokenized(start, demonstrations)).rows, 0, 4096)
    assert loss == pytest.approx(result.loss, abs=0.25)


def _tokenized(start, demonstrations):
    return models.load(start)[1], demonstrations, 256


def test_what_cannot_be_quantised_is_refused(folder):
    with pytest.raises(ConfigError, match="quantised weights cannot be trained; set lora"):
        preference.Config(model=str(folder), quantize="int8")
    with pytest.raises(ConfigError, match="nf4 needs a GPU"):
        models.load(folder, device="cpu", quantize="nf4")


def test_checkpointed_activations_change_no_gradient_and_dropout_is_out():
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        from transformers import LlamaConfig

        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        model = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=97, attention_dropout=0.5, **shape))
        models.still(model, checkpointing=checkpointing)
        scorer = Scorer(model)
        assert model.training == checkpointing
        batch = collate([Row(torch.arange(3, 20).numpy(), 4)], 0)
        scorer(batch).sum().backward()
        grads.append([p.grad for p in model.parameters()])
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


def test_out_of_memory_names_the_knob():
    with pytest.raises(TrivetError, match="Lower batch_tokens first"), memory.told():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(TrivetError, match="checkpointing=on"), memory.told():
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="shapes"), memory.told():
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("setting", "wanted"), [("on", True), ("off", False), ("auto", False)])
def test_on_a_cpu_activations_are_kept_unless_asked_otherwise(setting, wanted):
    model = torch.nn.Linear(2, 2)
    assert memory.checkpointed(setting, model, lambda: model(torch.ones(2)).sum()) == wanted


def test_checkpointing_is_a_setting_of_every_run_and_changes_no_result(folder, tmp_path, preferences):
    losses = []
    for setting in ("on", "off"):
        config = preference.Config(
            model=str(folder), out=str(tmp_path / setting), checkpointing=setting, max_steps=3, lr=1e-3, threads=1
        )
        losses.append(preference.run(config, preferences).loss)
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
