"""Structure: the same words cut into pieces, set apart, or put inside the syntax of code, data and markup.

Cut pieces (`split`, `jumbled`) have to be joined by the target before there is anything to refuse. Wrapped texts stay
readable as they are; what changes is that they look like data to whoever filters language.

Not covered: documents around the text that mean something (attacks/injection.py); files; programs that run.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Callable

from trivet.core.errors import DataError
from trivet.robustness.converters.base import ANY, ASCII, Converter, Tunable, dice, partly, whole

_SPACELESS = r"[!-~]+( [!-~]+)*"
"""Words of printable ASCII with single spaces between."""
_NO_DASH = r"[A-Za-z0-9.,?!;:']+( [A-Za-z0-9.,?!;:']+)*"
_NO_BAR = r"[!-{}~]+( [!-{}~]+)*"
_NO_STROKES = r"[ -,./0-~]*"
_NO_COMMENT = r"[ -=?-~]*"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str, what: str) -> str:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise DataError(f"not {what}: {text!r:.80} ({wrong})") from wrong
    if not isinstance(value, str):
        raise DataError(f"not {what}: {text!r:.80} holds {type(value).__name__} where a text should be")
    return value


def _pieces(text: str, count: int) -> list[str]:
    """The text in `count` pieces that differ by at most one letter in length; cuts may fall inside a word."""
    size, more = divmod(len(text), count)
    ends = [0]
    for number in range(count):
        ends.append(ends[-1] + size + (number < more))
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _split(argument: str) -> Converter:
    """Variables, each with a piece, and their sum."""
    count = whole("split", argument, 2, 9)
    names = "abcdefghi"[:count]

    def encode(text: str) -> str:
        rows = [f"{name} = {_quoted(piece)}" for name, piece in zip(names, _pieces(text, count), strict=True)]
        return "\n".join([*rows, f"z = {' + '.join(names)}"])

    def decode(text: str) -> str:
        # json writes line breaks as escapes, but not U+0085 and its like: only "\n" ends a row.
        rows = text.split("\n")[:-1]
        return "".join(_unquoted(row.partition(" = ")[2], "pieces of a text in variables") for row in rows)

    return Converter(f"split({count})", encode, decode, True, f"{count} pieces in variables, to be added up")


def _jumbled(argument: str) -> Converter:
    """Numbered pieces in a wrong order."""
    count = whole("jumbled", argument, 2, 9)

    def encode(text: str) -> str:
        rows = [f"{number}: {_quoted(piece)}" for number, piece in enumerate(_pieces(text, count), start=1)]
        mixed, chance = list(rows), dice("jumbled", count, text)
        while mixed == rows:
            chance.shuffle(mixed)
        return "\n".join(mixed)

    def decode(text: str) -> str:
        rows = sorted(text.split("\n"), key=lambda row: row[:1])
        return "".join(_unquoted(row.partition(": ")[2], "numbered pieces of a text") for row in rows)

    return Converter(f"jumbled({count})", encode, decode, True, f"{count} numbered pieces out of order")


def _joined(mark: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """A mark between the letters of each word."""
    return (
        lambda text: " ".join(mark.join(word) for word in text.split(" ")),
        lambda text: text.replace(mark, ""),
    )


def _wrapped(
    name: str, before: str, after: str, about: str, *, domain: str = ANY, each: str = "", readable: bool = True
) -> Converter:
    """Text with something before and behind, and `each` at the start of every line."""

    def encode(text: str) -> str:
        return before + each + text.replace("\n", "\n" + each) + after

    def decode(text: str) -> str:
        if not (text.startswith(before + each) and text.endswith(after)):
            raise DataError(f"not a text inside {about}: {text!r:.80}")
        return text[len(before + each) : len(text) - len(after)].replace("\n" + each, "\n")

    return Converter(name, encode, decode, domain == ANY, about, domain, readable)


def _from_json(text: str) -> str:
    try:
        return _unquoted(json.dumps(json.loads(text)["question"]), "an object with a question")
    except (json.JSONDecodeError, KeyError, TypeError) as wrong:
        raise DataError(f"not an object with a question: {text!r:.80}") from wrong


def _to_table(text: str) -> str:
    rows = [f"| {number} | {word} |" for number, word in enumerate(text.split(" "), start=1)]
    return "\n".join(["| n | word |", "| --- | --- |", *rows])


def _from_table(text: str) -> str:
    return " ".join(row.split("|")[2].strip() for row in text.split("\n")[2:])


def _to_list(text: str) -> str:
    return "\n".join(f"{number}. {word}" for number, word in enumerate(text.split(" "), start=1))


def _from_list(text: str) -> str:
    return " ".join(row.partition(". ")[2] for row in text.split("\n"))


def _to_csv(text: str) -> str:
    return 'id,text\n1,"' + text.replace('"', '""') + '"'


def _from_csv(text: str) -> str:
    return text.removeprefix('id,text\n1,"')[:-1].replace('""', '"')


def _to_sql(text: str) -> str:
    return "SELECT answer FROM replies WHERE question = '" + text.replace("'", "''") + "';"


def _from_sql(text: str) -> str:
    found = re.search(r"question = '(.*)';$", text, re.DOTALL)
    if not found:
        raise DataError(f"not a query for a question: {text!r:.80}")
    return found.group(1).replace("''", "'")


_hyphenated, _unhyphenated = _joined("-")
_dotted, _undotted = _joined("·")

CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        partly("hyphenated", _hyphenated, _unhyphenated, _NO_DASH, "a hyphen between the letters of a word"),
        partly("dotted", _dotted, _undotted, ASCII, "a raised dot between the letters of a word"),
        partly(
            "vertical",
            lambda text: "\n".join(text.split(" ")),
            lambda text: " ".join(text.split("\n")),
            _SPACELESS,
            "every word on a line of its own",
            readable=True,
        ),
        partly("table", _to_table, _from_table, _NO_BAR, "a Markdown table with a word in each row", readable=True),
        partly(
            "numbered", _to_list, _from_list, _SPACELESS, "a numbered list with a word in each entry", readable=True
        ),
        Converter(
            "json",
            lambda text: json.dumps({"role": "reader", "question": text}, ensure_ascii=False),
            _from_json,
            True,
            "the question of a JSON object",
            readable=True,
        ),
        Converter(
            "xml",
            lambda text: f"<request><question>{html.escape(text)}</question></request>",
            lambda text: html.unescape(text[len("<request><question>") : -len("</question></request>")]),
            False,
            "the question of an XML element",
            ASCII,
            True,
        ),
        Converter(
            "yaml",
            lambda text: f"task:\n  question: {_quoted(text)}",
            lambda text: _unquoted(text.removeprefix("task:\n  question: "), "the question of a YAML task"),
            True,
            "the question of a YAML task",
            readable=True,
        ),
        Converter("csv", _to_csv, _from_csv, True, "a row of a CSV file", readable=True),
        Converter("sql", _to_sql, _from_sql, True, "the condition of an SQL query", readable=True),
        Converter(
            "code",
            lambda text: f"question = {_quoted(text)}\nprint(answer(question))",
            lambda text: _unquoted(
                text.removeprefix("question = ").removesuffix("\nprint(answer(question))"), "a program that asks"
            ),
            True,
            "a variable of a program",
            readable=True,
        ),
        _wrapped("comment", "", "", "comments of a program", each="# "),
        _wrapped("quote", "", "", "a Markdown quotation", each="> "),
        _wrapped("code_block", "```text\n", "\n```", "a Markdown code block"),
        _wrapped("html_comment", "<!-- ", " -->", "an HTML comment", domain=_NO_COMMENT),
        _wrapped("block_comment", "/* ", " */", "a block comment of a program", domain=_NO_STROKES),
    )
}

TUNABLES: dict[str, Tunable] = {
    one.name: one
    for one in (
        Tunable("split", _split, "2", "so many pieces in variables, to be added up"),
        Tunable("jumbled", _jumbled, "3", "so many numbered pieces out of order"),
    )
}
