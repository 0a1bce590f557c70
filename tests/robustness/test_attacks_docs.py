"""docs/attacks.md names every family, tag and converter as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivet.robustness.attacks.library import FAMILIES
from trivet.robustness.attacks.tags import TAGS
from trivet.robustness.converters.library import listing

PAGE = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")


def rows(first: str) -> list[list[str]]:
    """The cells of every table row that begins so."""
    found = [line for line in PAGE.splitlines() if line.startswith(f"| {first} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_is_told_with_its_numbers(family: str) -> None:
    told = [cells for cells in rows(f"`{family}`") if len(cells) == 5 and "%" not in cells[1]]
    assert [cells[1:4] for cells in told] == [
        [TAGS[family].about, str(len(FAMILIES[family]["train"])), str(len(FAMILIES[family]["heldout"]))]
    ]
    assert told[0][4], "say what is not covered"
    assert sum("%" in cells[1] for cells in rows(f"`{family}`")) == 1, "a figure on the town"


@pytest.mark.parametrize("family", list(TAGS))
def test_every_tag_is_told(family: str) -> None:
    tag = TAGS[family]
    told = [cells for cells in rows(f"`{family}`") if len(cells) == 3]
    assert told == [[f"`{family}`", ", ".join(tag.owasp) or "none", ", ".join(tag.atlas) or "none"]]


def test_every_converter_is_told_and_no_other() -> None:
    known = [
        [row.room, f"`{row.name}`", row.about + ("; readable" if row.readable else ""), row.inverse]
        for row in listing()
    ]
    told = [cells for room in dict.fromkeys(row.room for row in listing()) for cells in rows(room)]
    assert told == known
    assert f"{len(known)} converters in" in PAGE
