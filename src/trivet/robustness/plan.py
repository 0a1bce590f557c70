"""What a campaign will ask: jobs, a balanced and repeatable choice of them, and their identity.

An attempt's id is a hash of what makes it that attempt: run, suite, task, family, template, target, and where they are not
the usual ones the seed and the sampling. So what is stored already is known by its id alone, resuming is a set difference, and
nothing can be stored twice.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from json.encoder import encode_basestring as quoted
from typing import Literal

from trivet.core.errors import ConfigError
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Sampling, digest_of
from trivet.core.protocols import GREEDY
from trivet.robustness.attacks.shape import NamedAttack

Suite = Literal["attack", "overrefusal", "capability"]


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do to the target: an attack on a goal, or a probe asked as it stands (`attack` is None).

    `seed` tells several samples of the same thing apart.
    """

    suite: Suite
    task: Goal | Probe
    attack: NamedAttack | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.task, Goal) != (self.attack is not None):
            raise ConfigError("a job is either a goal with an attack or a probe without one")

    @property
    def family(self) -> str:
        return self.attack.family if self.attack else ""

    @property
    def template(self) -> str:
        return self.attack.template if self.attack else ""


def attempt_id(run: str, job: Job, target: str, sampling: Sampling = GREEDY) -> str:
    """The identity of the attempt at this job against this target in this run."""
    return next(iter(identities(run, [job], target, sampling)))


def identities(run: str, jobs: Iterable[Job], target: str, sampling: Sampling = GREEDY) -> dict[str, Job]:
    """The jobs by their attempts' ids, in order; equal jobs are one.

    The hash is that of `digest_of(["attempt", run, suite, task, family, template, target, ...])`, put together from pieces
    that are quoted once. Seed and sampling take part only where they are not the usual ones, so that attempts stored before
    there were any keep their ids. The length of replies is no part: the name of a run holds it (measure.py).
    """
    parameters = _unusual(sampling)
    ids = {}
    head, tail = f'["attempt",{quoted(run)},', quoted(target)
    named: dict[int, str] = {id(None): '"",""'}  # hashing an attack hashes all its words
    for job in jobs:
        names = named.get(id(job.attack))
        if names is None:
            names = named[id(job.attack)] = f"{quoted(job.family)},{quoted(job.template)}"
        more = f",{job.seed}{parameters}" if job.seed or parameters else ""
        text = f'{head}"{job.suite}","{job.task.id}",{names},{tail}{more}]'
        ids[sha256(text.encode()).hexdigest()[:32]] = job
    return ids


def _unusual(sampling: Sampling) -> str:
    """The part of an identity that tells how replies are drawn; nothing for greedy ones."""
    settings = (
        ("temperature", sampling.temperature, 0.0), ("top_p", sampling.top_p, 1.0),
        ("seed", sampling.seed, None), ("stop", list(sampling.stop), []),
    )  # fmt: skip
    given = {name: value for name, value, usual in settings if value != usual}
    return f",{json.dumps(given, sort_keys=True, ensure_ascii=False, separators=(',', ':'))}" if given else ""


def sampled(jobs: Iterable[Job], seeds: int) -> list[Job]:
    """Every job so many times, as samples 0, 1 ... of the same attack: all of the plan, then all of it again."""
    if seeds < 1:
        raise ConfigError(f"a campaign was asked for {seeds} samples of each attack; give 1 or more")
    jobs = list(jobs)
    return [*jobs, *(replace(job, seed=seed) for seed in range(1, seeds) for job in jobs)]


def error_id(id: str) -> str:
    """The identity of the record that an attempt came to nothing: another one, so that it is asked again."""
    return digest_of(["error", id])


def probes(suite: Suite, tasks: Iterable[Probe]) -> list[Job]:
    """Every probe once; equal probes are one."""
    return [Job(suite, probe) for probe in dict.fromkeys(tasks)]


def plan(
    goals: Sequence[Goal],
    attacks: Sequence[NamedAttack],
    *,
    per_goal: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    seeds: int = 1,
) -> list[Job]:
    """A balanced choice of (goal, attack) pairs, the same for the same arguments.

    Each goal is attacked `per_goal` times (default: once by every family), the families and within them the templates
    taking turns; no pair comes twice. `limit` keeps the first so many: any beginning of the plan is as even over goals,
    families and templates as its length allows. Each of these is sampled `seeds` times (see `sampled`). Attacks that can
    pursue none of the goals are left out.
    """
    if not goals or not attacks:
        raise ConfigError(
            f"a campaign needs goals and attacks, was given {len(goals)} goals and {len(attacks)} attacks"
        )
    given, attacks = attacks, [attack for attack in attacks if any(attack.fits(goal) for goal in goals)]
    if not attacks:
        families, hazards = {one.family for one in given}, {hazard for one in given for hazard in one.only}
        raise ConfigError(
            f"{', '.join(sorted(families))} can pursue none of the {len(goals)} goals, only goals of the hazard "
            f"{', '.join(sorted(hazards))}; give such goals (attacks/leak.py makes some) or other families"
        )
    shuffle = random.Random(seed)
    by_family: dict[str, list[NamedAttack]] = defaultdict(list)
    for attack in attacks:
        by_family[attack.family].append(attack)
    for choices in by_family.values():
        shuffle.shuffle(choices)
    order = list(dict.fromkeys(goals))
    shuffle.shuffle(order)
    rounds = min(per_goal or len(by_family), len(attacks))
    pairs = _deal(order, list(by_family.values()), rounds)
    return sampled([Job("attack", goal, attack) for goal, attack in pairs][:limit], seeds)


def _deal(goals: Sequence[Goal], families: Sequence[list[NamedAttack]], rounds: int) -> list[tuple[Goal, NamedAttack]]:
    """Round by round each goal gets an attack of the next family that has one left for it, its least used one first."""
    # By number and not by name: a plan of a hundred thousand attempts is made of look-ups.
    used = [[0] * len(family) for family in families]
    picky = [any(attack.only for attack in family) for family in families]
    # A family that cannot pursue a goal is no family to it: its turns go round the others evenly.
    every = range(len(families))
    suited: list[Sequence[int]] = [
        [n for n in every if not picky[n] or any(attack.fits(goal) for attack in families[n])] if any(picky) else every
        for goal in goals
    ]
    had: dict[int, set[tuple[int, int]]] = defaultdict(set)
    dealt = []
    for turn in range(rounds):
        for number, goal in enumerate(goals):
            mine, own = had[number] if rounds > 1 else None, suited[number]
            for step in range(len(own)):
                which = own[(number + turn + step) % len(own)]
                family, count = families[which], used[which]
                left: Sequence[int] = range(len(count))
                if mine or picky[which]:
                    left = [n for n in left if (not mine or (which, n) not in mine) and family[n].fits(goal)]
                if left:
                    best = min(left, key=count.__getitem__)
                    count[best] += 1
                    if mine is not None:
                        mine.add((which, best))
                    dealt.append((goal, family[best]))
                    break
    return dealt
