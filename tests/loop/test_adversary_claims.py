"""The claims of an arms race can fail, each by itself, and say with which figures."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from trivet.core.stats import Rate
from trivet.loop.adversary.claims import claims, trained_against


def rung(value: float) -> dict[str, Any]:
    return {"distinct_per_100": {"value": value, "low": value - 1, "high": value + 1}}


def version(name: str, refused: int, **hits: int) -> dict[str, Any]:
    return {
        "target": name,
        "attack_success": {who: Rate(hit, 100).row() for who, hit in hits.items()},
        "over_refusal": Rate(refused, 100).row(),
    }


GOOD: dict[str, Any] = {
    "settings": {"gate": {"over_refusal_rise": 0.02}},
    "attackers": ["library", "zero", "rl-1", "rl-2"],
    "rounds": [
        {
            "round": 1,
            "target": "v0",
            "ladder": {"zero": rung(10), "few": rung(12), "sl": rung(20), "rl": rung(40), "bandit": rung(5)},
            "gaps": {"rl over sl": {"gap": 20.0, "low": 15.0, "high": 25.0, "sure": True}},
        }
    ],
    "versions": [
        version("v0", 5, **{"library": 90, "zero": 70, "rl-1": 95, "rl-2": 90}),
        version("v1", 5, **{"library": 30, "zero": 10, "rl-1": 12, "rl-2": 60}),
        version("v2", 6, **{"library": 20, "zero": 12, "rl-1": 8, "rl-2": 5}),
    ],
}


def test_all_claims_hold_where_they_should() -> None:
    found = claims(GOOD)
    assert all(one.holds for one in found), [str(one) for one in found]
    assert (
        str(found[0]) == "holds: round 1, against v0: rl > sl > few > zero (zero 10.0 < few 12.0 < sl 20.0 < rl 40.0)"
    )


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (lambda f: f["rounds"][0]["ladder"].update(sl=rung(11)), "rl > sl > few > zero"),
        (lambda f: f["rounds"][0]["gaps"]["rl over sl"].update(sure=False), "rl over sl, beyond chance"),
        (lambda f: f["versions"][2]["attack_success"].update({"rl-1": Rate(40, 100).row()}), "do not come back"),
        (lambda f: f["versions"][2]["attack_success"].update({"rl-2": Rate(95, 100).row()}), "attack success falls"),
        (lambda f: f["versions"][2].update(over_refusal=Rate(8, 100).row()), "over-refusal"),
    ],
)
def test_each_claim_can_fail(spoil: Any, claim: str) -> None:
    figures = deepcopy(GOOD)
    spoil(figures)
    failed = [one.claim for one in claims(figures) if not one.holds]
    assert len(failed) == 1 and claim in failed[0]


def test_a_rise_within_chance_is_no_comeback_and_is_told() -> None:
    (told,) = [one.found for one in claims(GOOD) if "come back" in one.claim]
    assert told == "largest rise 2.0 points"  # zero: 10 against v1, which had learnt from it, 12 against v2


def test_an_attacker_counts_as_old_from_the_version_that_learnt_from_it() -> None:
    assert trained_against("zero", ["v0", "v1", "v2"]) == 1
    assert trained_against("rl-2", ["v0", "v1", "v2"]) == 2
    assert trained_against("rl-1", ["v0", "v2"]) == 1  # v1 was rejected
    assert trained_against("rl-3", ["v0", "v1", "v2"]) == 3
