"""`trivet data`: what each verb prints and writes, and what it refuses in one line."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
from click.testing import CliRunner

from trivet.cli.data import data
from trivet.core.errors import UserError

PAIR = {"prompt": "why", "chosen": "so it is", "rejected": "no"}


def written(folder, rows, name="set.jsonl"):
    (folder / name).write_text("\n".join(map(json.dumps, rows)))
    return str(folder / name)


def run(*args):
    done = CliRunner().invoke(data, list(map(str, args)), catch_exceptions=True)
    if isinstance(done.exception, UserError):
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def test_check_names_the_rows_that_give_nothing(tmp_path):
    path = written(tmp_path, [PAIR, {**PAIR, "chosen": ""}, {**PAIR, "rejected": " so it is"}])
    said = run("check", path, "--as", "preferences", "--show", 1, "--json", tmp_path / "out.json")
    assert "3 rows, 1 preferences, 2 rows dropped" in said and "dropped: 1 empty (2)" in said and "Preference(" in said
    counts = json.loads((tmp_path / "out.json").read_text())
    assert counts["rows"] == 3 and counts["lessons"] == 1 and counts["dropped"] == {"empty": 1, "identical": 1}
    assert counts["drops"][0] == {"line": 2, "reason": "empty", "told": "`chosen` is empty"}
    assert "line 2: `chosen` is empty" in run("check", path, "--as", "preferences", "--strict")


@pytest.mark.parametrize(("form", "row"), [("goals", {"behavior": "x"}), ("probes", {"text": "x"})])
def test_check_reads_goals_and_probes(tmp_path, form, row):
    assert f"1 {form}" in run("check", written(tmp_path, [row]), "--as", form, "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["lessons"] == 1


def test_import_writes_what_check_reads_again_with_its_origin(tmp_path):
    rows = [
        {"q": "why", "replies": ["a", "b", "c"], "ranks": [2, 1, 3]},
        {"q": "who", "chosen": "x", "rejected": "y"},
        {"q": 7, "chosen": "x", "rejected": "y"},
    ]
    path, out = written(tmp_path, rows), tmp_path / "out.jsonl.gz"
    args = ("import", path, "--as", "preferences", "--out", out, "--rename", "prompt=q", "--json", tmp_path / "n.json")
    assert "line 3: `prompt` is 7" in run(*args) and not out.exists()
    assert "1 unreadable (3)" in run(*args, "--skip")
    assert json.loads((tmp_path / "n.json").read_text())["dropped"] == {"unreadable": 1}
    said = run("check", out, "--as", "preferences", "--show", 4)
    assert "4 preferences, 0 rows dropped" in said and "weight=0.3333" in said and "line=2" in said


def test_import_turns_votes_into_chances(tmp_path):
    path = written(tmp_path, [{**PAIR, "votes": [2, 1]}])
    run("import", path, "--as", "preferences", "--out", tmp_path / "out.jsonl", "--votes")
    assert json.loads((tmp_path / "out.jsonl").read_text())["chance"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("import", "{}", "--as", "feedback", "--out", "x", "--votes"), "--votes is for preferences"),
        (("import", "{}", "--as", "preferences", "--out", "x", "--rename", "chosen"), "must be OURS=THEIRS"),
        (("agreement", "{}", "--fields", "a,b"), "must be three names"),
        (("agreement", "{}", "--level", "ratio", "--order", "a,b"), "use --level ordinal"),
        (("report", "none.jsonl"), "there is no data set none.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, args, why):
    path = written(tmp_path, [PAIR])
    said = run(*(arg.format(path) for arg in args))
    assert why in said and len(said.splitlines()) == 1


def test_report_tells_repeats_contradictions_and_leaks(tmp_path):
    rows = [
        PAIR,
        PAIR,
        {**PAIR, "chosen": "no", "rejected": "so it is"},
        {"prompt": "who", "chosen": "x", "rejected": "yes y"},
    ]
    path, other = written(tmp_path, rows), written(tmp_path, rows[-1:], "other.jsonl")
    out = {name: tmp_path / f"out.{name}" for name in ("json", "html", "jsonl")}
    said = run(
        "report", path, "--heldout", other, "--json", out["json"], "--html", out["html"], "--flags", out["jsonl"]
    )
    assert "4 lessons to 2 prompts" in said and "1 duplicate, 0 near_prompt, 3 swapped" in said
    assert "the same lesson    100.0%" in said and "longer reply chosen  50.0%" in said
    figures = json.loads(out["json"].read_text())
    assert figures["rows"] == 4 and figures["dropped"] == {} and figures["leakage"]["lesson"]["rate"] == 1.0
    found = [json.loads(line) for line in out["jsonl"].read_text().splitlines()]
    assert {"place": "set:2", "reason": "duplicate", "other": "set:1"} in found
    assert {"place": "other:1", "reason": "leaked_lesson", "other": "set:4"} in found
    assert out["html"].read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("demonstrations", {"text": "a tale"}),
        ("feedback", {"prompt": "why", "completion": "so", "label": True}),
        ("prompts", {"prompt": "why"}),
    ],
)
def test_report_reads_every_form(tmp_path, form, row):
    path = written(tmp_path, [row])
    said = run("report", path, "--as", form, "--heldout", path, "--html", tmp_path / "out.html")
    assert f"1 rows, 1 {form}" in said and (tmp_path / "out.html").exists()


def test_prompts_are_named_by_their_lines(tmp_path):
    path = written(tmp_path, [{"prompt": "why"}, {"prompt": ""}, {"prompt": "Why?"}])
    run("report", path, "--as", "prompts", "--heldout", path, "--flags", tmp_path / "f.jsonl")
    found = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert found[0] == {"place": "set:3", "reason": "duplicate", "other": "set:1"}
    assert {"place": "set:3", "reason": "leaked_prompt", "other": "set:1"} in found


def labelled(folder):
    dice = random.Random(0)
    errors = {"ann": 0.05, "bob": 0.1, "cat": 0.4}
    rows = [
        {"item": at, "labeller": who, "label": (at % 2 == 0) != (dice.random() < error)}
        for at in range(80)
        for who, error in errors.items()
    ]
    return written(folder, rows, "labels.jsonl")


def test_agreement_tells_who_errs(tmp_path):
    out = {name: tmp_path / f"out.{name}" for name in ("json", "html", "jsonl")}
    path = labelled(tmp_path)
    said = run(
        "agreement", path, "--draws", 100, "--json", out["json"], "--html", out["html"], "--consensus", out["jsonl"]
    )
    assert (
        "80 items, 240 labels: False, True" in said and "Cohen's kappa  ann, cat" in said and "cat: 80 labels" in said
    )
    figures = json.loads(out["json"].read_text())
    told = figures["labellers"]
    assert told["ann"]["accuracy"]["value"] > told["cat"]["accuracy"]["value"] and figures["fleiss"]["items"] == 80
    assert len(out["jsonl"].read_text().splitlines()) == 80
    assert "Confusion" in out["html"].read_text() and "<svg" in out["html"].read_text()


def test_agreement_from_votes_and_from_two(tmp_path):
    votes = written(tmp_path, [{**PAIR, "votes": votes} for votes in ([3, 0, 0], [2, 1, 0], [1, 1, 1])])
    said = run("agreement", votes, "--draws", 100, "--html", tmp_path / "out.html")
    assert "3 items, 9 labels: chosen, rejected, tie" in said and "all agree  33.3%" in said
    assert "do not say who voted" in run("agreement", votes, "--draws", 100, "--consensus", tmp_path / "c.jsonl")
    two = written(
        tmp_path, [{"item": at, "labeller": who, "label": at % 2} for at in range(5) for who in "ab"], "t.jsonl"
    )
    assert "fewer than three labellers" in run("agreement", two, "--draws", 100)
    gaps = written(tmp_path, [{"votes": {"a": "x", "b": "y"}}, {"votes": {"a": "x"}}], "g.jsonl")
    assert "undefined: items differ in how many labels" in run("agreement", gaps, "--draws", 100)


def test_many_labellers_are_said_to_be_left_out(tmp_path):
    rows = [{"item": at, "labeller": who, "label": at % 2} for at in range(4) for who in range(13)]
    assert "too many labellers" in run("agreement", written(tmp_path, rows), "--draws", 100)


def test_looking_at_data_loads_no_torch():
    code = (
        "import sys; import trivet.cli.data, trivet.alignment.labels, trivet.alignment.quality, trivet.alignment.sources; "
        "sys.exit(bool({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
