"""A constitution: principles in a file, and the words in which a model is asked to keep them.

    name: default
    principles:
      - name: no-harm                  a short name, which the lineage of every revision bears
        critique: ...                  asks for what is wrong with the reply above
        revision: ...                  asks for the reply again, without it
        question: ...                  optional: which of two replies keeps the principle better
        weight: 1                      how often it is drawn, against the others
    examples: [...]                    optional: worked critiques and revisions, shown before the real one
    comparisons: [...]                 optional: worked comparisons

The form is that of Bai et al. 2022 (arXiv:2212.08073), sections 3.1 and 4.1: the critique request, the critique, the
revision request and the revision are turns of the conversation that the reply stands in. The file is read strictly:
unknown keys, empty texts and names given twice are mistakes, all told at once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trivet.core.config import load, option
from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.messages import Conversation, Message, digest_of

PACKAGED = Path(__file__).parent / "constitutions"
OPTIONS = ("(A)", "(B)")
THINK = "Think first and do not choose yet: what speaks for each of the two?"
CHOOSE = "Which reply is it? Answer with (A) or (B)."


@dataclass(frozen=True)
class Principle:
    """One rule, as what a critic is asked."""

    name: str = option(help="a short name")
    critique: str = option(help="asks for what is wrong with the reply")
    revision: str = option(help="asks for the reply without it")
    question: str = option("", "asks which of two replies keeps the rule better; empty: never asked")
    weight: float = option(1.0, "how often it is drawn, against the others")

    def __post_init__(self) -> None:
        _filled(f"the principle {self.name!r}", name=self.name, critique=self.critique, revision=self.revision)
        if not 0 < self.weight < float("inf"):
            raise ConfigError(f"the principle {self.name!r} has the weight {self.weight:g}; give a number above 0")


@dataclass(frozen=True)
class Example:
    """A worked critique and revision."""

    principle: str = option(help="name of the principle whose requests are answered")
    prompt: str = option(help="what the user said")
    reply: str = option(help="what the assistant replied")
    critique: str = option(help="a good critique of that")
    revision: str = option(help="a good revision")

    def __post_init__(self) -> None:
        _filled("an example", prompt=self.prompt, reply=self.reply, critique=self.critique, revision=self.revision)


@dataclass(frozen=True)
class Comparison:
    """A worked comparison of two replies."""

    principle: str = option(help="name of the principle whose question is answered")
    prompt: str = option(help="what the user said")
    a: str = option(help="the first reply")
    b: str = option(help="the second reply")
    answer: Literal["(A)", "(B)"] = option(help="the better one")
    thought: str = option("", "reasons, for comparisons with thoughts; without them it is shown in those without only")

    def __post_init__(self) -> None:
        _filled("a comparison", prompt=self.prompt, a=self.a, b=self.b)


@dataclass(frozen=True)
class Constitution:
    """The whole file."""

    principles: tuple[Principle, ...] = option(help="the rules")
    name: str = option("constitution", "what lessons made with it say that they come from")
    examples: tuple[Example, ...] = option((), "worked critiques and revisions")
    comparisons: tuple[Comparison, ...] = option((), "worked comparisons")

    def __post_init__(self) -> None:
        names = [principle.name for principle in self.principles]
        faults = [f"the principle {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1]
        named = [(f"example {number}", one.principle) for number, one in enumerate(self.examples, start=1)]
        named += [(f"comparison {number}", one.principle) for number, one in enumerate(self.comparisons, start=1)]
        for what, name in named:
            if name not in names:
                near = did_you_mean(name, names)
                faults.append(f"{what} names the principle {name!r}, which is not there.{near}".rstrip("."))
        for number, one in enumerate(self.comparisons, start=1):
            if one.principle in names and not self[one.principle].question:
                faults.append(f"comparison {number} answers the question of {one.principle!r}, which has none")
        if not names:
            faults.append("there are no principles; give at least one")
        if faults:
            raise ConfigError("; ".join(faults))

    def __getitem__(self, name: str) -> Principle:
        return next(principle for principle in self.principles if principle.name == name)

    @property
    def comparable(self) -> tuple[Principle, ...]:
        """The principles with a question."""
        return tuple(principle for principle in self.principles if principle.question)


def _filled(what: str, **texts: str) -> None:
    if empty := [name for name, text in texts.items() if not text.strip()]:
        raise ConfigError(f"{what} has an empty {' and '.join(empty)}; write it out")


def read_constitution(source: str | Path) -> Constitution:
    """The constitution of a file, or a packaged one by its name; raises one ConfigError with every mistake found."""
    packaged = PACKAGED / f"{source}.yaml"
    path = packaged if packaged.is_file() else Path(source).expanduser()
    if not path.is_file():
        names = sorted(place.stem for place in PACKAGED.glob("*.yaml"))
        near = did_you_mean(str(source), names)
        raise ConfigError(f"no constitution {str(source)!r}; give a YAML file or one of: {', '.join(names)}.{near}")
    return load(Constitution, path)


def drawn(principles: Sequence[Principle], count: int, *key: object) -> list[Principle]:
    """`count` different principles, likelier by weight; the same for the same key in every process.

    `count` 0, or more than there are, means all of them in their order.
    """
    if not 0 < count < len(principles):
        return list(principles)
    dice, left, chosen = random.Random(digest_of([str(part) for part in key])), list(principles), []
    for _ in range(count):
        one = dice.choices(left, [principle.weight for principle in left])[0]
        chosen.append(one)
        left.remove(one)
    return chosen


# ------------------------------------------------------------------------------------------------ what a critic is asked


def _talk(prompt: Conversation, *turns: str) -> Conversation:
    """The conversation with more turns, the assistant's first."""
    roles: tuple[Literal["assistant"], Literal["user"]] = ("assistant", "user")
    added = (Message(roles[at % 2], text) for at, text in enumerate(turns))
    return Conversation((*prompt.messages, *added))


def _after(shown: Sequence[Conversation], real: Conversation) -> Conversation:
    """Worked examples before the real conversation, whose system message keeps its place at the top."""
    head = 1 if len(real) and real.messages[0].role == "system" else 0
    before = [message for talk in shown for message in talk]
    return Conversation((*real.messages[:head], *before, *real.messages[head:]))


def _worked(constitution: Constitution) -> list[Conversation]:
    return [
        _talk(Conversation.user(one.prompt), one.reply, rule.critique, one.critique, rule.revision, one.revision)
        for one in constitution.examples
        for rule in (constitution[one.principle],)
    ]


def ask_critique(constitution: Constitution, rule: Principle, prompt: Conversation, reply: str) -> Conversation:
    """What a critic is asked about a reply."""
    return _after(_worked(constitution), _talk(prompt, reply, rule.critique))


def ask_revision(
    constitution: Constitution, rule: Principle, prompt: Conversation, reply: str, critique: str
) -> Conversation:
    """What it is asked after it has given its critique."""
    return _after(_worked(constitution), _talk(prompt, reply, rule.critique, critique, rule.revision))


def _question(rule: Principle, prompt: Conversation, a: str, b: str, end: str) -> Conversation:
    said = "\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)
    return Conversation.user(f"{said}\n\n(A) {a}\n\n(B) {b}\n\n{rule.question} {end}")


def ask_choice(constitution: Constitution, rule: Principle, prompt: Conversation, a: str, b: str) -> Conversation:
    """Which of two replies is better: to be answered with one of OPTIONS."""
    shown = [
        _talk(_question(constitution[one.principle], Conversation.user(one.prompt), one.a, one.b, CHOOSE), one.answer)
        for one in constitution.comparisons
    ]
    return _after(shown, _question(rule, prompt, a, b, CHOOSE))


def ask_thought(constitution: Constitution, rule: Principle, prompt: Conversation, a: str, b: str) -> Conversation:
    """The same, to be answered with reasons and no choice yet."""
    return _after(_pondered(constitution), _question(rule, prompt, a, b, THINK))


def ask_choice_after(
    constitution: Constitution, rule: Principle, prompt: Conversation, a: str, b: str, thought: str
) -> Conversation:
    """The choice after the reasons: to be answered with one of OPTIONS."""
    real = _talk(_question(rule, prompt, a, b, THINK), thought, CHOOSE)
    return _after(_pondered(constitution), real)


def _pondered(constitution: Constitution) -> list[Conversation]:
    return [
        _talk(_question(rule, Conversation.user(one.prompt), one.a, one.b, THINK), one.thought, CHOOSE, one.answer)
        for one in constitution.comparisons
        for rule in (constitution[one.principle],)
        if one.thought.strip()
    ]
