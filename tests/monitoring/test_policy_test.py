"""`trivet policy`: every flip between two policies, on recorded traffic and on files, and no text unless asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from trivet.cli.policy import policy
from trivet.core.errors import ConfigError, DataError, UserError
from trivet.core.events import Exchange
from trivet.core.messages import Conversation, Message
from trivet.core.store.events import open_home

OLD = "layers:\n  - {name: words, guard: blocklist, settings: {phrases: [hemlock, old word]}}\n"
NEW = """
name: new
layers:
  - {name: pii, guard: pii, action: mask}
  - {name: words, guard: blocklist, settings: {phrases: [hemlock, secret brew]}}
  - {name: note, guard: blocklist, place: output, action: review, settings: {phrases: [odd]}}
"""


def run(*args: object) -> Result:
    return CliRunner().invoke(policy, [str(arg) for arg in args], catch_exceptions=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    rows: list[dict[str, Any]] = [
        {"id": "a", "text": "the secret brew of my aunt"},
        {"id": "b", "text": "an old word", "reply": "fine"},
        {"id": "c", "text": "I am a@b.co", "reply": "hello"},
        {"id": "d", "text": "hello", "reply": "an odd thing"},
        {"id": "e", "text": "hello", "reply": "the secret brew"},
        {"id": "f", "text": "hemlock", "reply": "hemlock"},
        {"text": "hello", "reply": "nothing new"},
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "y"},
            ]
        },
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)
    return tmp_path / "old.yaml", tmp_path / "new.yaml", tmp_path / "rows.jsonl"


def test_every_flip_is_shown_and_no_text(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    old, new, rows = files
    result = run("test", new, "--current", old, "--data", rows, "--json", tmp_path / "out.json")
    assert result.exit_code == 0 and "8 conversations and 5 replies judged by both; 5 flips" in result.output
    assert "aunt" not in result.output and "a  input: allow -> block  words: matches phrase 2" in result.output
    report = json.loads((tmp_path / "out.json").read_text())
    flips = {(flip["case"], flip["place"]): flip["kind"] for flip in report["flips"]}
    assert flips == {
        ("a", "input"): "new block",
        ("b", "input"): "no longer blocked",
        ("c", "input"): "text changed",
        ("d", "output"): "note changed",
        ("e", "output"): "new block",
    }
    assert (report["new_blocks"], report["no_longer_blocked"]) == (2, 1)
    assert {"kind": "new block", "place": "input", "layer": "words", "texts": 1} in report["by_layer"]
    assert "aunt" not in json.dumps(report) and report["candidate"]["name"] == "new"
    assert report["current"]["actions"]["block"] == 2


def test_texts_on_request(files: tuple[Path, Path, Path]) -> None:
    old, new, rows = files
    result = run("test", new, "--current", old, "--data", rows, "--show-text", "--flips", 1)
    assert "the secret brew of my aunt" in result.output and "and 4 more" in result.output


def test_it_can_stop_a_pipeline(files: tuple[Path, Path, Path]) -> None:
    old, new, rows = files
    assert run("test", new, "--current", old, "--data", rows, "--fail-on-new-blocks", 2).exit_code == 0
    failed = run("test", new, "--current", old, "--data", rows, "--fail-on-new-blocks", 1)
    assert failed.exit_code == 1 and "2 texts are newly blocked; 1 are allowed" in failed.output
    assert run("test", new, "--current", new, "--data", rows, "--fail-on-new-blocks", 0).exit_code == 0


def test_recorded_traffic(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    old, new, _ = files
    home = tmp_path / "home"
    with open_home(home) as store:
        talk = Conversation((Message("system", "s"), Message("user", "tell me")))
        store.add(
            [
                Exchange(conversation=talk, reply="", raw="the secret brew", model="m", run="r"),
                Exchange(conversation=Conversation.user("hello"), reply="hi", model="m"),
                Exchange(conversation=Conversation((Message("user", ""),)), reply="", model="m"),
            ]
        )
    result = run("test", new, "--current", old, "--home", home)
    assert "2 conversations and 2 replies judged by both; 1 flips" in result.output
    assert "1 conversations" in run("test", new, "--current", old, "--home", home, "--run", "r").output
    with pytest.raises(UserError, match="holds no store"):
        run("test", new, "--home", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "row", ["{", '{"txt": 1}', '{"text": 3}', "[]", '{"text": "x", "reply": 3}', '{"messages": [{"role": "x"}]}']
)
def test_rows_that_cannot_be_read(files: tuple[Path, Path, Path], tmp_path: Path, row: str) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n' + row + "\n")
    with pytest.raises(DataError, match=r"bad\.jsonl, line 2"):
        run("test", files[1], "--data", tmp_path / "bad.jsonl")


def test_show_and_check(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, new, _ = files
    out = run("show", new, "--json", tmp_path / "p.json").output
    assert "words" in out and "closed" in out
    assert [layer["layer"] for layer in json.loads((tmp_path / "p.json").read_text())["layers"]] == [
        "pii",
        "words",
        "note",
    ]
    assert "default: new" in run("check", new).output
    (tmp_path / "costly.yaml").write_text(
        "layers:\n  - {name: slow, guard: judge, settings: {model: 'scripted:x'}}\n"
        "  - {name: quick, guard: 'tests.monitoring.test_stream:Words', settings: {phrases: [x]}}\n"
    )
    assert "swap them" in run("check", tmp_path / "costly.yaml").output
    assert run("check", tmp_path / "costly.yaml", "--strict").exit_code == 1
    with pytest.raises(ConfigError, match="blocklits"):
        (tmp_path / "bad.yaml").write_text("layers: [{guard: blocklits}]")
        run("check", tmp_path / "bad.yaml")
