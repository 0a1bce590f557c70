"""Rewards of all kinds: trained ones, several as one, judges, functions; by hand and at their limits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from trivet.alignment import reward, reward_model, rewards
from trivet.alignment.batches import collate
from trivet.alignment.rewards import CodeReward, JudgeReward, RewardEnsemble, Scaled, TrainedReward, score_now
from trivet.core.errors import ConfigError, DataError, ModelNotFound, TargetError, TrivetError
from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Verdict


def talk(reply: str, asked: str = "why") -> Conversation:
    return Conversation.user(asked).then(Message("assistant", reply))


TALKS = [talk("the lamp"), talk("the ferry by the well and the baker"), talk("", "the miller"), talk("bread is warm")]


@pytest.fixture(scope="module")
def trained(folder, preferences, tmp_path_factory) -> Path:
    """Two members of an ensemble."""
    out = tmp_path_factory.mktemp("reward")
    base = reward.Config(model=str(folder), out=str(out), members=2, lr=1e-3, batch_size=6, max_steps=12, device="cpu")
    reward.run(base, preferences)
    return out


class Fixed:
    """A reward that gives what it was told."""

    def __init__(self, *values: float) -> None:
        self.values = values

    async def score(self, conversations):
        return list(self.values)


class Says:
    """A judge that gives one verdict, and remembers what it was asked about."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts, self.asked, self.together, self.most = verdicts, [], 0, 0

    async def judge(self, conversation, about=None):
        self.together += 1
        self.most = max(self.most, self.together)
        await asyncio.sleep(0)
        self.together -= 1
        self.asked.append(about)
        return self.verdicts[min(len(self.asked), len(self.verdicts)) - 1]


# ---------------------------------------------------------------------------------------------------- trained models


def test_the_mean_over_the_training_sets_chosen_replies_is_zero(trained, preferences):
    place = trained / "member-0" / "model"
    chosen = [pair.prompt.then(Message("assistant", pair.chosen)) for pair in preferences]
    both = chosen + [pair.prompt.then(Message("assistant", pair.rejected)) for pair in preferences]
    raw, centred, unit = (TrainedReward(place, scale=scale, device="cpu") for scale in ("raw", "mean", "unit"))
    assert np.mean(centred.rewards(chosen)) == pytest.approx(0.0, abs=1e-5)
    assert np.std(unit.rewards(both), ddof=1) == pytest.approx(1.0, rel=1e-4)
    mean, std = reward_model.offset_of(raw.model)
    assert std > 0 and abs(mean) > 1e-4
    for a, b, c in zip(raw.rewards(both), centred.rewards(both), unit.rewards(both), strict=True):
        assert b == pytest.approx(a - mean, abs=1e-5) and c == pytest.approx((a - mean) / std, abs=1e-5)


def test_both_ways_of_asking_give_the_same_and_company_does_not_matter(trained):
    one = TrainedReward(trained / "member-0" / "model", device="cpu", batch_tokens=20)
    whole = one.rewards(TALKS)
    assert whole == pytest.approx([one.rewards([each])[0] for each in TALKS], abs=1e-5)
    assert asyncio.run(one.score(TALKS)) == whole == score_now(one, TALKS)
    assert one.rewards([]) == [] and not any(weight.requires_grad for weight in one.model.parameters())
    with pytest.raises(DataError, match="does not end with a reply"):
        one.rewards([Conversation.user("why")])


def test_a_model_without_an_offset_gives_its_own_rewards(folder, tmp_path):
    model, tokenizer = reward_model.start(folder, seed=0, device="cpu")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    raw, unit = (TrainedReward(tmp_path, scale=scale, device="cpu").rewards(TALKS) for scale in ("raw", "unit"))
    assert raw == unit and reward_model.offset_of(model) == (0.0, 1.0)


# ---------------------------------------------------------------------------------------------------- several as one


@pytest.mark.parametrize(
    ("how", "k", "wanted"),
    [
        ("mean", 0.5, [2.0, 0.0]),
        ("worst", 0.5, [1.0, -4.0]),
        ("uncertainty", 0.5, [1.5, -8.0]),
        ("uncertainty", 0.0, [2.0, 0.0]),
    ],
)
def test_ensembles_by_hand(how, k, wanted):
    """Members (1, 3) have mean 2 and variance 1; members (-4, 4) mean 0 and variance 16."""
    ensemble = RewardEnsemble([Fixed(1.0, -4.0), Fixed(3.0, 4.0)], how, k=k)
    assert score_now(ensemble, TALKS[:2]) == pytest.approx(wanted)


def test_ensembles_against_numpy_and_at_their_limits():
    values = np.random.default_rng(0).normal(size=(5, 4))
    members = [Fixed(*row) for row in values]
    assert score_now(RewardEnsemble(members, "uncertainty", k=0.3), TALKS) == pytest.approx(
        (values.mean(0) - 0.3 * ((values - values.mean(0)) ** 2).mean(0)).tolist()
    )
    for how in ("mean", "worst", "uncertainty"):
        assert score_now(RewardEnsemble(members[:1], how), TALKS) == pytest.approx(values[0].tolist())
        assert score_now(RewardEnsemble([Fixed()] * 2, how), []) == []
    with pytest.raises(ConfigError, match="at least one member"):
        RewardEnsemble([])
    with pytest.raises(ConfigError, match="use mean, worst or uncertainty"):
        RewardEnsemble(members, "median")


def test_the_members_of_a_folder_are_normalised_before_they_are_joined(trained):
    each = [
        TrainedReward(trained / f"member-{at}" / "model", scale="unit", device="cpu").rewards(TALKS) for at in (0, 1)
    ]
    found = score_now(rewards.resolve(str(trained), how="worst", device="cpu"), TALKS)
    assert found == pytest.approx(np.min(each, axis=0).tolist(), abs=1e-6)


def test_scaled_takes_off_what_it_measured():
    scaled = Scaled.on(Fixed(1.0, 2.0, 3.0, 6.0), TALKS)
    assert (scaled.mean, scaled.std) == (3.0, pytest.approx(np.std([1, 2, 3, 6])))
    assert np.mean(score_now(scaled, TALKS)) == pytest.approx(0) and np.std(score_now(scaled, TALKS)) == pytest.approx(
        1
    )
    with pytest.raises(ConfigError, match="one value to everything"):
        Scaled.on(Fixed(1.0, 1.0, 1.0, 1.0), TALKS)


# -------------------------------------------------------------------------------------------------- judges, functions


def test_a_judge_counts_by_its_score_and_by_its_labels():
    judge = Says(Verdict("complied", 0.75, "eye"), Verdict("refused", 0.0, "eye"))
    assert score_now(JudgeReward(judge), TALKS[:2]) == [-0.75, 0.0]
    judge = Says(Verdict("complied", 0.75, "eye"), Verdict("refused", 0.0, "eye"))
    assert score_now(JudgeReward(judge, labels={"refused": 1.0}, weight=2.0), TALKS[:2]) == [1.5, 1.0]


def test_a_judge_is_told_what_was_asked_and_not_asked_too_much_at_once():
    judge, goal = Says(Verdict("refused", 0.0, "eye")), Goal("how to", "H1", "lamp")
    score_now(JudgeReward(judge, about=lambda conversation: goal, together=2), TALKS)
    assert judge.asked == [goal] * 4 and judge.most == 2


def test_a_judge_that_cannot_decide_is_never_a_number():
    broken = Verdict("error", 0.0, "eye", why="late")
    with pytest.raises(TargetError, match=r"eye could not decide \(late\)"):
        score_now(JudgeReward(Says(broken)), TALKS)
    assert score_now(JudgeReward(Says(broken), labels={"error": -3.0}), TALKS[:1]) == [-3.0]


def shorter_is_better(conversation: Conversation) -> float:
    return -float(len(conversation.reply))


async def in_time(conversation: Conversation) -> float:
    await asyncio.sleep(0)
    return 1.0


def test_functions_by_their_path(tmp_path, monkeypatch):
    assert score_now(CodeReward(shorter_is_better), TALKS[:2]) == [-8.0, -35.0]
    assert score_now(CodeReward(in_time), TALKS[:2]) == [1.0, 1.0]
    (tmp_path / "own_rewards.py").write_text(
        "def one(talk):\n    return 1\nclass Eye:\n    async def judge(self, talk, about=None):\n        from trivet.core.verdicts import Verdict\n        return Verdict('x', 0.5, 'eye')\neye = Eye()\n"
    )
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert score_now(rewards.resolve("code:own_rewards:one"), TALKS) == [1.0] * 4
    for name in ("Eye", "eye"):
        assert score_now(rewards.resolve(f"judge:own_rewards:{name}"), TALKS[:1]) == [-0.5]
    for spec, told in (
        ("own_rewards", "names no function"),
        ("no_such:one", "no module no_such"),
        ("own_rewards:two", "has no two"),
    ):
        with pytest.raises(ConfigError, match=told):
            CodeReward(spec)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        CodeReward("needs_more:one")
    sys.modules.pop("own_rewards")


def test_specs_that_name_no_reward(trained, folder, tmp_path):
    assert score_now(rewards.resolve(str(trained / "member-0"), device="cpu"), TALKS) == pytest.approx(
        TrainedReward(trained / "member-0" / "model", device="cpu").rewards(TALKS)
    )
    with pytest.raises(ModelNotFound, match="no reward was named"):
        rewards.resolve("")
    with pytest.raises(ModelNotFound, match="no reward model"):
        rewards.resolve(str(folder))
    with pytest.raises(ModelNotFound, match="no model folder"):
        rewards.resolve(str(tmp_path / "nothing"))


# ------------------------------------------------------------------------------------------------- what all must keep


def test_every_reward_is_one_finite_number():
    with pytest.raises(TrivetError, match="gave 1 numbers for 4"):
        score_now(Fixed(1.0), TALKS)
    with pytest.raises(TrivetError, match="nan for conversation 2, whose reply begins 'the ferry"):
        score_now(Fixed(1.0, float("nan"), 0.0, 0.0), TALKS)
    with pytest.raises(TrivetError, match="inf for conversation 1"):
        score_now(RewardEnsemble([Fixed(float("inf"), 0.0)]), TALKS[:2])


def test_asking_at_once_works_inside_an_event_loop_too():
    async def inside() -> list[float]:
        with pytest.raises(TrivetError, match="gave 1 numbers"):
            score_now(Fixed(1.0), TALKS)
        broken = JudgeReward(Says(Verdict("error", 0.0, "eye")))
        with pytest.raises(TargetError):
            score_now(broken, TALKS)
        return score_now(Fixed(1.0, 2.0), TALKS[:2])

    assert asyncio.run(inside()) == [1.0, 2.0]


def test_rewards_of_a_model_in_training_follow_it(folder):
    """The scorer is a module with gradients: the number under a reward moves when its model is trained."""
    model, tokenizer = reward_model.start(folder, seed=0, device="cpu")
    scorer = reward_model.RewardScorer(model)
    rows = reward_model.rows_of(tokenizer, TALKS[:2], 100)

    scorer(collate(rows, tokenizer.pad_token_id)).sum().backward()
    assert model.score.weight.grad.abs().sum() > 0 and model.get_input_embeddings().weight.grad.abs().sum() > 0
    assert {name for name, _ in scorer.named_parameters()} == {f"model.{name}" for name, _ in model.named_parameters()}
