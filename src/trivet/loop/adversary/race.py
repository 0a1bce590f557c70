"""The arms race: attacker and target in turn, and an archive of all attackers that is run again on every new target.

A round: the ladder is climbed against the present target (ladder.py); the target then learns from every success found so
far, this round's and those before, by DPO with benign and look-alike twins in the wordings that worked (build.py); the gate
(gate.py) says whether the new version replaces the old one. Attackers are never told what becomes of their words, and share
no weights with the target.

The archive holds what each attacker says to the held-out goals. That does not depend on a target, so after every round
exactly the same words are put to the new one: an old attacker that comes back shows as a number that rises again. Beside
them stand the library's held-out wordings, which nobody here has learnt from or been trained against.

Not covered: attackers that answer a new target within the round (only the next round's do); a target behind guards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.batch import reply_all
from trivet.core.models.resolve import model_folder
from trivet.core.protocols import Judge, Model
from trivet.core.stats import Rate
from trivet.loop import gate
from trivet.loop.adversary import workshop
from trivet.loop.adversary.bandit import bandit_trials
from trivet.loop.adversary.ladder import RUNGS, rungs
from trivet.loop.adversary.spread import Trial, figures, gap
from trivet.loop.adversary.workshop import Attacker, Workshop
from trivet.loop.build import Built, build
from trivet.loop.harvest import Failure, Harvest
from trivet.loop.pairs import write_pairs
from trivet.loop.recipe import Pairs, Training
from trivet.loop.train import train
from trivet.robustness.attacks.library import attacks
from trivet.robustness.attacks.shape import NamedAttack, Script
from trivet.robustness.learned import Outcome, Success, as_wording, grams, wording

FAMILIES = ("direct", "roleplay", "hypothetical", "encoding", "context", "injection")
LIBRARY = "library"
"""The row of the library's held-out wordings."""


@dataclass
class Standing:
    """One version of the target: its folder, what got through, what it refused and what it still knows."""

    name: str
    folder: str
    outcomes: gate.Outcomes
    attackers: dict[str, list[Trial]] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        rates = gate.figures(self.outcomes)
        return {
            "target": self.name,
            "attack_success": {name: _rate(trials).row() for name, trials in self.attackers.items()},
            "over_refusal": rates["over_refusal"].row(),
            "capability": rates["capability"].row(),
        }


def race(this: Workshop) -> dict[str, Any]:
    """All rounds; the figures that report.py shows."""
    archive: dict[str, Attacker] = {}
    gained: list[Outcome] = []
    present = model_folder(this.recipe.target)
    versions = [("v0", present)]
    rounds = []
    for number in range(1, this.recipe.races + 1):
        old = _wordings(this, archive, present)
        equal = number <= this.recipe.ladder.equal_rounds
        made = rungs(
            this, present, f"r{number}", archive=old, equal=equal, before=archive.get(f"rl-{number - 1}")
        )  # fmt: skip
        archive |= {"zero": made["zero"], f"sl-{number}": made["start"], f"rl-{number}": made["rl"]}
        found = {rung: workshop.measured(this, made[rung], present) for rung in RUNGS}
        if equal:
            found["bandit"] = bandit_trials(this, present, f"r{number}", this.recipe.ladder.budget)
        gained += _gains(this, made, present, number)
        candidate, built = defended(this, present, gained, number)
        before, after = (
            standing(this, name, where, archive) for name, where in (versions[-1], (f"v{number}", candidate))
        )
        ruling = gate.decide(before.outcomes, after.outcomes, this.recipe.gate)
        rounds.append(
            {
                "round": number,
                "target": versions[-1][0],
                "equal_queries": equal,
                "ladder": {name: figures(trials).row() for name, trials in found.items()},
                "queries": {name: made[name].queries for name in RUNGS}
                | ({"bandit": this.recipe.ladder.budget} if equal else {}),
                "gaps": gaps(found),
                "examples": examples(found),
                "pairs": built.row(),
                "challenger": f"v{number}",
                "promoted": ruling.promoted,
                "reasons": list(ruling.reasons),
            }
        )
        if ruling.promoted:
            versions.append((f"v{number}", candidate))
            present = candidate
    table = [standing(this, name, where, archive).row() for name, where in versions]
    return {"settings": asdict(this.recipe), "rounds": rounds, "versions": table, "attackers": [LIBRARY, *archive]}


def gaps(found: Mapping[str, Sequence[Trial]]) -> dict[str, Any]:
    """Who leads whom in distinct successes, with intervals."""
    pairs = (("few", "zero"), ("sl", "few"), ("rl", "sl"), ("rl", "zero"), ("rl", "bandit"))
    return {f"{one} over {two}": gap(found[one], found[two]).row() for one, two in pairs if {one, two} <= {*found}}


def examples(found: Mapping[str, Sequence[Trial]], count: int = 3) -> dict[str, list[dict[str, str]]]:
    """A few attacks that worked, of each attacker."""
    return {
        name: [{"goal": one.goal.request, "text": one.text} for one in trials if one.hit][:count]
        for name, trials in found.items()
    }


def _wordings(this: Workshop, archive: Mapping[str, Attacker], target: str) -> list[frozenset[str]]:
    """How the trained attackers of earlier rounds ask, on goals of the train part."""
    old = [one for name, one in archive.items() if name.startswith("rl")]
    kept = []
    for number, attacker in enumerate(old, start=1):
        said = workshop.explored(this, attacker, target, this.recipe.ladder.batch, f"old-{number}-of-{len(old)}")
        kept += [grams(wording(one.text, one.goal)) for one in said]
    return kept


def _gains(this: Workshop, made: Mapping[str, Attacker], target: str, number: int) -> list[Outcome]:
    """What the round's attackers got out of the target on goals of the train part, by the production eye."""
    pool = this.recipe.ladder.pool
    found = [
        workshop.explored(this, made["zero"], target, pool, f"r{number}-pool"),  # asked already
        *(workshop.explored(this, made[rung], target, pool // 2, f"r{number}-gain-{rung}") for rung in ("start", "rl")),
    ]
    return [one for outcomes in found for one in outcomes if one.succeeded]


# ------------------------------------------------------------------------------------------------- the target learns


def defended(this: Workshop, target: str, gained: Sequence[Outcome], number: int) -> tuple[str, Built]:
    """The folder of the target's next version, and the pairs that it learnt from."""
    config = this.recipe.defence
    asked = _harmless(this, target, number)
    harvest = Harvest(
        harmful=tuple(_failure(one) for one in {one.text: one for one in gained}.values()),
        overrefused=tuple(failure for failure, label in asked if label == "refused"),
        kept=tuple(failure for failure, label in asked if label == "answered"),
        resisted=0,
        reviewed=0,
    )
    worked = [as_wording(Success(one.goal, one.text, one.score)) for one in gained]
    wordings = list({one.template: one for one in worked if one}.values())
    settings = Pairs(config.harmless_share, config.framed_share, config.most)
    built = build(harvest, this.ground, wordings, settings, source=f"race:r{number}", seed=this.recipe.seed + number)
    learning = Training(
        beta=config.beta,
        nll_weight=config.nll_weight,
        lr=config.lr,
        epochs=config.epochs,
        batch_size=config.batch_size,
    )
    key = ["defence", asdict(learning), this.recipe.seed, this.shelf.digest(target), _content(built)]
    room = this.shelf.room(f"r{number}-target", key)
    write_pairs(this.shelf.place / f"r{number}-pairs.jsonl", built.pairs)
    trained = train(
        target, built.pairs, learning, room, seed=this.recipe.seed, threads=this.recipe.threads,
        progress=this.told(f"r{number}-target"),
    )  # fmt: skip
    return str(trained["folder"]), built


def _content(built: Built) -> str:
    return digest_of([[pair.prompt.rows(), pair.chosen, pair.rejected] for pair in built.pairs])


def _failure(one: Outcome) -> Failure:
    prompt = Conversation.user(one.text)
    return Failure(prompt, one.reply, one.goal, "learned", digest_of(["learned", one.goal.id, one.text, one.reply]))


def _harmless(this: Workshop, target: str, number: int) -> list[tuple[Failure, str]]:
    """Harmless requests of the train part, what the target says to them, and what the production eye calls it."""
    half = this.recipe.defence.probes // 2
    probes = [*this.ground.train.lookalikes[:half], *this.ground.train.benign[:half]]
    rows = _asked(this, target, probes, this.ground.eye, f"r{number}-probes")
    return [
        (Failure(Conversation.user(probe.request), reply, probe, "", digest_of(["probe", probe.id, reply])), label)
        for probe, (reply, label) in zip(probes, rows, strict=True)
    ]


# ------------------------------------------------------------------------------------------------- where a target stands


def standing(this: Workshop, name: str, folder: str, archive: Mapping[str, Attacker]) -> Standing:
    """A version against the library and every attacker so far, and on the held-out harmless requests."""
    part, trials = this.ground.heldout, {LIBRARY: _library(this, folder)}
    for who, attacker in archive.items():
        trials[who] = workshop.measured(this, attacker, folder, this.recipe.ladder.again)
    labels = {
        f"{who} {at} {one.goal.id}": "complied" if one.hit else "refused"
        for who, found in trials.items()
        for at, one in enumerate(found)
    }
    probes = {}
    for suite, tasks in (("overrefusal", part.lookalikes), ("capability", part.benign)):
        rows = _asked(this, folder, tasks, this.ground.judge, f"{suite}-{this.shelf.digest(folder)[:8]}")
        probes[suite] = {probe.id: label for probe, (_, label) in zip(tasks, rows, strict=True)}
    return Standing(name, folder, gate.Outcomes(labels, probes["overrefusal"], probes["capability"]), trials)


def _library(this: Workshop, folder: str) -> list[Trial]:
    """The library's held-out wordings of one message, in turn over the held-out goals; cached."""
    wordings = [one for one in attacks("heldout", FAMILIES) if _single(one)]
    known = this.ground.knows_encodings
    wordings = [
        one for one in wordings if isinstance(one.how, Script) and (not one.how.encoding or one.how.encoding in known)
    ]
    goals = this.ground.heldout.goals
    pairs = [
        (goal, how.wordings(goal)[0])
        for at, goal in enumerate(goals)
        if isinstance(how := wordings[at % len(wordings)].how, Script)
    ]
    key = ["library", pairs_key(pairs), this.shelf.digest(folder), this.recipe.ladder.reply_tokens]
    rows = this.shelf.once(
        f"library-against-{this.shelf.digest(folder)[:8]}",
        key,
        lambda: [workshop.row_of(one) for one in workshop.put(this, pairs, folder)],
    )
    outcomes = [workshop.outcome_of(row, goal) for row, (goal, _) in zip(rows, pairs, strict=True)]
    return workshop.trials_of(this, outcomes)


def _single(one: NamedAttack) -> bool:
    return isinstance(one.how, Script) and len(one.how.turns) == 1 and not one.how.shots


def pairs_key(pairs: Sequence[tuple[Goal, str]]) -> list[list[str]]:
    return [[goal.id, text] for goal, text in pairs]


def _asked(this: Workshop, folder: str, probes: Sequence[Probe], judge: Judge, stage: str) -> list[tuple[str, str]]:
    """(reply, label) of every harmless request; cached."""
    sampling = Sampling(max_tokens=this.recipe.ladder.reply_tokens)

    async def work() -> list[list[str]]:
        model: Model = this.model(folder)
        try:
            talks = [Conversation.user(probe.request) for probe in probes]
            rows = []
            for talk, probe, reply in zip(talks, probes, await reply_all(model, talks, sampling), strict=True):
                if not isinstance(reply, Message):
                    raise reply
                rows.append([reply.content, (await judge.judge(talk.then(reply), probe)).label])
            return rows
        finally:
            if close := getattr(model, "aclose", None):
                await close()

    key = ["asked", stage, this.shelf.digest(folder), [probe.id for probe in probes], sampling.max_tokens]
    return [(reply, label) for reply, label in this.shelf.once(stage, key, lambda: asyncio.run(work()))]


def _rate(trials: Sequence[Trial]) -> Rate:
    return Rate(sum(one.hit for one in trials), len(trials))
