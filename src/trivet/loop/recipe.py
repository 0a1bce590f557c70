"""What one turn of the ring is made of: the recipe that a YAML file and the command line fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.loop.gate import Rules


@dataclass(frozen=True)
class Sizes:
    """How much is asked. Attacks are spread evenly over goals, families and wordings."""

    harvest_attacks: int = option(700, "attacks on the train part")
    harvest_probes: int = option(1500, "harmless requests of the train part, half of them look-alikes")
    heldout_attacks: int = option(420, "attacks on the held-out part; these are the reported figures")
    heldout_lookalikes: int = option(210, "held-out look-alikes: over-refusal")
    heldout_benign: int = option(240, "held-out ordinary requests: capability")
    max_tokens: int = option(64, "longest reply, in tokens")
    concurrency: int = option(32, "requests in flight through the gateway")

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _within(name, value, 0 if name == "harvest_probes" else 1)


@dataclass(frozen=True)
class Pairs:
    """Which preference pairs are made of a harvest."""

    harmless_share: float = option(
        0.65, "share of pairs that teach to go on answering (look-alikes and ordinary requests)"
    )
    framed_share: float = option(0.5, "of those, how many stand in an attack's wording, so that wordings mean nothing")
    most: int = option(2000, "most pairs in all; a larger harvest is thinned evenly")

    def __post_init__(self) -> None:
        _within("harmless_share", self.harmless_share, 0, 0.99)
        _within("framed_share", self.framed_share, 0, 1)
        _within("most", self.most, 1)


@dataclass(frozen=True)
class Training:
    """How the challenger is trained: DPO from the champion, which is also the reference."""

    beta: float = option(0.3, "DPO's beta: how strongly the champion holds")
    nll_weight: float = option(1.0, "weight of the likelihood of the chosen reply beside the DPO loss")
    lr: float = option(3e-4, "highest learning rate; 5e-6 suits models of a billion parameters with all weights")
    epochs: float = option(2.0, "passes over the pairs")
    batch_size: int = option(16, "pairs per step")
    lora: int = option(0, "rank of the adapters; 0 trains all weights")
    max_length: int = option(512, "longest pair in tokens; longer ones are dropped and counted")
    dtype: Literal["fp32", "bf16"] = option("fp32", "arithmetic: fp32 or bf16")
    heldout_share: float = option(0.05, "share of the pairs kept back for the training curves")

    def __post_init__(self) -> None:
        for name in ("beta", "lr", "epochs"):
            _within(name, getattr(self, name), 1e-12)
        for name in ("batch_size", "max_length"):
            _within(name, getattr(self, name), 1)
        for name in ("nll_weight", "lora"):
            _within(name, getattr(self, name), 0)
        _within("heldout_share", self.heldout_share, 0, 0.9)


@dataclass(frozen=True)
class Recipe:
    """Settings of one turn."""

    model: str = option(
        "town:helpful", "the first champion: town:..., hf:..., a folder; later turns go on from the registry"
    )
    target: str = option(
        "", "what production runs, if not the champion: http://HOST/v1#MODEL is attacked and harvested"
    )
    ground: str = option("town", "the world of goals and probes: town, or files (goals, lookalikes, benign)")
    goals: str = option("", "JSONL of goals (behavior, category) for ground=files")
    lookalikes: str = option(
        "", "JSONL of look-alike probes (text, category) for ground=files; empty: the packaged ones"
    )
    benign: str = option(
        "", "JSONL of ordinary requests (text, facts, answer) for ground=files; empty: the packaged ones"
    )
    families: tuple[str, ...] = option((), "attack families; empty for the seven basic ones")
    policy: str = option("", "guards in front: a policy file or name; empty for the ground's own")
    seed: int = option(0, "of every draw in the turn")
    threads: int = option(0, "CPU threads; 0 leaves torch's choice")
    sizes: Sizes = field(default_factory=Sizes)
    pairs: Pairs = field(default_factory=Pairs)
    training: Training = field(default_factory=Training)
    gate: Rules = field(default_factory=Rules)


def _within(name: str, value: Any, least: float, most: float | None = None) -> None:
    """A mistake is told before a turn begins, not when its stage comes."""
    if value < least or (most is not None and value > most):
        bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
        raise ConfigError(f"{name} is {value:g}, and must be {bounds}")
