"""What is said: messages, conversations, and how a reply is to be sampled.

All three are frozen values, equal by content. A conversation's identity is the hash of its content, so the same
words are the same conversation in every process and on every machine; row numbers and file paths belong to the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring as quoted
from typing import Any, Literal, get_args

from trivet.core.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
TEXTS = ("text", "input_text", "output_text")
"""The kinds of content parts whose `text` is said. Whoever reads a content for another must read these and no others."""


@dataclass(frozen=True, slots=True)
class Message:
    """One utterance: who spoke and what was said."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"a message has the role {self.role!r}; the roles are {', '.join(ROLES)}")


@dataclass(frozen=True, slots=True)
class Conversation:
    """An ordered dialogue. `conversation.then(message)` is a new one with the message at its end."""

    messages: tuple[Message, ...] = ()

    @classmethod
    def user(cls, text: str, *, system: str | None = None) -> Conversation:
        """The usual start: one user message, perhaps after a system message."""
        head = (Message("system", system),) if system else ()
        return cls((*head, Message("user", text)))

    @classmethod
    def parse(cls, rows: Iterable[Mapping[str, Any]]) -> Conversation:
        """From the public `[{"role": ..., "content": ...}]` form; raises DataError that names the turn at fault."""
        messages = []
        for number, row in enumerate(rows, start=1):
            try:
                messages.append(Message(row["role"], text_of(row["content"])))
            except (KeyError, TypeError) as missing:
                raise DataError(f"turn {number} needs `role` and `content`, has {row!r:.120}") from missing
        return cls(tuple(messages))

    def then(self, message: Message) -> Conversation:
        return Conversation((*self.messages, message))

    def rows(self) -> list[dict[str, str]]:
        """The public form, as chat templates and OpenAI-compatible endpoints take it."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    @property
    def reply(self) -> str:
        """The text of the last message if the assistant spoke it, else an empty string."""
        last = self.messages[-1] if self.messages else None
        return last.content if last and last.role == "assistant" else ""

    @property
    def last_user(self) -> str:
        """The text of the newest user message, or an empty string."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")

    @property
    def digest(self) -> str:
        """SHA-256 of the content, as 32 hexadecimal digits."""
        return digest_of(self.rows())

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a reply is drawn. Temperature 0 is greedy: the same words every time."""

    temperature: float = 0.0
    max_tokens: int = 256
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


def text_of(content: Any) -> str:
    """The text of an OpenAI `content`: a string, null, or a list of parts of which the text parts count."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if part.get("type") in TEXTS)


def digest_of(value: Any) -> str:
    """A stable 128-bit content hash of anything JSON can hold, as 32 hexadecimal digits."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()[:32]


def digest_of_texts(texts: Iterable[str]) -> str:
    """`digest_of` a list of texts, in half the time."""
    return hashlib.sha256(f"[{','.join(map(quoted, texts))}]".encode()).hexdigest()[:32]


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
"""`json.dumps` makes a new one of these at every call."""
