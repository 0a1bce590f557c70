"""`trivet align` with a constitution: prompts in, lessons out, mistakes in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trivet.alignment import constitution, sources
from trivet.cli.align import Job
from trivet.cli.main import main
from trivet.core.config import describe, load, peel

ROOT = Path(__file__).parents[2]


def trivet(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = [{"prompt": f"question {number}"} for number in range(5)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text("recipe: constitution\nconstitution: default\nrounds: 2\n")
    return tmp_path


def test_lessons_are_made_from_prompts(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("align", place / "recipe.yaml", "model=scripted:Hello.", "critic=scripted:Good day.")
    words = (*words, f"out={place / 'out'}", "--data", place / "prompts.jsonl", "--json", place / "figures.json")
    assert trivet(*words) == 0
    assert "5 lessons to learn from, 0 to measure on" in capsys.readouterr().out
    figures = json.loads((place / "figures.json").read_text())
    assert figures["final"] == {"prompts": 5, "demonstrations": 5, "changed": 1.0} and figures["steps"] == 15
    lessons = sources.demonstrations(place / "out" / "demonstrations.jsonl").lessons
    assert {lesson.reply for lesson in lessons} == {"Good day."}
    assert trivet(*words) == 0, "a finished run is finished"


def test_votes_through_the_command(place: Path) -> None:
    words = ("align", place / "recipe.yaml", "model=scripted:Hello.", "rival=scripted:Hi.", "rounds=0", "labels=votes")
    words = (*words, "critic=scripted:(A)", f"out={place / 'out'}", "--data", place / "prompts.jsonl")
    assert trivet(*words, "--json", place / "figures.json") == 0
    figures = json.loads((place / "figures.json").read_text())
    assert figures["dropped_lessons"]["tied_or_empty"] == 5, "a judge that always says (A) prefers neither"
    assert figures["final"]["position_bias"] == 0.5


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["constitution=defalt"], 'no constitution \'defalt\'; give a YAML file or one of: default, town. Did you mean "default"'),
        (["roundz=1"], "unknown key 'roundz'"),
        (["labels=logprobs"], "the script of scripted has no replies|no log-probabilities of"),
        (["model=nowhere/at/all"], "nowhere"),
    ],
)  # fmt: skip
def test_mistakes_take_one_line(place: Path, capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    given = ("align", place / "recipe.yaml", "model=scripted:Hello.", "rival=scripted:Hi.", f"out={place / 'out'}")
    assert trivet(*given, *words, "--data", place / "prompts.jsonl") == 2
    told = capsys.readouterr().err
    assert re.search(why, told) and [line for line in told.splitlines() if line.startswith("error: ")], told


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "constitution.md").read_text(encoding="utf-8")
    for row in describe(constitution.Config):
        assert f"| `{row.name}` | {row.type} | `{row.default}` | {row.help} |" in text


@pytest.mark.parametrize("recipe", sorted((ROOT / "configs").glob("constitution_*.yaml")), ids=lambda path: path.name)
def test_every_recipe_says_how_to_run_it(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    assert text.startswith(f"# trivet align configs/{recipe.name} ") and "\nrecipe: constitution\n" in text
    job, values, rest = peel(Job, recipe, [])
    assert job.recipe == "constitution" and isinstance(
        load(constitution.Config, recipe, rest, values=values), constitution.Config
    )
