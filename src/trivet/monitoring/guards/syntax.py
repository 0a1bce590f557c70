"""Does the code in a reply parse? The fenced blocks of its Markdown, by their language.

Python by `ast`, JSON by `json`, SQL by `sqlglot` (the extra `sql`, in the dialect of your choice). Blocks without a
language, in other languages, or that are a console session (`>>> `, `$ `) are left alone. A verdict names the language and
the line inside the block, never the code; its spans are the blocks.

Bounded: at most BLOCKS blocks and LONGEST characters of a reply are parsed, and nothing that is BRACKETS deep in brackets or
deeper than the parser goes. The rest is unchecked, which the verdict says and does not flag.

Not covered: whether the code runs, is safe, or does what was asked; code outside fences; two dialects of SQL in one reply.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.shared import newest

LONGEST = 50_000
BRACKETS = 60
BLOCKS = 64
_OPENING = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)[^\n`]*$", re.MULTILINE)
_SESSION = re.compile(r"\s*(?:>>>|\$|In \[\d+\]:|%|!)")
_NAMES = {"py": "python", "python": "python", "python3": "python", "json": "json", "sql": "sql", "postgresql": "sql",
          "postgres": "sql", "mysql": "sql", "sqlite": "sql"}  # fmt: skip
_QUIET = threading.Lock()


class Block(NamedTuple):
    """A fenced block: its language in lower case, and where its code stands in the reply."""

    language: str
    start: int
    end: int


class CodeSyntax:
    """A guard on replies: every Python, JSON and SQL block parses. `languages` leaves some out, `dialect` is sqlglot's."""

    threshold = 0.5
    cheap = False
    reach = None

    def __init__(self, languages: Sequence[str] = ("python", "json", "sql"), dialect: str = "") -> None:
        for name in languages:
            if name not in _PARSERS:
                known = ", ".join(_PARSERS)
                raise ConfigError(f"no parser for {name!r}; known: {known}.{did_you_mean(name, _PARSERS)}")
        if "sql" in languages:
            _sql_ready(dialect)
        self.languages = tuple(languages)
        self.dialect = dialect
        self.digest = digest_of(["syntax-1", self.languages, dialect])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        import asyncio

        return await asyncio.to_thread(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        wrong: list[tuple[Span, str]] = []
        unchecked = read = 0
        for number, block in enumerate(blocks(text)):
            if block.language not in self.languages:
                continue
            code = text[block.start : block.end]
            read += len(code)
            try:
                if number >= BLOCKS or read > LONGEST or _depth(code) > BRACKETS:
                    raise RecursionError
                fault = "" if _SESSION.match(code) else _PARSERS[block.language](code, self.dialect)
            except (RecursionError, MemoryError):
                unchecked += 1
                continue
            if fault:
                wrong.append((Span(block.start, block.end, block.language), fault))
        note = f"; {unchecked} blocks too long or deep to check" if unchecked else ""
        if not wrong:
            return Verdict("safe", 0.0, "syntax", why=note[2:])
        span, fault = wrong[0]
        why = f"the {span.label} block does not parse: {fault}{note}"
        return Verdict("broken_code", 1.0, "syntax", "", why, tuple(span for span, _ in wrong))


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown text (CommonMark, section 4.5) that have a language; an open one reaches to the end."""
    at = 0
    while opening := _OPENING.search(text, at):
        fence, start = opening.group(1), opening.end() + 1
        closing = re.compile(rf"^[ ]{{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(text, min(start, len(text)))
        language = opening.group(2).lower().strip(".")
        if language:
            yield Block(_NAMES.get(language, language), min(start, len(text)), end.start() if end else len(text))
        if end is None:
            return
        at = end.end()


def _depth(code: str) -> int:
    """How deep the brackets go, and how long a chain of signs is: what a recursive parser goes down by."""
    depth = deepest = 0
    for match in re.finditer(r"[(\[{]|[)\]}]", code):
        depth = depth + 1 if match.group() in "([{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    chain = max((len(run.group()) for run in re.finditer(r"[-+~!]{8,}|(?:\bnot\s+){8,}", code)), default=0)
    return max(deepest, chain)


def _python(code: str, dialect: str) -> str:
    # A note about an escape like "\d" is no fault; filters are the process's own, hence the lock.
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(_dedented(code))
        except SyntaxError as error:
            return f"line {error.lineno or 0}"
        except ValueError:
            return "it is not text that Python reads"
    return ""


def _dedented(code: str) -> str:
    """The code without the indentation that all of it has, as in a block inside a list."""
    first = re.search(r"^[ \t]*(?=\S)", code, re.MULTILINE)
    margin = first.group() if first else ""
    lines = code.splitlines()
    if margin and all(line.startswith(margin) or not line.strip() for line in lines):
        return "\n".join(line[len(margin) :] for line in lines)
    return code


def _json(code: str, dialect: str) -> str:
    try:
        json.loads(code)
    except json.JSONDecodeError as error:
        return f"line {error.lineno} column {error.colno}"
    except ValueError:
        return "a number that is too long"
    return ""


def _sql_ready(dialect: str) -> None:
    try:
        import sqlglot
    except ImportError as error:
        raise ConfigError(
            "SQL needs sqlglot: pip install 'trivet[sql]', or leave `sql` out of `languages: [python, json]`"
        ) from error
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that it only passes on
    try:
        sqlglot.Dialect.get_or_raise(dialect or None)
    except ValueError as error:
        raise ConfigError(
            f"no SQL dialect {dialect!r}; sqlglot knows, for example, postgres, mysql, sqlite, tsql"
        ) from error


def _sql(code: str, dialect: str) -> str:
    import sqlglot

    try:
        sqlglot.parse(code, read=dialect or None)
    except sqlglot.errors.ParseError as error:
        line = error.errors[0].get("line") if error.errors else None
        return f"line {line}" if line else "it is no SQL"
    except sqlglot.errors.SqlglotError:
        return "it is no SQL"
    return ""


_PARSERS: dict[str, Callable[[str, str], str]] = {"python": _python, "json": _json, "sql": _sql}
