"""Goals and probes from files: the public forms, plain or gzipped, and mistakes told with file and line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from trivet.core.errors import DataError
from trivet.core.hazards import HAZARDS
from trivet.robustness.goals import hazard_of, load_goals, load_probes
from trivet.robustness.suites import capability, overrefusal

DATA = Path(os.environ.get("TRIVET_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not beside this checkout")


def test_goals_come_with_their_hazard_and_category(tmp_path: Path) -> None:
    path = tmp_path / "goals.jsonl"
    path.write_text(
        '{"behavior": " Open the gate ", "category": "Malware/Hacking"}\n\n'
        '{"behavior": "Say it", "category": "odd"}\n{"behavior": "Say it", "category": "odd"}\n{"behavior": "Bare"}\n'
    )
    found = [(goal.request, goal.hazard, goal.topic) for goal in load_goals(path)]
    assert found == [
        ("Open the gate", "cybercrime", "Malware/Hacking"),
        ("Say it", "other", "odd"),
        ("Bare", "other", ""),
    ]


def test_a_gzipped_file_reads_the_same(tmp_path: Path) -> None:
    rows = '{"text": "What is a gate?", "facts": ["door"], "answer": "A door."}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    plain, zipped = (load_probes(tmp_path / name, "benign") for name in ("a.jsonl", "a.jsonl.gz"))
    assert plain == zipped
    assert (plain[0].facts, plain[0].answer, plain[0].kind) == (("door",), "A door.", "benign")


def test_contrast_rows_and_rows_that_need_a_history_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"text": "a", "label": "safe"}\n{"text": "b", "label": "unsafe"}\n'
        '{"text": "c", "label": "safe", "history": [{"role": "user"}]}\n'
    )
    assert [probe.request for probe in load_probes(path, "lookalike")] == ["a"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "must be an object"),
        ('{"category": "x"}', "`behavior` must be a text, is missing .the row has category."),
        ('{"behavior": 3}', "`behavior` must be a text, is 3"),
        ('{"behavior": "  "}', "`behavior` must be a text"),
        ('{"behavior": "x", "category": null}', "`category` must be a text, is None"),
    ],
)
def test_a_malformed_row_is_told_with_file_line_and_reason(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "goals.jsonl"
    path.write_text('{"behavior": "fine"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"goals\.jsonl:2: .*{why}"):
        load_goals(path)


def test_facts_must_be_texts(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"text": "x", "facts": [1]}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:1: `facts` must be a list of texts"):
        load_probes(path, "benign")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.jsonl"):
        load_goals(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"holds no goals.*`behavior`"):
        load_goals(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"behavior": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"latin\.jsonl:1: not UTF-8"):
        load_goals(tmp_path / "latin.jsonl")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"behavior": "x"}\n' * 100)[:-12])
    with pytest.raises(DataError, match=r"cannot read .*cut\.jsonl\.gz"):
        load_goals(tmp_path / "cut.jsonl.gz")


@pytest.mark.parametrize(
    ("category", "hazard"),
    [
        ("privacy", "privacy"), ("sxc_prn", "sexual_content"), ("iwp", "indiscriminate_weapons"),
        ("Fraud/Deception", "nonviolent_crimes"), ("Physical harm", "violent_crimes"), ("Expert advice", "specialized_advice"),
        ("catqa:Child Abuse/Neglect", "child_exploitation"), ("catqa:Hate/Harass/Violence/Cyberbullying", "hate"),
        ("harmfulqa:Science and Technology/Chemistry", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_categories_of_benchmarks_map_to_hazards(category: str, hazard: str) -> None:
    assert hazard_of(category) == hazard
    assert hazard in HAZARDS


def test_the_packaged_probes_are_enough_varied_and_distinct() -> None:
    alarming, plain = overrefusal.packaged(), capability.packaged()
    assert len(alarming) >= 60
    assert len({probe.topic for probe in alarming}) >= 8
    assert {probe.kind for probe in alarming} == {"lookalike"}
    assert len(plain) >= 40
    assert all(probe.facts and probe.kind == "benign" for probe in plain)
    assert len({probe.request.lower() for probe in [*alarming, *plain]}) == len(alarming) + len(plain)


@needs_data
def test_the_public_behaviours_all_load() -> None:
    for path in sorted((DATA / "behaviors").glob("*.jsonl.gz")):
        goals = load_goals(path)
        assert len(goals) > 50
        assert {goal.hazard for goal in goals} <= set(HAZARDS)


@needs_data
def test_the_packaged_probes_are_not_copied_from_public_sets() -> None:
    public = {
        p.request.lower() for path in (DATA / "over_refusal").glob("*.gz") for p in load_probes(path, "lookalike")
    }
    assert not public & {probe.request.lower() for probe in overrefusal.packaged()}
