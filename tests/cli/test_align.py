"""`trivet align`: recipe, overrides, data, figures, mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alignment.tiny import tiny_folder
from trivet.cli.main import main

PAIRS = [
    {"prompt": f"why {number}", "chosen": f"the lamp {number}", "rejected": f"the ferry {number}"}
    for number in range(24)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("align"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text("recipe: preference\nlr: 1e-3\nmax_steps: 3\nbatch_size: 4\nthreads: 1\n")
    return tmp_path / "recipe.yaml"


def data(folder: Path, rows: list[dict]) -> str:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "data.jsonl")


def trivet(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_dpo_from_a_recipe(folder, tmp_path, recipe, capsys):
    rows = [*PAIRS, {**PAIRS[0], "chosen": " "}]
    words = (
        "align",
        recipe,
        f"model={folder}",
        f"out={tmp_path / 'out'}",
        "beta=0.3",
        "--data",
        data(tmp_path, rows),
    )
    assert trivet(*words, "--hold-out", "0.4", "--json", tmp_path / "figures.json") == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["steps"] == 3 and figures["settings"]["beta"] == 0.3 and figures["dropped_rows"] == {"empty": 1}
    assert figures["lessons"] + figures["heldout_lessons"] == 24 and figures["heldout_lessons"] > 2
    assert figures["heldout_accuracy"]["n"] == figures["heldout_lessons"]
    assert Path(figures["folder"], "config.json").exists()
    assert "3 steps; the model is in" in capsys.readouterr().out


def test_sft_from_a_recipe(folder, tmp_path, recipe, capsys):
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
    assert (
        trivet(
            "align", recipe, "recipe=sft", f"model={folder}", f"out={tmp_path / 'out'}", "--data", data(tmp_path, rows)
        )
        == 0
    )
    assert "24 lessons to learn from, 0 to measure on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["model=MODEL", "out=OUT", "beeta=1"], 'unknown key .beeta.*Did you mean "beta"'),
        (["out=OUT"], "does not say model"),
        (["model=MODEL", "out=OUT", "recipe=pop"], 'recipe: "pop" is not known.*Did you mean "ppo"'),
        (["model=MODEL", "out=OUT", "quantize=nf4"], "set lora"),
        (["model=MODEL", "out=OUT", "loss=dop"], "loss is 'dop'"),
        (["model=/no/such/folder", "out=OUT"], "/no/such/folder"),
        (["model=MODEL", "out=OUT", "loss=ipo", "label_smoothing=0.1"], "label_smoothing works with dpo and rdpo only"),
    ],
)
def test_mistakes_take_one_line(folder, tmp_path, recipe, capsys, overrides, why):
    words = [text.replace("MODEL", str(folder)).replace("OUT", str(tmp_path / "out")) for text in overrides]
    assert trivet("align", recipe, *words, "--data", data(tmp_path, PAIRS)) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1

    assert re.search(why, told), told


def test_the_recipe_may_name_its_data(folder, tmp_path, recipe, capsys):
    with recipe.open("a") as file:
        file.write(f"data: [{data(tmp_path, PAIRS)}]\nhold_out: 0.4\n")
    assert trivet("align", recipe, f"model={folder}", f"out={tmp_path / 'out'}") == 0
    assert not re.search("24 lessons|, 0 to measure", capsys.readouterr().out)


def test_a_recipe_without_data_says_so(folder, tmp_path, recipe, capsys):
    assert trivet("align", recipe, f"model={folder}", f"out={tmp_path / 'out'}") == 2
    assert "names no data" in capsys.readouterr().err


def test_kto_from_a_recipe(folder, tmp_path, recipe, capsys):
    rows = [
        {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
        for row in PAIRS
        for side in ("chosen", "rejected")
    ]
    words = ("align", recipe, "recipe=kto", f"model={folder}", f"out={tmp_path / 'out'}", "--hold-out", "0.3")
    assert trivet(*words, "--data", data(tmp_path, rows), "--json", tmp_path / "figures.json") == 0
    final = json.loads((tmp_path / "figures.json").read_text())["final"]
    assert final["kl"] >= 0 and {"margin", "heldout_margin", "desirable_shift"} <= set(final)


def test_a_bad_row_is_named(folder, tmp_path, recipe, capsys):
    path = data(tmp_path, [*PAIRS, {"prompt": "x", "chosen": 3, "rejected": "y"}])
    assert trivet("align", recipe, f"model={folder}", f"out={tmp_path / 'out'}", "--data", path) == 2
    assert "data.jsonl line 25: `chosen` is 3" in capsys.readouterr().err


def test_no_prompt_is_on_both_sides():
    from trivet.cli.align import split
    from trivet.core.lessons import Preference
    from trivet.core.messages import Conversation

    lessons = [Preference(Conversation.user(str(number % 40)), "a", str(number)) for number in range(200)]
    learnt, measured = split(lessons, 0.3)
    assert len(learnt) + len(measured) == 200 and 20 < len(measured) < 100
    assert not {lesson.prompt for lesson in learnt} & {lesson.prompt for lesson in measured}
