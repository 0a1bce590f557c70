"""Objectives three ways: by hand, against NumPy, and at their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trivet.alignment import objectives


def four(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([float(value)]) for value in values]


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


# ---------------------------------------------------------------------------------------------------- rewards, policies


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_bradley_terry_by_hand():
    three = math.log(3)
    assert objectives.bradley_terry(*four(three, 0)).item() == pytest.approx(0.287682, abs=1e-5)
    smoothed = objectives.bradley_terry(*four(three, 0), label_smoothing=0.1).item()
    assert smoothed == pytest.approx(0.397544, abs=1e-5)
    assert objectives.bradley_terry(*four(2, 1), centering=0.01).item() == pytest.approx(0.313262 + 0.09, abs=1e-5)
    assert objectives.bradley_terry(*four(three + 2, 0), margin=torch.tensor([2.0])).item() == pytest.approx(
        0.287682, abs=1e-5
    )
    soft = objectives.bradley_terry(*four(three, 0), soft=torch.tensor([0.9])).item()
    assert soft == pytest.approx(smoothed, abs=1e-6)


def test_bradley_terry_equals_numpy_and_its_limits():
    dice = np.random.default_rng(1)
    w, l, m = dice.normal(0, 2, (3, 40))  # noqa: E741
    p = dice.random(40)
    ours = objectives.bradley_terry(
        *torch.from_numpy(np.stack([w, l])), margin=torch.from_numpy(m), soft=torch.from_numpy(p),
        label_smoothing=0.2, centering=0.05,
    ).numpy()  # fmt: skip
    q = 0.8 * p + 0.2 * (1 - p)
    d = w - l - m
    np.testing.assert_allclose(ours, -q * np.log(sigmoid(d)) - (1 - q) * np.log(sigmoid(-d)) + 0.05 * (w + l) ** 2)
    assert objectives.bradley_terry(*four(7, 7)).item() == pytest.approx(math.log(2))
    assert objectives.bradley_terry(*four(-4000, 0)).item() == pytest.approx(4000)
    shifted = objectives.bradley_terry(torch.tensor([1.0]) + 50, torch.tensor([0.0]) + 50)
    assert shifted.item() == pytest.approx(objectives.bradley_terry(*four(1, 0)).item(), abs=1e-5)


def test_ppo_clip_by_hand():
    up = torch.tensor([1.5]).log()
    zero = torch.zeros(1)
    assert objectives.ppo_clip(up, zero, torch.tensor([1.0]), clip=0.2).item() == pytest.approx(-1.2)
    assert objectives.ppo_clip(up, zero, torch.tensor([-1.0]), clip=0.2).item() == pytest.approx(1.5)
    assert objectives.ppo_clip(zero, zero, torch.tensor([0.7])).item() == pytest.approx(-0.7)
    assert math.isfinite(objectives.ppo_clip(torch.tensor([900.0]), zero, torch.tensor([-1.0])).item())


def test_ppo_clip_equals_numpy_and_has_no_gradient_where_it_is_clipped():
    dice = np.random.default_rng(2)
    new, old, a = dice.normal(0, 0.4, (3, 200))
    ours = objectives.ppo_clip(*torch.from_numpy(np.stack([new, old, a])), clip=0.3).numpy()
    r = np.exp(new - old)
    np.testing.assert_allclose(ours, np.maximum(-a * r, -a * np.clip(r, 0.7, 1.3)))
    logps = torch.tensor([0.5, 0.5, 0.05], requires_grad=True)
    objectives.ppo_clip(logps, torch.zeros(3), torch.tensor([1.0, -1.0, 1.0]), clip=0.2).sum().backward()
    assert logps.grad[0] == 0 and logps.grad[1] > 0 and logps.grad[2] < 0


def test_value_clip_by_hand_and_numpy():
    assert objectives.value_clip(*four(1, 0, 1)[:3], clip=0.2).item() == pytest.approx(0.32)
    v, o, g = np.random.default_rng(3).normal(0, 1, (3, 100))
    ours = objectives.value_clip(*torch.from_numpy(np.stack([v, o, g])), clip=0.2).numpy()
    np.testing.assert_allclose(ours, 0.5 * np.maximum((v - g) ** 2, (o + np.clip(v - o, -0.2, 0.2) - g) ** 2))


# ------------------------------------------------------------------------------------------------------- preferences


def test_rdpo_by_hand_at_zero_and_unbiased():
    margin = math.log(3) / 0.5
    ours = objectives.rdpo(*four(margin, 0, 0, 0), beta=0.5, label_smoothing=0.1).item()
    assert ours == pytest.approx((0.9 * math.log(4 / 3) - 0.1 * math.log(4)) / 0.8, abs=1e-5)
    assert objectives.rdpo(*four(-3, -5, -3, -5), label_smoothing=0.3).item() == pytest.approx(math.log(2), abs=1e-6)
    # Averaged over flips with chance e it is the plain loss.
    e, values = 0.2, four(-3, -5, -4, -4)
    flipped = (values[1], values[0], values[3], values[2])
    mean = (1 - e) * objectives.rdpo(*values, label_smoothing=e) + e * objectives.rdpo(*flipped, label_smoothing=e)
    assert mean.item() == pytest.approx(objectives.dpo(*values).item(), abs=1e-6)
    with pytest.raises(ValueError, match="half of the time"):
        objectives.rdpo(*values, label_smoothing=0.5)


def test_dpo_with_a_chance_for_each_pair_is_each_pair_smoothed():
    parts = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    each = torch.tensor([0.0, 0.1, 0.5])
    ours = objectives.dpo(*parts, label_smoothing=each)
    alone = [objectives.dpo(*parts[:, i : i + 1], label_smoothing=float(each[i])) for i in range(3)]
    torch.testing.assert_close(ours, torch.cat(alone))


def test_kto_by_hand():
    both = torch.tensor([True, False])
    at_anchor = objectives.kto(torch.tensor([2.0, 2.0]), both, 2.0, desirable_weight=1.0, undesirable_weight=3.0)
    assert at_anchor.tolist() == pytest.approx([0.5, 1.5])
    far = objectives.kto(torch.tensor([math.log(3) / 0.1] * 2), both, 0.0, beta=0.1)
    assert far.tolist() == pytest.approx([0.25, 0.75], abs=1e-6)


def test_kto_equals_numpy_and_gives_the_anchor_no_gradient():
    dice = np.random.default_rng(4)
    s, good = dice.normal(0, 20, 60), dice.random(60) < 0.5
    ours = objectives.kto(torch.from_numpy(s), torch.from_numpy(good), 1.5, beta=0.2, desirable_weight=1.3).numpy()
    np.testing.assert_allclose(
        ours, np.where(good, 1.3 * (1 - sigmoid(0.2 * (s - 1.5))), 1 - sigmoid(0.2 * (1.5 - s))), rtol=1e-6
    )
    anchor, shift = torch.tensor(0.3, requires_grad=True), torch.tensor([0.1], requires_grad=True)
    objectives.kto(shift, torch.tensor([True]), anchor).sum().backward()
    assert anchor.grad is None and shift.grad.item() < 0


def test_orpo_by_hand_numpy_and_at_certainty():
    ours = objectives.orpo(*torch.tensor([[0.5], [0.25]]).log()).item()
    assert ours == pytest.approx(math.log(4 / 3), abs=1e-6)
    a, b = np.log(np.random.default_rng(5).random((2, 80)) * 0.98 + 0.01)
    odds = [x - np.log1p(-np.exp(x)) for x in (a, b)]
    np.testing.assert_allclose(
        objectives.orpo(*torch.from_numpy(np.stack([a, b]))).numpy(), -np.log(sigmoid(odds[0] - odds[1])), rtol=1e-4
    )
    sure = torch.zeros(1, requires_grad=True)
    objectives.orpo(sure, torch.tensor([-1.0])).sum().backward()
    assert math.isfinite(sure.grad.item())


def test_simpo_by_hand_and_numpy():
    gap = (math.log(3) + 0.5) / 2
    assert objectives.simpo(*four(gap, 0)[:2], beta=2.0, gamma=0.5).item() == pytest.approx(math.log(4 / 3), abs=1e-6)
    assert objectives.simpo(*four(1, 1)[:2], beta=2.0, gamma=0.5).item() == pytest.approx(
        math.log1p(math.exp(0.5)), abs=1e-6
    )
    a, b = np.random.default_rng(6).normal(-2, 1, (2, 50))
    ours = objectives.simpo(*torch.from_numpy(np.stack([a, b])), beta=3.0, gamma=1.0).numpy()
    np.testing.assert_allclose(ours, -np.log(sigmoid(3 * (a - b) - 1)), rtol=1e-6)


# -------------------------------------------------------------------------------------------------------- unlearning


def test_npo_by_hand_and_simnpo_too():
    three = math.log(3)
    assert objectives.npo(*four(three, 0), beta=1.0).item() == pytest.approx(2.772589, abs=1e-5)
    assert objectives.npo(*four(-three, 0), beta=1.0).item() == pytest.approx(0.575364, abs=1e-5)
    assert objectives.npo(*four(-8, -8), beta=0.1).item() == pytest.approx(20 * math.log(2), abs=1e-4)
    assert objectives.simnpo(torch.tensor([-three]), beta=1.0).item() == pytest.approx(0.575364, abs=1e-5)


def test_npo_becomes_gradient_ascent_as_beta_falls():
    for beta, tolerance in ((1e-4, 1e-3), (0.1, 0.5)):
        logp = torch.tensor([-3.0], requires_grad=True)
        objectives.npo(logp, torch.tensor([-2.0]), beta=beta).sum().backward()
        assert logp.grad.item() == pytest.approx(1.0, abs=tolerance)
    forgotten = torch.tensor([-500.0], requires_grad=True)
    objectives.npo(forgotten, torch.tensor([-2.0]), beta=0.1).sum().backward()
    assert forgotten.grad.item() < 1e-8


def test_npo_equals_numpy():
    lp, ref = np.random.default_rng(7).normal(-20, 5, (2, 40))
    ours = objectives.npo(*torch.from_numpy(np.stack([lp, ref])), beta=0.3).numpy()
    np.testing.assert_allclose(ours, -(2 / 0.3) * np.log(sigmoid(-0.3 * (lp - ref))), rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["dpo", "rdpo", "ipo", "bradley_terry", "orpo", "simpo", "npo", "ppo_clip", "value_clip"]
)
def test_a_wrong_shape_is_refused(name):
    loss, count = (
        getattr(objectives, name),
        {"dpo": 4, "rdpo": 4, "ipo": 4, "ppo_clip": 3, "value_clip": 3}.get(name, 2),
    )
    with pytest.raises(ValueError, match="must have one shape"):
        loss(torch.zeros(3), *[torch.zeros(1) for _ in range(count - 1)])


def test_the_names_by_which_losses_are_asked_for():
    names = ["sft", "bradley_terry", "ppo_clip", "gae", "dpo", "ipo", "kto", "orpo", "simpo", "npo"]
    assert all(callable(getattr(objectives, name)) for name in names)
