"""A layer: a guard in its place, and what is done about what it says.

`Layer` is what a policy file says. `Seat` is a layer ready to run: the guard as this request binds it, every setting
looked up once, because thousands of requests a second pass here. `Tally` gathers what the layers came to.

What a guard may say of itself, beside `async judge(conversation)`:

    threshold   the score at which it fires, unless the layer says otherwise
    digest      a hash of all that decides
    scan        `scan(text) -> Verdict`, pure, synchronous, safe in any thread
    scan_many   `async scan_many(texts) -> list[Verdict]`, where many together cost less
    cheap       `scan` takes so little time that it may run on the event loop (texts up to shared.INLINE characters)
    reach       how far a finding reaches, in characters; None (the default): only the whole text tells
    lookahead   how much of what follows a stretch must be known to judge it. 0 is for guards that score a sentence with
                what came before it, such as classifiers. Unless said it is `reach` for cheap guards, which match
                patterns, and 0 for others. A finding longer than it must show when it is cut off (windows.py)
    rewrite     `rewrite(text, verdict) -> str`, for layers that rewrite; or `repair(text)` with `.text` and `.faults`
    reversible  what it masks in the input is put back in the reply (the gateway does that)
    bind        `bind(request) -> Judge | None`, for guards that look at the request to know what to check
    text_only   `scan` says all that `judge` would, so it may be asked instead, and what it said of a text remembered. So
                it is for guards that are cheap or have a reach; others may look at the conversation, and must say it
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from trivet.core.errors import ConfigError
from trivet.core.messages import ROLES, Conversation, Message, Role, digest_of
from trivet.core.protocols import Judge
from trivet.core.verdicts import Action, Cost, Decision, Place, Verdict
from trivet.monitoring.guards.shared import INLINE

RANK: dict[Action, int] = {"allow": 0, "flag": 1, "review": 2, "mask": 3, "rewrite": 4, "block": 5}
LayerAction = Literal["block", "mask", "rewrite", "flag", "review"]
Speaker = Role | Literal["last"]
SPEAKERS: tuple[str, ...] = (*ROLES, "last")
_log = logging.getLogger("trivet.monitoring")


@runtime_checkable
class Bindable(Protocol):
    """A guard that looks at the request to know what to check; None: nothing, this time."""

    def bind(self, request: Mapping[str, Any]) -> Judge | None: ...


@runtime_checkable
class Repairs(Protocol):
    """A guard that can mend what it finds fault with: the text, and what is still wrong with it."""

    def repair(self, text: str) -> Any: ...


@dataclass(frozen=True)
class Layer:
    """A guard in its place. `threshold` None takes the guard's own (attribute `threshold`, else 0.5).

    `of` names the roles whose messages are judged, and `last` the last message whoever speaks it but a tool, whose words
    are for a layer that names `tool`; None: at the input those of users and tools, and the last message; at the output
    the last. `review_from`: scores from there up to the threshold pass and go to the
    review queue. `canary`: the share of conversations for which the layer is enforced; for the rest it is in shadow. A
    layer in shadow with a canary share runs for that share only. `when`: fields of the request that must be as said
    (a pattern as of file names, or true/false for given or not), or the layer is left out.
    """

    name: str
    guard: Judge
    place: Literal["input", "output", "both"] = "both"
    action: LayerAction = "block"
    threshold: float | None = None
    deadline_ms: float = 2000.0
    failure: Literal["closed", "open"] | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
    of: tuple[Speaker, ...] | None = None
    review_from: float | None = None
    canary: float = 1.0
    when: Mapping[str, str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [
            f"{key} is {value!r}; it can be {', '.join(allowed)}"
            for key, value, allowed in (
                ("place", self.place, ("input", "output", "both")),
                ("action", self.action, get_args(LayerAction)),
                ("failure", self.failure or self.on_failure, ("closed", "open")),
                ("mode", self.mode, ("enforce", "shadow")),
                *(("of", role, SPEAKERS) for role in self.of or ()),
            )
            if value not in allowed
        ]
        if not self.deadline_ms > 0:
            faults.append(f"deadline_ms is {self.deadline_ms}; it must be above 0")
        if not 0 < self.canary <= 1:
            faults.append(f"canary is {self.canary}; it is a share above 0 and up to 1")
        if self.review_from is not None and not self.review_from < self.limit:
            faults.append(f"review_from is {self.review_from}; it must be below the threshold, {self.limit}")
        if self.action == "rewrite" and not (hasattr(self.guard, "rewrite") or isinstance(self.guard, Repairs)):
            faults.append(f"action is 'rewrite' and {type(self.guard).__name__} offers no rewrite(text, verdict)")
        if any(not isinstance(wanted, str | bool) for wanted in self.when.values()):
            faults.append(f"when is {dict(self.when)!r}; every value is a pattern, true or false")
        if faults:
            raise ConfigError(f"layer {self.name!r}: {'; '.join(faults)}")

    @property
    def limit(self) -> float:
        return getattr(self.guard, "threshold", 0.5) if self.threshold is None else self.threshold

    @property
    def on_failure(self) -> Literal["closed", "open"]:
        """What blocks, masks or rewrites fails closed unless told otherwise; what only notes fails open."""
        return self.failure or ("open" if self.action in ("flag", "review") else "closed")

    @property
    def enforces(self) -> bool:
        """Whether it can change or stop a text; a layer that flags can, by failing closed."""
        return self.mode == "enforce" and (self.action not in ("flag", "review") or self.on_failure == "closed")

    def at(self, place: Place) -> bool:
        return self.place in (place, "both")

    def judges(self, role: Role, *, last: bool) -> bool:
        """Whether `of` speaks of a message of this role; a layer that leaves it out judges what its place says."""
        return self.of is None or role in self.of or (last and role != "tool" and "last" in self.of)

    def wanted(self, request: Mapping[str, Any]) -> bool:
        """Whether the request is one that the layer's `when` speaks of."""
        return all(_as_wanted(request.get(key), wanted) for key, wanted in self.when.items())

    def bound(self, request: Mapping[str, Any] | None) -> Judge | None:
        """The guard as this request needs it, or None where there is nothing to check."""
        if self.when and not self.wanted(request or {}):
            return None
        # What makes a guard Bindable; asking the protocol takes several microseconds, and this is asked for each request.
        bind = getattr(self.guard, "bind", None)
        return bind(request or {}) if bind else self.guard

    def drawn(self, key: str) -> bool:
        """Whether a conversation is in the canary share: always the same answer for the same key."""
        if self.canary >= 1:
            return True
        drawn = hashlib.blake2b(f"{self.name}\n{key}".encode(errors="replace"), digest_size=8).digest()
        return int.from_bytes(drawn) < self.canary * 2**64

    @property
    def digest(self) -> str:
        guard = getattr(self.guard, "digest", f"{type(self.guard).__module__}.{type(self.guard).__qualname__}")
        settings = [self.limit, self.deadline_ms, self.on_failure, self.mode, self.review_from, self.canary]
        return digest_of([self.name, guard, self.place, self.action, settings, self.of, dict(self.when)])


def _as_wanted(given: Any, wanted: str | bool) -> bool:
    if isinstance(wanted, bool):
        return bool(given) is wanted
    return fnmatchcase(str(given or ""), wanted)


ALLOW: tuple[Action, str] = ("allow", "")


class Seat:
    """A layer ready to run."""

    __slots__ = (
        "acts",
        "cheap",
        "closed",
        "digest",
        "enforce",
        "floor",
        "guard",
        "layer",
        "limit",
        "lookahead",
        "many",
        "name",
        "reach",
        "scan",
        "seconds",
    )

    def __init__(self, layer: Layer, guard: Judge, *, enforce: bool = True) -> None:
        self.layer, self.guard, self.name = layer, guard, layer.name
        self.enforce = enforce and layer.mode == "enforce"
        self.acts = self.enforce and layer.enforces
        self.limit, self.closed = layer.limit, layer.on_failure == "closed"
        self.floor = self.limit if layer.review_from is None else layer.review_from
        self.seconds = layer.deadline_ms / 1000
        self.scan = guard.scan if _scans(guard) else None  # type: ignore[attr-defined]
        self.many = getattr(guard, "scan_many", None)
        self.cheap = self.scan is not None and bool(getattr(guard, "cheap", False))
        self.digest = str(getattr(guard, "digest", "")) if self.scan is not None else ""
        self.reach: int | None = getattr(guard, "reach", None)
        self.lookahead: int = getattr(guard, "lookahead", self.reach if self.cheap else 0) or 0

    def shadowed(self) -> Seat:
        """The same seat, where it decides nothing."""
        return Seat(self.layer, self.guard, enforce=False)

    # Judging

    def at_once(self, text: str) -> Verdict | None:
        """The verdict of a cheap guard on a text short enough for the event loop; None where it must be awaited."""
        if not self.cheap or len(text) > INLINE or self.scan is None:
            return None
        try:
            return self.named(self.scan(text))
        except Exception as error:
            return self._raised(error)

    async def judge(self, conversation: Conversation) -> Verdict:
        """The verdict on the last message under the deadline; what the guard raised becomes a verdict `error`."""
        try:
            async with asyncio.timeout(self.seconds):
                if self.scan is not None and self.many is None:
                    verdict = await asyncio.to_thread(self.scan, conversation.messages[-1].content)
                else:
                    verdict = await self.guard.judge(conversation)
        except TimeoutError:
            return self._late()
        except Exception as error:
            return self._raised(error)
        return self.named(verdict)

    async def judge_all(self, texts: Sequence[str], before: tuple[Message, ...], role: Role) -> list[Verdict]:
        """Verdicts on several texts that stand in the same place, under one deadline."""
        if self.cheap and sum(map(len, texts)) <= INLINE:
            return [verdict for text in texts if (verdict := self.at_once(text))]
        try:
            async with asyncio.timeout(self.seconds):
                if self.many is not None:
                    found = list(await self.many(texts))
                elif (scan := self.scan) is not None:
                    found = await asyncio.to_thread(lambda: [scan(text) for text in texts])
                else:
                    found = [await self.guard.judge(Conversation((*before, Message(role, text)))) for text in texts]
        except TimeoutError:
            return [self._late()] * len(texts)
        except Exception as error:
            return [self._raised(error)] * len(texts)
        return [self.named(verdict) for verdict in found]

    def named(self, verdict: Verdict) -> Verdict:
        """Under the layer's name; JSON has no NaN: a record that held one could never be read again."""
        score = verdict.score if math.isfinite(verdict.score) else 1.0
        return Verdict(verdict.label, score, self.name, verdict.category, verdict.why, verdict.spans)

    def _late(self) -> Verdict:
        return Verdict("error", 1.0, self.name, why=f"no verdict within {self.layer.deadline_ms:g} ms")

    def _raised(self, error: Exception) -> Verdict:
        # A guard is foreign code and may raise anything. Its message could quote the user, so only its type is kept.
        _log.warning("guard %s raised %s", self.name, type(error).__name__)
        return Verdict("error", 1.0, self.name, why=f"raised {type(error).__name__}")

    # Deciding

    def outcome(self, verdict: Verdict) -> tuple[Action, str]:
        """What the layer does about a verdict, by its threshold and failure rule."""
        if verdict.label == "error":
            return self.failed(f"guard failed ({verdict.why})")
        if verdict.score < self.floor:
            return ALLOW
        why = verdict.why or f"{verdict.label} {verdict.score:.2f} (threshold {self.limit:.2f})"
        if verdict.score < self.limit:
            return "review", f"in the grey band: {why}"
        if self.layer.action == "mask" and not verdict.spans:
            return self.failed(f"nothing to mask was named ({why})")
        return self.layer.action, why

    def failed(self, why: str) -> tuple[Action, str]:
        return ("block" if self.closed else "allow"), f"{why}, failure rule {self.layer.on_failure}"

    def rewritten(self, text: str, verdict: Verdict) -> str | None:
        """The text as the guard rewrites it, or None where it could not."""
        try:
            if isinstance(self.guard, Repairs):
                mended = self.guard.repair(text)
                return None if mended.faults else mended.text
            fresh = self.guard.rewrite(text, verdict)  # type: ignore[attr-defined]
        except Exception as error:
            _log.warning("guard %s raised %s while rewriting", self.name, type(error).__name__)
            return None
        return fresh if isinstance(fresh, str) else None


def _scans(guard: Judge) -> bool:
    """Whether `scan` says all that `judge` would: the guard says so, and no subclass overrides `judge` alone."""
    sure = getattr(guard, "cheap", False) or getattr(guard, "text_only", getattr(guard, "reach", None) is not None)
    if not sure:
        return False
    if "scan" in getattr(guard, "__dict__", {}):
        return True
    kinds = type(guard).__mro__
    scan = next((place for place, kind in enumerate(kinds) if "scan" in vars(kind)), None)
    judge = next((place for place, kind in enumerate(kinds) if "judge" in vars(kind)), len(kinds))
    return scan is not None and scan <= judge


class Tally:
    """What the layers of a place came to, one after the other."""

    __slots__ = ("action", "cost", "layer", "review", "verdicts", "why", "would")

    def __init__(self) -> None:
        self.action: Action = "allow"
        self.would: Action = "allow"
        self.layer = self.why = ""
        self.review = False
        self.verdicts: list[Verdict] = []
        self.cost: list[Cost] = []

    def add(self, seat: Seat, verdict: Verdict, outcome: tuple[Action, str], nanoseconds: int) -> None:
        """Note an outcome. An enforced layer that decides more strongly than those before it names the decision."""
        self.verdicts.append(verdict)
        self.cost.append(Cost(seat.name, nanoseconds // 1000))
        action, why = outcome
        if action == "allow":
            return
        enforced: Action = action if seat.enforce else "allow"
        if RANK[enforced] > RANK[self.action] or (self.action == "allow" and RANK[action] > RANK[self.would]):
            self.layer, self.why = seat.name, why
        self.review = self.review or enforced == "review"
        if RANK[enforced] > RANK[self.action]:
            self.action = enforced
        if RANK[action] > RANK[self.would]:
            self.would = action

    def decision(self, place: Place, version: str) -> Decision:
        return Decision(
            self.action,
            place,
            self.layer,
            self.why,
            tuple(self.verdicts),
            self.would,
            version,
            self.review,
            tuple(self.cost),
        )
