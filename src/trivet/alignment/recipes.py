"""The recipes by name: which file trains how, and what it learns from. Nothing heavy is loaded before one is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from trivet.core.errors import ConfigError, did_you_mean


class Recipe(NamedTuple):
    """The module that holds `Config` and `run`, the reader of sources.py for its data, and what it is for.

    `local` says that `model` must be weights on this machine, because they are trained.
    """

    module: str
    lessons: str
    what: str
    local: bool = True


RECIPES = {
    "sft": Recipe("trivet.alignment.sft", "demonstrations", "imitate demonstrations"),
    "preference": Recipe("trivet.alignment.preference", "preferences", "DPO, cDPO, rDPO, IPO, ORPO, SimPO on pairs"),
    "kto": Recipe("trivet.alignment.kto", "feedback", "KTO on single judged replies"),
    "reward": Recipe("trivet.alignment.reward", "preferences", "a reward model, or an ensemble, from pairs"),
    "ppo": Recipe("trivet.alignment.ppo", "prompts", "PPO against any reward"),
    "policy_gradient": Recipe("trivet.alignment.policy_gradient", "prompts", "RLOO and GRPO against any reward"),
    "constitution": Recipe(
        "trivet.alignment.constitution", "prompts", "Constitutional AI: revisions and AI preferences", local=False
    ),
    "unlearn": Recipe("trivet.alignment.unlearn", "demonstrations", "forget what the data says"),
}


def recipe(name: str) -> Recipe:
    """The recipe of this name; raises ConfigError with the names there are."""
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise ConfigError(f'recipe: "{name}" is not known; there are {known}.{did_you_mean(name, RECIPES)}')
    return RECIPES[name]


def module(name: str) -> Any:
    """The file of a recipe, loaded."""
    return import_module(recipe(name).module)
