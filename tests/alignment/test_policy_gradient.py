"""RLOO and GRPO: one step of each against a reference in NumPy, where they start, resume, and that they learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from alignment.test_ppo import LETTERS, PROMPTS, SHORT, metrics, rolled  # noqa: F401
from alignment.test_sft import same_bits, stop_at
from trivet.alignment import policy_gradient
from trivet.core.errors import ConfigError

GRPO = {"advantage": "grpo", "kl_in": "loss", "kl": "k3", "ratio": "token"}


def config(folder: Path, out: Path, **changes) -> policy_gradient.Config:
    base = policy_gradient.Config(
        model=str(folder), out=str(out), lr=3e-3, warmup=0.0, rounds=3, batch_size=8, replies=4, minibatch=4, passes=2,
        max_tokens=8, batch_tokens=200, save_every=1,
    )  # fmt: skip
    return replace(base, **changes)


def test_comparisons_by_hand(folder, tmp_path):
    rewards = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    assert policy_gradient.compared(config(folder, tmp_path), rewards).tolist() == [[-3, -1.5, 4.5], [0, 0, 0]]
    plain = config(folder, tmp_path, advantage="grpo", scale="none")
    assert policy_gradient.compared(plain, rewards).tolist() == [[-2, -1, 3], [0, 0, 0]]
    divided = policy_gradient.compared(config(folder, tmp_path, advantage="grpo"), rewards)
    std = 7**0.5  # (4 + 1 + 9) / 2 = 7
    torch.testing.assert_close(divided[0], torch.tensor([-2, -1, 3]) / (std + 1e-4))
    assert divided[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"average": "tokens", "ratio": "token"},
        {"average": "constant", **GRPO},
        {"average": "reply", "scale": "none", **GRPO},
        {"average": "tokens", **GRPO},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())) or "rloo",
)
def test_one_step_is_that_of_a_reference_in_numpy(folder, tmp_path, rolled, changes):  # noqa: F811
    """Advantages by loops over groups, the loss and its gradient by dense log-probabilities, one minibatch."""
    settings = config(
        folder,
        tmp_path,
        rounds=1,
        passes=1,
        minibatch=8,
        clip=0.0,
        missing_end=0.7,
        temperature=0.8,
        batch_tokens=60,
        **changes,
    )
    policy_gradient.run(settings, PROMPTS, reward=SHORT)
    (rollout,), (row,) = rolled, metrics(tmp_path)
    paid = [
        -len(talk.reply) / 20 - 0.7 * (not ended) for talk, ended in zip(rollout.talks, rollout.ended, strict=True)
    ]  # KL to the reference is 0 before the first step, in the reward and in the loss
    gains = []
    for at in (0, 4):
        group = np.asarray(paid[at : at + 4])
        for i, one in enumerate(group):
            if settings.advantage == "rloo":
                gains.append(one - np.delete(group, i).mean())
            else:
                gains.append((one - group.mean()) / (1 if settings.scale == "none" else group.std(ddof=1) + 1e-4))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens = sum(int(length) for length in rollout.lengths)
    loss, wanted = torch.zeros(()), 0.0
    for one, gain in zip(rollout.rows, gains, strict=True):
        ids = torch.from_numpy(one.ids.astype(np.int64))
        spread = (model(ids[None]).logits[0] / 0.8).log_softmax(-1)
        logps = spread[one.start - 1 : -1].gather(1, ids[one.start :, None])[:, 0]
        if settings.ratio == "sequence":
            weight, times = 1 / 8, 1
        else:
            weight = {"reply": 1 / (8 * len(logps)), "tokens": 1 / tokens, "constant": 1 / (8 * 8)}[settings.average]
            times = len(logps)
        wanted -= gain * weight * times
        loss = loss - gain * weight * logps.sum()
    assert row["loss"] == pytest.approx(wanted, abs=1e-6) and row["kl"] == 0
    loss.backward()
    square = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None)
    assert row["grad_norm"] == pytest.approx(float(square.sqrt()), rel=1e-3)


def test_kl_is_paid_out_of_the_reward_or_in_the_loss(folder, tmp_path):
    """Either way a dear KL keeps the policy near; the loss's own KL is at least 0 (k3)."""
    settings = {"rounds": 12, "batch_size": 32, "minibatch": 32, "lr": 1e-2, "save_every": 0}
    ends = {}
    for name, changes in {"free": {"beta": 0.0}, "reward": {"beta": 1.0}, "loss": {"beta": 1.0, **GRPO}}.items():
        policy_gradient.run(config(folder, tmp_path / name, **settings, **changes), PROMPTS, reward=LETTERS)
        ends[name] = metrics(tmp_path / name)
    free = ends["free"]
    assert free[-1]["reward"] > free[0]["reward"] + 0.2
    for name in ("reward", "loss"):
        assert ends[name][0]["kl"] == 0 and ends[name][-1]["kl_k3"] < 0.5 * free[-1]["kl_k3"]


@pytest.mark.parametrize("changes", [{}, GRPO, {"lora": 4}])
def test_an_interrupted_run_ends_in_the_same_bits(folder, tmp_path, changes):
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def run(out, **more):
        policy_gradient.run(
            config(folder, out, rounds=4, eval_every=2, **changes), PROMPTS, heldout=PROMPTS[:2], reward=SHORT, **more
        )

    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(broken, progress=stop_at(12))
    assert (broken / "checkpoint-00000008").is_dir()
    run(broken)
    assert same_bits(whole, broken) and metrics(whole) == metrics(broken)


def test_the_token_budget_changes_speed_only(folder, tmp_path):
    for budget in (30, 100_000):
        settings = config(folder, tmp_path / str(budget), batch_tokens=budget, rounds=2, **GRPO)
        policy_gradient.run(settings, PROMPTS, reward=SHORT)
    for small, large in zip(metrics(tmp_path / "30"), metrics(tmp_path / "100000"), strict=True):
        assert small == pytest.approx(large, rel=1e-3, abs=1e-4)


def test_replies_to_one_prompt_stand_together(folder, tmp_path, rolled):  # noqa: F811
    policy_gradient.run(config(folder, tmp_path, rounds=1), PROMPTS, reward=SHORT)
    asked = [talk.messages[0].content for talk in rolled[0].talks]
    assert len(set(asked[:4])) == len(set(asked[4:])) == 1 and asked[0] != asked[4]
    assert len({talk.reply for talk in rolled[0].talks}) > 4


def test_what_cannot_be_done_is_said(folder, tmp_path):
    with pytest.raises(ConfigError, match="batch_size is a multiple"):
        config(folder, tmp_path, replies=3)
    with pytest.raises(ConfigError, match="2 or more"):
        config(folder, tmp_path, replies=1)
    with pytest.raises(ConfigError, match="k1 has no gradient in expectation"):
        config(folder, tmp_path, kl_in="loss")
    with pytest.raises(ConfigError, match="minibatch is 0"):
        config(folder, tmp_path, minibatch=0)
    with pytest.raises(ConfigError, match="temperature is 0"):
        config(folder, tmp_path, temperature=0.0)
