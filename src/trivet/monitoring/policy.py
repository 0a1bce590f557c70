"""A policy: guards in order, each with a place, an action, a deadline and a failure rule. What they say becomes a Decision.

    policy = Policy.load("default")
    result = policy.check("How do I reset my password?")
    result.action, result.text

A guard is any Judge. It fires when its verdict's score reaches the layer's threshold; then the layer's action follows:
`flag` notes it, `mask` replaces the spans the guard named, `block` ends the matter. Layers run in the order given, so
put cheap ones first; a later layer sees the text as earlier ones left it. A guard that raises, overruns its deadline,
or is asked to mask without saying what, follows the layer's failure rule: `closed` blocks, `open` lets pass; either way
its verdict is `error` and is recorded. A layer in `shadow` mode decides as ever, but only `Decision.would` shows it.

At the input every message of the user and of tools is judged, since earlier turns come from the client too, and the
last message whoever speaks it, since it is what the model goes on from; at the output the last message. Not covered:
other messages of the system and earlier replies are taken as they are, so let only applications that you trust set roles.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from trivet.core.errors import ConfigError, UserError
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.protocols import Judge
from trivet.core.verdicts import Action, Decision, Place, Verdict
from trivet.monitoring.guards.pii import Placeholders

_RANK: dict[Action, int] = {"allow": 0, "flag": 1, "mask": 2, "block": 3}
_log = logging.getLogger("trivet.monitoring")


@runtime_checkable
class Bindable(Protocol):
    """A guard that looks at the request to know what to check; None: nothing, this time."""

    def bind(self, request: Mapping[str, Any]) -> Judge | None: ...


@dataclass(frozen=True)
class Layer:
    """A guard in its place. `threshold` None takes the guard's own (attribute `threshold`, else 0.5)."""

    name: str
    guard: Judge
    place: Literal["input", "output", "both"] = "both"
    action: Literal["block", "mask", "flag"] = "block"
    threshold: float | None = None
    deadline_ms: float = 2000.0
    failure: Literal["closed", "open"] | None = None
    mode: Literal["enforce", "shadow"] = "enforce"

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {value!r}; it can be {', '.join(allowed)}"
            for key, value, allowed in (
                ("place", self.place, ("input", "output", "both")),
                ("action", self.action, ("block", "mask", "flag")),
                ("failure", self.failure or self.on_failure, ("closed", "open")),
                ("mode", self.mode, ("enforce", "shadow")),
            )
            if value not in allowed
        ]
        if not self.deadline_ms > 0:
            faults.append(f"deadline_ms is {self.deadline_ms}; it must be above 0")
        if faults:
            raise ConfigError(f"layer {self.name!r}: {'; '.join(faults)}")

    @property
    def limit(self) -> float:
        return getattr(self.guard, "threshold", 0.5) if self.threshold is None else self.threshold

    @property
    def on_failure(self) -> Literal["closed", "open"]:
        """What blocks or masks fails closed unless told otherwise; what only flags fails open."""
        return self.failure or ("open" if self.action == "flag" else "closed")

    @property
    def enforces(self) -> bool:
        """Whether it can change or stop a text; a layer that flags can, by failing closed."""
        return self.mode == "enforce" and (self.action != "flag" or self.on_failure == "closed")

    def at(self, place: Place) -> bool:
        return self.place in (place, "both")

    @property
    def digest(self) -> str:
        guard = getattr(self.guard, "digest", f"{type(self.guard).__module__}.{type(self.guard).__qualname__}")
        settings = (self.limit, self.deadline_ms, self.on_failure, self.mode)
        return digest_of([self.name, guard, self.place, self.action, settings])


@dataclass(frozen=True)
class Checked:
    """What a policy made of a conversation: its decision, and the conversation as it may go on."""

    decision: Decision
    conversation: Conversation
    names: Placeholders = field(default_factory=Placeholders, compare=False)

    @property
    def action(self) -> Action:
        return self.decision.action

    @property
    def blocked(self) -> bool:
        return self.decision.action == "block"

    @property
    def text(self) -> str:
        """The text of the last message, masked where the policy says so; empty when it was blocked."""
        return "" if self.blocked else self.conversation.messages[-1].content


@dataclass(frozen=True)
class Policy:
    """An immutable, ordered set of layers. `version` is the hash of all that decides."""

    layers: tuple[Layer, ...] = ()
    name: str = "policy"

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Policy:
        """From a packaged policy's name (`default`), a YAML file, or a mapping of the same form."""
        from trivet.monitoring.policyfile import read_policy

        return read_policy(source)

    @classmethod
    def from_parts(cls, layers: Iterable[Layer], name: str = "policy") -> Policy:
        return cls(tuple(layers), name)

    @cached_property
    def version(self) -> str:
        return digest_of([layer.digest for layer in self.layers])[:12]

    def holds(self, place: Place, request: Mapping[str, Any] | None = None) -> bool:
        """Whether any layer could change or stop a text at this place."""
        return any(layer.enforces and layer.at(place) and _bound(layer.guard, request) for layer in self.layers)

    def check(self, text: str | Conversation, place: Place = "input") -> Checked:
        """`acheck` for programs without an event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.acheck(text, place))
        raise UserError("policy.check() was called inside a running event loop; use `await policy.acheck(...)` there")

    async def acheck(
        self,
        text: str | Conversation,
        place: Place = "input",
        *,
        request: Mapping[str, Any] | None = None,
        names: Placeholders | None = None,
        shadow: bool = False,
    ) -> Checked:
        """Run the layers of a place. `names` carries the placeholders of the request's input over to its output;
        `shadow` makes every layer a shadow layer."""
        if isinstance(text, str):
            text = Conversation((Message("user" if place == "input" else "assistant", text),))
        pass_ = _Pass(self, place, text, names or Placeholders())
        for layer in self.layers:
            guard = _bound(layer.guard, request) if layer.at(place) else None
            if guard is not None:
                await pass_.run(replace(layer, mode="shadow") if shadow else layer, guard)
            if pass_.action == "block":
                break
        return pass_.checked()


def _bound(guard: Judge, request: Mapping[str, Any] | None) -> Judge | None:
    return guard.bind(request or {}) if isinstance(guard, Bindable) else guard


class _Pass:
    """One walk of a conversation through the layers of a place."""

    def __init__(self, policy: Policy, place: Place, conversation: Conversation, names: Placeholders) -> None:
        self.policy, self.place, self.names = policy, place, names
        self.messages = list(conversation.messages)
        self.action: Action = "allow"
        self.would: Action = "allow"
        self.layer = self.why = ""
        self.verdicts: list[Verdict] = []

    async def run(self, layer: Layer, guard: Judge) -> None:
        verdicts = {}
        for index in self._judged():
            verdicts[index] = await _judged(layer, guard, Conversation(tuple(self.messages[: index + 1])))
            if layer.action == "block" and _outcome(layer, verdicts[index])[0] == "block":
                break
        if not verdicts:
            return
        worst = max(verdicts.values(), key=lambda v: (_RANK[_outcome(layer, v)[0]], v.score))
        self.verdicts.append(worst)
        self._decide(layer, *_outcome(layer, worst))
        if layer.action == "mask" and layer.mode == "enforce" and self.action != "block":
            for index, verdict in verdicts.items():
                if _outcome(layer, verdict)[0] == "mask":
                    message = self.messages[index]
                    self.messages[index] = replace(message, content=self.names.mask(message.content, verdict.spans))

    def _judged(self) -> Sequence[int]:
        if self.place == "output":
            return [len(self.messages) - 1] if self.messages else []
        last = len(self.messages) - 1
        return [i for i, message in enumerate(self.messages) if message.role in ("user", "tool") or i == last]

    def _decide(self, layer: Layer, outcome: Action, why: str) -> None:
        """Note an outcome. An enforced layer that decides more strongly than those before it names the decision."""
        enforced: Action = outcome if layer.mode == "enforce" else "allow"
        if _RANK[enforced] > _RANK[self.action] or (self.action == "allow" and _RANK[outcome] > _RANK[self.would]):
            self.layer, self.why = layer.name, why
        self.action = max(self.action, enforced, key=_RANK.__getitem__)
        self.would = max(self.would, outcome, key=_RANK.__getitem__)

    def checked(self) -> Checked:
        decision = Decision(
            self.action, self.place, self.layer, self.why, tuple(self.verdicts), self.would, self.policy.version
        )
        return Checked(decision, Conversation(tuple(self.messages)), self.names)


async def _judged(layer: Layer, guard: Judge, conversation: Conversation) -> Verdict:
    """The guard's verdict under its deadline; what it raised becomes a verdict `error` that names no text."""
    try:
        async with asyncio.timeout(layer.deadline_ms / 1000):
            verdict = await guard.judge(conversation)
    except TimeoutError:
        return Verdict("error", 1.0, layer.name, why=f"no verdict within {layer.deadline_ms:g} ms")
    except Exception as error:
        # A guard is foreign code and may raise anything. Its message could quote the user, so only its type is kept.
        _log.warning("guard %s raised %s", layer.name, type(error).__name__)
        return Verdict("error", 1.0, layer.name, why=f"raised {type(error).__name__}")
    # JSON has no NaN: a record that held one could never be read again.
    return replace(verdict, judge=layer.name, score=verdict.score if math.isfinite(verdict.score) else 1.0)


def _outcome(layer: Layer, verdict: Verdict) -> tuple[Action, str]:
    """What a layer does about a verdict, by its threshold and failure rule."""
    closed = layer.on_failure == "closed"
    if verdict.label == "error":
        return ("block" if closed else "allow"), f"guard failed ({verdict.why}), failure rule {layer.on_failure}"
    if verdict.score < layer.limit:
        return "allow", ""
    why = verdict.why or f"{verdict.label} {verdict.score:.2f} (threshold {layer.limit:.2f})"
    if layer.action == "mask" and not verdict.spans:
        return ("block" if closed else "allow"), f"nothing to mask was named ({why}), failure rule {layer.on_failure}"
    return layer.action, why
