"""Code blocks: which are looked at, which parse, and that nothing hostile takes long or is called broken unread."""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import pytest

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation
from trivet.monitoring.guards.syntax import BLOCKS, LONGEST, CodeSyntax, blocks


def fenced(language: str, code: str) -> str:
    return f"Here you are:\n\n```{language}\n{code}\n```\nDone."


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "def f(x):\n    return x + 1"),
        ("py", "pattern = '\\d+'  # an odd escape is a warning, not a fault"),
        ("python", "    async def f():\n        await g()\n"),
        ("python", ">>> f(\n..."),
        ("python", "%timeit f("),
        ("json", '{"a": [1, 2]}'),
        ("sql", "SELECT a, count(*) FROM t WHERE b = 'x' GROUP BY a;\nDROP TABLE u;"),
        ("rust", "fn main( {"),
        ("", "x = ("),
    ],
)
def test_what_parses_or_is_not_ours_passes(language: str, code: str) -> None:
    assert CodeSyntax().scan(fenced(language, code)).score == 0.0


@pytest.mark.parametrize(
    ("language", "code", "where"),
    [
        ("python", "x = 1\ndef f(:\n    pass", "python block does not parse: line 2"),
        ("Python3", "print 'hello'", "python block does not parse: line 1"),
        ("json", '{"a": }', "json block does not parse: line 1 column 7"),
        ("sql", "SELECT a FROM t WHERE", "sql block does not parse: line 1"),
        ("python", "x = '\0'", "python block"),
    ],
)
def test_what_does_not_parse_is_named_by_line(language: str, code: str, where: str) -> None:
    text = fenced(language, code)
    verdict = CodeSyntax().scan(text)
    assert where in verdict.why
    assert [text[s.start : s.end] for s in verdict.spans] == [code + "\n"]
    assert code not in verdict.why


def test_fences_are_those_of_markdown() -> None:
    text = "~~~ py\nx = '''\n```\n'''\n~~~\n\n````json title=x\n```\n````\ninline ```py x(``` and\n   ```sql\nopen to the end"
    assert [(b.language, text[b.start : b.end]) for b in blocks(text)] == [
        ("python", "x = '''\n```\n'''\n"),
        ("json", "```\n"),
        ("sql", "open to the end"),
    ]
    assert list(blocks("```py")) == [("python", 5, 5)]


@pytest.mark.parametrize(
    "code",
    ["(" * 100 + ")" * 100, "x = " + "1+" * 20_000 + "1", "not " * 5_000 + "x", "x" * (LONGEST + 1), "-" * 5_000 + "1"],
)
def test_what_is_too_long_or_deep_is_unchecked_and_not_called_broken(code: str) -> None:
    verdict = CodeSyntax().scan(fenced("python", code))
    assert (verdict.score, verdict.why) == (0.0, "1 blocks too long or deep to check")


def test_there_is_an_end_to_what_is_read() -> None:
    many = fenced("python", "x = 1") * (BLOCKS + 2)
    assert CodeSyntax().scan(many).why == "2 blocks too long or deep to check"
    long = fenced("python", "x = 1\n" * 5_000) * 3
    assert CodeSyntax().scan(long).why == "2 blocks too long or deep to check"
    assert "; 1 blocks" in CodeSyntax().scan(fenced("python", "f(") + fenced("python", "x" * LONGEST)).why


def test_the_guard_takes_languages_and_a_dialect() -> None:
    assert CodeSyntax(["json"]).scan(fenced("python", "f(")).score == 0.0
    top = "SELECT TOP 3 a FROM t"
    assert CodeSyntax(["sql"], dialect="tsql").scan(fenced("sql", top)).score == 0.0
    with pytest.raises(ConfigError, match='Did you mean "python"'):
        CodeSyntax(["pyton"])
    with pytest.raises(ConfigError, match="no SQL dialect"):
        CodeSyntax(dialect="klingon")
    assert CodeSyntax().digest != CodeSyntax(["json"]).digest
    verdict = asyncio.run(CodeSyntax().judge(Conversation.user(fenced("json", "{"))))
    assert verdict.label == "broken_code"


def test_without_sqlglot_sql_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "sqlglot":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"trivet\[sql\]"):
        CodeSyntax()
    assert CodeSyntax(["python", "json"]).scan(fenced("json", "{}")).score == 0.0
