"""`trivet guard`, `trivet serve` and `trivet review`, as a person calls them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from trivet.cli.guard import guard
from trivet.cli.review import review
from trivet.core.errors import ConfigError, DataError, StoreError, UserError
from trivet.core.events import Exchange, Review
from trivet.core.messages import Conversation
from trivet.core.store.events import open_home
from trivet.core.verdicts import Decision
from trivet.monitoring.guards.classifier import SHIPPED, LightClassifier
from trivet.monitoring.learning.corpus import Example, load
from trivet.monitoring.learning.figures import auprc, auroc, measured, recall_at
from trivet.monitoring.learning.lookalikes import lookalikes

DATA = Path(os.environ.get("TRIVET_DATA", Path(__file__).parents[3] / "shared" / "data"))
with_data = pytest.mark.skipif(
    not (DATA / "jailbreak").is_dir(), reason="the public data is not there; set TRIVET_DATA"
)


def call(command: object, *args: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in args], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


# guard


def test_check_shows_the_decision(tmp_path: Path) -> None:
    out = call(guard, "check", "write to a@b.co", "--json", tmp_path / "d.json")
    assert out.splitlines()[-1] == "mask by pii: write to <EMAIL_1>"
    written = json.loads((tmp_path / "d.json").read_text())
    assert (written["action"], written["text"]) == ("mask", "write to <EMAIL_1>")
    with pytest.raises(ConfigError, match="no policy"):
        call(guard, "check", "x", "--policy", "nowhere")


def test_train_and_eval_on_a_file(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "unsafe" if bad else "safe"} for text, bad in lookalikes(frames=2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = call(
        guard, "train", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "w.npz", "--json", tmp_path / "t.json"
    )
    assert "wrote" in said
    call(
        guard, "eval", "--data", tmp_path / "rows.jsonl", "--weights", tmp_path / "w.npz", "--json", tmp_path / "e.json"
    )
    figures = json.loads((tmp_path / "e.json").read_text())["test"]["unsafe"]
    assert figures["recall"]["rate"] > 0.8 and figures["false_positives"]["rate"] < 0.1
    assert figures["false_positives"]["low"] <= figures["false_positives"]["rate"] <= figures["false_positives"]["high"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2"), ('{"text": "x", "label": "meh"}', "line 2.*meh"), ('{"label": "safe"}', "line 2")],
)
def test_a_bad_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "x", "label": "safe"}}\n{line}\n')
    with pytest.raises(DataError, match=said):
        call(guard, "train", "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "w.npz")


def test_a_folder_without_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data takes the folder"):
        call(guard, "train", "--data", tmp_path, "--out", tmp_path / "w.npz")


# The shipped classifier


def test_the_shipped_file_is_small_and_has_a_card() -> None:
    assert SHIPPED.stat().st_size <= 2_000_000
    classifier = LightClassifier.load(SHIPPED)
    assert [head.name for head in classifier.heads] == ["unsafe", "jailbreak", "injection", "toxic"]
    card = (SHIPPED.parent / "MODEL_CARD.md").read_text()
    for part in ("Where it fails", "Data and licences", "Left out", "over_refusal/coconot_contrast"):
        assert part in card


@pytest.fixture(scope="module")
def corpus() -> list[Example]:
    return load(DATA)


@with_data
def test_the_parts_share_no_key_and_no_text(corpus: list[Example]) -> None:
    parts: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for example in corpus:
        if example.part in parts:
            parts[example.part].update(example.keys, [example.text])
    assert all(len(part) > 1000 for part in parts.values())
    assert not parts["train"] & parts["dev"] and not parts["train"] & parts["test"] and not parts["dev"] & parts["test"]


@with_data
def test_the_shipped_figures_hold_on_the_test_part(corpus: list[Example]) -> None:
    rows = [example for example in corpus if example.part == "test"]
    classifier = LightClassifier.load(SHIPPED)
    for head, recall in (("unsafe", 0.55), ("jailbreak", 0.8), ("injection", 0.4), ("toxic", 0.45)):
        figures = measured(classifier, head, rows)
        assert figures["recall"]["rate"] >= recall, head
        assert figures["false_positives"]["rate"] <= 0.02, head
        assert figures["over_refusal"]["rate"] <= 0.045, head


def test_areas_by_hand() -> None:
    scores, bad = np.array([0.9, 0.8, 0.8, 0.3]), np.array([True, False, True, False])
    assert auroc(scores, bad) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auprc(scores, bad) == pytest.approx((1 * 1 + 1 * 2 / 3) / 2)
    assert recall_at(scores, bad, 0.0).rate == 0.5
    assert recall_at(scores, bad, 0.5).rate == 1.0


# review


def test_list_and_label(tmp_path: Path) -> None:
    decision = Decision("block", "input", "list", "matches phrase 1", would="block")
    shown = Exchange(id="e1", conversation=Conversation.user("odd\x1b[31m"), reply="", model="m", decisions=(decision,))
    with open_home(tmp_path) as store:
        store.add([shown, Exchange(id="e2", conversation=Conversation.user("x"), reply="y", model="m")])
    said = call(review, "list", "--home", tmp_path, "--json", tmp_path / "q.json")
    assert "e1" in said and "e2" not in said and "\x1b" not in said
    assert json.loads((tmp_path / "q.json").read_text())[0]["exchange"]["id"] == "e1"
    call(review, "label", "e1", "wrongly_blocked", "--reviewer", "ann", "--home", tmp_path)
    assert "nothing waits" in call(review, "list", "--home", tmp_path)
    with pytest.raises(UserError, match='Did you mean "harmful"'):
        call(review, "label", "e1", "harmfull", "--home", tmp_path)
    with pytest.raises(UserError, match="no exchange"):
        call(review, "label", "e9", "fine", "--home", tmp_path)
    with open_home(tmp_path) as store:
        assert [(e.event, e.reviewer) for e in store.events("review") if isinstance(e, Review)] == [("e1", "ann")]


def test_a_mistyped_home_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no store; give --home"):
        call(review, "list", "--home", tmp_path / "tpyo")
    with pytest.raises(UserError, match="holds no store; give --home"):
        call(review, "label", "e1", "fine", "--home", tmp_path / "tpyo")
    assert list(tmp_path.iterdir()) == []


def test_a_queue_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    open_home(tmp_path).close()
    with pytest.raises(StoreError, match=r"could not be written"):
        call(review, "list", "--home", tmp_path, "--json", tmp_path / "trivet.db" / "q.json")


# serve


def trivet(*args: object) -> list[str]:
    return [sys.executable, "-m", "trivet.cli.main", *(str(a) for a in args)]


def test_serve_answers_records_and_stops_in_order(tmp_path: Path) -> None:
    command = trivet("serve", "--model", "scripted:Good day", "--name", "m", "--port", 0, "--home", tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url, line
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
        reply = httpx.post(f"{url.group()}/v1/chat/completions", json=body, timeout=30).json()
        assert reply["choices"][0]["message"]["content"] == "Good day"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "") and "stopped" in out
    with open_home(tmp_path) as store:
        assert store.count("exchange") == 1
    assert (tmp_path / "pseudonym.key").stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = trivet("serve", "--model", "scripted:x", "--port", taken.getsockname()[1], "--home", tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: port ") and done.stderr.count("\n") == 1
