"""The plan: balanced, repeatable, without repetition, and even at every cut."""

from __future__ import annotations

from collections import Counter

import pytest

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.robustness.attacks.library import attacks
from trivet.robustness.plan import Job, attempt_id, error_id, plan, probes

GOALS = [Goal(f"How do I open gate {number}?") for number in range(10)]
FAMILIES = ("direct", "roleplay", "hypothetical", "encoding", "context", "injection", "escalation")
ATTACKS = attacks("heldout", FAMILIES)


def test_by_default_each_goal_meets_each_family_once() -> None:
    jobs = plan(GOALS, ATTACKS)
    assert Counter((job.task.id, job.family) for job in jobs) == {(g.id, f): 1 for g in GOALS for f in FAMILIES}


def test_templates_take_turns() -> None:
    used = Counter((job.family, job.template) for job in plan(GOALS * 3, ATTACKS, per_goal=14))
    for family in FAMILIES:
        counts = [used[family, attack.template] for attack in ATTACKS if attack.family == family]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("limit", [7, 20, 35, 61])
def test_every_beginning_is_even(limit: int) -> None:
    jobs = plan(GOALS, ATTACKS, limit=limit)
    assert len(jobs) == limit
    families = Counter(job.family for job in jobs)
    assert max(families.values()) - min(families.get(f, 0) for f in FAMILIES) <= 2
    goals = Counter(job.task.id for job in jobs)
    assert max(goals.values()) - min(goals.get(goal.id, 0) for goal in GOALS) <= 1


def test_no_pair_comes_twice_even_when_all_are_wanted() -> None:
    jobs = plan(GOALS, ATTACKS, per_goal=10_000)
    assert len(jobs) == len(GOALS) * len(ATTACKS)
    assert len({(job.task.id, job.family, job.template) for job in jobs}) == len(jobs)


def test_the_seed_decides_and_nothing_else() -> None:
    assert plan(GOALS, ATTACKS, seed=3) == plan(GOALS, ATTACKS, seed=3)
    assert plan(GOALS, ATTACKS, seed=3) != plan(GOALS, ATTACKS, seed=4)


def test_equal_goals_and_probes_are_one() -> None:
    assert len(plan([GOALS[0], GOALS[0]], ATTACKS)) == len(FAMILIES)
    probe = Probe("What is a gate?")
    assert len(probes("capability", [probe, Probe("What is a gate?")])) == 1


def test_nothing_to_do_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="0 goals"):
        plan([], ATTACKS)
    with pytest.raises(ConfigError, match="0 attacks"):
        plan(GOALS, [])


def test_a_job_is_a_goal_with_an_attack_or_a_probe_without() -> None:
    with pytest.raises(ConfigError):
        Job("attack", GOALS[0])
    with pytest.raises(ConfigError):
        Job("capability", Probe("What is a gate?"), ATTACKS[0])


def test_identity_changes_with_everything_that_makes_an_attempt() -> None:
    one, other = plan(GOALS, ATTACKS)[:2]
    ids = {
        attempt_id("run", one, "model"),
        attempt_id("run", other, "model"),
        attempt_id("run 2", one, "model"),
        attempt_id("run", one, "model 2"),
        attempt_id("run", Job("overrefusal", Probe("x")), "model"),
        attempt_id("run", Job("capability", Probe("x")), "model"),
        error_id(attempt_id("run", one, "model")),
    }
    assert len(ids) == 7
