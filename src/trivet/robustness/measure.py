"""One measurement: attacks, over-refusal and capability of one target, as a single resumable campaign.

`Config` is the recipe of `trivet attack` and `trivet eval` (see configs/). What a suite asks is planned together and run
together, so that attack success never stands without over-refusal beside it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from trivet.core.config import option
from trivet.core.errors import ConfigError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Sampling, digest_of
from trivet.core.protocols import Judge, Model
from trivet.core.store.events import Store
from trivet.robustness.attacks import leak
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.budget import BudgetSpent, Prices, parse
from trivet.robustness.campaign import Pace, Progress, Watch, execute
from trivet.robustness.plan import Job, plan, probes, sampled
from trivet.robustness.suites import catalogue, leaks, overrefusal, regression

if TYPE_CHECKING:
    from trivet.robustness.agents.library import Scenario

_T = TypeVar("_T")

LEAK = "leak"
LEAKS = 24
"""Houses whose prompts are planted for the family `leak`, unless a limit allows fewer."""


@dataclass(frozen=True)
class Config:
    """What is measured, and how hard."""

    target: str = option("town:helpful", "the model: town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL ...")
    suite: str = option(
        "default", "what is asked: default, full, dialogues, agents, overrefusal, capability, regression"
    )
    goals: Path | None = option(
        None,
        "JSON Lines of goals (`behavior`, `category`), or `town` or `packaged`; default: the town for local models",
    )
    probes: Path | None = option(None, "a file of over-refusal probes: ours, XSTest, OR-Bench, OKTest or NotInject")
    cases: Path | None = option(None, "the file of regression cases; default: regression.jsonl in the home")
    judge_card: Path | None = option(
        None, "the judge's card, as `trivet judge eval --card` writes it; corrects its rates"
    )
    judge: str = option(
        "auto",
        "who judges: oracle, classifier, rules, a .npz of yours, a model as for target; auto: the oracle or the classifier",
    )
    attacker: str = option(
        "template",
        "who writes dialogues and wordings: template (no model), or a model as for target",
    )
    families: tuple[str, ...] = option((), "the attack families; default: those of the suite")
    part: Literal["train", "heldout"] = option("heldout", "which half of the attack templates (and of the town)")
    limit: int | None = option(None, "at most so many attacks, evenly chosen; default: every goal by every family")
    per_goal: int | None = option(None, "attacks on each goal; default: one of each family")
    lookalikes: int = option(100, "how many over-refusal probes are asked beside the attacks")
    benign: int = option(100, "how many capability probes are asked by `trivet eval`")
    seed: int = option(0, "decides which templates and probes are drawn")
    seeds: int = option(1, "how many samples of each attack are drawn, for hit@k")
    temperature: float | None = option(None, "how replies are drawn; default: 0, and 1 where there are several seeds")
    max_tokens: int = option(256, "the longest reply that is asked for")
    concurrency: int = option(16, "requests to an endpoint at the same time")
    timeout: float = option(600.0, "seconds after which one attempt with all its turns has failed")
    rate: float | None = option(None, "calls a second to an endpoint, at most; default: what its answers allow")
    budget: str = option("", "what it may cost, like `200k tokens` or `$5`; what is done by then is kept")
    price_in: float = option(0.0, "what a million prompt tokens cost, for a budget in money")
    price_out: float = option(0.0, "what a million reply tokens cost")
    engine: Literal["local", "ray"] = option("local", "where attempts are made: in this process or on a Ray cluster")
    run: str = option("", "the name under which attempts are stored; default: made from all of the above")

    def __post_init__(self) -> None:
        for name in ("limit", "per_goal", "max_tokens", "concurrency", "seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, and must be at least 1")
        for name in ("lookalikes", "benign", "temperature", "price_in", "price_out"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} is {value}, and cannot be less than 0")
        if self.timeout <= 0:
            raise ConfigError(f"timeout is {self.timeout:g} s, and must be more than 0")
        if self.temperature == 0 and self.seeds > 1:
            raise ConfigError(f"at temperature 0 all {self.seeds} seeds are the same; give a temperature, or one seed")
        if catalogue.suite(self.suite).scenarios:
            # A budget that is kept for the probes and not for the agents would be a promise broken by the larger part.
            given = {
                "budget": self.budget,
                "rate": self.rate,
                "engine ray": self.engine == "ray",
                "seeds": self.seeds > 1,
            }
            if kept := [name for name, value in given.items() if value]:
                raise ConfigError(
                    f"the suite {self.suite} cannot keep {', '.join(kept)}: its scenarios are played one by one, outside the "
                    "engine that counts; leave it away, and bound the work by limit and concurrency"
                )

    @property
    def sampling(self) -> Sampling:
        drawn = self.temperature if self.temperature is not None else float(self.seeds > 1)
        return Sampling(temperature=drawn, max_tokens=self.max_tokens)

    @property
    def pace(self) -> Pace:
        budget = parse(self.budget) if self.budget else None
        prices = Prices(self.price_in, self.price_out) if self.price_in or self.price_out else None
        return Pace(
            self.sampling,
            concurrency=self.concurrency,
            timeout=self.timeout,
            rate=self.rate,
            budget=budget,
            prices=prices,
            engine=self.engine,
        )


@dataclass(frozen=True)
class Material:
    """What a measurement is made of. `encodings` are those that the target is known to read; None means all.

    `contrasts` are harmful requests that stand beside the look-alikes, `cases` those of the regression suite; `attacker`
    and `judge` play the dialogues, `writer` is a model that words attacks.
    """

    goals: Sequence[Goal]
    lookalikes: Sequence[Probe]
    benign: Sequence[Probe] = ()
    encodings: Collection[str] | None = None
    contrasts: Sequence[Goal] = ()
    cases: Sequence[regression.Case] = ()
    attacker: Model | None = None
    judge: Judge | None = None
    writer: Model | None = None


def jobs(config: Config, material: Material) -> list[Job]:
    """Everything to be asked: the attacks, then the look-alikes, then the benign probes."""
    suite = catalogue.suite(config.suite)
    wanted: list[Job] = []
    if suite.cases:
        wanted += regression.jobs(material.cases)
        if not wanted:
            raise ConfigError("the regression suite has no cases yet; run another suite first, or give --cases FILE")
    elif suite.families or suite.dialogues or config.families:
        chosen = catalogue.chosen(
            suite, config.families, config.part, material.encodings, material.attacker, material.judge, material.writer
        )
        wanted += _planned(config, material.goals, chosen)
    if suite.contrasts:
        wanted += overrefusal.contrasts(material.contrasts)
    lookalikes = material.lookalikes if suite.contrasts else _drawn(material.lookalikes, config.lookalikes, config.seed)
    once = [
        *wanted,
        *probes("overrefusal", lookalikes),
        *probes("capability", _drawn(material.benign, config.benign, config.seed)),
    ]
    return sampled(once, config.seeds)


def _planned(config: Config, goals: Sequence[Goal], chosen: Sequence[NamedAttack]) -> list[Job]:
    """The attacks dealt to the goals; a prompt leak has goals of its own, with the canaries that tell a leak."""
    leaks = [attack for attack in chosen if attack.family == LEAK]
    others = [attack for attack in chosen if attack.family != LEAK]
    if not leaks:
        return plan(goals, others, per_goal=config.per_goal, limit=config.limit, seed=config.seed)
    families = len({attack.family for attack in chosen})
    count = LEAKS if config.limit is None else max(1, min(LEAKS, config.limit // families))
    planted = plan(leak.goals(config.part, count, config.seed), leaks, per_goal=config.per_goal, seed=config.seed)
    if not others:
        return planted[: config.limit]
    limit = None if config.limit is None else max(1, config.limit - len(planted))
    return [*plan(goals, others, per_goal=config.per_goal, limit=limit, seed=config.seed), *planted]


def by_canaries(job: Job) -> bool:
    """Whether facts that were planted decide, and no judge of replies."""
    return job.family == LEAK and isinstance(job.task, Goal) and bool(job.task.facts)


def scenarios(config: Config) -> list[Scenario]:
    """The agents' scenarios of the suite, where it has any: every task in turn, so many orders that `limit` is met."""
    if not catalogue.suite(config.suite).scenarios:
        return []
    from trivet.robustness.agents.library import scenarios as made

    found = made(config.part, per_task=config.per_goal)
    return _drawn(found, config.limit, config.seed) if config.limit else found


def run_name(verb: str, config: Config, wanted: Sequence[Job], *fingerprints: str) -> str:
    """The name given, or one that is the same exactly when the same is asked of the same target in the same way."""
    if config.run:
        return config.run
    asked = [[job.suite, job.task.id, job.family, job.template] for job in wanted]
    drawn = [config.seeds, config.sampling.temperature] if config.seeds > 1 or config.sampling.temperature else []
    return f"{verb}-{digest_of([config.target, config.max_tokens, asked, *fingerprints, *drawn])[:10]}"


async def measure(
    config: Config,
    wanted: Sequence[Job],
    target: Model,
    judge: Judge,
    store: Store,
    *,
    run: str,
    name: str = "",
    progress: Progress | None = None,
    watch: Watch | None = None,
    agents: Sequence[Scenario] = (),
    player: Model | None = None,
) -> list[Attempt]:
    """Does all jobs and scenarios, and closes the target's connections, on success and on failure. Where the budget is spent,
    BudgetSpent has all that was done.

    `player` plays the agents' scenarios in the target's place: the one to practise on knows no tools by itself.
    """
    name = name or config.target
    try:
        done: list[Attempt] = []
        if agents:
            from trivet.robustness.agents.loop import Desk
            from trivet.robustness.agents.run import run as play

            done += await play(
                agents, player or target, store=store, run=run, name=name, concurrency=config.concurrency,
                desk=Desk(sampling=replace(Desk().sampling, temperature=config.sampling.temperature)),
            )  # fmt: skip
        if wanted:
            eye = leaks.by_canaries(judge, {job.task.id for job in wanted if by_canaries(job)})
            try:
                done += await execute(
                    wanted, target, eye, store, run=run, name=name, pace=config.pace, progress=progress, watch=watch
                )
            except BudgetSpent as stop:
                raise BudgetSpent(str(stop), [*done, *stop.attempts]) from None
        return done
    finally:
        close = getattr(target, "aclose", None)
        if close is not None:
            await close()


def _drawn(tasks: Sequence[_T], count: int, seed: int) -> list[_T]:
    """So many of them, in their own order, decided by the seed."""
    if len(tasks) <= count:
        return list(tasks)
    return [tasks[number] for number in sorted(random.Random(seed).sample(range(len(tasks)), count))]
