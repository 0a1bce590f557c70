"""Every setting of a run is documented as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from trivet.alignment import policy_gradient, ppo, preference, reward, sft
from trivet.core.config import describe

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "cls"),
    [
        ("sft.md", sft.Config),
        ("dpo.md", preference.Config),
        ("reward_model.md", reward.Config),
        ("ppo.md", ppo.Config),
        ("policy_gradient.md", policy_gradient.Config),
    ],
)
def test_every_setting_is_documented_with_its_default(page, cls):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for row in describe(cls):
        kind = row.type.replace("|", "\\|")
        assert f"| `{row.name}` | {kind} | `{row.default}` | {row.help} |" in text
