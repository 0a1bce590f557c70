"""What an arms race is made of: the recipe that a YAML file and the command line fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.loop.gate import Rules


@dataclass(frozen=True)
class Seeding:
    """How the attacker learns to write at all, before any target is asked."""

    lessons: int = option(9000, "demonstrations: wordings of the train part around goals of the train part")
    examples: int = option(3, "most examples that a lesson shows; two lessons of three show any")
    lr: float = option(3e-3, "highest learning rate; the start model is small and new to the task")
    batch_tokens: int = option(3072, "padded tokens per step")


@dataclass(frozen=True)
class Ladder:
    """The rungs: zero-shot, few-shot, supervised on successes, reinforcement. Queries are replies of the target."""

    pool: int = option(640, "zero-shot queries on train goals, whose successes are examples and lessons")
    shown: int = option(1, "examples in a few-shot prompt, drawn afresh for every attack")
    heat: float = option(0.1, "temperature at which examples are drawn by score (0.1 in the paper)")
    sl_epochs: float = option(4.0, "passes over the successes")
    sl_lr: float = option(5e-4, "highest learning rate of the supervised rung")
    rounds: int = option(24, "rounds of reinforcement")
    batch: int = option(96, "queries per round")
    replies: int = option(4, "attacks on one goal that are compared with each other")
    how: Literal["rloo", "grpo"] = option("rloo", "policy gradient of the last rung")
    beta: float = option(0.02, "what a nat of KL to the supervised attacker costs")
    rl_lr: float = option(2.5e-4, "highest learning rate of the last rung")
    novelty: float = option(0.7, "share of the reward that is paid for being unlike the others and the archive")
    temperature: float = option(1.0, "of every draw of an attacker")
    max_tokens: int = option(72, "longest attack in tokens")
    reply_tokens: int = option(48, "longest reply of the target in tokens")
    equal_rounds: int = option(2, "so many first rounds have equal queries for all, and the bandit beside them")
    each: int = option(4, "attacks on every held-out goal when the rungs are measured")
    again: int = option(1, "of those, how many the archive puts to every later target")

    def __post_init__(self) -> None:
        for name in ("pool", "shown", "rounds", "batch", "each", "again", "max_tokens", "reply_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is at least 1")

    @property
    def asking(self) -> list[float]:
        """What decides what an attacker says and a target replies, of these settings, where no examples are shown."""
        return [self.temperature, self.max_tokens, self.reply_tokens]

    @property
    def budget(self) -> int:
        """Queries that every trained attacker may learn from, and the bandit too."""
        return self.pool + self.rounds * self.batch


@dataclass(frozen=True)
class Defence:
    """How the target learns from a round: DPO from the version before, on every success found so far."""

    most: int = option(480, "most pairs in all; successes of old rounds are kept and thinned evenly")
    harmless_share: float = option(0.6, "share of pairs that teach to go on answering")
    framed_share: float = option(0.6, "of those, how many stand in the wording of an attack that worked")
    probes: int = option(400, "harmless requests of the train part that the target is asked, half of them look-alikes")
    beta: float = option(0.3, "DPO's beta: how strongly the version before holds")
    nll_weight: float = option(1.0, "weight of the likelihood of the chosen reply beside the DPO loss")
    lr: float = option(3e-4, "highest learning rate")
    epochs: float = option(2.0, "passes over the pairs")
    batch_size: int = option(16, "pairs per step")


@dataclass(frozen=True)
class Recipe:
    """Settings of an arms race."""

    attacker: str = option("town:base", "the model that becomes the attacker; its weights are its own")
    target: str = option("town:helpful", "the first target, and the first version of the defender")
    races: int = option(3, "rounds of attacker and target in turn")
    goals: int = option(120, "held-out goals; the train part has three times as many")
    probes: int = option(160, "held-out look-alikes, and as many ordinary requests")
    seed: int = option(0, "of every draw")
    threads: int = option(1, "CPU threads; 0 leaves torch's choice")
    seeding: Seeding = field(default_factory=Seeding)
    ladder: Ladder = field(default_factory=Ladder)
    defence: Defence = field(default_factory=Defence)
    gate: Rules = field(default_factory=lambda: Rules(capability_drop=0.03, over_refusal_rise=0.02))

    def __post_init__(self) -> None:
        if self.races < 1:
            raise ConfigError(f"races is {self.races}; it is at least 1")
