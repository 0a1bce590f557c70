"""Advantages, KL estimates and masked statistics: by hand, against NumPy, and deaf to what stands in padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trivet.alignment import advantages as adv

NAN = float("nan")


def numpy_gae(rewards, values, mask, gamma, lam):
    found = np.zeros_like(values)
    for b in range(len(rewards)):
        last = int(mask[b].sum())
        running = 0.0
        for t in reversed(range(last)):
            following = values[b, t + 1] if t + 1 < last else 0.0
            running = rewards[b, t] + gamma * following - values[b, t] + gamma * lam * running
            found[b, t] = running
    return found


def test_gae_by_hand():
    got = adv.gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]), torch.ones(1, 2), gamma=1.0, lam=0.5)
    assert got.advantages.tolist() == [[0.25, 0.5]] and got.returns.tolist() == [[0.75, 1.0]]


def test_gae_equals_numpy_and_does_not_read_padding():
    dice = np.random.default_rng(0)
    rewards, values = dice.normal(size=(2, 5, 7))
    mask = np.arange(7) < dice.integers(1, 8, 5)[:, None]
    spoilt = [torch.from_numpy(np.where(mask, part, NAN)) for part in (rewards, values)]
    got = adv.gae(*spoilt, torch.from_numpy(mask), gamma=0.9, lam=0.8)
    wanted = numpy_gae(rewards, values, mask, 0.9, 0.8)
    np.testing.assert_allclose(got.advantages.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(got.returns.numpy(), (wanted + values) * mask, atol=1e-12)


def test_gae_at_its_limits():
    rewards, values, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]]), torch.ones(1, 3)
    one_step = adv.gae(rewards, values, mask, gamma=1.0, lam=0.0).advantages
    assert one_step.tolist() == [[1 + 5 - 4, 2 + 6 - 5, 3 - 6]]
    monte_carlo = adv.gae(rewards, values, mask, gamma=1.0, lam=1.0).returns
    assert monte_carlo.tolist() == [[6.0, 5.0, 3.0]]


def test_whiten_by_hand_and_with_its_mean_kept():
    values, mask = torch.tensor([[1.0, 3.0, NAN]]), torch.tensor([[True, True, False]])
    assert adv.whiten(values, mask).tolist()[0] == pytest.approx([-0.7071, 0.7071, 0.0], abs=1e-4)
    assert adv.whiten(values, mask, shift_mean=False).tolist()[0] == pytest.approx([1.2929, 2.7071, 0.0], abs=1e-4)


def test_masked_mean_of_nothing_is_an_error():
    assert adv.masked_mean(torch.tensor([2.0, NAN]), torch.tensor([True, False])).item() == 2.0
    with pytest.raises(ValueError, match="mean over nothing"):
        adv.masked_mean(torch.ones(2), torch.zeros(2))


def test_kl_estimates_by_hand():
    shift = torch.tensor([math.log(2)])
    zero = torch.zeros(1)
    assert adv.kl_estimate(shift, zero, "k1").item() == pytest.approx(0.693147, abs=1e-5)
    assert adv.kl_estimate(shift, zero, "k2").item() == pytest.approx(0.240227, abs=1e-5)
    assert adv.kl_estimate(shift, zero, "k3").item() == pytest.approx(0.193147, abs=1e-5)
    with pytest.raises(ValueError, match="k1, k2 and k3"):
        adv.kl_estimate(shift, zero, "k4")


def test_k1_and_k3_are_unbiased_where_k2_is_not():
    """In expectation over what the policy draws: the sum over a small alphabet."""
    policy, reference = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    truth = (policy * (policy / reference).log()).sum().item()
    mean = {
        kind: (policy * adv.kl_estimate(policy.log(), reference.log(), kind)).sum().item()
        for kind in ("k1", "k2", "k3")
    }
    assert mean["k1"] == pytest.approx(truth) and mean["k3"] == pytest.approx(truth, abs=1e-6)
    assert abs(mean["k2"] - truth) > 0.005
    assert (adv.kl_estimate(torch.randn(100), torch.randn(100), "k3") >= 0).all()


def test_group_advantages_by_hand():
    assert adv.rloo_advantages(torch.tensor([[1.0, 2.0, 6.0]])).tolist() == [[-3.0, -1.5, 4.5]]
    assert adv.grpo_advantages(torch.tensor([[1.0, 3.0]]), scale="none").tolist() == [[-1.0, 1.0]]
    assert adv.grpo_advantages(torch.tensor([[1.0, 3.0]])).tolist()[0] == pytest.approx([-0.7071, 0.7071], abs=1e-4)
    assert adv.grpo_advantages(torch.full((2, 4), 3.0)).tolist() == [[0.0] * 4] * 2
    for each in (adv.rloo_advantages, adv.grpo_advantages):
        with pytest.raises(ValueError, match="2 replies or more"):
            each(torch.ones(3, 1))


def test_explained_variance_of_a_perfect_and_of_an_ignorant_critic():
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, NAN]]), torch.tensor([[True, True, True, False]])
    assert adv.explained_variance(returns, returns, mask).item() == pytest.approx(1.0)
    assert adv.explained_variance(torch.full((1, 4), 2.0), returns, mask).item() == pytest.approx(0.0)
