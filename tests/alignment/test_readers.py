"""Sources of rows: what each kind gives, and what is said where it cannot be opened."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest

from trivet.alignment import canonical, sources
from trivet.alignment.readers import table
from trivet.core.errors import DataError, StoreError
from trivet.core.lessons import Demonstration, Feedback, Origin, Preference
from trivet.core.messages import Conversation

ROWS = [
    {"prompt": [{"role": "user", "content": "why"}], "chosen": "so", "rejected": "no", "weight": None},
    {"prompt": [{"role": "user", "content": "who"}], "chosen": "me", "rejected": "you", "weight": 2.0},
]
WANTED = [Preference(Conversation.user("why"), "so", "no"), Preference(Conversation.user("who"), "me", "you", 2.0)]


def test_a_json_array_and_json_lines_in_a_json_file(tmp_path):
    rows = [{name: value for name, value in row.items() if value is not None} for row in ROWS]
    for name, data in (("a.json", json.dumps(rows)), ("b.json", "\n".join(map(json.dumps, rows)))):
        (tmp_path / name).write_text(data)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data.encode()))
        for place in (tmp_path / name, tmp_path / f"{name}.gz"):
            assert sources.preferences(place).lessons == WANTED
            assert table(place).name == name[0]


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.json", b'[{"prompt": 1}, 2]', "a.json row 2: a row must be an object"),
        ("a.json", b"[1, ", "a.json: not JSON"),
        ("a.json.gz", b"[1]", "a.json.gz cannot be read"),
        ("a.parquet", b"PAR1 and nothing else", "cannot be read as Parquet"),
    ],
)
def test_what_is_torn_is_named(tmp_path, name, data, why):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=why):
        list(table(tmp_path / name).rows)


def parquet(place: Path, rows: list[dict]) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(arrow.Table.from_pylist(rows), place)


def test_parquet_and_a_folder_of_it(tmp_path):
    parquet(tmp_path / "set.parquet", ROWS)
    found = sources.read(tmp_path / "set.parquet", "preferences")
    assert found.lessons == WANTED and found.lessons[1].origin == Origin("set", line=2)
    (tmp_path / "hub").mkdir()
    parquet(tmp_path / "hub" / "train-00000-of-00002.parquet", ROWS[:1])
    parquet(tmp_path / "hub" / "train-00001-of-00002.parquet", ROWS[1:])
    parquet(tmp_path / "hub" / "test-00000-of-00001.parquet", ROWS[:1])
    assert sources.read(f"{tmp_path}/hub:train", "preferences").lessons == WANTED
    assert sources.read(f"{tmp_path}/hub:test", "preferences").lessons == WANTED[:1]
    with pytest.raises(DataError, match="holds no data set for the split dev"):
        table(f"{tmp_path}/hub:dev")


def test_a_row_of_a_table_is_named_by_its_number(tmp_path):
    parquet(tmp_path / "set.parquet", [ROWS[0], {**ROWS[1], "chosen": None}])
    with pytest.raises(
        DataError, match=r"set.parquet row 2: .*the row needs `chosen` and has prompt, rejected, weight"
    ):
        sources.preferences(tmp_path / "set.parquet")


def test_folders_that_datasets_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(tmp_path / "two")
    datasets.DatasetDict({"train": one}).save_to_disk(tmp_path / "three")
    for place in ("one", "two:train", "three", "three:train"):
        found = sources.read(f"{tmp_path}/{place}", "preferences")
        assert found.lessons == WANTED and found.name == place
    with pytest.raises(DataError, match=r"has several splits; name one of train, test as ...:train"):
        table(tmp_path / "two")
    with pytest.raises(DataError, match=r"has no split 'tran'.*Did you mean \"train\""):
        table(f"{tmp_path}/two:tran")
    with pytest.raises(DataError, match="has no splits; leave out :train"):
        table(f"{tmp_path}/one:train")


def test_a_name_of_the_hub_is_loaded_by_name_config_and_split(monkeypatch):
    asked = []

    class Hub:
        @staticmethod
        def load_dataset(name: str, config: str | None) -> dict:
            asked.append((name, config))
            if name == "who/lost":
                raise ConnectionError("no\nnetwork")
            return {"train": ROWS, "test": ROWS[:1]}

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    assert sources.read("hf:who/set:train", "preferences").lessons == WANTED
    found = sources.read("hf:who/set/small:test", "preferences")
    assert found.lessons == WANTED[:1] and found.lessons[0].origin == Origin("who/set/small:test", line=1)
    assert asked == [("who/set", None), ("who/set", "small")]
    with pytest.raises(DataError, match="hf:who/lost cannot be loaded: no network"):
        table("hf:who/lost")
    with pytest.raises(DataError, match="names no data set of the hub"):
        table("hf:set")


@pytest.mark.parametrize(("source", "package"), [("set.parquet", "pyarrow"), ("hf:who/set", "datasets")])
def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path, monkeypatch, source, package):
    (tmp_path / "set.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.parquet", None)
    with pytest.raises(DataError, match=rf"needs {package}, which is not installed; .*pip install 'trivet\[data\]'"):
        list(table(source if source.startswith("hf:") else tmp_path / source).rows)


def test_a_folder_without_data_and_a_place_without_anything(tmp_path):
    with pytest.raises(DataError, match=r"holds no data set; it needs .parquet files"):
        table(tmp_path)
    with pytest.raises(DataError, match="there is no data set"):
        table(tmp_path / "none.jsonl")


ASK = Conversation.user("why")
ORIGIN = Origin("far", ("e1",), 7)


@pytest.mark.parametrize(
    ("form", "lesson"),
    [
        ("preferences", Preference(ASK, "so", "no", origin=ORIGIN)),
        ("preferences", Preference(ASK, "so\n", "no", 0.5, -1.0, 0.75, ORIGIN)),
        ("demonstrations", Demonstration(ASK, "so", ORIGIN)),
        ("demonstrations", Demonstration(Conversation(), "a tale", ORIGIN)),
        ("feedback", Feedback(ASK, "sö", False, ORIGIN)),
        ("prompts", Conversation.user("why", system="be kind")),
    ],
)
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_what_was_written_is_read_back_with_its_origin(tmp_path, form, lesson, name):
    place = canonical.write(tmp_path / "new" / name, [lesson, lesson])
    found = sources.read(place, form).lessons
    assert found == [lesson, lesson]
    assert isinstance(lesson, Conversation) or found[0].origin == ORIGIN
    assert canonical.write(tmp_path / name, found).read_bytes() == place.read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="could not be written"):
        canonical.write(tmp_path / "file" / "out.jsonl", [])


def test_an_origin_of_another_kind_is_left_alone(tmp_path):
    (tmp_path / "set.jsonl").write_text(json.dumps({**ROWS[0], "weight": 1, "origin": "web"}))
    assert sources.preferences(tmp_path / "set.jsonl").lessons[0].origin == Origin("set", line=1)
