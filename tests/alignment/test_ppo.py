"""PPO: where it stands before its first step, one step against a reference in NumPy, both layouts, resume, and that it learns."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from alignment.test_sft import same_bits, stop_at
from alignment.tiny import tiny_folder
from trivet.alignment import engine, models, ppo, reward_model, value
from trivet.alignment.batches import collate
from trivet.alignment.rewards import CodeReward, RewardEnsemble, TrainedReward
from trivet.core.errors import ConfigError, DataError, TrivetError
from trivet.core.lessons import Demonstration
from trivet.core.messages import Conversation

PROMPTS = [Conversation.user("the lamp " * count + "why") for count in (1, 5, 3, 8, 2)]
SHORT = CodeReward(lambda talk: -len(talk.reply) / 20)
LETTERS = CodeReward(lambda talk: sum(letter.isascii() and letter.isalpha() for letter in talk.reply) / 20)


def config(folder: Path, out: Path, **changes) -> ppo.Config:
    base = ppo.Config(
        model=str(folder), out=str(out), lr=3e-3, warmup=0.0, rounds=3, batch_size=8, minibatch=4, passes=2,
        max_tokens=8, batch_tokens=200, save_every=1,
    )  # fmt: skip
    return replace(base, **changes)


def metrics(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: figure for name, figure in row.items() if not name.endswith("per_second")} for row in rows]


@pytest.fixture(scope="module")
def judge(folder, tmp_path_factory) -> Path:
    """A reward model with a random head, as the start of a value model whose values are not zero."""
    model, tokenizer = reward_model.start(folder, seed=3)
    place = tmp_path_factory.mktemp("judge")
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def rolled(monkeypatch):
    """The rollouts of a run, in order."""
    kept, real = [], ppo.rollouts.roll
    monkeypatch.setattr(ppo.rollouts, "roll", lambda *a, **k: kept.append(real(*a, **k)) or kept[-1])
    return kept


@pytest.mark.parametrize("lora", [0, 4])
def test_before_the_first_step_nothing_has_moved(folder, tmp_path, monkeypatch, lora):
    """KL to the reference is 0, the first minibatch has ratio 1 and so a loss of minus its mean advantage."""
    seen, real = [], ppo.objectives.ppo_clip
    monkeypatch.setattr(
        ppo.objectives,
        "ppo_clip",
        lambda new, old, gain, **k: seen.append((new - old, gain)) or real(new, old, gain, **k),
    )
    ppo.run(config(folder, tmp_path, lora=lora, rounds=1, batch_tokens=9999), PROMPTS, reward=SHORT)
    (row,) = metrics(tmp_path)
    assert row["kl"] == 0 and row["kl_k3"] == 0 and row["beta"] == 0.05 and row["value"] == 0
    assert seen[0][0].abs().max() < 1e-5 and seen[-1][0].abs().max() > 1e-3
    assert real(*(torch.zeros(3),) * 2, torch.tensor([1.0, 2.0, -1.0])).tolist() == [-1, -2, 1]


def test_one_step_is_that_of_a_reference_in_numpy(folder, judge, tmp_path, rolled):
    """Rewards, GAE, whitening and both losses by loops over single replies, and the weights after one step of AdamW."""
    settings = config(
        folder, tmp_path, value=str(judge), rounds=1, passes=1, minibatch=8, lr=1e-2, schedule="constant", clip=0.0,
        missing_end=0.7, temperature=0.8, gamma=0.97, lam=0.9, value_weight=0.5, batch_tokens=70, value_pace=3.0,
    )  # fmt: skip
    result = ppo.run(settings, PROMPTS, reward=SHORT)
    (rollout,), (row,) = rolled, metrics(tmp_path)
    policy = AutoModelForCausalLM.from_pretrained(folder).eval()
    critic = AutoModelForSequenceClassification.from_pretrained(judge).eval()

    logps, values = [], []
    for one in rollout.rows:
        ids = torch.from_numpy(one.ids.astype(np.int64))
        spread = (policy(ids[None]).logits[0] / 0.8).log_softmax(-1)
        logps.append(spread[one.start - 1 : -1].gather(1, ids[one.start :, None])[:, 0])
        states = critic.base_model(ids[None]).last_hidden_state[0, one.start - 1 : -1]
        values.append(critic.score(states)[:, 0])

    gains, aims = [], []
    for number, foretold in enumerate(values):
        v = foretold.detach().double().numpy()
        rewards = np.zeros(len(v))  # KL to the reference is 0 before the first step
        rewards[-1] = -len(rollout.talks[number].reply) / 20 - 0.7 * (not rollout.ended[number])
        delta = rewards + 0.97 * np.append(v[1:], 0.0) - v
        gains.append([sum((0.97 * 0.9) ** k * delta[t + k] for k in range(len(v) - t)) for t in range(len(v))])
        aims.append(np.asarray(gains[-1]) + v)
    every = np.concatenate(gains)
    white = [(np.asarray(gain) - every.mean()) / np.sqrt(every.var(ddof=1) + 1e-8) for gain in gains]
    tokens = len(every)
    policy_loss = -sum(float(gain.sum()) for gain in white) / tokens
    value_loss = (
        sum(float(((v.detach().numpy() - aim) ** 2).sum()) for v, aim in zip(values, aims, strict=True)) / 2 / tokens
    )
    assert row["policy_loss"] == pytest.approx(policy_loss, abs=1e-6)
    assert row["value_loss"] == pytest.approx(value_loss, rel=1e-5)
    assert row["loss"] == pytest.approx(policy_loss + 0.5 * value_loss, rel=1e-5)
    held = np.concatenate([v.detach().numpy() for v in values])
    assert row["explained_variance"] == pytest.approx(1 - every.var() / (every + held).var(), abs=1e-4)

    loss = 0.0  # at ratio 1 the surrogate's gradient is that of -A log pi, the clipped value's that of the plain one
    for logp, v, gain, aim in zip(logps, values, white, aims, strict=True):
        loss = loss - (logp * torch.tensor(gain, dtype=torch.float32)).sum() / tokens
        loss = loss + 0.5 * 0.5 * (v - torch.tensor(aim, dtype=torch.float32)).square().sum() / tokens
    loss.backward()
    square = sum(p.grad.square().sum() for model in (policy, critic) for p in model.parameters() if p.grad is not None)
    assert row["grad_norm"] == pytest.approx(float(square.sqrt()), rel=1e-4)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    optimizer.step()
    after = AutoModelForCausalLM.from_pretrained(result.folder).state_dict()
    for (
        name,
        weight,
    ) in policy.state_dict().items():  # Adam's first step is the sign of a gradient; near 0 it is rounding
        moved = (weight - after[name]).abs()
        assert (moved > 1e-3).float().mean() < 0.01, name


def test_the_value_model_learns_at_its_own_pace(folder, judge, tmp_path):
    """Adam's first step moves every weight by its rate: the policy's by lr, the value's by value_pace times that."""
    model, tokenizer = models.load(folder)
    critic = value.critic_from(str(judge), tokenizer, dtype="fp32", device="cpu")
    cast = value.separate(model, critic, dtype="fp32", temperature=1.0)
    optimizer = value.optimizer_of(cast, betas=(0.9, 0.95), weight_decay=0.0, value_pace=5.0)
    before = {name: weight.clone() for name, weight in cast.trained.named_parameters()}
    for weight in cast.trained.parameters():
        weight.grad = torch.ones_like(weight)
    work = engine.Run(tmp_path, cast.trained, optimizer, {})
    work.descend(1e-3, 0.0)
    for name, weight in cast.trained.named_parameters():
        wanted = 5e-3 if name.startswith("value.") else 1e-3
        torch.testing.assert_close(before[name] - weight, torch.full_like(weight, wanted), rtol=1e-3, atol=1e-6)


def test_a_reply_that_was_cut_is_paid_less():
    scores, ended = torch.tensor([1.0, 5.0, -4.0]), torch.tensor([True, False, True])
    assert ppo.held_scores(scores, ended, missing_end=0.5, score_clip=0.0).tolist() == [1.0, 4.5, -4.0]
    assert ppo.held_scores(scores, ended, missing_end=0.5, score_clip=2.0).tolist() == [1.0, 1.5, -2.0]


def test_beta_is_steered_by_hand():
    def adapted(kl):
        return ppo.adapted(0.1, kl, target=4.0, replies=64, horizon=640)

    assert adapted(4.0) == pytest.approx(0.1)
    assert adapted(4.4) == pytest.approx(0.1 * 1.01)  # an error of 0.1, times 64 / 640
    assert adapted(40.0) == pytest.approx(0.1 * 1.02) and adapted(-3.0) == pytest.approx(0.1 * 0.98)


def test_an_adaptive_beta_falls_while_kl_is_below_its_target(folder, tmp_path):
    ppo.run(config(folder, tmp_path, kl_target=100.0, kl_horizon=80), PROMPTS, reward=SHORT)
    assert [row["beta"] for row in metrics(tmp_path)] == pytest.approx([0.05, 0.05 * 0.98, 0.05 * 0.98**2])


def test_one_base_starts_where_separate_models_do(folder, tmp_path):
    """Fresh adapters add nothing, so the first round is the same; only what the step then does to it differs."""
    for name, lora in (("separate", 0), ("base", 4)):
        settings = config(folder, tmp_path / name, lora=lora, rounds=1, passes=1, minibatch=8)
        ppo.run(settings, PROMPTS, reward=SHORT)
    one, two = metrics(tmp_path / "separate")[0], metrics(tmp_path / "base")[0]
    same = set(one) - {"grad_norm"}
    assert {name: one[name] for name in same} == pytest.approx({name: two[name] for name in same}, abs=1e-5)


def test_with_adapters_off_the_base_is_the_frozen_copy(folder):
    """After steps of both adapters the reference is still that of the start, bit for bit."""
    model, tokenizer = models.load(folder)
    frozen = engine.scorer(copy.deepcopy(model), "fp32")
    cast = value.one_base(models.with_lora(model, 4, 16.0, "all-linear"), value=True, dtype="fp32", temperature=1.0)
    asked, _ = ppo.rollouts.encode_prompts(tokenizer, PROMPTS, 200)
    batch = collate(ppo.rollouts.roll(model, tokenizer, asked, max_tokens=8).rows, tokenizer.pad_token_id)
    before = cast.logps(batch).detach()
    trained = sum(weight.requires_grad for weight in cast.trained.parameters())
    optimizer = value.optimizer_of(cast, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        cast.logps(batch).sum().backward()
        (cast.values(batch) - 1).square().sum().backward()
        optimizer.step()
    assert torch.equal(cast.reference(batch), frozen(batch))
    assert (cast.logps(batch) - before).abs().max() > 0.1
    assert (cast.values(batch) - 1).square().mean() < 0.9
    assert sum(weight.requires_grad for weight in cast.trained.parameters()) == trained


def test_policy_and_value_learn_through_their_own_adapter_only(folder):
    model, tokenizer = models.load(folder)
    cast = value.one_base(models.with_lora(model, 4, 16.0, "all-linear"), value=True, dtype="fp32", temperature=1.0)
    asked, _ = ppo.rollouts.encode_prompts(tokenizer, PROMPTS, 200)
    batch = collate(ppo.rollouts.roll(model, tokenizer, asked, max_tokens=8).rows, tokenizer.pad_token_id)
    torch.nn.init.normal_(cast.trained["head"].weight)

    def moved():
        found = {name for name, weight in cast.trained.named_parameters() if weight.grad is not None}
        cast.trained.zero_grad(set_to_none=True)
        return found

    cast.logps(batch).sum().backward()
    assert all(".default." in name for name in moved())
    cast.values(batch).sum().backward()
    found = moved()
    assert found and all(f".{value.VALUE}." in name or name.startswith("head.") for name in found)


@pytest.mark.parametrize("changes", [{}, {"lora": 4}, {"kl_target": 0.5, "kl_horizon": 20, "ptx": 0.5, "ptx_size": 3}])
def test_an_interrupted_run_ends_in_the_same_bits(folder, tmp_path, demonstrations, changes):
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def run(out, **more):
        ppo.run(
            config(folder, out, rounds=4, eval_every=2, **changes), PROMPTS, heldout=PROMPTS[:2], reward=SHORT,
            demonstrations=demonstrations, **more,
        )  # fmt: skip

    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(broken, progress=stop_at(12))
    assert (broken / "checkpoint-00000008").is_dir()
    run(broken)
    assert same_bits(whole, broken) and metrics(whole) == metrics(broken)


def test_the_token_budget_changes_speed_only(folder, tmp_path):
    for budget in (30, 100_000):
        ppo.run(config(folder, tmp_path / str(budget), batch_tokens=budget, rounds=2), PROMPTS, reward=SHORT)
    for small, large in zip(metrics(tmp_path / "30"), metrics(tmp_path / "100000"), strict=True):
        assert small == pytest.approx(large, rel=1e-3, abs=1e-4)


def test_it_learns_what_is_paid_for_and_beta_holds_it(folder, tmp_path):
    """Paid for plain letters: there are more of them, and the policy is less far from its start where KL is dear."""
    settings = {"rounds": 12, "batch_size": 32, "minibatch": 32, "lr": 1e-2, "save_every": 0}
    for name, beta in (("free", 0.0), ("held", 0.5)):
        result = ppo.run(
            config(folder, tmp_path / name, beta=beta, **settings),
            PROMPTS,
            heldout=PROMPTS,
            reward=LETTERS,
            watch={"gold": LETTERS},
        )
    free, held = metrics(tmp_path / "free")[:-1], metrics(tmp_path / "held")[:-1]
    assert free[-1]["reward"] > free[0]["reward"] + 0.2
    assert 0 < held[-1]["kl"] < 0.5 * free[-1]["kl"]
    assert all(row["gold"] == pytest.approx(row["reward"]) for row in free)
    assert result.final["heldout_reward"] == pytest.approx(result.final["heldout_gold"])
    assert result.final["heldout_prompts"] == 5
    AutoTokenizer.from_pretrained(result.folder)
    AutoModelForCausalLM.from_pretrained(result.folder)
    assert (tmp_path / "free" / "warnings.txt").exists()


def test_demonstrations_are_not_forgotten(folder, tmp_path):
    lesson = Demonstration(Conversation.user("the lamp why"), "the baker tells")
    for weight in (0.0, 3.0):
        ppo.run(
            config(folder, tmp_path / str(weight), ptx=weight, rounds=6),
            PROMPTS,
            reward=SHORT,
            demonstrations=[lesson] * 4,
        )
    taught = metrics(tmp_path / "3.0")
    assert taught[-1]["ptx_loss"] < taught[0]["ptx_loss"] - 0.5 and "ptx_loss" not in metrics(tmp_path / "0.0")[0]
    with pytest.raises(ConfigError, match="there are no demonstrations"):
        ppo.run(config(folder, tmp_path / "none", ptx=1.0), PROMPTS, reward=SHORT)


def test_an_adapter_is_saved_without_the_value_models(folder, tmp_path):
    result = ppo.run(config(folder, tmp_path, lora=4), PROMPTS, reward=SHORT)
    assert {path.name for path in result.adapter.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}
    assert not (result.adapter / value.VALUE).exists()
    start, end = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (folder, result.folder))
    assert any(not torch.equal(start[name], end[name]) for name in start)


def test_what_cannot_be_done_is_said(folder, tmp_path, judge):
    def run(reward=SHORT, prompts=PROMPTS, **changes):
        return ppo.run(config(folder, tmp_path / "bad", **changes), prompts, reward=reward)

    with pytest.raises(TrivetError, match="is nan"):
        run(CodeReward(lambda talk: math.nan))
    with pytest.raises(DataError, match="nothing to ask"):
        run(prompts=[])
    with pytest.raises(ConfigError, match="minibatch is 9"):
        run(minibatch=9)
    with pytest.raises(ConfigError, match="temperature is 0"):
        run(temperature=0)
    with pytest.raises(ConfigError, match="leave `value` empty"):
        run(lora=4, value=str(judge))
    narrow = tiny_folder(tmp_path / "narrow", vocab=300)
    with pytest.raises(ConfigError, match="other tokens than the policy"):
        run(value=str(narrow))


def test_a_run_does_not_go_on_with_another_reward_or_in_several_processes(folder, tmp_path, judge, monkeypatch):
    other, tokenizer = reward_model.start(folder, seed=9)
    other.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    settings = config(folder, tmp_path / "run", rounds=1)
    ppo.run(settings, PROMPTS, reward=TrainedReward(judge))
    ppo.run(settings, PROMPTS, reward=TrainedReward(judge))
    with pytest.raises(ConfigError, match="a run of another kind"):
        ppo.run(settings, PROMPTS, reward=TrainedReward(tmp_path / "other"))
    with pytest.raises(ConfigError, match="a run of another kind"):
        ppo.run(settings, PROMPTS, reward=RewardEnsemble([TrainedReward(judge)]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="start without torchrun"):
        ppo.run(settings, PROMPTS, reward=SHORT)


def test_rewards_are_named_in_the_recipe(folder, judge, tmp_path):
    """A folder, several with commas between, and a function of one's own."""
    from trivet.alignment import rewards

    named = ppo.reward_named(config(folder, tmp_path), str(judge))
    assert isinstance(named, rewards.TrainedReward)
    several = ppo.reward_named(config(folder, tmp_path, join="worst"), f"{judge}, {judge}")
    assert isinstance(several, rewards.RewardEnsemble) and several.how == "worst" and len(several.members) == 2
    coded = ppo.reward_named(config(folder, tmp_path), "code:alignment.test_ppo:words")
    assert rewards.score_now(coded, [PROMPTS[0]]) == [3.0]
    ppo.run(config(folder, tmp_path, rounds=1, reward=str(judge), watch="code:alignment.test_ppo:words"), PROMPTS)
    assert metrics(tmp_path)[0]["watched"] >= 3


def words(talk: Conversation) -> float:
    return float(len(talk.last_user.split()))
