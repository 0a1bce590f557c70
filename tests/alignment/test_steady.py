"""What must hold whatever the model: dropout stays off, checkpoints hold all that is trained, settings are in range."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPT2LMHeadModel, GraniteConfig

from alignment.tiny import tiny_tokenizer
from trivet.alignment import kto, models, preference, settings, sft
from trivet.alignment.logprobs import Scorer
from trivet.core.errors import ConfigError, TrivetError
from trivet.core.lessons import Feedback

RECIPES = ("preference", "kto", "sft")


@pytest.fixture(scope="module")
def dropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 whose dropout would be noticed."""
    folder, tokenizer = tmp_path_factory.mktemp("gpt2"), tiny_tokenizer()
    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": 0}
    shape = {"vocab_size": len(tokenizer), "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    GPT2LMHeadModel(GPT2Config(**shape, **ends, resid_pdrop=0.3, attn_pdrop=0.3, embd_pdrop=0.3)).save_pretrained(
        folder
    )
    tokenizer.save_pretrained(folder)
    return folder


def train(recipe: str, model: Path, out: Path, preferences, demonstrations, *, stop: int = 0, **changes) -> list[float]:
    common = {"model": str(model), "out": str(out), "lr": 1e-3, "max_steps": 4, "log_every": 1, "threads": 1, **changes}
    judged = [
        Feedback(pair.prompt, reply, reply is pair.chosen)
        for pair in preferences
        for reply in (pair.chosen, pair.rejected)
    ]

    def progress(row) -> None:
        if stop and row["step"] == stop:
            raise KeyboardInterrupt

    match recipe:
        case "preference":
            preference.run(
                preference.Config(**common, batch_size=6), preferences, heldout=preferences[:4], progress=progress
            )
        case "kto":
            kto.run(kto.Config(**common, batch_size=6), judged, progress=progress)
        case "sft":
            sft.run(sft.Config(**common, batch_size=6), demonstrations, heldout=demonstrations[:4], progress=progress)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("recipe", RECIPES)
def test_dropout_is_off_with_and_without_checkpointing_and_after_every_scoring_pass(
    recipe, dropping, tmp_path, preferences, demonstrations
):
    often = {} if recipe == "kto" else {"eval_every": 1}
    plain = train(recipe, dropping, tmp_path / "plain", preferences, demonstrations, **often)
    again = train(recipe, dropping, tmp_path / "again", preferences, demonstrations, checkpointing="on")
    assert plain == pytest.approx(again, abs=1e-6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_with_dropout_resumes_to_the_same_bits(recipe, dropping, tmp_path, preferences, demonstrations):
    train(recipe, dropping, tmp_path / "whole", preferences, demonstrations)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, dropping, tmp_path / "parts", preferences, demonstrations, stop=3, save_every=1)
    train(recipe, dropping, tmp_path / "parts", preferences, demonstrations, save_every=1)
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_of_dpo_starts_at_ln_2_whatever_the_cache_holds(dropping, tmp_path, preferences, demonstrations):
    even = [pair for pair in preferences if pair.weight == 1.0]
    cache = str(tmp_path / "cache")
    first, second = (train("preference", dropping, tmp_path / name, even, [], cache=cache) for name in ("a", "b"))
    assert first[0] == pytest.approx(math.log(2), abs=1e-6) and first == second


@pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning", "ignore::FutureWarning")
def test_adapters_on_8_bit_weights_are_saved_and_resumed(folder, tmp_path, demonstrations):
    settings = {"lora": 2, "quantize": "int8", "save_every": 1}
    whole = train("sft", folder, tmp_path / "whole", [], demonstrations, **settings)
    with pytest.raises(KeyboardInterrupt):
        train("sft", folder, tmp_path / "parts", [], demonstrations, stop=3, **settings)
    (checkpoint,) = (tmp_path / "parts").glob("checkpoint-*")
    weights = torch.load(checkpoint / "state.pt", weights_only=True)["weights"]
    assert weights and all("lora_" in name for name in weights)
    assert train("sft", folder, tmp_path / "parts", [], demonstrations, **settings) == whole


def test_a_checkpoint_with_other_names_is_refused(folder, tmp_path, demonstrations):
    with pytest.raises(KeyboardInterrupt):
        train("sft", folder, tmp_path, [], demonstrations, stop=3, save_every=1)
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    state = torch.load(checkpoint / "state.pt", weights_only=True)
    state["weights"] = {f"gone.{name}": weight for name, weight in state["weights"].items()}
    torch.save(state, checkpoint / "state.pt")
    with pytest.raises(TrivetError, match="holds other weights than this model trains"):
        train("sft", folder, tmp_path, [], demonstrations, save_every=1)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"log_every": 0}, "log_every is 0; it is at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it is at least 1"),
        ({"epochs": 0}, "epochs is 0, so nothing would be learnt"),
        ({"epochs": -1}, "epochs is -1; it is at least 0"),
        ({"threads": -1}, "threads is -1"),
        ({"lora": -1}, "lora is -1"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"device": "foo"}, 'device: "foo" is not known'),
    ],
)
def test_a_setting_out_of_its_range_is_told_before_anything_is_loaded(settings, why):
    with pytest.raises(ConfigError, match=why):
        preference.run(preference.Config(model="/nowhere", out="/nowhere", **settings), [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="finds no GPU here"):
        models.pick_device("cuda")


def test_accumulate_needs_no_batch_size():
    settings.check({"accumulate": 1, "batch_size": 0, "epochs": 1.0})
    with pytest.raises(ConfigError, match="accumulate is 0"):
        settings.check({"accumulate": 0, "epochs": 1.0})


@pytest.mark.parametrize("family", [Gemma2Config, GraniteConfig])
def test_16_bit_weights_of_families_that_scale_or_cap_are_known(family):
    torch.manual_seed(0)
    extra = {"final_logit_softcapping": 30.0, "head_dim": 16} if family is Gemma2Config else {"logits_scaling": 2.0}
    config = family(
        vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.6, tie_word_embeddings=False, pad_token_id=0, **extra,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
    logits = model(input_ids=torch.arange(8)[None]).logits
    assert logits.abs().max() > 5  # as large as trained ones
    Scorer(model, autocast=torch.bfloat16)


def test_held_out_replies_to_one_prompt_are_measured(folder, tmp_path, preferences):
    judged = [Feedback(pair.prompt, pair.chosen, True) for pair in preferences]
    settings = {"max_steps": 1, "threads": 1, "log_every": 1}
    result = kto.run(kto.Config(model=str(folder), out=str(tmp_path), **settings), judged, heldout=judged[:1])
    assert result.final["heldout_desirable_share"] == 1.0
