"""Objectives three ways: by hand, against NumPy, and at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trivet.alignment import objectives


def four(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([value]) for value in values]


def numpy_dpo(w, l, rw, rl, beta, e):  # noqa: E741
    z = beta * ((w - rw) - (l - rl))
    return (1 - e) * np.log1p(np.exp(-z)) + e * np.log1p(np.exp(z))


def test_sft_costs_the_logarithm_of_the_odds_against():
    assert objectives.sft(torch.tensor([0.25]).log()).item() == pytest.approx(1.386294, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_dpo_starts_at_ln_2(smoothing):
    loss = objectives.dpo(*four(-7, -9, -7, -9), beta=0.3, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)


def test_dpo_by_hand():
    margin = math.log(3) / 0.5
    assert objectives.dpo(*four(margin, 0, 0, 0), beta=0.5).item() == pytest.approx(0.287682, abs=1e-5)
    smoothed = objectives.dpo(*four(margin, 0, 0, 0), beta=0.5, label_smoothing=0.1).item()
    assert smoothed == pytest.approx(0.9 * 0.287682 + 0.1 * 1.386294, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_dpo_equals_numpy(smoothing):
    dice = np.random.default_rng(0)
    parts = dice.normal(-20, 5, size=(4, 50))
    ours = objectives.dpo(*torch.from_numpy(parts), beta=0.2, label_smoothing=smoothing)
    assert ours.shape == (50,)
    np.testing.assert_allclose(ours.numpy(), numpy_dpo(*parts, 0.2, smoothing), rtol=1e-6)


def test_dpo_stays_finite_far_out():
    losses = objectives.dpo(*four(-5000, 0, 0, 0), beta=1.0)
    assert losses.item() == pytest.approx(5000)


def test_dpo_pushes_the_chosen_up_and_the_rejected_down():
    won, lost = (torch.tensor([-5.0], requires_grad=True) for _ in range(2))
    objectives.dpo(won, lost, *four(-5, -5), beta=0.1).sum().backward()
    assert won.grad.item() == pytest.approx(-0.05) and lost.grad.item() == pytest.approx(0.05)


def test_smoothed_dpo_turns_back_where_the_labels_are_believed_enough():
    best = math.log(0.9 / 0.1)
    for margin, sign in ((best - 0.5, -1), (best + 0.5, 1)):
        won = torch.tensor([margin], requires_grad=True)
        objectives.dpo(won, *four(0, 0, 0), beta=1.0, label_smoothing=0.1).sum().backward()
        assert math.copysign(1, won.grad.item()) == sign


def test_dpo_without_beta_teaches_nothing():
    won = torch.tensor([3.0], requires_grad=True)
    objectives.dpo(won, *four(0, 0, 0), beta=0.0).sum().backward()
    assert won.grad.item() == 0


def test_ipo_by_hand_and_numpy():
    assert objectives.ipo(*four(1, 0, 0, 0), tau=0.25).item() == pytest.approx(1.0)
    assert objectives.ipo(*four(-3, -4, -3, -4), tau=0.1).item() == pytest.approx(25.0)
    parts = np.random.default_rng(1).normal(size=(4, 20))
    wanted = ((parts[0] - parts[2]) - (parts[1] - parts[3]) - 1 / (2 * 0.3)) ** 2
    np.testing.assert_allclose(objectives.ipo(*torch.from_numpy(parts), tau=0.3).numpy(), wanted, rtol=1e-6)


def test_ipo_pulls_back_past_its_target():
    for margin, sign in ((4.0, -1), (6.0, 1)):
        won = torch.tensor([margin], requires_grad=True)
        objectives.ipo(won, *four(0, 0, 0), tau=0.1).sum().backward()
        assert math.copysign(1, won.grad.item()) == sign


def test_per_token_divides_each_by_its_own_length():
    means = objectives.per_token(torch.tensor([[-6.0, -8.0]]), torch.tensor([[3, 2]]))
    assert means.tolist() == [[-2.0, -4.0]]


@pytest.mark.parametrize("objective", [objectives.dpo, objectives.ipo])
def test_shapes_that_would_broadcast_are_refused(objective):
    with pytest.raises(ValueError, match="one shape"):
        objective(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1), torch.zeros(3))
