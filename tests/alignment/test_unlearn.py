"""Unlearning: its losses by hand and by NumPy, its reference, its masks, its limits, its resume, and that it forgets."""

from __future__ import annotations

import json
import logging
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from alignment.test_sft import metrics, same_bits, stop_at
from alignment.tiny import tiny_folder, words
from trivet.alignment import engine, models, sft, unlearn, unlearn_terms
from trivet.alignment.batches import collate, encode_demonstrations
from trivet.alignment.unlearn_terms import Start, States, cached_logps, direction, kl, kl_to_start, rmu, row_logps
from trivet.cli.align import Job
from trivet.core.config import describe, load, peel
from trivet.core.errors import ConfigError, DataError, ModelNotFound, TrivetError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation

ROOT = Path(__file__).parents[2]


def lessons(seed: int, count: int = 16) -> list[Demonstration]:
    dice = random.Random(seed)
    return [Demonstration(Conversation.user(words(dice, 3, 9)), words(dice, 2, 8)) for _ in range(count)]


FORGET, RETAIN = lessons(1), lessons(2, 24)


@pytest.fixture(scope="module")
def knows(folder, tmp_path_factory) -> Path:
    """A tiny model that has learnt both sets."""
    out = tmp_path_factory.mktemp("knows")
    config = sft.Config(model=str(folder), out=str(out), lr=5e-3, batch_tokens=512, max_steps=120, save_every=0)
    assert sft.run(config, [*FORGET, *RETAIN]).loss < 0.5
    return out / "model"


def config(folder: Path, out: Path, **changes) -> unlearn.Config:
    base = unlearn.Config(
        model=str(folder), out=str(out), lr=1e-3, batch_size=6, batch_tokens=256, max_steps=8, log_every=2, save_every=3,
        warmup=0.0, audit=False,
    )  # fmt: skip
    return replace(base, **changes)


def scored(folder: Path, lora: int = 0):
    model, tokenizer = models.load(folder, device="cpu")
    if lora:
        model = models.with_lora(model, lora, 16.0, "all-linear")
    return engine.scorer(model.eval(), "fp32"), tokenizer


# ------------------------------------------------------------------------------------------------------ pure functions


def test_rmu_by_hand_and_by_numpy():
    assert rmu(torch.tensor([[1.0, 2.0]]), torch.tensor([4.0, 6.0])).tolist() == [25.0]
    dice = np.random.default_rng(0)
    states, target = dice.normal(size=(5, 3)), dice.normal(size=(5, 3))
    wanted = ((states - target) ** 2).sum(1)
    assert rmu(torch.tensor(states), torch.tensor(target)).numpy() == pytest.approx(wanted, rel=1e-5)
    assert rmu(torch.tensor(states), torch.tensor(states)).abs().max() == 0
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(1, 3\)"):
        rmu(torch.tensor(states), torch.tensor(target[:1]))


def test_kl_by_hand_and_by_numpy():
    half, skew = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert float(kl(half, skew)) == pytest.approx((math.log(2) + math.log(2 / 3)) / 2)
    dice = np.random.default_rng(0)
    p, q = (dice.dirichlet(np.ones(7), 4) for _ in range(2))
    wanted = (p * np.log(p / q)).sum(1)
    assert kl(torch.tensor(p).log(), torch.tensor(q).log()).numpy() == pytest.approx(wanted)
    policy = torch.randn(3, 7, requires_grad=True)
    kl(policy.detach().log_softmax(-1), policy.log_softmax(-1)).sum().backward()
    assert policy.grad.abs().max() < 1e-6
    with pytest.raises(ValueError, match="both must be"):
        kl(half, skew[:, :1])


def test_the_direction_has_its_length_and_its_seed():
    one, same, other = direction(64, 6.5, 3), direction(64, 6.5, 3), direction(64, 6.5, 4)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert float(one.norm()) == pytest.approx(6.5) and bool((one >= 0).all())


@pytest.mark.parametrize("loss", ["npo", "ga", "graddiff"])
def test_the_forget_term_pulls_like_gradient_ascent_at_the_start_and_as_beta_goes_to_zero(loss):
    reference = torch.tensor([-3.0, -7.0])
    for beta, shift in ((0.1, 0.0), (1e-6, 5.0)):
        logps = (reference + shift).requires_grad_()
        settings = config(Path("x"), Path("y"), loss=loss, beta=beta)
        unlearn.forget_losses(settings, logps, reference, torch.tensor([2, 3])).sum().backward()
        assert logps.grad.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_npo_lets_go_of_what_is_forgotten_and_simnpo_counts_tokens():
    reference, counts = torch.tensor([-3.0]), torch.tensor([4])
    logps = torch.tensor([-203.0], requires_grad=True)
    unlearn.forget_losses(config(Path("x"), Path("y"), loss="npo", beta=0.1), logps, reference, counts).sum().backward()
    assert float(logps.grad) == pytest.approx(2 / (1 + math.exp(20)))
    settings = config(Path("x"), Path("y"), loss="simnpo", beta=1.0)
    found = unlearn.forget_losses(settings, torch.tensor([-4 * math.log(3)]), reference, counts)
    assert float(found) == pytest.approx(-2 * math.log(3 / 4))


# -------------------------------------------------------------------------------------- the reference and the states


@pytest.mark.parametrize("lora", [0, 4])
def test_the_start_is_the_frozen_model_however_far_the_policy_goes(folder, lora):
    scorer, tokenizer = scored(folder, lora)
    rows = encode_demonstrations(tokenizer, FORGET, 512).rows
    batch = collate(rows, tokenizer.pad_token_id)
    frozen, _ = scored(folder)
    wanted = frozen(batch).detach()
    start = Start(scorer)
    with torch.no_grad():
        for weight in scorer.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn_like(weight)
    moved = scorer(batch).detach()
    assert not torch.allclose(moved, wanted, atol=0.1)
    assert torch.allclose(start.run(scorer, batch), wanted, atol=1e-5)
    assert torch.equal(scorer(batch), moved)
    if lora:
        with scorer.model.disable_adapter():
            assert torch.allclose(scorer(batch), wanted, atol=1e-5)


@pytest.mark.parametrize("tile", [1 << 25, 900])
def test_kl_to_the_start_in_tiles_is_kl_of_whole_logits(folder, tile):
    scorer, tokenizer = scored(folder)
    scorer.tile = tile
    rows = encode_demonstrations(tokenizer, FORGET[:5], 512).rows
    batch = collate(rows, tokenizer.pad_token_id)
    frozen, _ = models.load(folder, device="cpu")
    states, start = States(scorer), Start(scorer)
    at_start = kl_to_start(scorer, start, states(batch), start.run(states, batch))
    assert at_start.shape == batch.targets.shape and at_start.abs().max() < 1e-6
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in scorer.parameters():
            weight += 0.1 * torch.randn_like(weight)
    found = kl_to_start(scorer, start, states(batch), start.run(states, batch))
    found.mean().backward()
    ours = {name: p.grad.clone() for name, p in scorer.named_parameters()}
    scorer.zero_grad()
    policy, reference = (
        model(input_ids=batch.ids).logits.flatten(0, 1)[batch.positions].log_softmax(-1)
        for model in (scorer.model, frozen)
    )
    dense = torch.nn.functional.kl_div(policy, reference.detach(), reduction="none", log_target=True).sum(-1)
    assert torch.allclose(found, dense, atol=1e-5) and float(dense.detach().mean()) > 0.01
    dense.mean().backward()
    for name, weight in scorer.named_parameters():
        assert torch.allclose(ours[name], weight.grad, atol=1e-5), name


def test_states_are_a_layers_output_on_learnt_positions_and_padding_changes_nothing(folder):
    scorer, tokenizer = scored(folder)
    rows = encode_demonstrations(tokenizer, FORGET[:6], 512).rows
    layers = unlearn_terms.blocks(scorer.model)
    states = States(scorer, layers[0])
    batch = collate(rows, tokenizer.pad_token_id)
    found = states(batch)
    whole = scorer.model(input_ids=batch.ids, output_hidden_states=True).hidden_states[1]
    assert torch.allclose(found, whole.flatten(0, 1)[batch.positions], atol=1e-6)
    alone = torch.cat([states(collate([row], tokenizer.pad_token_id)) for row in rows])
    assert torch.allclose(found, alone, atol=1e-5)
    assert len(found) == sum(len(row) - row.start for row in rows)
    assert {name for name, _ in states.named_parameters()} == {
        f"scorer.{name}" for name, _ in scorer.named_parameters()
    }


def test_the_layers_above_the_steered_one_are_not_computed(folder):
    scorer, tokenizer = scored(folder)
    layers = unlearn_terms.blocks(scorer.model)
    asked = []
    layers[1].register_forward_pre_hook(lambda *_: asked.append(1))
    States(scorer, layers[0])(collate(encode_demonstrations(tokenizer, FORGET[:2], 512).rows, tokenizer.pad_token_id))
    assert not asked


def test_reference_log_probabilities_are_computed_once_per_content(folder, tmp_path, monkeypatch):
    scorer, tokenizer = scored(folder)
    rows = encode_demonstrations(tokenizer, FORGET, 512).rows
    counted, real = [], unlearn_terms.row_logps
    monkeypatch.setattr(unlearn_terms, "row_logps", lambda *a, **k: counted.append(1) or real(*a, **k))
    kept = {"folder": tmp_path, "pad": tokenizer.pad_token_id}
    one = cached_logps(scorer, rows, weights="w", budget=99, **kept)
    two = cached_logps(scorer, rows, weights="w", budget=9999, **kept)
    assert torch.equal(one, two) and len(counted) == 1
    cached_logps(scorer, rows, weights="v", budget=99, **kept)
    cached_logps(scorer, rows[1:], weights="w", budget=99, **kept)
    assert len(counted) == 3
    assert torch.allclose(one, row_logps(scorer, rows, pad=tokenizer.pad_token_id, budget=9999), atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ the run


@pytest.mark.parametrize(
    ("settings", "forget_loss", "retain_loss"),
    [
        ({"loss": "npo", "beta": 0.1}, 20 * math.log(2), None),
        ({"loss": "npo", "beta": 0.1, "lora": 4}, 20 * math.log(2), None),
        ({"loss": "npo", "keep": "kl"}, 20 * math.log(2), 0.0),
        ({"loss": "graddiff", "keep": "kl", "lora": 4}, None, 0.0),
        ({"loss": "npo", "keep": "kl", "lora": 4, "dtype": "bf16"}, 20 * math.log(2), 0.0),
        ({"loss": "rmu", "layer": 1, "dtype": "bf16"}, None, 0.0),
        ({"loss": "rmu", "layer": 1}, None, 0.0),
        ({"loss": "rmu", "layer": 0, "lora": 4}, None, 0.0),
    ],
)
def test_the_first_step_stands_at_the_reference(knows, tmp_path, settings, forget_loss, retain_loss):
    unlearn.run(config(knows, tmp_path, max_steps=1, log_every=1, **settings), FORGET, RETAIN)
    zeroth, first = metrics(tmp_path)
    assert zeroth["step"] == 0 and abs(zeroth["forget_shift"]) < 1e-4
    if forget_loss is not None:
        assert first["forget_loss"] == pytest.approx(forget_loss, rel=1e-4)
    if retain_loss is not None:
        assert abs(first["retain_loss"]) < 1e-5
    else:
        assert first["retain_loss"] > 0.01
    assert first["grad_norm"] > 0 and {"forget_nll", "retain_nll", "forget_shift", "loss"} <= first.keys()


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        ("ga", {}),
        ("graddiff", {}),
        ("npo", {}),
        ("npo", {"keep": "kl"}),
        ("simnpo", {"beta": 2.5}),
        ("rmu", {"layer": 1, "steering": 20.0, "retain_weight": 1.0, "lr": 1e-2}),
    ],
)
def test_it_forgets(knows, tmp_path, loss, settings):
    result = unlearn.run(
        config(knows, tmp_path, loss=loss, max_steps=30, **settings), FORGET, RETAIN, heldout=FORGET[:3]
    )
    before, after = metrics(tmp_path)[0], result.final
    assert after["forget_nll"] > before["forget_nll"] + 1.0 and after["forget_shift"] < -2
    assert after["heldout_forget_nll"] > before["forget_nll"] + 1.0
    if loss not in ("ga", "graddiff"):  # which go on pulling, and in so small a model everything goes with it
        assert after["retain_nll"] - before["retain_nll"] < 0.5 * (after["forget_nll"] - before["forget_nll"])
    AutoModelForCausalLM.from_pretrained(result.folder)


def test_gradient_ascent_loses_what_npo_keeps_and_says_so(knows, tmp_path, caplog):
    final = {}
    npo = {"beta": 0.5, "retain_weight": 5.0}
    for loss, settings in (("ga", {}), ("npo", npo)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="trivet.alignment"):
            final[loss] = unlearn.run(
                config(knows, tmp_path / loss, loss=loss, max_steps=40, **settings), FORGET, RETAIN
            ).final
        told = [record.getMessage() for record in caplog.records if "being lost" in record.getMessage()]
        assert len(told) == (loss == "ga")
    assert final["ga"]["retain_nll"] > final["npo"]["retain_nll"] + 2
    assert "being lost" in (tmp_path / "ga" / "report.html").read_text()


def test_what_the_retain_term_does_not_see_is_not_held(knows, tmp_path):
    """The retain term reads replies only: other prompts' words in it change nothing where no token of theirs is learnt."""
    scorer, tokenizer = scored(knows)
    (row,) = encode_demonstrations(tokenizer, RETAIN[:1], 512).rows
    states = States(scorer)(collate([row], tokenizer.pad_token_id))
    assert len(states) == len(row) - row.start < len(row) - 1


@pytest.mark.parametrize("loss", ["npo", "graddiff", "rmu"])
def test_the_token_budget_changes_speed_only(knows, tmp_path, loss):
    keep = "auto" if loss == "rmu" else "kl"
    for budget in (40, 100_000):
        settings = config(
            knows, tmp_path / str(budget), loss=loss, keep=keep, layer=1, batch_tokens=budget, max_steps=2
        )
        unlearn.run(replace(settings, log_every=1), FORGET, RETAIN)
    for small, large in zip(metrics(tmp_path / "40"), metrics(tmp_path / "100000"), strict=True):
        assert small.keys() == large.keys()
        for name, value in large.items():
            assert small[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize(
    "settings", [{"loss": "npo", "keep": "kl"}, {"loss": "npo", "lora": 4}, {"loss": "rmu", "layer": 1}, {"loss": "ga"}]
)
def test_an_interrupted_run_ends_in_the_same_bits(knows, tmp_path, settings):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    unlearn.run(config(knows, whole, **settings), FORGET, RETAIN, heldout=FORGET[:3])
    with pytest.raises(KeyboardInterrupt):
        unlearn.run(config(knows, broken, **settings), FORGET, RETAIN, heldout=FORGET[:3], progress=stop_at(4))
    assert list(broken.glob("checkpoint-*"))
    unlearn.run(config(knows, broken, **settings), FORGET, RETAIN, heldout=FORGET[:3])
    assert same_bits(whole, broken) and metrics(whole) == metrics(broken)


def moved(folder: Path, result: engine.Result) -> set[str]:
    start, end = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (folder, result.folder))
    return {name for name in start if not torch.equal(start[name], end[name])}


@pytest.mark.parametrize(("layer", "trained"), [(1, {0, 1}), (3, {1, 2, 3})])
def test_rmu_trains_its_layer_and_the_two_below(tmp_path, layer, trained):
    start = tiny_folder(tmp_path / "start", layers=5)
    result = unlearn.run(config(start, tmp_path / "run", loss="rmu", layer=layer), FORGET, RETAIN)
    names = moved(start, result)
    assert {int(name.split(".")[2]) for name in names} == trained and all(".layers." in name for name in names)
    assert metrics(tmp_path / "run")[-1]["forget_loss"] < metrics(tmp_path / "run")[1]["forget_loss"]


def test_with_lora_only_the_adapter_moves_and_rmu_keeps_to_its_layers(tmp_path, knows):
    result = unlearn.run(config(knows, tmp_path / "npo", lora=4, lora_targets="q_proj"), FORGET, RETAIN)
    names = moved(knows, result)
    assert names and all("q_proj" in name for name in names)
    assert (result.adapter / "adapter_model.safetensors").exists()
    result = unlearn.run(config(knows, tmp_path / "rmu", loss="rmu", layer=0, lora=4), FORGET, RETAIN)
    names = moved(knows, result)
    assert names and all(".layers.0." in name for name in names)


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_layer_that_is_not_there(knows, tmp_path, layer):
    with pytest.raises(ConfigError, match=f"layer is {layer} and this model has the layers 0 to 1"):
        unlearn.run(config(knows, tmp_path, loss="rmu", layer=layer), FORGET, RETAIN)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "ga", "keep": "nll"}, "ga has no retain term"),
        ({"loss": "graddiff", "keep": "none"}, "is ga"),
        ({"loss": "rmu", "keep": "kl"}, "rmu holds hidden states"),
    ],
)
def test_settings_that_contradict_each_other(folder, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        config(folder, tmp_path, **settings)


def test_nothing_to_keep_is_refused_and_a_file_of_it_is_read(knows, tmp_path):
    with pytest.raises(ConfigError, match="needs data to keep"):
        unlearn.run(config(knows, tmp_path / "a"), FORGET)
    kept = tmp_path / "kept.jsonl"
    rows = [{"prompt": lesson.prompt.last_user, "completion": lesson.reply} for lesson in RETAIN]
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one = unlearn.run(config(knows, tmp_path / "b", retain=str(kept)), FORGET)
    two = unlearn.run(config(knows, tmp_path / "c"), FORGET, RETAIN)
    assert one.final["retain_nll"] == two.final["retain_nll"]
    assert (
        unlearn.run(config(knows, tmp_path / "b"), FORGET, RETAIN) == one
    )  # the same rows from elsewhere: the same run


def test_what_is_to_be_forgotten_and_to_be_kept_is_refused(knows, tmp_path):
    with pytest.raises(DataError, match="2 lessons are to be forgotten and to be kept"):
        unlearn.run(config(knows, tmp_path), FORGET, [*RETAIN, *FORGET[:2]])


def test_other_data_is_another_run(knows, tmp_path):
    unlearn.run(config(knows, tmp_path, max_steps=1), FORGET, RETAIN)
    with pytest.raises(ConfigError, match="retained was"):
        unlearn.run(config(knows, tmp_path, max_steps=1), FORGET, RETAIN[1:])


def test_a_gradient_that_is_no_number_is_written_down(knows, tmp_path):
    with pytest.raises(TrivetError, match=r"bad-batch\.json"):
        unlearn.run(config(knows, tmp_path, lr=1e30, clip=0.0), FORGET, RETAIN)
    rows = json.loads((tmp_path / "bad-batch.json").read_text())["rows"]
    assert {row["set"] for row in rows} == {"forget", "retain"} and all(row["text"] for row in rows)


def test_a_model_to_compare_with_that_is_not_there_is_told_before_training(knows, tmp_path):
    with pytest.raises(ModelNotFound, match="no model town:helpfull"):
        unlearn.run(config(knows, tmp_path, never="town:helpfull"), FORGET, RETAIN)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_documents_are_a_forget_set(knows, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "lamp.txt").write_text("The miller keeps a lamp by the well. The baker tells the ferry when bread is warm.")
    result = unlearn.run(config(knows, tmp_path / "run", documents=str(base)), [], RETAIN)
    assert result.final["heldout_forget_nll"] > 0 and result.final["forget_shift"] < -1


# ----------------------------------------------------------------------------------------------------------- the page


def test_every_setting_is_documented_with_its_default():
    text = (ROOT / "docs" / "unlearning.md").read_text(encoding="utf-8")
    for row in describe(unlearn.Config):
        kind = row.type.replace("|", "\\|")
        assert f"| `{row.name}` | {kind} | `{row.default}` | {row.help} |" in text


@pytest.mark.parametrize("recipe", sorted((ROOT / "configs").glob("unlearn_*.yaml")), ids=lambda path: path.name)
def test_every_recipe_can_be_read_and_says_how_to_run_it(recipe):
    job, values, rest = peel(Job, recipe, ())
    assert job.recipe == "unlearn" and load(unlearn.Config, recipe, rest, values=values)
    assert recipe.read_text().startswith(f"# trivet align configs/{recipe.name} ")
