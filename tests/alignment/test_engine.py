"""The run around the step: pace, files, refusals."""

from __future__ import annotations

import pytest
import torch

from trivet.alignment import engine, models
from trivet.core.errors import ConfigError, ModelNotFound, TrivetError


def rates(schedule: str, warmup: float = 0.2) -> list[float]:
    return [engine.learning_rate(step, 10, 1.0, warmup=warmup, schedule=schedule) for step in range(10)]


def test_the_rate_rises_then_falls():
    assert rates("constant") == [0.5, *[1.0] * 9]
    assert rates("linear")[:3] == [0.5, 1.0, 1.0] and rates("linear")[-1] == pytest.approx(0.125)
    cosine = rates("cosine", 0.0)
    assert cosine[0] == 1.0 and cosine[5] == pytest.approx(0.5) and cosine == sorted(cosine, reverse=True)


def test_weight_decay_spares_norms(folder):
    model, _ = models.load(folder)
    groups = engine.adamw(model, betas=(0.9, 0.95), weight_decay=0.1).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(p.dim() == 1 for p in groups[1]["params"]) and groups[1]["params"]


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(ModelNotFound, match="there is no model folder"):
        models.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match="holds no causal language model"):
        models.load(tmp_path / "empty")


def test_wrong_adapter_targets_name_the_right_ones(folder):
    model, _ = models.load(folder)
    with pytest.raises(ConfigError, match=r'"queries" does not fit.*down_proj.*q_proj'):
        models.with_lora(model, 4, 8.0, "queries")


def test_weights_digest_sees_one_changed_number(folder):
    model, _ = models.load(folder)
    before = models.weights_digest(model)
    assert before == models.weights_digest(models.load(folder)[0])
    with torch.no_grad():
        model.lm_head.weight[3, 3] += 1e-3
    assert models.weights_digest(model) != before


def test_a_tally_sums_and_starts_again():
    tally = engine.Tally()
    tally.add(loss=torch.tensor(1.5), steps=1)
    tally.add(loss=torch.tensor(2.0), steps=1)
    assert tally.take() == {"loss": 3.5, "steps": 2.0} and tally.sums == {}


def test_a_loss_that_is_no_number_stops_the_run(folder, tmp_path):
    model, _ = models.load(folder)
    run = engine.Run(tmp_path, model, engine.adamw(model, betas=(0.9, 0.95), weight_decay=0.0), {})
    with pytest.raises(TrivetError, match=r"the loss is nan at step 0.*Lower lr"):
        run.log({"loss": float("nan")})
    with pytest.raises(TrivetError, match=r"the grad_norm is inf at step 0"):
        run.log({"loss": 1.0, "grad_norm": float("inf")})
    run.norms.append(torch.tensor(float("nan")))
    with pytest.raises(TrivetError, match=r"the gradient norm is nan at step 0"):
        run.save()
    assert not run.log_path.exists() and not list(tmp_path.glob("checkpoint-*"))
