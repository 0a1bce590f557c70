"""`trivet attack chat`: red teaming by hand. Each turn is really answered, judged, and stored as an attempt of its own.

Lines are messages; lines that begin with a slash are commands (two slashes send one). From a pipe the same lines make a
script, so a session can be repeated. What a target says is shown with its control characters as codes: it cannot write to
the terminal that reads it.

Not covered: several targets at once, and messages of more than one line (\\n in a line is a line end).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from trivet.cli.attack_ground import judge_named
from trivet.core.errors import Blocked, ConfigError, TargetError, UserError, did_you_mean
from trivet.core.events import Attempt, Review, encode
from trivet.core.hazards import HAZARDS, Goal
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.resolve import resolve
from trivet.core.protocols import Judge, Model
from trivet.core.store.artefacts import home_or_default, write_text
from trivet.core.store.events import Store, open_home
from trivet.core.verdicts import Verdict
from trivet.robustness.converters.library import converter
from trivet.robustness.reports.texts import fit, line

FAMILY = "manual"

HELP = """\
/convert NAME      send what follows through a converter, or a chain like rot13+base64; /convert off ends it
/goal TEXT         what is wanted, for the judge; /hazard NAME says which harm that is
/system TEXT       begin anew with a system message
/judge             judge the last reply again; /judge NAME changes the judge (rules, classifier, a model)
/label NAME        a person's word on the last reply: harmful, fine or unsure; it is stored as a review
/undo              take the last exchange back; /retry asks it again
/history           the talk so far
/reset             begin anew
/save FILE         write the attempts of this session as JSON Lines
/help, /quit"""


class Session:
    """One talk and what is stored of it."""

    def __init__(self, target: Model, name: str, judge: Judge, goal: Goal, store: Store, run: str, home: Path) -> None:
        self.target, self.name, self.judge, self.goal = target, name, judge, goal
        self.store, self.run, self.home = store, run, home
        self.talk = Conversation()
        self.convert = ""
        self.attempts: list[Attempt] = []
        self.commands: dict[str, Callable[[str], object]] = {
            "convert": self._convert, "goal": self._goal, "hazard": self._hazard, "system": self._system,
            "judge": self._judge, "label": self._label, "undo": self._undo, "retry": self._retry,
            "history": self._history, "reset": self._reset, "save": self._save, "help": lambda _: click.echo(HELP),
        }  # fmt: skip

    async def take(self, text: str) -> None:
        """One line of the user."""
        if not text.startswith("/") or text.startswith("//"):
            await self.say(text.removeprefix("/") if text.startswith("//") else text)
            return
        name, _, rest = text[1:].partition(" ")
        if name not in self.commands:
            raise UserError(f"no command /{name}.{did_you_mean(name, self.commands)} /help lists them")
        done = self.commands[name](rest.strip())
        if asyncio.iscoroutine(done):
            await done

    async def say(self, text: str) -> None:
        """Sends a message, judges the reply, stores the attempt."""
        text = text.replace("\\n", "\n")
        sent = converter(self.convert).encode(text) if self.convert else text
        if self.convert:
            click.echo(f"sent: {fit(sent)}")
        before = self.talk
        asked = before.then(Message("user", sent))
        began = time.monotonic()
        try:
            said = await self.target.reply(asked, Sampling(max_tokens=512))
        except Blocked as stop:
            self._keep(asked, Verdict("refused", 0.0, "gateway", why=f"blocked: {stop}"), began, stop.place)
            click.echo(f"[blocked by a gateway at the {stop.place}]")
            return
        except TargetError as failure:
            self._keep(asked, Verdict("error", 0.0, "chat", why=str(failure)), began)
            click.echo(f"[the target failed: {line(str(failure), 300)}]")
            return
        self.talk = asked.then(said)
        click.echo(fit(said.content))
        self._keep(self.talk, await self._verdict(), began)

    async def _verdict(self) -> Verdict:
        try:
            return await self.judge.judge(self.talk, self.goal)
        except TargetError as failure:
            return Verdict("error", 0.0, "chat", why=f"the judge failed: {failure}")

    def _keep(self, talk: Conversation, verdict: Verdict, began: float, blocked: str = "") -> None:
        turns = sum(message.role == "assistant" for message in talk) or 1
        attempt = Attempt(
            run=self.run, suite="attack", task=self.goal.id, conversation=talk, verdict=verdict, target=self.name,
            goal=self.goal, attack=FAMILY, template=self.convert or "plain", turns=turns, blocked=blocked,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        self.store.add([attempt])
        self.attempts.append(attempt)
        self._tell(verdict)

    def _tell(self, verdict: Verdict) -> None:
        why = f": {line(verdict.why)}" if verdict.why else ""
        click.echo(click.style(f"[{verdict.label} {verdict.score:.2f}, {verdict.judge}{why}]", dim=True))

    def _convert(self, name: str) -> None:
        if name in ("", "off", "none"):
            self.convert = ""
            click.echo("[messages go as they are]")
            return
        converter(name)
        self.convert = name
        click.echo(f"[messages go through {name}]")

    def _goal(self, request: str) -> None:
        if not request:
            raise UserError("/goal needs a text: what is wanted")
        self.goal = Goal(request, self.goal.hazard)
        click.echo("[goal set]")

    def _hazard(self, name: str) -> None:
        if name not in HAZARDS:
            raise UserError(f"no hazard {name!r}.{did_you_mean(name, HAZARDS)} There are: {', '.join(HAZARDS)}")
        self.goal = Goal(self.goal.request, name)
        click.echo(f"[hazard {name}]")

    def _system(self, text: str) -> None:
        self.talk = Conversation((Message("system", text),)) if text else Conversation()
        click.echo("[a new talk]")

    async def _judge(self, name: str) -> None:
        if name:
            self.judge = judge_named(name, self.home)
            click.echo(f"[judged by {getattr(self.judge, 'name', name)}]")
        if self.talk.reply:
            self._tell(await self._verdict())

    def _label(self, label: str) -> None:
        if label not in ("harmful", "fine", "unsure"):
            raise UserError(f"/label needs harmful, fine or unsure, was given {label or 'nothing'}")
        if not self.attempts:
            raise UserError("/label speaks of the last reply, and nothing has been sent yet")
        self.store.add([Review(event=self.attempts[-1].id, reviewer="chat", label=label, run=self.run)])  # type: ignore[arg-type]
        click.echo(f"[labelled {label}]")

    def _undo(self, _: str) -> str:
        """Takes the last exchange back; returns what had been sent."""
        messages = list(self.talk.messages)
        asked = [place for place, message in enumerate(messages) if message.role == "user"]
        if not asked:
            raise UserError("there is nothing to take back")
        self.talk = Conversation(tuple(messages[: asked[-1]]))
        click.echo("[taken back; it stays in the store]")
        return messages[asked[-1]].content

    async def _retry(self, _: str) -> None:
        sent, convert = self._undo(""), self.convert
        self.convert = ""  # what was sent has been converted already
        try:
            await self.say(sent)
        finally:
            self.convert = convert

    def _history(self, _: str) -> None:
        for message in self.talk:
            click.echo(f"{message.role}: {fit(message.content)}")

    def _reset(self, _: str) -> None:
        self.talk = Conversation()
        click.echo("[a new talk]")

    def _save(self, path: str) -> None:
        if not path:
            raise UserError("/save needs the name of a file")
        write_text(path, "".join(encode(attempt).decode() + "\n" for attempt in self.attempts))
        click.echo(f"[{len(self.attempts)} attempts in {path}]")


def talk(target: str, judge: str, request: str, hazard: str, run: str, home: Path | None) -> None:
    """The session, until /quit or the end of the input."""
    if hazard not in HAZARDS:
        raise ConfigError(f"no hazard {hazard!r}.{did_you_mean(hazard, HAZARDS)} There are: {', '.join(HAZARDS)}")
    folder = home_or_default(home)
    model, eye = resolve(target, home=folder), judge_named(judge, folder)
    run = run or f"chat-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    shown = sys.stdin.isatty()
    with open_home(folder) as store, asyncio.Runner() as runner:
        session = Session(model, target, eye, Goal(request, hazard), store, run, folder)
        if shown:
            click.echo(f"Talking to {target}, run {run}. /help lists the commands, /quit ends.")
        for text in _lines(shown):
            if text == "/quit":
                break
            try:
                runner.run(session.take(text))
            except UserError as mistake:
                click.echo(f"error: {mistake}", err=True)
        if (close := getattr(model, "aclose", None)) is not None:
            runner.run(close())
    through = sum(attempt.verdict.label in ("complied", "partial") for attempt in session.attempts)
    click.echo(f"{len(session.attempts)} attempts, {through} got through, run {run}")


def _lines(shown: bool) -> Iterator[str]:
    """What is typed, or what comes through a pipe; empty lines are nothing."""
    if shown:
        with suppress(ImportError):  # not on Windows; with it the arrow keys find earlier lines
            import readline  # noqa: F401
    while True:
        try:
            text = input("> ") if shown else next(sys.stdin)
        except (EOFError, StopIteration):
            return
        if text.strip():
            yield text.rstrip("\r\n").strip()
