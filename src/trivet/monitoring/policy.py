"""A policy: guards in order, each with a place, an action, a deadline and a failure rule. What they say becomes a Decision.

    policy = Policy.load("default")
    result = policy.check("How do I reset my password?")
    result.action, result.text

A guard is any Judge. It fires when its verdict's score reaches the layer's threshold; then the layer's action follows:
`flag` notes it, `review` also sends it to the people who review, `mask` replaces the spans the guard named, `rewrite`
takes the text that the guard offers instead, `block` ends the matter. Layers run in the order given, so put cheap ones
first; a later layer sees the text as earlier ones left it. A guard that raises, overruns its deadline, or is asked to
mask without saying what, follows the layer's failure rule: `closed` blocks, `open` lets pass; either way its verdict is
`error` and is recorded. A layer in `shadow` mode decides as ever, but only `Decision.would` shows it.

At the input every message of the user and of tools is judged, since earlier turns come from the client too, and the
last message whoever speaks it, since it is what the model goes on from; at the output the last message, in windows, as a
stream of it would be (stream.py). Verdicts of guards with a `digest` and a `scan` are remembered by the hash of the text,
so that the earlier turns of a conversation are not judged again in every request. Not covered: other messages of the
system and earlier replies are taken as they are, so let only applications that you trust set roles, or name the roles
to judge in a layer's `of`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from trivet.core.errors import UserError
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.verdicts import Action, Decision, Place
from trivet.monitoring.guards.shared import INLINE
from trivet.monitoring.guards.vault import Placeholders
from trivet.monitoring.layers import Bindable, Layer, Seat
from trivet.monitoring.stream import Check, Stream
from trivet.monitoring.walk import Memory, Walk

__all__ = ["Bindable", "Checked", "Layer", "Policy"]

T = TypeVar("T")


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

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and probably not meant: a costly layer before a cheap one."""
        said = []
        for place in ("input", "output"):
            costly = ""
            for layer in (layer for layer in self.layers if layer.at(place)):  # type: ignore[arg-type]
                if not getattr(layer.guard, "cheap", False):
                    costly = costly or layer.name
                elif costly:
                    said.append(
                        f"{place}: the costly layer {costly!r} stands before the cheap {layer.name!r}; swap them"
                    )
        return tuple(said)

    def holds(self, place: Place, request: Mapping[str, Any] | None = None) -> bool:
        """Whether any layer could change or stop a text at this place."""
        return any(seat.acts for seat in self._seats(place, request))

    def check(self, text: str | Conversation, place: Place = "input") -> Checked:
        """`acheck` for programs without an event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asked = self.acheck(text, place)
            return finished_at_once(asked) if self.inline(text, place) else asyncio.run(asked)
        raise UserError("policy.check() was called inside a running event loop; use `await policy.acheck(...)` there")

    def inline(self, text: str | Conversation, place: Place) -> bool:
        """Whether a check needs no event loop: every layer is cheap and every text is short."""
        texts = [text] if isinstance(text, str) else [message.content for message in text]
        return all(len(one) <= INLINE // 4 for one in texts) and all(seat.cheap for seat in self._seats(place, None))

    async def acheck(
        self,
        text: str | Conversation,
        place: Place = "input",
        *,
        request: Mapping[str, Any] | None = None,
        names: Placeholders | None = None,
        shadow: bool = False,
        user: str = "",
    ) -> Checked:
        """Run the layers of a place. `names` carries the placeholders of the request's input over to its output;
        `shadow` makes every layer a shadow layer; `user` is who the canary shares are drawn by, else the first words
        that a user said."""
        if isinstance(text, str):
            text = Conversation((Message("user" if place == "input" else "assistant", text),))
        names = Placeholders() if names is None else names
        seats = self._drawn(place, request, text, shadow, user)
        if place == "input":
            for message in text.messages:
                names.reserve(message.content)
            walk = Walk(text, names, self._memory)
            for seat in seats:
                await walk.run(seat)
                if walk.tally.action == "block":
                    break
            return Checked(walk.tally.decision(place, self.version), Conversation(tuple(walk.messages)), names)
        names.seal()
        if not text.messages:
            return Checked(Decision("allow", place, policy=self.version), text, names)
        *before, last = text.messages
        check = Check(
            [seat for seat in seats if seat.layer.judges(last.role, last=True)],
            names,
            tuple(before),
            place=place,
            version=self.version,
            role=last.role,
        )
        said, decision = await check.whole(last.content)
        fresh = last if decision.action == "block" or said == last.content else replace(last, content=said)
        return Checked(decision, Conversation((*before, fresh)), names)

    def stream(
        self,
        place: Place = "output",
        conversation: Conversation | None = None,
        *,
        request: Mapping[str, Any] | None = None,
        names: Placeholders | None = None,
        shadow: bool = False,
        user: str = "",
    ) -> Stream:
        """The check of a reply that comes piece by piece; `conversation` is what it replies to. See stream.py."""
        conversation = conversation or Conversation()
        seats = self._drawn(place, request, conversation, shadow, user)
        names = Placeholders() if names is None else names
        names.seal()
        check = Check(
            [seat for seat in seats if seat.layer.judges("assistant", last=True)],
            names,
            conversation.messages,
            place=place,
            version=self.version,
        )
        return Stream(check)

    # Seats

    @cached_property
    def _fixed(self) -> dict[Place, list[Seat | Layer]]:
        """The layers of each place, ready to run where no request has a say in that."""
        found: dict[Place, list[Seat | Layer]] = {"input": [], "output": []}
        for place, seats in found.items():
            for layer in self.layers:
                if layer.at(place):
                    open_ = layer.when or isinstance(layer.guard, Bindable)
                    seats.append(layer if open_ else Seat(layer, layer.guard))
        return found

    def _seats(self, place: Place, request: Mapping[str, Any] | None) -> list[Seat]:
        seats = []
        for one in self._fixed[place]:
            if isinstance(one, Seat):
                seats.append(one)
            elif (guard := one.bound(request)) is not None:
                seats.append(Seat(one, guard))
        return seats

    def _drawn(
        self, place: Place, request: Mapping[str, Any] | None, conversation: Conversation, shadow: bool, user: str
    ) -> list[Seat]:
        """The seats of a request, in shadow where it is not in a layer's canary share."""
        seats = self._seats(place, request)
        if shadow:
            return [seat.shadowed() for seat in seats]
        if not self._has_canary:
            return seats
        key = user or next((m.content for m in conversation.messages if m.role == "user"), "")
        found = []
        for seat in seats:
            if seat.layer.drawn(key):
                found.append(seat)
            elif seat.layer.mode == "enforce":
                found.append(seat.shadowed())
        return found

    @cached_property
    def _has_canary(self) -> bool:
        return any(layer.canary < 1 for layer in self.layers)

    @cached_property
    def _memory(self) -> Memory:
        return Memory()


def finished_at_once(asked: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits for anything."""
    try:
        asked.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    asked.close()
    raise AssertionError("a check that was to run at once had to wait")
