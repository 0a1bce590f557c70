"""LLM safety in one system: align a model, attack it, guard it, and turn every failure into its next version.

The names here are those that most programs need. Each is loaded when it is first used, so that `import trivet` costs
next to nothing and never loads torch; everything else is imported from the file that defines it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trivet.core.config import load as load_config
    from trivet.core.errors import TrivetError, UserError
    from trivet.core.hazards import Goal, Probe
    from trivet.core.judges.rules import RefusalRules
    from trivet.core.lessons import Demonstration, Feedback, Preference
    from trivet.core.messages import Conversation, Message, Sampling
    from trivet.core.models.endpoint import Endpoint
    from trivet.core.models.local import LocalModel
    from trivet.core.models.resolve import resolve
    from trivet.core.models.scripted import Scripted
    from trivet.core.stats import Rate
    from trivet.core.store.events import Store
    from trivet.core.store.registry import Registry
    from trivet.core.verdicts import Decision, Verdict
    from trivet.monitoring.guard import Guard
    from trivet.monitoring.guards.classifier import LightClassifier
    from trivet.monitoring.policy import Policy

_HOME = {
    "Conversation": "trivet.core.messages",
    "Decision": "trivet.core.verdicts",
    "Demonstration": "trivet.core.lessons",
    "Endpoint": "trivet.core.models.endpoint",
    "Feedback": "trivet.core.lessons",
    "Goal": "trivet.core.hazards",
    "Guard": "trivet.monitoring.guard",
    "LightClassifier": "trivet.monitoring.guards.classifier",
    "LocalModel": "trivet.core.models.local",
    "Message": "trivet.core.messages",
    "Policy": "trivet.monitoring.policy",
    "Preference": "trivet.core.lessons",
    "Probe": "trivet.core.hazards",
    "Rate": "trivet.core.stats",
    "RefusalRules": "trivet.core.judges.rules",
    "Registry": "trivet.core.store.registry",
    "Sampling": "trivet.core.messages",
    "Scripted": "trivet.core.models.scripted",
    "Store": "trivet.core.store.events",
    "TrivetError": "trivet.core.errors",
    "UserError": "trivet.core.errors",
    "Verdict": "trivet.core.verdicts",
    "load_config": "trivet.core.config:load",
    "resolve": "trivet.core.models.resolve",
}

__all__ = [
    "Conversation",
    "Decision",
    "Demonstration",
    "Endpoint",
    "Feedback",
    "Goal",
    "Guard",
    "LightClassifier",
    "LocalModel",
    "Message",
    "Policy",
    "Preference",
    "Probe",
    "Rate",
    "RefusalRules",
    "Registry",
    "Sampling",
    "Scripted",
    "Store",
    "TrivetError",
    "UserError",
    "Verdict",
    "load_config",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("trivet")
    elif name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        value = getattr(import_module(module), attribute or name)
    else:
        raise AttributeError(f"module 'trivet' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "__version__"])
