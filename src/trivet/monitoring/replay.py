"""What would change: recorded or given traffic through the policy in force and through a candidate, flip by flip.

Both policies judge every case anew, because what was decided when it was recorded may have been another policy's work. A
reply is judged only where the input passes. Guards that ask a model or learn while running may answer differently the
second time; their flips are as real as their answers.

Not covered: what the model would have said to an input that one policy masks and the other does not (the recorded reply
stands in); words that the privacy settings did not keep (masked words are judged as they were kept, and where only
decisions were kept there is nothing to judge).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from trivet.core.errors import DataError
from trivet.core.events import Exchange
from trivet.core.messages import Conversation, Message
from trivet.core.store.events import Store
from trivet.core.verdicts import Action, Place
from trivet.monitoring.policy import Checked, Policy

Kind = Literal["new block", "no longer blocked", "text changed", "note changed"]
KINDS: tuple[Kind, ...] = ("new block", "no longer blocked", "text changed", "note changed")


@dataclass(frozen=True)
class Case:
    """One conversation, and the reply it got where there is one."""

    id: str
    conversation: Conversation
    reply: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Flip:
    """One text that the two policies treat differently: by which layer before and after, and why."""

    case: str
    place: Place
    kind: Kind
    before: Action
    after: Action
    layer_before: str
    layer_after: str
    why: str
    text: str = field(default="", repr=False)

    @property
    def layer(self) -> str:
        """The layer that made the difference: the one that now acts, or the one that no longer does."""
        return self.layer_before if self.kind == "no longer blocked" else self.layer_after or self.layer_before


@dataclass(frozen=True)
class Replay:
    """What came of it: how many cases and replies were judged, every flip, and how often each policy acted."""

    cases: int
    replies: int
    flips: tuple[Flip, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]

    def count(self, kind: Kind) -> int:
        return sum(flip.kind == kind for flip in self.flips)

    def by_layer(self) -> dict[tuple[Kind, Place, str], int]:
        """Flips by kind, place and layer, the most frequent first."""
        counts = Counter((flip.kind, flip.place, flip.layer) for flip in self.flips)
        return dict(sorted(counts.items(), key=lambda item: (KINDS.index(item[0][0]), -item[1], item[0][1:])))


def from_store(store: Store, *, run: str | None = None, limit: int | None = None) -> Iterator[Case]:
    """The newest recorded exchanges whose words were kept; the model's own reply where it was kept."""
    for event in store.events("exchange", run, limit=limit, newest=True):
        if isinstance(event, Exchange) and any(message.content for message in event.conversation):
            yield Case(event.id, event.conversation, event.raw or event.reply)


def from_file(path: str | Path) -> Iterator[Case]:
    """Rows of JSONL: `text` or `messages`, perhaps `reply`, `request` and `id`."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the traffic {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _case(line, f"{path}, line {number}", str(number))


def _case(line: str, where: str, id: str) -> Case:
    try:
        row = json.loads(line)
        talk = Conversation.user(row["text"]) if "text" in row else Conversation.parse(row["messages"])
        reply = row.get("reply") or ""
        if not isinstance(reply, str) or not all(isinstance(message.content, str) for message in talk):
            raise TypeError("texts must be strings")
    except (ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise DataError(f"{where}: a row needs `text` or `messages`, and may have `reply` ({error})") from error
    return Case(str(row.get("id", id)), talk, reply, row.get("request") or {})


async def replay(cases: Iterable[Case], current: Policy, candidate: Policy, *, concurrency: int = 16) -> Replay:
    """Every case through both policies."""
    waiting = iter(cases)
    results: list[tuple[int, bool, list[Flip], list[Action], list[Action]]] = []
    numbers = iter(range(1 << 62))

    async def worker() -> None:
        # Workers share one iterator, so that traffic of any length is never held in memory as a whole.
        for case in waiting:
            results.append((next(numbers), *await _compared(case, current, candidate)))

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    results.sort(key=lambda result: result[0])
    return Replay(
        cases=len(results),
        replies=sum(replied for _, replied, *_ in results),
        flips=tuple(flip for _, _, flips, *_ in results for flip in flips),
        before=Counter(action for *_, before, _ in results for action in before),
        after=Counter(action for *_, after in results for action in after),
    )


async def _compared(
    case: Case, current: Policy, candidate: Policy
) -> tuple[bool, list[Flip], list[Action], list[Action]]:
    inputs = [await policy.acheck(case.conversation, request=case.request) for policy in (current, candidate)]
    flips = [flip for flip in [_flip(case.id, "input", *inputs)] if flip]
    actions = [[checked.action] for checked in inputs]
    if not case.reply or all(checked.blocked for checked in inputs):
        return False, flips, *actions
    outputs: list[Checked | None] = []
    for checked, policy, seen in zip(inputs, (current, candidate), actions, strict=True):
        said = checked.conversation.then(Message("assistant", case.reply))
        out = (
            None if checked.blocked else await policy.acheck(said, "output", request=case.request, names=checked.names)
        )
        outputs.append(out)
        seen += [out.action] if out else []
    before, after = outputs
    if before and after and (flip := _flip(case.id, "output", before, after)):
        flips.append(flip)
    return True, flips, *actions


def _flip(case: str, place: Place, before: Checked, after: Checked) -> Flip | None:
    kind: Kind
    if before.blocked != after.blocked:
        kind = "new block" if after.blocked else "no longer blocked"
    elif before.blocked:
        return None
    elif before.text != after.text or (place == "input" and before.conversation != after.conversation):
        kind = "text changed"
    elif (before.action, before.decision.review) != (after.action, after.decision.review):
        kind = "note changed"
    else:
        return None
    by = before.decision if kind == "no longer blocked" else after.decision
    return Flip(
        case=case,
        place=place,
        kind=kind,
        before=before.action,
        after=after.action,
        layer_before=before.decision.layer,
        layer_after=after.decision.layer,
        why=by.why,
        text=_judged(before if after.blocked else after, by.deciding.message if by.deciding else -1),
    )


def _judged(checked: Checked, message: int) -> str:
    messages = checked.conversation.messages
    return messages[message if -len(messages) <= message < len(messages) else -1].content if messages else ""
