"""Data sets to lessons: JSON Lines (.jsonl, .jsonl.gz) in the forms that are about, read row by row.

    preferences     prompt, chosen, rejected      prompt: a text or a list of turns; replies: texts or lists of turns
                    chosen, rejected              two lists of turns, or two Human/Assistant transcripts: what they
                                                  share, turn by turn, is the prompt
    demonstrations  prompt, completion            (also `reply` or `response`)
                    messages                      every assistant turn is learnt, each after the turns before it
                    text                          plain text without a template
    feedback        prompt, completion, label     label true: desirable

These are the forms of TRL and of the public safety sets. A prompt that is a text is one user message: Trivet trains chat
models. Two plain texts without a prompt are refused, because no cut through characters can be trusted to fall between
words (it moves words of replies into prompts). `weight` scales a pair where it is given.

A row that cannot be read is an error that names file, line and reason. A row that can be read but teaches nothing (an
empty reply, two equal replies) is dropped and counted. What is too long is decided later, in tokens.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from trivet.core.errors import DataError, did_you_mean
from trivet.core.lessons import Demonstration, Feedback, Origin, Preference
from trivet.core.messages import Conversation, Message, text_of

L = TypeVar("L", Demonstration, Preference, Feedback)
COMPLETIONS = ("completion", "reply", "response")
TURN = re.compile(r"\n\n(Human|Assistant):")


class Loaded(NamedTuple, Generic[L]):
    """The lessons of a file, and how many rows were dropped for which reason."""

    lessons: list[L]
    dropped: dict[str, int]


class _Dropped(Exception):  # noqa: N818
    """A row that can be read and teaches nothing; its text is the reason."""


def preferences(path: str | Path) -> Loaded[Preference]:
    """The pairs of a file."""
    return _load(path, _preferences)


def demonstrations(path: str | Path) -> Loaded[Demonstration]:
    """The demonstrations of a file."""
    return _load(path, _demonstrations)


def feedback(path: str | Path) -> Loaded[Feedback]:
    """The single judged replies of a file."""
    return _load(path, _feedback)


def rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, row) of a JSON Lines file, packed or not."""
    place = Path(path).expanduser()
    if not place.is_file():
        raise DataError(f"there is no data set {place}; give a .jsonl or .jsonl.gz file")
    number = 0
    with gzip.open(place, "rb") if place.suffix == ".gz" else place.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _row(line)
        except (ValueError, EOFError, OSError, zlib.error) as why:
            raise DataError(f"{place} line {number or 1}: {why}") from why


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as why:
        raise ValueError(f"not UTF-8 text (byte {why.start}); save the file as UTF-8") from why
    except json.JSONDecodeError as why:
        raise ValueError(f"not JSON: {why.msg} at character {why.pos + 1}") from why
    if not isinstance(row, dict):
        raise ValueError(f"a row must be an object with fields, this is {line.decode(errors='replace')!r:.60}")
    return row


def _load(path: str | Path, read: Callable[[Mapping[str, Any], Origin], list[L]]) -> Loaded[L]:
    place = Path(path)
    origin = Origin(place.name.removesuffix(".gz").removesuffix(".jsonl"))
    lessons: list[L] = []
    dropped: Counter[str] = Counter()
    for number, row in rows(place):
        try:
            lessons += read(row, origin)
        except _Dropped as why:
            dropped[str(why)] += 1
        except DataError as why:
            raise DataError(f"{place} line {number}: {why}") from why
    return Loaded(lessons, dict(dropped))


def _preferences(row: Mapping[str, Any], origin: Origin) -> list[Preference]:
    chosen, rejected = _field(row, "chosen"), _field(row, "rejected")
    if "prompt" in row:
        prompt, won, lost = _prompt(row["prompt"]), _reply(chosen, "chosen"), _reply(rejected, "rejected")
    else:
        prompt, won, lost = _common(_turns(chosen, "chosen"), _turns(rejected, "rejected"))
    if not won.strip() or not lost.strip():
        raise _Dropped("empty")
    if won.strip() == lost.strip():
        raise _Dropped("identical")
    weight = row.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise DataError(f"`weight` is {weight!r:.40}; it must be a number of at least 0")
    return [Preference(prompt, won, lost, float(weight), origin=origin)]


def _demonstrations(row: Mapping[str, Any], origin: Origin) -> list[Demonstration]:
    if "messages" in row:
        talk = _turns(row["messages"], "messages").messages
        spoken = [at for at, message in enumerate(talk) if message.role == "assistant" and message.content.strip()]
        if not spoken:
            raise DataError("`messages` has no assistant turn with words to learn")
        if spoken[0] == 0:
            raise DataError("`messages` begins with the assistant; a prompt must come before a reply")
        return [Demonstration(Conversation(talk[:at]), talk[at].content, origin) for at in spoken]
    if "text" in row and "prompt" not in row:
        if not isinstance(row["text"], str):
            raise DataError(f"`text` is {row['text']!r:.60}; it must be a text")
        if not row["text"].strip():
            raise _Dropped("empty")
        return [Demonstration(Conversation(), row["text"], origin)]
    prompt, reply = _prompt(_field(row, "prompt")), _completion(row)
    return [Demonstration(prompt, reply, origin)]


def _feedback(row: Mapping[str, Any], origin: Origin) -> list[Feedback]:
    label = _field(row, "label")
    if not isinstance(label, bool):
        raise DataError(f"`label` is {label!r:.40}; it must be true (desirable) or false")
    return [Feedback(_prompt(_field(row, "prompt")), _completion(row), label, origin)]


def _field(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        has = ", ".join(map(str, row)) or "nothing"
        raise DataError(f"the row needs `{name}` and has {has}.{did_you_mean(name, row)}")
    return row[name]


def _completion(row: Mapping[str, Any]) -> str:
    name = next((name for name in COMPLETIONS if name in row), COMPLETIONS[0])
    reply = _reply(_field(row, name), name)
    if not reply.strip():
        raise _Dropped("empty")
    return reply


def _prompt(value: Any) -> Conversation:
    """A text is one user message; turns must not end with the assistant, who is to speak next."""
    if isinstance(value, str):
        if not value.strip():
            raise DataError("`prompt` is empty; plain text without a prompt goes into `text`")
        return Conversation.user(value)
    talk = _turns(value, "prompt")
    if talk.messages[-1].role == "assistant":
        raise DataError("`prompt` ends with the assistant; it must end with who the assistant answers")
    return talk


def _reply(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    talk = _turns(value, name).messages
    if len(talk) != 1 or talk[0].role != "assistant":
        roles = ", ".join(message.role for message in talk)
        raise DataError(f"`{name}` must be one assistant turn where there is a prompt, and has ({roles})")
    return talk[0].content


def _turns(value: Any, name: str) -> Conversation:
    """A list of turns, or a transcript of the form "\\n\\nHuman: ... \\n\\nAssistant: ..."."""
    if isinstance(value, str) and TURN.match(value):
        parts = TURN.split(value)[1:]
        roles = {"Human": "user", "Assistant": "assistant"}
        return Conversation(
            tuple(Message(roles[who], said.strip()) for who, said in zip(parts[::2], parts[1::2], strict=True))  # type: ignore[arg-type]
        )
    if isinstance(value, str):
        raise DataError(
            f"`{name}` is a text and the row has no `prompt`: where the prompt ends cannot be known; give `prompt`"
        )
    if not isinstance(value, list) or not value:
        raise DataError(f"`{name}` is {value!r:.60}; it must be a text or a list of turns with role and content")
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), (str, list)):
            raise DataError(f"`{name}` turn {number} is {turn!r:.60}; it must have `role` and `content`")
    try:
        return Conversation(tuple(Message(turn.get("role"), text_of(turn["content"])) for turn in value))
    except DataError as why:
        raise DataError(f"`{name}`: {why}") from why


def _common(chosen: Conversation, rejected: Conversation) -> tuple[Conversation, str, str]:
    """The turns that both share as the prompt, and the last turn of each."""
    won, lost = chosen.messages, rejected.messages
    if won[:-1] != lost[:-1]:
        raise DataError("`chosen` and `rejected` differ before their last turn; they must answer the same prompt")
    if len(won) < 2 or won[-1].role != "assistant" or lost[-1].role != "assistant":
        raise DataError("`chosen` and `rejected` must be a prompt with one assistant turn at the end")
    return Conversation(won[:-1]), won[-1].content, lost[-1].content
