"""A reply checked as it comes, and a whole one by the same machine, so that both get the same verdict.

    stream = policy.stream(conversation=checked.conversation, names=checked.names)
    step = await stream.feed("some words")      # step.release may go out now; step.stopped ends it
    step = await stream.finish()                # the rest; stream.decision is what was decided

The text is cut into segments by itself alone (segments.py). A segment is judged together with enough of its neighbours
for every guard's `reach`, and released once all that it was judged with is there: after that no later text can change
the verdict on it. Whoever checks a whole text hands the same machine the text in one piece. So for every cutting of a
text the released text, the action, the deciding layer and the masks are the same by construction; what a guard does at
the edges of a window cannot break it. Where it blocks, what had been released ends before the first blocked segment.

One short cut: a whole text in which a guard with `lookahead` finds nothing needs no windows, since that no finding
depends on far text is what `reach` promises. Guards that only score (lookahead 0) always get windows.

A layer with `reach` None (JSON, an LLM judge) or that rewrites needs the whole text: where one is enforced, the stream is
held to its end. Layers that only watch (flag, review, shadow) never hold a stream up: they judge at its end, each the
text as the layers before it left it. Where nothing could change or stop the text (`passthrough`) it passes as it comes.

Not covered: harm spread over more than a guard's reach, in streams or in whole replies; words that were released before
a later segment was blocked cannot be called back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from trivet.core.messages import Conversation, Message, Role
from trivet.core.verdicts import Decision, Place
from trivet.monitoring.guards.vault import Placeholders
from trivet.monitoring.layers import Seat, Tally
from trivet.monitoring.windows import Finding, Machine


class Step(NamedTuple):
    """What a stream says to a piece of text: what may go out now, and whether this is the end of it."""

    release: str
    stopped: bool = False


class Check:
    """The layers that one text meets, and what they come to. `whole` is the check of a text that is all there."""

    def __init__(
        self,
        seats: Sequence[Seat],
        names: Placeholders,
        before: tuple[Message, ...] = (),
        *,
        place: Place = "output",
        version: str = "",
        role: Role = "assistant",
    ) -> None:
        self.seats, self.names, self.before = seats, names, before
        self.place, self.version, self.role = place, version, role
        self.acting = [seat for seat in seats if seat.acts]
        self.held = any(seat.reach is None or seat.layer.action == "rewrite" for seat in self.acting)

    def machine(self) -> Machine:
        return Machine(self.acting, self.names, self.before, self.role)

    async def whole(self, text: str) -> tuple[str, Decision]:
        """The text as it may go on ("" where it is blocked), and the decision."""
        if self.held:
            return await self.in_order(text)
        machine = self.machine()
        await machine.clear(text)
        released = await machine.push(text, final=True)
        decision = await self.concluded(machine, text)
        return ("" if decision.action == "block" else released), decision

    async def in_order(self, text: str) -> tuple[str, Decision]:
        """Layer after layer over the whole text, each seeing it as the one before left it."""
        tally = Tally()
        for seat in self.seats:
            begun = time.perf_counter_ns()
            (action, why), verdict = await self._look(seat, text)
            if seat.enforce and action == "mask":
                text = self.names.mask(text, verdict.spans)
            if seat.enforce and action == "rewrite":
                fresh = seat.rewritten(text, verdict)
                if fresh is None:
                    action, why = seat.failed(f"could not rewrite ({why})")
                else:
                    text = fresh
            tally.add(seat, verdict, (action, why), time.perf_counter_ns() - begun)
            if tally.action == "block":
                return "", tally.decision(self.place, self.version)
        return text, tally.decision(self.place, self.version)

    async def concluded(self, machine: Machine, text: str) -> Decision:
        """The decision once the machine has stopped or come to the end; layers that only watch judge now."""
        tally = Tally()
        text = text[: machine.seen]
        for seat in self.seats:
            if seat.acts:
                outcome, verdict = machine.finding(seat)
                tally.add(seat, verdict, outcome, machine.took[seat.name])
                if seat is machine.stopped:
                    break
                continue
            begun = time.perf_counter_ns()
            place = len([acting for acting in self.acting if self.seats.index(acting) < self.seats.index(seat)])
            masks = [span for span, by in machine.masks if by < place]
            outcome, verdict = await self._look(seat, self.names.mask(text, masks) if masks else text)
            tally.add(seat, verdict, outcome, time.perf_counter_ns() - begun)
        return tally.decision(self.place, self.version)

    async def _look(self, seat: Seat, text: str) -> Finding:
        """What one layer says of a whole text: by windows where it has a reach, as it would in a stream."""
        if seat.reach is None:
            verdict = seat.at_once(text) or await seat.judge(Conversation((*self.before, Message(self.role, text))))
            return Finding(seat.outcome(verdict), verdict)
        machine = Machine([seat], Placeholders(), self.before, self.role)
        await machine.clear(text)
        await machine.push(text, final=True)
        return machine.finding(seat)


class Stream:
    """One reply on its way: one for each choice and field. See the head of this file for its law."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._machine = None if check.held or not check.acting else check.machine()
        self._parts: list[str] = []
        self._out: list[str] = []
        self.decision: Decision | None = None

    @property
    def passthrough(self) -> bool:
        """Whether no layer could change or stop it: then every piece comes back at once."""
        return not self._check.acting

    @property
    def stopped(self) -> bool:
        return self.decision is not None and self.decision.action == "block"

    @property
    def text(self) -> str:
        """All that was released."""
        return "".join(self._out)

    async def feed(self, delta: str) -> Step:
        """What may go out now that this much more is known. After the end nothing more is taken."""
        if self.decision is not None:
            return Step("", self.stopped)
        self._parts.append(delta)
        if self._machine is None:
            return self._released(delta if self.passthrough else "")
        released = await self._machine.push(delta)
        if self._machine.stopped:
            self.decision = await self._check.concluded(self._machine, "".join(self._parts))
        return self._released(released)

    async def finish(self) -> Step:
        """The rest of the text, and the decision."""
        if self.decision is not None:
            return Step("", self.stopped)
        whole = "".join(self._parts)
        if self._machine is not None:
            released = await self._machine.push("", final=True)
            self.decision = await self._check.concluded(self._machine, whole)
        else:
            released, self.decision = await self._check.in_order(whole)
        return self._released("" if self.passthrough else released)

    def _released(self, text: str) -> Step:
        self._out.append(text)
        return Step(text, self.stopped)
