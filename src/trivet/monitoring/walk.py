"""The check of an input: one walk of a conversation through the layers, and the memory that spares known turns."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence

from trivet.core.messages import Conversation, Message
from trivet.core.verdicts import Action, Verdict
from trivet.monitoring.guards.shared import INLINE
from trivet.monitoring.guards.vault import Placeholders
from trivet.monitoring.layers import RANK, Seat, Tally

MEMORY = 4096
"""Verdicts remembered by a policy, twice over at most."""

AT_ONCE = 50
"""Messages up to which a cheap guard may read a conversation on the event loop, if they have INLINE characters at most."""

_JUDGED = ("user", "tool")


def in_loop() -> bool:
    """Whether an event loop runs here: `Policy.check` needs none, and then nobody is held up."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Memory:
    """Verdicts by guard and hash of the text, the newest kept: two generations, so that nothing is moved on a hit.

    It holds hashes, scores and spans, and no text. Safe between threads: at worst a verdict is judged again.
    """

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[tuple[str, bytes], Verdict] = {}
        self._old: dict[tuple[str, bytes], Verdict] = {}

    def get(self, key: tuple[str, bytes]) -> Verdict | None:
        return self._new.get(key) or self._old.get(key)

    def keep(self, key: tuple[str, bytes], verdict: Verdict) -> None:
        if len(self._new) >= MEMORY:
            self._old, self._new = self._new, {}
        self._new[key] = verdict


class Walk:
    """One walk of a conversation through the layers of the input."""

    def __init__(self, conversation: Conversation, names: Placeholders, memory: Memory) -> None:
        self.messages, self.names, self.memory = list(conversation.messages), names, memory
        self.tally = Tally()
        self._keys: list[bytes | None] = [None] * len(self.messages)
        last = len(self.messages) - 1
        self._default = [i for i, message in enumerate(self.messages) if i == last or message.role in _JUDGED]

    async def run(self, seat: Seat) -> None:
        begun = time.perf_counter_ns()
        layer, last = seat.layer, len(self.messages) - 1
        judged = self._default
        if layer.of is not None:
            judged = [i for i, m in enumerate(self.messages) if layer.judges(m.role, last=i == last)]
        worst: tuple[int, float, int] | None = None
        said: dict[int, tuple[Verdict, tuple[Action, str]]] = {}
        early = await self._together(seat, judged)
        for index in judged:
            verdict = early.get(index) or await self._verdict(seat, index)
            outcome = seat.outcome(verdict)
            said[index] = verdict, outcome
            weight = (RANK[outcome[0]], verdict.score, -index)
            if worst is None or weight > worst:
                worst = weight
            if outcome[0] == "block":
                break
        if worst is None:
            return
        if seat.enforce and worst[0] in (RANK["mask"], RANK["rewrite"]):
            for index, (verdict, outcome) in said.items():
                said[index] = verdict, self._changed(seat, index, verdict, outcome)
            worst = max((RANK[outcome[0]], verdict.score, -index) for index, (verdict, outcome) in said.items())
        verdict, outcome = said[-worst[2]]
        if len(self.messages) > 1:
            verdict = Verdict(
                verdict.label, verdict.score, seat.name, verdict.category, verdict.why, verdict.spans, -worst[2]
            )
        self.tally.add(seat, verdict, outcome, time.perf_counter_ns() - begun)

    def _changed(self, seat: Seat, index: int, verdict: Verdict, outcome: tuple[Action, str]) -> tuple[Action, str]:
        """Mask or rewrite a message as the layer says; the outcome, which is another where that failed."""
        message, action = self.messages[index], outcome[0]
        if action == "mask":
            fresh: str | None = self.names.mask(
                message.content, verdict.spans, reversible=bool(getattr(seat.guard, "reversible", False))
            )
        elif action == "rewrite":
            fresh = seat.rewritten(message.content, verdict)
        else:
            return outcome
        if fresh is None:
            return seat.failed(f"could not rewrite ({outcome[1]})")
        self.messages[index], self._keys[index] = Message(message.role, fresh), None
        return outcome

    async def _together(self, seat: Seat, judged: Sequence[int]) -> dict[int, Verdict]:
        """Where the guard takes many texts together for less, or a cheap one has so much to read that others would wait,
        its verdicts on all that are new."""
        if len(judged) < 2 or (seat.many is None and not self._much(seat, judged)):
            return {}
        known = self.memory.get if seat.digest else lambda key: None
        fresh = [index for index in judged if known(self._key(seat, index)) is None]
        if len(fresh) < 2:
            return {}
        if seat.many is None and not self._much(seat, fresh):
            return {}
        texts = [self.messages[index].content for index in fresh]
        if seat.many is None and sum(map(len, texts)) <= INLINE:
            found = await _beside(seat, texts)
        else:
            found = await seat.judge_all(texts, (), "user")
        for index, verdict in zip(fresh, found, strict=True):
            self._keep(seat, index, verdict)
        return dict(zip(fresh, found, strict=True))

    def _much(self, seat: Seat, judged: Sequence[int]) -> bool:
        """Whether a cheap guard would hold up the event loop, where there is one, with all of them."""
        if not seat.cheap or not in_loop():
            return False
        return len(judged) > AT_ONCE or sum(len(self.messages[index].content) for index in judged) > INLINE

    async def _verdict(self, seat: Seat, index: int) -> Verdict:
        text = self.messages[index].content
        if not seat.digest:
            return seat.at_once(text) or await seat.judge(Conversation(tuple(self.messages[: index + 1])))
        known = self.memory.get(self._key(seat, index))
        if known is not None:
            return known if known.judge == seat.name else seat.named(known)
        verdict = seat.at_once(text) or await seat.judge(Conversation(tuple(self.messages[: index + 1])))
        self._keep(seat, index, verdict)
        return verdict

    def _keep(self, seat: Seat, index: int, verdict: Verdict) -> None:
        if seat.digest and verdict.label != "error":
            self.memory.keep(self._key(seat, index), verdict)

    def _key(self, seat: Seat, index: int) -> tuple[str, bytes]:
        key = self._keys[index]
        if key is None:
            data = self.messages[index].content.encode("utf-8", "surrogatepass")
            key = self._keys[index] = hashlib.blake2b(data, digest_size=16).digest()
        return seat.digest, key


async def _beside(seat: Seat, texts: Sequence[str]) -> list[Verdict]:
    """The verdicts of a cheap guard on very many short texts, in a thread and under the layer's deadline."""
    try:
        async with asyncio.timeout(seat.seconds):
            found = await asyncio.to_thread(lambda: [seat.at_once(text) for text in texts])
    except TimeoutError:
        return [Verdict("error", 1.0, seat.name, why=f"no verdict within {1000 * seat.seconds:g} ms")] * len(texts)
    return [verdict for verdict in found if verdict]
