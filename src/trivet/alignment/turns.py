"""Values of rows to conversations: texts, lists of turns, Human/Assistant transcripts; and whether roles take turns.

A transcript is a text that begins with "\\n\\nHuman:". Its turns begin at "\\n\\nHuman:" and "\\n\\nAssistant:" and nowhere
else: "Human:" inside a line or after a single line break is part of what is said. Prompts are cut off at turns, never
between characters: the longest common beginning of two transcripts reaches into replies that begin alike.

The order of roles is: perhaps system, then user and assistant in turn; an assistant's turn may be followed by turns of
tools, which the assistant answers. Whatever breaks it is named by its turn.

Not covered: pictures and calls of tools, which are refused; a speaker who writes "\\n\\nHuman:" as part of a text looks
like a turn, and is found out only where it breaks the order.
"""

from __future__ import annotations

import re
from typing import Any

from trivet.core.errors import DataError
from trivet.core.messages import Conversation, Message, text_of

MARK = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
"""Who may speak after whom; the empty name is the beginning."""


class Useless(DataError):  # noqa: N818 - it names a row, and only strict readers make it an error
    """A row that can be read and cannot be learnt from; `reason` is the word it is counted under."""

    def __init__(self, reason: str, told: str) -> None:
        super().__init__(told)
        self.reason = reason


def prompt_of(value: Any, name: str = "prompt") -> Conversation:
    """A text is one user message; a transcript or a list ends with who the assistant is to answer."""
    if isinstance(value, str) and not MARK.match(value):
        if not value.strip():
            raise Useless("empty", f"`{name}` is empty; plain text without a prompt goes into `text`")
        return Conversation.user(value)
    talk = conversation_of(value, name)
    if talk.messages[-1].role not in ("user", "tool"):
        raise DataError(
            f"`{name}` ends with the {talk.messages[-1].role}; it must end with who the assistant answers (user or tool)"
        )
    return talk


def reply_of(value: Any, name: str, prompt: Conversation) -> str:
    """A text, one assistant turn, or all the prompt's turns again with one assistant turn after them."""
    if isinstance(value, str) and not MARK.match(value):
        return value
    talk = conversation_of(value, name, begins=False).messages
    if talk[-1].role == "assistant" and talk[:-1] in ((), prompt.messages):
        return talk[-1].content
    if len(talk) > 1 and talk[-1].role == "assistant":
        raise DataError(f"`{name}` repeats a prompt that is not the row's `prompt`; the turns before the last differ")
    roles = ", ".join(message.role for message in talk)
    raise DataError(f"`{name}` must be one assistant turn where there is a prompt, and has ({roles})")


def conversation_of(value: Any, name: str, *, begins: bool = True) -> Conversation:
    """A list of turns, or a transcript. With `begins` the order of roles is held against the first turn as well.

    A transcript that ends with an open "Assistant:" ends with the turn before it.
    """
    if isinstance(value, str) and MARK.match(value):
        messages = _transcript(value)
    elif isinstance(value, str):
        raise DataError(
            f"`{name}` is a text and the row has no `prompt`: where the prompt ends cannot be known; give `prompt`"
        )
    elif not isinstance(value, list) or not value:
        raise DataError(f"`{name}` is {value!r:.60}; it must be a text or a list of turns with role and content")
    else:
        messages = [_turn(turn, f"`{name}` turn {number}") for number, turn in enumerate(value, start=1)]
    _check(messages, name, begins)
    return Conversation(tuple(messages))


def common(chosen: Conversation, rejected: Conversation) -> tuple[Conversation, str, str]:
    """The turns that both share as the prompt, and the last turn of each."""
    won, lost = chosen.messages, rejected.messages
    if len(won) < 2 or won[-1].role != "assistant" or lost[-1].role != "assistant":
        raise DataError("`chosen` and `rejected` must be a prompt with one assistant turn at the end")
    if won[:-1] != lost[:-1]:
        at = next((n for n, (a, b) in enumerate(zip(won[:-1], lost[:-1], strict=False), start=1) if a != b), None)
        where = f"at turn {at}" if at else f"in length ({len(won)} and {len(lost)} turns)"
        raise DataError(
            f"`chosen` and `rejected` differ before their last turn, {where}; they must answer the same prompt"
        )
    return Conversation(won[:-1]), won[-1].content, lost[-1].content


def _transcript(text: str) -> list[Message]:
    parts = MARK.split(text)[1:]
    said = [(SPEAKERS[who], words.strip()) for who, words in zip(parts[::2], parts[1::2], strict=True)]
    if len(said) > 1 and said[-1] == ("assistant", ""):
        said.pop()
    return [Message(role, words) for role, words in said]  # type: ignore[arg-type]


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), (str, list)):
        raise DataError(f"{where} is {turn!r:.60}; it must have `role` and `content`")
    for part in turn["content"] if isinstance(turn["content"], list) else ():
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
            raise DataError(f"{where} holds {part!r:.60}; only text can be learnt from")
    try:
        return Message(turn.get("role"), text_of(turn["content"]))  # type: ignore[arg-type]
    except DataError as why:
        raise DataError(f"{where}: {why}") from why


def _check(messages: list[Message], name: str, begins: bool) -> None:
    before = "" if begins else None
    for number, message in enumerate(messages, start=1):
        if before is not None and message.role not in FOLLOWS[before]:
            after = f"after {before}" if before else "at the beginning"
            raise Useless(
                "not_alternating",
                f"`{name}` turn {number} is {message.role} {after}, where {' or '.join(FOLLOWS[before])} must stand; "
                "roles take turns: perhaps system, then user, assistant, user, assistant",
            )
        if message.role in ("user", "assistant") and not message.content.strip():
            raise Useless("empty", f"`{name}` turn {number} ({message.role}) is empty")
        before = message.role
