"""Settings that recipes share, held against their ranges before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trivet.alignment import models
from trivet.core.errors import ConfigError

POSITIVE = (
    "log_every",
    "accumulate",
    "minibatch",
    "passes",
    "together",
    "ptx_size",
    "replies",
    "max_tokens",
    "max_length",
)
COUNTED = ("epochs", "max_steps", "rounds", "batch_size", "batch_tokens", "lora", "threads", "save_every", "eval_every")
"""Settings that several recipes have: those that are at least 1, and those that are at least 0."""


def check(settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for a setting out of its range, before anything is loaded; what a recipe lacks is not looked at."""
    for low, names in ((1, POSITIVE), (0, COUNTED)):
        for name in names:
            if name in settings and settings[name] < low:
                raise ConfigError(f"{name} is {settings[name]}; it is at least {low}")
    if not any(settings.get(name, 0) for name in ("epochs", "max_steps", "rounds")):
        raise ConfigError("epochs is 0, so nothing would be learnt; give more, or max_steps or rounds")
    if "accumulate" not in settings and settings.get("batch_size", 1) < 1:
        raise ConfigError(f"batch_size is {settings['batch_size']}; it is at least 1")
    for name in ("lr", "beta", "kl_target"):
        if settings.get(name, 0) < 0:
            raise ConfigError(f"{name} is {settings[name]}; it is not below 0")
    models.pick_device(settings.get("device", "auto"))
