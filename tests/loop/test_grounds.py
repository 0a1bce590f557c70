"""A ground from files: parts without shared text, whatever the order of the file; refusals for every hazard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trivet.core.errors import ConfigError, DataError
from trivet.core.hazards import Goal
from trivet.core.judges.rules import refusal_in
from trivet.loop.grounds import from_files, refusal
from trivet.loop.recipe import Recipe


def goals(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"behavior": t, "category": "Fraud"}) + "\n" for t in texts), encoding="utf-8")
    return str(path)


def test_the_parts_share_no_text_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    texts = [f"Do the bad thing number {number}." for number in range(60)]
    one = from_files(Recipe(ground="files", goals=goals(tmp_path / "a.jsonl", texts)))
    two = from_files(Recipe(ground="files", goals=goals(tmp_path / "b.jsonl", texts[::-1])))
    assert (one.train, one.heldout) == (two.train, two.heldout)
    assert not {g.request for g in one.train.goals} & {g.request for g in one.heldout.goals}
    assert (
        len(one.train.goals) + len(one.heldout.goals) == 60 and min(map(len, (one.train.goals, one.heldout.goals))) > 15
    )
    assert one.heldout.lookalikes and one.heldout.benign


def test_every_way_to_decline_is_known_as_a_refusal() -> None:
    ways = {refusal(Goal("x", "cybercrime"), number) for number in range(12)}
    assert len(ways) == 12
    assert all(refusal_in(way) for way in ways)


def test_no_goals_and_a_malformed_row_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="goals=FILE"):
        from_files(Recipe(ground="files"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"behavior": "ok"}\n{"behaviour": "typo"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        from_files(Recipe(ground="files", goals=str(bad)))


def test_a_ground_without_guards_of_its_own_gets_the_default_policy(tmp_path: Path) -> None:
    from trivet.loop.front import guards_of

    ground = from_files(
        Recipe(ground="files", goals=goals(tmp_path / "a.jsonl", [f"Do bad thing {n}." for n in range(40)]))
    )
    assert guards_of(ground, tmp_path).name == "default"
