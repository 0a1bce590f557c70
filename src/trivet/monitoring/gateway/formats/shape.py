"""What every API format offers to the gateway, and what the gateway offers to it.

A format knows one API's JSON and its server-sent events, and nothing of policies, stores or sockets. It takes the texts
of a request out as pieces that remember where they stood, puts changed texts back, does the same with whole replies,
and carries a stream through the guards event by event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from trivet.core.messages import Conversation, Message, Role
from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.wire import Refused

Path = tuple[str | int, ...]
Field = Literal["content", "arguments", "reasoning", "refusal"]

LINES = "\n"
"""Last step of a path: the parts of that content read as lines, beside the reading without separators (see `parts`)."""


NAME = "\n\n"
"""Last step of a path: not the value that stands there but the name it stands under, which nobody can replace."""


class Piece(NamedTuple):
    """One text, who speaks it, and where in the JSON it stands. A tuple because every request makes many."""

    text: str
    role: Role
    path: Path
    origin: str = ""
    """`system`, `user`, `assistant`, `tool` or `document` (a document has the role tool)."""
    choice: int = 0
    field: Field = "content"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that has been read."""

    body: dict[str, Any]
    """As it came: unknown fields are kept."""
    model: str
    stream: bool
    pieces: tuple[Piece, ...]
    """All text that a guard must read, in order."""
    request: dict[str, Any]
    """What guards may ask for, in the words of chat completions whatever the API: `response_format`, `tools` ..."""
    user: str = ""

    def conversation(self) -> Conversation:
        """One message for each piece, so that the n-th message checked is the n-th piece."""
        return Conversation(tuple(Message(piece.role, piece.text) for piece in self.pieces))

    def changes(self, checked: Conversation) -> dict[Path, str]:
        """The texts that a policy has changed, by path; `checked` is `conversation()` as the policy returned it."""
        pairs = zip(self.pieces, checked.messages, strict=True)
        return {piece.path: message.content for piece, message in pairs if piece.text != message.content}


class Step(Protocol):
    @property
    def release(self) -> str: ...
    @property
    def stopped(self) -> bool: ...


class Stream(Protocol):
    """A text on its way through the guards (`policy.stream`). After `stopped`, or after `finish`, `decision` is final.

    It may have `passthrough`, true where no layer could change or stop the text (see `is_free`).
    """

    async def feed(self, delta: str) -> Step: ...
    async def finish(self) -> Step: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def text(self) -> str: ...


def is_free(stream: Stream) -> bool:
    return bool(getattr(stream, "passthrough", False))


class Slot:
    """One text of a streamed reply: what the model said, and the stream that guards it."""

    __slots__ = ("_held", "changed", "choice", "done", "field", "said", "stream")

    def __init__(self, choice: int, field: Field, stream: Stream) -> None:
        self.choice, self.field, self.stream = choice, field, stream
        self.said: list[str] = []
        self.done = False
        self.changed = False
        self._held: list[str] = []

    def follow(self, delta: str, release: str) -> None:
        """Note what came and what left. Linear in the text: what is held is joined only when something leaves."""
        if self.changed or (release == delta and not self._held):
            return
        self._held.append(delta)
        if release:
            held = "".join(self._held)
            self.changed = not held.startswith(release)
            self._held = [held[len(release) :]] if len(release) < len(held) else []

    @property
    def clean(self) -> bool:
        """Whether all that came has left, unchanged."""
        return not self.changed and not any(self._held)


@dataclass(slots=True)
class Told:
    """What a stream has come to so far. The format fills it in; the gateway reads it for the record, also after a failure."""

    slots: list[Slot] = field(default_factory=list)
    finish: str = ""
    """The API's own word for how the first choice ended, or `content_filter` for a block."""
    usage: dict[str, Any] | None = None
    blocked: Slot | None = None
    ended: bool = False
    """Whether the end has been announced by `closing`."""

    def said(self, choice: int = 0, field: Field = "content") -> str:
        """What the model said, unguarded."""
        return "".join("".join(slot.said) for slot in self.slots if (slot.choice, slot.field) == (choice, field))

    def released(self, choice: int = 0, field: Field = "content") -> str:
        return "".join(slot.stream.text for slot in self.slots if (slot.choice, slot.field) == (choice, field))


Open = Callable[[int, Field], Stream]
"""Opens a new stream for a text of a choice; asked anew for each tool call and each content block."""

Closing = Callable[[Told], Awaitable[None]]
"""Awaited once, when every stream has its decision and before the events that end the reply go out."""


class Format(Protocol):
    """One API. There is one instance for each route, without state."""

    @property
    def route(self) -> str: ...

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        """Raises Refused (400) that names the field. `unchecked` lets pass what no guard can read (images, audio, files)."""
        ...

    def rewritten(self, body: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        """A new body with the texts at these paths replaced; whatever did not change is shared, not copied."""
        ...

    def rewritten_reply(self, reply: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        """`rewritten` for a reply, without what would tell the replaced words (log-probabilities, citations)."""
        ...

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        """All text of a whole reply: every choice, content, tool arguments, reasoning, refusals.

        Raises TargetError where the reply is not one of this API."""
        ...

    def error(self, refused: Refused) -> bytes:
        """The body of an error, in this API's own shape."""
        ...

    def failure(self, refused: Refused) -> bytes:
        """The events that end a stream that has begun and cannot go on."""
        ...

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        """The whole reply that tells of a block in band: `finish_reason` content_filter, `stop_reason` refusal."""
        ...

    def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        """This API's events, from upstream's bytes cut anywhere to the client's bytes, every text through its stream.

        Whatever `frames` raises goes through, and so does what `closing` raises; TargetError tells of a stream that is not
        of this API or ended early. The caller ends the client's stream with `failure`. A block ends it here.
        """
        ...


class Answer(NamedTuple):
    """What an upstream answered. The body is an iterator (with `aclose`) when it streams."""

    status: int
    headers: dict[str, str]
    body: bytes | AsyncIterator[bytes]


class Upstream(Protocol):
    """Something that speaks some of the routes."""

    @property
    def name(self) -> str: ...

    def routes(self) -> frozenset[str]: ...

    async def send(self, route: str, body: bytes, *, stream: bool, headers: Mapping[str, str] = {}) -> Answer:
        """Raises TargetError where there is no answer at all."""
        ...
