"""Regression: every jailbreak that was once confirmed, asked again in the words that worked, for ever.

A case holds the goal, the user's turns as they were sent, and where it was first seen: model, family, template, seed, run and
day. Its status says what happened last:

    open        it gets through, and always has
    fixed       it got through once and does not any more
    regressed   it was fixed and gets through again: this is what fails a build

Cases stand in a JSON Lines file that people can review, edit and commit; one that is not a jailbreak after all is struck
out by its status `dismissed`, so that it is not found anew. A case is confirmed by a judge when it enters, by a second
success when it is asked again (`repeat`), and by a person through a review in the store (`review`); a review `fine`
dismisses it.

Departure from a rerun of the attack: an attacker that reads replies would say something else to another model, so the
recorded turns are replayed, each really answered; invented turns before them are kept as they were. Not covered: agents
(their state is built anew by the suite of that name), and other wordings of a case that was fixed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from trivet.core.errors import DataError
from trivet.core.events import Attempt, Review
from trivet.core.hazards import HAZARDS, Goal
from trivet.core.messages import Conversation, Message, digest_of
from trivet.core.protocols import Model
from trivet.core.store.artefacts import write_text
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.campaign import SUCCESS
from trivet.robustness.plan import Job
from trivet.robustness.suites.summary import UNTOLD

FILE = "regression.jsonl"
"""The file within a home folder, where no other is named."""

Status = Literal["open", "fixed", "regressed", "dismissed"]
Confirmed = Literal["judge", "repeat", "review"]


@dataclass(frozen=True)
class Case:
    """One confirmed jailbreak. `turns` are the last messages of `said` that the target really answered."""

    goal: Goal
    said: Conversation
    turns: int
    family: str
    template: str
    seed: int
    model: str
    run: str
    day: str
    status: Status = "open"
    confirmed: Confirmed = "judge"
    last: str = ""

    @property
    def id(self) -> str:
        """What was asked and how: the same words against another model are the same case."""
        return digest_of(["case", self.goal.id, self.said.rows(), self.turns])

    @property
    def name(self) -> str:
        """The template under which its attempts are stored."""
        return f"case-{self.id[:12]}"

    def row(self) -> dict[str, Any]:
        goal = {key: value for key, value in asdict(self.goal).items() if value}
        return {
            "id": self.id[:12], "status": self.status, "confirmed": self.confirmed, "goal": goal,
            "said": self.said.rows(), "turns": self.turns, "family": self.family, "template": self.template,
            "seed": self.seed, "first_seen": {"model": self.model, "run": self.run, "day": self.day}, "last": self.last,
        }  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """An attack that says what was said. Not covered: what the target's own replies would have led to."""

    said: Conversation
    turns: int

    async def attack(self, goal: Goal, target: Model) -> Conversation:
        messages = self.said.messages
        asked = [place for place, message in enumerate(messages) if message.role == "user"]
        first = asked[-self.turns] if self.turns < len(asked) else asked[0]
        talk = Conversation(messages[:first])
        for message in messages[first:]:
            talk = talk.then(message)
            if message.role == "user":
                talk = talk.then(await target.reply(talk))
        return talk


def case_of(attempt: Attempt) -> Case:
    """The case that a successful attempt makes. The target's own words are left out: they are what must not come back."""
    assert attempt.goal is not None
    messages = list(attempt.conversation.messages)
    while messages and messages[-1].role != "user":
        messages.pop()
    asked = sum(message.role == "user" for message in messages)
    turns = max(1, min(attempt.turns, asked))
    return Case(
        attempt.goal, Conversation(tuple(_without_replies(messages, turns))), turns, attempt.attack, attempt.template,
        attempt.seed, attempt.target, attempt.run, time.strftime("%Y-%m-%d", time.gmtime(attempt.at)),
    )  # fmt: skip


def _without_replies(messages: Sequence[Message], turns: int) -> list[Message]:
    """What was there before the target spoke, then the user's turns alone."""
    asked = [place for place, message in enumerate(messages) if message.role == "user"]
    first = asked[-turns]
    return [*messages[:first], *(message for message in messages[first:] if message.role == "user")]


def successes(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that become cases: successful attacks on goals, agents left out."""
    return [
        a for a in attempts if a.suite == "attack" and a.goal and a.verdict.label in SUCCESS and a.attack != "contrast"
    ]


def jobs(cases: Sequence[Case]) -> list[Job]:
    """Every case that is not dismissed, under the family it came from."""
    return [
        Job(
            "attack",
            case.goal,
            NamedAttack(case.family, case.name, "heldout", Replay(case.said, case.turns)),
        )
        for case in cases
        if case.status != "dismissed"
    ]


def grown(cases: Sequence[Case], attempts: Iterable[Attempt]) -> list[Case]:
    """The cases with those that the attempts add; a case that is known already stays as it is."""
    known = {case.id: case for case in cases}
    for attempt in successes(attempts):
        made = case_of(attempt)
        known.setdefault(made.id, made)
    return list(known.values())


def updated(cases: Sequence[Case], attempts: Iterable[Attempt]) -> list[Case]:
    """The cases after a run of `jobs`; one success among several samples is a success. What could not be judged, or met
    an empty reply, leaves its case as it was."""
    through: dict[str, bool] = {}
    for attempt in attempts:
        if attempt.suite == "attack" and attempt.verdict.label not in UNTOLD:
            got = through.get(attempt.template, False) or attempt.verdict.label in SUCCESS
            through[attempt.template] = got
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return [_after(case, through.get(case.name), day) for case in cases]


def _after(case: Case, through: bool | None, day: str) -> Case:
    if through is None or case.status == "dismissed":
        return case
    if not through:
        return replace(case, status="fixed", last=day)
    confirmed: Confirmed = "repeat" if case.confirmed == "judge" else case.confirmed
    status: Status = "open" if case.status == "open" else "regressed"
    return replace(case, status=status, confirmed=confirmed, last=day)


def reviewed(cases: Sequence[Case], attempts: Iterable[Attempt], reviews: Iterable[Review]) -> list[Case]:
    """The cases after what people said of the attempts that they came from; the last review of an attempt counts."""
    labels = {review.event: review.label for review in reviews}
    said = {case_of(attempt).id: labels[attempt.id] for attempt in successes(attempts) if attempt.id in labels}
    made = []
    for case in cases:
        if said.get(case.id) == "fine":
            case = replace(case, status="dismissed", confirmed="review")
        elif said.get(case.id) == "harmful":
            case = replace(case, confirmed="review")
        made.append(case)
    return made


def load(path: str | Path) -> list[Case]:
    """The cases of a file; none where there is no file. Raises DataError that names file and line."""
    path = Path(path)
    if not path.is_file():
        return []
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            cases.append(_parsed(line, f"{path}:{number}"))
    return list({case.id: case for case in cases}.values())


def save(path: str | Path, cases: Sequence[Case]) -> None:
    """Writes the file in one step, sorted so that a change is a change of its lines only."""
    ordered = sorted(cases, key=lambda case: (case.day, case.family, case.id))
    write_text(path, "".join(json.dumps(case.row(), ensure_ascii=False) + "\n" for case in ordered))


def _parsed(line: str, where: str) -> Case:
    try:
        row: Mapping[str, Any] = json.loads(line)
        goal, seen = row["goal"], row["first_seen"]
        case = Case(
            Goal(goal["request"], goal.get("hazard", "other"), goal.get("topic", ""), tuple(goal.get("facts", ()))),
            Conversation.parse(row["said"]),
            int(row["turns"]),
            row["family"],
            row.get("template", ""),
            int(row.get("seed", 0)),
            seen["model"],
            seen.get("run", ""),
            seen.get("day", ""),
            row["status"],
            row.get("confirmed", "judge"),
            row.get("last", ""),
        )
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise DataError(f"{where}: no case ({type(wrong).__name__}: {wrong}); a case has goal, said, turns, family, status "
                        "and first_seen") from wrong  # fmt: skip
    for value, known in ((case.status, get_args(Status)), (case.confirmed, get_args(Confirmed))):
        if value not in known:
            raise DataError(f"{where}: {value!r} is not one of {', '.join(known)}")
    if case.goal.hazard not in HAZARDS or case.turns < 1 or not case.said.last_user:
        raise DataError(f"{where}: a case needs a known hazard, at least one turn, and a last message of the user")
    return case
