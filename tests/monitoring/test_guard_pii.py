"""`trivet guard pii` on files: one answer a row, figures by type, and errors that name the line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trivet.cli.guard_pii import pii
from trivet.core.errors import ConfigError, DataError
from trivet.monitoring.guards.pii_figures import Figure, Tally
from trivet.monitoring.guards.pii_finder import Found

ROWS = [
    {"text": "write to ann@example.com", "spans": [{"start": 9, "end": 24, "type": "EMAIL_ADDRESS"}]},
    {"text": "nothing", "spans": []},
    {
        "text": "Ann, born 12 May 1980",
        "spans": [{"start": 10, "end": 21, "type": "DATE_TIME"}, {"start": 0, "end": 3, "type": "PERSON"}],
    },
    {"text": "call 212-555-0123", "spans": []},
]


def written(path: Path, rows: list[object]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(pii, [str(word) for word in words])
    if result.exception:
        raise result.exception
    return result.output


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
def test_one_answer_for_each_row_in_order(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "out.jsonl"
    said = run("--data", written(tmp_path / name, ROWS), "--out", out)
    assert said == "4 rows, 3 findings\n"
    found = [json.loads(line)["spans"] for line in out.read_text().splitlines()]
    assert [[span["type"] for span in spans] for spans in found] == [
        ["EMAIL_ADDRESS"],
        [],
        ["DATE_OF_BIRTH"],
        ["PHONE_NUMBER"],
    ]
    assert found[0] == [{"start": 9, "end": 24, "type": "EMAIL_ADDRESS", "score": 1.0}]


def test_figures_by_type(tmp_path: Path) -> None:
    json_path = tmp_path / "figures.json"
    said = run("--data", written(tmp_path / "in.jsonl", ROWS), "--eval", "--json", json_path)
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines()[2:]}
    assert lines["EMAIL_ADDRESS"][:3] == ["1", "1", "100.0"] and lines["EMAIL_ADDRESS"][-1] == "1.000"
    assert lines["DATE_TIME"][:2] == ["1", "1"] and lines["PERSON"][:3] == ["1", "0", "-"]
    figures = json.loads(json_path.read_text())
    assert figures["PHONE_NUMBER"]["precision"]["rate"] == 0 and figures["PHONE_NUMBER"]["recall"]["rate"] is None
    assert figures["PERSON"]["f1"] == 0


def test_settings_reach_the_guard(tmp_path: Path) -> None:
    data, out = (
        written(tmp_path / "in.jsonl", [{"text": "on 12 May 1980 call 030 123 4567 89 or a@b.co"}]),
        tmp_path / "out.jsonl",
    )

    def kinds(*more: str) -> list[str]:
        run("--data", data, "--out", out, *more)
        return [span["type"] for span in json.loads(out.read_text())["spans"]]

    assert kinds() == ["PHONE_NUMBER", "EMAIL_ADDRESS"]
    assert kinds("--kinds", "all") == ["DATE_TIME", "PHONE_NUMBER", "EMAIL_ADDRESS"]
    assert kinds("--kinds", "EMAIL,IBAN") == ["EMAIL_ADDRESS"]
    assert kinds("--minimum", "0.95") == ["EMAIL_ADDRESS"]
    assert kinds("--regions", "DE") == ["PHONE_NUMBER", "EMAIL_ADDRESS"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("not json", "JSONDecodeError"),
        ('{"words": "x"}', "'text'"),
        ('{"text": 3}', "`text` is int"),
        ('["text"]', "TypeError"),
        ('{"text": "ab", "spans": [{"start": 1, "end": 9, "type": "X"}]}', "no stretch 1:9 in 2 characters"),
        ('{"text": "ab", "spans": [{"start": 1}]}', "'end'"),
    ],
)
def test_a_bad_row_is_named_and_leaves_no_half_a_file(tmp_path: Path, bad: str, said: str) -> None:
    data = written(tmp_path / "in.jsonl", ROWS)
    data.write_text(data.read_text() + bad + "\n")
    with pytest.raises(DataError, match=rf"in\.jsonl, line 5: .*{said}"):
        run("--data", data, "--out", tmp_path / "out.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="cannot be read"):
        run("--data", tmp_path / "in.jsonl.gz", "--eval")
    with pytest.raises(ConfigError, match="nothing to do"):
        run("--data", tmp_path / "in.jsonl.gz")
    data = written(tmp_path / "in.jsonl", [{"text": "no marks"}])
    with pytest.raises(DataError, match="line 1: --eval needs `spans`"):
        run("--data", data, "--eval")


def test_a_tally_compares_types_under_one_name() -> None:
    tally = Tally()
    tally.add([(0, 3, "DOMAIN_NAME"), (4, 5, "A")], [Found(0, 3, "URL", 0.9), Found(4, 6, "A", 1.0)])
    assert tally.figures() == [Figure("A", 1, 1, 0), Figure("URL", 1, 1, 1)]
    assert tally.figures()[1].f1 == 1.0
