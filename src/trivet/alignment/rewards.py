"""Rewards: things that turn finished conversations into numbers, and ways to join them.

    TrainedReward     a reward model's folder; the mean over chosen replies that it learnt from is 0
    RewardEnsemble    several rewards as one: their mean, the worst, or the mean less k times their variance
    JudgeReward       a judge's verdict as a number
    CodeReward        a function of your own, by its dotted path

Each has `score` (the Reward protocol of core, awaitable); `score_now` asks any of them from code without an event loop,
as training has none. Every reward is checked: a number that is not finite stops the run and names the conversation.

Not covered: rewards that need what the conversation does not hold. Wrap them, or give JudgeReward an `about`.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trivet.alignment import models
from trivet.alignment.reward_model import RewardScorer, load, offset_of, rows_of, score_rows
from trivet.core.errors import ConfigError, ModelNotFound, TargetError, TrivetError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation
from trivet.core.protocols import Judge, Reward

How = Literal["mean", "worst", "uncertainty"]


def score_now(reward: Reward, conversations: Sequence[Conversation]) -> list[float]:
    """The rewards at once, from code that is not asynchronous; inside a running event loop a thread of its own asks."""
    direct = getattr(reward, "rewards", None)
    if direct is not None:
        return checked(direct(conversations), conversations)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return checked(asyncio.run(_asked(reward, conversations)), conversations)
    answers: list[Any] = []

    def work() -> None:
        try:
            answers.append(asyncio.run(_asked(reward, conversations)))
        except BaseException as why:  # it belongs to whoever asked, and is raised there
            answers.append(why)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return checked(answers[0], conversations)


async def _asked(reward: Reward, conversations: Sequence[Conversation]) -> Sequence[float]:
    return await reward.score(conversations)


def checked(values: Sequence[float], conversations: Sequence[Conversation]) -> list[float]:
    """One finite number for each conversation, or a TrivetError."""
    found = [float(value) for value in values]
    if len(found) != len(conversations):
        raise TrivetError(
            f"a reward gave {len(found)} numbers for {len(conversations)} conversations; it owes one for each"
        )
    for number, value in enumerate(found):
        if not isfinite(value):
            raise TrivetError(
                f"a reward is {value} for conversation {number + 1}, whose reply begins {conversations[number].reply[:60]!r}"
            )
    return found


class TrainedReward:
    """The rewards of a model folder. `scale` "raw" gives the model's own, "mean" takes its mean off, "unit" also divides by
    its spread (mean over the chosen, spread over all replies of some training pairs; see reward.py).

    Computed in batches of `batch_tokens` padded tokens, like lengths together. `rewards` is the synchronous form.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        scale: Literal["raw", "mean", "unit"] = "mean",
        device: str = "auto",
        dtype: torch.dtype = torch.float32,
        batch_tokens: int = 16384,
    ) -> None:
        self.name = str(folder)
        self.model, self.tokenizer = load(folder, device=device, dtype=dtype)
        self.model.eval().requires_grad_(False)
        self.scorer = RewardScorer(self.model)
        self.longest = models.longest(1 << 30, self.model)
        self.batch_tokens = batch_tokens
        mean, std = offset_of(self.model)
        self.shift = 0.0 if scale == "raw" else mean
        self.divisor = std if scale == "unit" else 1.0
        self._running = threading.Lock()

    def rewards(self, conversations: Sequence[Conversation]) -> list[float]:
        """n conversations that end with the assistant -> n rewards; DataError for one that is too long or has no reply."""
        rows = rows_of(self.tokenizer, conversations, self.longest)
        with self._running:
            found = score_rows(self.scorer, rows, pad=self.tokenizer.pad_token_id, budget=self.batch_tokens)
        return [(value - self.shift) / self.divisor for value in found.tolist()]

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]:
        return await asyncio.to_thread(self.rewards, conversations)


class RewardEnsemble:
    """Several rewards as one, against over-optimisation (Coste et al. 2023, arXiv:2310.02743):

        mean           1/n sum_i r_i
        worst          min_i r_i                                            (their worst-case optimisation)
        uncertainty    mean - k var,  var = 1/n sum_i (r_i - mean)^2        (uncertainty-weighted; k 0.1 for PPO, 0.5 for
                                                                            best of n)

    The members' scales must agree before they are joined: `RewardEnsemble.load` opens folders with scale "unit"; wrap other
    rewards in `Scaled`. By hand: rewards (1, 3) give a mean of 2, a worst of 1, and with k = 0.5 an uncertain 1.5.
    """

    def __init__(self, members: Sequence[Reward], how: How = "mean", *, k: float = 0.1) -> None:
        if not members:
            raise ConfigError("an ensemble of rewards needs at least one member, was given none")
        if how not in ("mean", "worst", "uncertainty"):
            raise ConfigError(f"an ensemble cannot be joined by {how!r}; use mean, worst or uncertainty")
        self.members, self.how, self.k = tuple(members), how, k

    @classmethod
    def load(
        cls, folders: Sequence[str | Path], how: How = "mean", *, k: float = 0.1, device: str = "auto"
    ) -> RewardEnsemble:
        """An ensemble of reward models, each in units of its own spread."""
        return cls([TrainedReward(folder, scale="unit", device=device) for folder in folders], how, k=k)

    def join(self, each: np.ndarray) -> np.ndarray:
        """Rewards of the members [members, n] -> [n]."""
        match self.how:
            case "worst":
                return each.min(0)
            case "uncertainty":
                return each.mean(0) - self.k * each.var(0)
        return each.mean(0)

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]:
        each = [checked(await member.score(conversations), conversations) for member in self.members]
        return [float(value) for value in self.join(np.asarray(each).reshape(len(self.members), len(conversations)))]


class Scaled:
    """A reward less its mean, divided by its spread. `Scaled.on(reward, conversations)` measures both."""

    def __init__(self, reward: Reward, mean: float, std: float) -> None:
        if not std > 0:
            raise ConfigError(f"a reward cannot be scaled by a spread of {std}; it gave one value to everything")
        self.reward, self.mean, self.std = reward, mean, std

    @classmethod
    def on(cls, reward: Reward, conversations: Sequence[Conversation]) -> Scaled:
        found = np.asarray(score_now(reward, conversations))
        return cls(reward, float(found.mean()), float(found.std()))

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]:
        return [(value - self.mean) / self.std for value in await self.reward.score(conversations)]


class JudgeReward:
    """A judge's verdict as a number: by its label where `labels` has it, else `weight` times its score.

    Judges of harm score compliance, so the weight is -1 unless told otherwise. `about` says what had been asked for, where
    the judge needs to know. At most `together` verdicts are waited for at once. A judge that could not decide (`error`)
    stops the run with a TargetError, unless `labels` gives `error` a number: it is never taken for safe or unsafe.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        labels: Mapping[str, float] | None = None,
        weight: float = -1.0,
        about: Callable[[Conversation], Goal | Probe | None] | None = None,
        together: int = 16,
    ) -> None:
        self.judge, self.labels, self.weight, self.about, self.together = (
            judge,
            dict(labels or {}),
            weight,
            about,
            together,
        )

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]:
        slots = asyncio.Semaphore(self.together)

        async def one(talk: Conversation) -> float:
            async with slots:
                verdict = await self.judge.judge(talk, self.about(talk) if self.about else None)
            if verdict.label in self.labels:
                return self.labels[verdict.label]
            if verdict.label == "error":
                raise TargetError(f"the judge {verdict.judge} could not decide ({verdict.why}), so there is no reward")
            return self.weight * verdict.score

        return list(await asyncio.gather(*(one(talk) for talk in conversations)))


class CodeReward:
    """A function of your own: `package.module:function`, from one Conversation to a number; it may be asynchronous.

    A path in a recipe is code that runs here: use recipes of people you trust.
    """

    def __init__(self, function: str | Callable[[Conversation], float | Awaitable[float]]) -> None:
        self.function = dotted(function) if isinstance(function, str) else function

    async def score(self, conversations: Sequence[Conversation]) -> Sequence[float]:
        found = []
        for talk in conversations:
            value: Any = self.function(talk)
            found.append(float(await value if inspect.isawaitable(value) else value))
        return found


def dotted(path: str) -> Any:
    """What `package.module:name` names; raises ConfigError that says which half is missing."""
    module, colon, name = path.partition(":")
    if not colon:
        raise ConfigError(f"{path!r} names no function; write package.module:function")
    try:
        found = import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name and not f"{module}.".startswith(f"{missing.name}."):
            raise  # the module is there, and what it needs is not
        raise ConfigError(
            f"{path!r}: there is no module {missing.name}; is it installed, or on PYTHONPATH?"
        ) from missing
    if not hasattr(found, name):
        raise ConfigError(f"{path!r}: {module} has no {name}")
    return getattr(found, name)


def resolve(spec: str, *, how: How = "uncertainty", k: float = 0.1, device: str = "auto") -> Reward:
    """The reward that a recipe names.

    runs/out/reward/model          a reward model
    runs/out/reward                the ensemble of its member-0, member-1 and so on, joined by `how` and `k`
    code:package.module:function   a function of your own
    judge:package.module:name      a judge, or a class or function without arguments that makes one
    """
    kind, _, rest = spec.partition(":")
    if kind == "code" and rest:
        return CodeReward(rest)
    if kind == "judge" and rest:
        named = dotted(rest)
        return JudgeReward(named if isinstance(named, Judge) and not isinstance(named, type) else named())
    place = Path(spec).expanduser()
    members = [
        one / "model" for one in sorted(place.glob("member-*"), key=lambda one: int(one.name.rpartition("-")[2]))
    ]
    if members and not (place / "config.json").exists():
        return RewardEnsemble.load(members, how, k=k, device=device)
    if place.is_dir() and not (place / "config.json").exists() and (place / "model" / "config.json").exists():
        place = place / "model"
    if not spec:
        raise ModelNotFound(
            "no reward was named; give a reward model's folder, code:MODULE:FUNCTION or judge:MODULE:NAME"
        )
    return TrainedReward(place if place.exists() else spec, device=device)
