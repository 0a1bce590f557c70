"""Data sets to lessons: the forms that are about, read row by row from any source that readers.py opens.

    preferences     prompt, chosen, rejected      prompt: a text or a list of turns; replies: texts or lists of turns
                    chosen, rejected              two lists of turns, or two Human/Assistant transcripts: what they
                                                  share, turn by turn, is the prompt
                    prompt, replies, ranks        K replies and their ranks (1 is best), or `scores` (high is best)
    demonstrations  prompt, completion            (also `reply` or `response`)
                    messages                      every assistant turn is learnt, each after the turns before it
                    text                          plain text without a template
    feedback        prompt, completion, label     label true: desirable
                    a form of preferences         the chosen reply is desirable, the rejected one is not
    prompts         prompt                        or the prompt of any form above, whose replies are left alone

These are the forms of TRL and of the public safety sets. A prompt that is a text is one user message: Trivet trains chat
models. Two plain texts without a prompt are refused, because no cut through characters can be trusted to fall between
words (it moves words of replies into prompts).

A pair may carry `weight`, `margin` and `chance` (core/lessons.py), or `votes` [chosen, rejected, ties], which become its
chance where that is asked for. A ranked list gives all pairs of replies that differ in rank, C(K, 2) where none tie,
and they share the row's weight evenly, so that every prompt counts the same (InstructGPT, 2203.02155, section 3.5).

A row that cannot be read is an error that names file, line and reason. A row that can be read but not be learnt from (an
empty turn, two equal replies, roles that do not take turns) is dropped, counted and named. What is too long is decided
later, in tokens; every lesson's origin says its line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from trivet.alignment.readers import table
from trivet.alignment.turns import Useless, common, conversation_of, prompt_of, reply_of
from trivet.core.errors import DataError, did_you_mean
from trivet.core.lessons import Demonstration, Feedback, Origin, Preference
from trivet.core.messages import Conversation

L = TypeVar("L", Demonstration, Preference, Feedback, Conversation)
COMPLETIONS = ("completion", "reply", "response")
SKIPPED = "unreadable"


class Loaded(NamedTuple, Generic[L]):
    """The lessons of a file, and how many rows were dropped for which reason."""

    lessons: list[L]
    dropped: dict[str, int]


class Drop(NamedTuple):
    """A row that gave no lesson: where it stands, the reason that is counted, and what is wrong in words."""

    line: int
    reason: str
    told: str


class Reading(NamedTuple, Generic[L]):
    """All that was found in a source: its name, how many rows it has, the lessons, and the rows that gave none.

    `lines` has the line of each lesson, for prompts too, which have no origin.
    """

    name: str
    rows: int
    lessons: list[L]
    drops: list[Drop]
    lines: list[int]

    @property
    def dropped(self) -> dict[str, int]:
        return dict(Counter(drop.reason for drop in self.drops))


def preferences(path: str | Path) -> Loaded[Preference]:
    """The pairs of a file."""
    return _loaded(read(path, "preferences"))


def demonstrations(path: str | Path) -> Loaded[Demonstration]:
    """The demonstrations of a file."""
    return _loaded(read(path, "demonstrations"))


def feedback(path: str | Path) -> Loaded[Feedback]:
    """The single judged replies of a file."""
    return _loaded(read(path, "feedback"))


def prompts(path: str | Path) -> Loaded[Conversation]:
    """The prompts of a file, for recipes that write the replies themselves."""
    return _loaded(read(path, "prompts"))


def read(
    path: str | Path,
    form: str,
    *,
    strict: bool = False,
    skip: bool = False,
    votes: bool = False,
    rename: Mapping[str, str] | None = None,
) -> Reading[Any]:
    """Everything in a source as lessons of one form, a key of FORMS.

    With `strict` every row that gives no lesson is an error, with `skip` none is, unless the file itself is torn. `votes`
    makes a pair's chance the share of votes for its better reply, and `rename` gives fields of the source
    ({"chosen": "better_answer"}) the names that are read here.
    """
    name, unit, rows = table(path)
    lessons: list[Any] = []
    lines: list[int] = []
    drops: list[Drop] = []
    count = 0
    for number, row in rows:
        count += 1
        try:
            row = _renamed(row, rename or {})
            lessons += FORMS[form](_voted(row) if votes else row, _origin(row, name, number))
            lines += [number] * (len(lessons) - len(lines))
        except DataError as why:
            if strict or not (skip or isinstance(why, Useless)):
                raise DataError(f"{path} {unit} {number}: {why}") from why
            drops.append(Drop(number, why.reason if isinstance(why, Useless) else SKIPPED, str(why)))
    return Reading(name, count, lessons, drops, lines)


def _loaded(found: Reading[L]) -> Loaded[L]:
    return Loaded(found.lessons, found.dropped)


def _renamed(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    moved = {ours: _field(row, theirs) for ours, theirs in names.items()}
    return {**{name: value for name, value in row.items() if name not in names.values()}, **moved}


def _origin(row: Mapping[str, Any], source: str, number: int) -> Origin:
    """What a row that `trivet data import` wrote says of itself, else its place; foreign `origin` fields are left alone."""
    said = row.get("origin")
    if isinstance(said, dict) and isinstance(said.get("source"), str) and isinstance(said.get("line"), int):
        return Origin(said["source"], tuple(map(str, said.get("events") or ())), said["line"])
    return Origin(source, line=number)


def _preferences(row: Mapping[str, Any], origin: Origin) -> list[Preference]:
    if "replies" in row:
        return _ranked(row, origin)
    prompt, won, lost = _pair(row)
    if won.strip() == lost.strip():
        raise Useless("identical", "`chosen` and `rejected` are the same text")
    weight, margin = _number(row, "weight", 1.0, low=0.0), _number(row, "margin", 0.0)
    chance = _number(row, "chance", 1.0)
    if not 0.5 <= chance <= 1:
        raise DataError(f"`chance` is {chance}; it must lie in 0.5..1 (below, swap `chosen` and `rejected`)")
    return [Preference(prompt, won, lost, weight, margin, chance, origin)]


def _pair(row: Mapping[str, Any]) -> tuple[Conversation, str, str]:
    """(prompt, chosen, rejected) of a pair in any of its forms, neither of them empty."""
    chosen, rejected = _field(row, "chosen"), _field(row, "rejected")
    if "prompt" not in row:
        return common(conversation_of(chosen, "chosen"), conversation_of(rejected, "rejected"))
    prompt = prompt_of(row["prompt"])
    return prompt, _spoken(chosen, "chosen", prompt), _spoken(rejected, "rejected", prompt)


def _ranked(row: Mapping[str, Any], origin: Origin) -> list[Preference]:
    prompt, given = prompt_of(_field(row, "prompt")), row["replies"]
    if not isinstance(given, list) or len(given) < 2:
        raise DataError(f"`replies` is {given!r:.60}; it must be a list of at least two replies")
    replies = [_spoken(reply, f"replies[{at}]", prompt) for at, reply in enumerate(given)]
    order = _order(row, len(replies))
    pairs = [
        (replies[one], replies[two]) if order[one] < order[two] else (replies[two], replies[one])
        for one, two in combinations(range(len(replies)), 2)
        if order[one] != order[two] and replies[one].strip() != replies[two].strip()
    ]
    if not pairs:
        raise Useless("identical", "no two of the `replies` differ in text and rank")
    weight = _number(row, "weight", 1.0, low=0.0) / len(pairs)
    return [Preference(prompt, won, lost, weight, origin=origin) for won, lost in pairs]


def _order(row: Mapping[str, Any], count: int) -> list[float]:
    """One number a reply, lowest for the best."""
    name, sign = ("ranks", 1) if "ranks" in row else ("scores", -1)
    if name not in row:
        raise DataError("`replies` need `ranks` (1 is best; equal ranks tie) or `scores` (highest is best)")
    found = row[name]
    if not isinstance(found, list) or len(found) != count or not all(map(_is_number, found)):
        raise DataError(f"`{name}` is {found!r:.60}; it must be a list of {count} numbers, one for each reply")
    return [sign * number for number in found]


def _demonstrations(row: Mapping[str, Any], origin: Origin) -> list[Demonstration]:
    if "messages" in row:
        talk = conversation_of(row["messages"], "messages").messages
        spoken = [at for at, message in enumerate(talk) if message.role == "assistant"]
        if not spoken:
            raise DataError("`messages` has no assistant turn to learn")
        return [Demonstration(Conversation(talk[:at]), talk[at].content, origin) for at in spoken]
    if "text" in row and "prompt" not in row:
        if not isinstance(row["text"], str):
            raise DataError(f"`text` is {row['text']!r:.60}; it must be a text")
        if not row["text"].strip():
            raise Useless("empty", "`text` is empty")
        return [Demonstration(Conversation(), row["text"], origin)]
    prompt = prompt_of(_field(row, "prompt"))
    return [Demonstration(prompt, _completion(row, prompt), origin)]


def _feedback(row: Mapping[str, Any], origin: Origin) -> list[Feedback]:
    if "label" not in row and "chosen" in row:
        prompt, won, lost = _pair(row)
        return [Feedback(prompt, won, True, origin), Feedback(prompt, lost, False, origin)]
    label = _field(row, "label")
    if not isinstance(label, bool):
        raise DataError(f"`label` is {label!r:.40}; it must be true (desirable) or false")
    prompt = prompt_of(_field(row, "prompt"))
    return [Feedback(prompt, _completion(row, prompt), label, origin)]


def _prompts(row: Mapping[str, Any], origin: Origin) -> list[Conversation]:
    if "prompt" in row:
        return [prompt_of(row["prompt"])]
    if "chosen" in row and "rejected" in row:
        return [_pair(row)[0]]
    talk = conversation_of(
        _field({**row, "prompt": row["messages"]} if "messages" in row else row, "prompt"), "messages"
    )
    turns = talk.messages[:-1] if talk.messages[-1].role == "assistant" else talk.messages
    return [prompt_of(Conversation(turns).rows(), "messages")]


FORMS: dict[str, Callable[[Mapping[str, Any], Origin], list[Any]]] = {
    "preferences": _preferences,
    "demonstrations": _demonstrations,
    "feedback": _feedback,
    "prompts": _prompts,
}


def _voted(row: dict[str, Any]) -> dict[str, Any]:
    """A pair whose chance is its share of votes, a tie counting half for each; the reply with more votes is chosen."""
    votes = row.get("votes")
    if not isinstance(votes, list) or len(votes) not in (2, 3) or not all(_is_number(n) and n >= 0 for n in votes):
        raise DataError(f"`votes` is {votes!r:.60}; it must be [for chosen, for rejected] or [..., ties]")
    if not sum(votes):
        raise DataError("`votes` are all zero; without votes nothing is known about the pair")
    chance = (votes[0] + sum(votes[2:]) / 2) / sum(votes)
    if chance < 0.5:
        return {**row, "chosen": _field(row, "rejected"), "rejected": _field(row, "chosen"), "chance": 1 - chance}
    return {**row, "chance": chance}


def _field(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        has = ", ".join(map(str, row)) or "nothing"
        raise DataError(f"the row needs `{name}` and has {has}.{did_you_mean(name, row)}")
    return row[name]


def _completion(row: Mapping[str, Any], prompt: Conversation) -> str:
    name = next((name for name in COMPLETIONS if name in row), COMPLETIONS[0])
    return _spoken(_field(row, name), name, prompt)


def _spoken(value: Any, name: str, prompt: Conversation) -> str:
    reply = reply_of(value, name, prompt)
    if not reply.strip():
        raise Useless("empty", f"`{name}` is empty")
    return reply


def _number(row: Mapping[str, Any], name: str, default: float, low: float | None = None) -> float:
    value = row.get(name, default)
    if not _is_number(value) or (low is not None and value < low):
        least = "" if low is None else f" of at least {low:g}"
        raise DataError(f"`{name}` is {value!r:.40}; it must be a finite number{least}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def places(drops: list[Drop], shown: int = 5) -> Iterator[str]:
    """One line a reason: how many rows, and where the first of them stand."""
    for reason, count in Counter(drop.reason for drop in drops).items():
        first = [drop for drop in drops if drop.reason == reason][:shown]
        yield f"{count} {reason} ({', '.join(str(drop.line) for drop in first)}{', ...' if count > shown else ''})"
