"""One turn of the ring.

    open -> attack -> harvest -> build -> train -> measure -> gate (promote or reject) -> report

Every stage is finished in one transaction with its result, and is not done again once it is. Within a stage the
campaign and the training resume by themselves. So the same command, after Ctrl-C or `kill -9`, goes on where it was and
ends with the same result; a turn that is finished is only read back.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trivet.alignment.sources import preferences
from trivet.core.errors import Blocked, ConfigError, UserError
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.resolve import model_folder, resolve
from trivet.core.protocols import Ground, Model
from trivet.core.store.events import Store
from trivet.core.store.registry import Registry, Version
from trivet.loop import build, gate, harvest, measure, promote, report
from trivet.loop.board import Board
from trivet.loop.files import writing
from trivet.loop.front import behind_gateway, guards_of
from trivet.loop.pairs import write_pairs
from trivet.loop.recipe import Recipe
from trivet.loop.train import train
from trivet.monitoring.policy import Policy
from trivet.robustness.attacks.library import BASIC, attacks
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.plan import Job

SEED_VERSION = "v0"
"""The name under which the first champion is registered."""

Mode = Literal["shadow", "enforce"]


@dataclass
class Turn:
    """A turn under way: its name, what it works with, and where it keeps things."""

    name: str
    recipe: Recipe
    ground: Ground
    home: Path
    store: Store
    board: Board

    @property
    def folder(self) -> Path:
        place = self.home / "turns" / self.name
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def challenger(self) -> str:
        return f"v{int(self.name.removeprefix('turn-'))}"

    def once(
        self, stage: str, work: Callable[[], dict[str, Any]], note: Callable[[dict[str, Any]], str]
    ) -> dict[str, Any]:
        """The stage's result, from the store if it is finished, else from doing it."""
        self.board.start(self.name, stage)
        known = self.store.stage(self.name, stage)
        if known is None:
            began = time.monotonic()
            known = {**work(), "seconds": round(time.monotonic() - began, 1)}
            if self.store.stage(self.name, stage) is None:
                self.store.finish_stage(self.name, stage, known)
            self.board.finish(self.name, note(known))
        else:
            self.board.finish(self.name, note(known), known=True)
        return known


def turn(name: str, recipe: Recipe, ground: Ground, home: Path, store: Store, board: Board) -> dict[str, Any]:
    """Turn the ring once and return its figures (docs/figures.md)."""
    this = Turn(name, recipe, ground, home, store, board)
    learn, unseen = (_attacks(this, part) for part in ("train", "heldout"))
    opened = this.once("open", lambda: _open(this), lambda r: f"champion {r['champion']}")
    _same_recipe(this, opened)
    champion, target = opened["spec"], recipe.target or opened["spec"]

    jobs = measure.harvest_jobs(ground, learn, recipe.sizes, recipe.seed)
    this.once(
        "attack", lambda: _attack(this, jobs, target), lambda r: f"{r['attempts']} attempts, {r['through']} got through"
    )
    counted = store.stage(name, "harvest") or {}
    found = harvest.gather(store, f"{name}/attack", before=_used_before(this), only=counted.get("reviews"))
    reaped = this.once("harvest", lambda: {**found.row(), "reviews": harvest.reviews_used(found)}, _harvest_note)
    built = this.once("build", lambda: _build(this, found, learn), lambda r: f"{r['pairs']} pairs")

    if not _trainable(champion):
        return this.once("report", lambda: report.untrained(this, opened, reaped, built), lambda r: r["html"])
    trained = this.once("train", lambda: _train(this, opened["folder"]), lambda r: f"{r['steps']} steps")

    asked = measure.heldout_jobs(ground, unseen, recipe.sizes, recipe.seed)
    for who, folder in (("champion", champion), ("challenger", trained["folder"])):
        this.once(f"measure {who}", lambda who=who, folder=folder: _alone(this, asked, who, folder), _rates)
    ruled = this.once("gate", lambda: _gate(this, trained), lambda r: r["reasons"][0])
    for who, folder in (("champion", champion), ("challenger", trained["folder"])):
        this.once(
            f"measure {who} behind guards", lambda who=who, folder=folder: _guarded(this, asked, who, folder), _rates
        )
    return this.once("report", lambda: report.write(this, opened, reaped, built, trained, ruled), lambda r: r["html"])


# ------------------------------------------------------------------------------------------------------- the stages


def _open(this: Turn) -> dict[str, Any]:
    """Who is champion; a home without one takes the recipe's model as its first.

    Whatever the turn names is tried before anything is stored, so that a mistake binds the home to nothing.
    """
    registry, recipe = Registry(this.store), this.recipe
    champion = registry.champion()
    if recipe.policy:
        Policy.load(recipe.policy)
    for spec in dict.fromkeys((recipe.target, _spec(champion) if champion else recipe.model)):
        if spec:
            asyncio.run(_greeted(resolve(spec, home=this.home, threads=recipe.threads or None)))
    if champion is None:
        with this.store.transaction():
            folder = model_folder(recipe.model, this.home) if _trainable(recipe.model) else recipe.model
            registry.register(SEED_VERSION, folder, notes={"spec": recipe.model})
            champion = registry.promote(SEED_VERSION, ["the first champion of this home"], run=this.name)
    return {
        "champion": champion.name,
        "folder": champion.folder,
        "spec": _spec(champion),
        "recipe": _plain(recipe),
    }


def _spec(version: Version) -> str:
    """What `resolve` takes for a version."""
    return version.folder if Path(version.folder).is_dir() else str(version.notes.get("spec", version.folder))


async def _greeted(model: Model) -> None:
    """The model is there and says a word; else ModelNotFound or TargetError."""
    try:
        await model.reply(Conversation.user("Hello."), Sampling(max_tokens=1))
    except Blocked:
        pass  # guards of its own: it is there
    finally:
        if close := getattr(model, "aclose", None):
            await close()


def _attack(this: Turn, jobs: Sequence[Job], target: str) -> dict[str, Any]:
    """Production under attack: the guards watch in shadow, so that the model's own failures can be seen."""
    run = f"{this.name}/attack"
    with _served(this, target, run, "shadow") as endpoint:
        attempts = asyncio.run(
            measure.ask(
                jobs,
                endpoint,
                this.ground,
                this.store,
                run=run,
                name="production",
                sizes=this.recipe.sizes,
                eye=True,
                progress=this.board.counted,
            )
        )
    through = sum(a.suite == "attack" and a.verdict.label in gate.HARM for a in attempts)
    return {"attempts": len(attempts), "through": through}


def _build(this: Turn, found: harvest.Harvest, learn: Sequence[NamedAttack]) -> dict[str, Any]:
    built = build.build(found, this.ground, learn, this.recipe.pairs, source=f"loop:{this.name}", seed=this.recipe.seed)
    write_pairs(this.folder / "pairs.jsonl", built.pairs)
    return {**built.row(), "file": str(this.folder / "pairs.jsonl")}


def _train(this: Turn, champion: str) -> dict[str, Any]:
    pairs = preferences(this.folder / "pairs.jsonl").lessons
    if not pairs:
        raise UserError(
            f"{this.name} found no failure to learn from: the champion refused every attack. "
            "Give it harder ones (families, goals, sizes.harvest_attacks)"
        )
    recipe = this.recipe
    return train(
        champion,
        pairs,
        recipe.training,
        this.folder / "train",
        seed=recipe.seed,
        threads=recipe.threads,
        progress=this.board.trained,
    )


def _alone(this: Turn, jobs: Sequence[Job], who: str, folder: str) -> dict[str, Any]:
    return _measured(this, jobs, resolve(folder, home=this.home, threads=this.recipe.threads or None), who)


def _guarded(this: Turn, jobs: Sequence[Job], who: str, folder: str) -> dict[str, Any]:
    name = f"{who} behind guards"
    with _served(this, folder, f"{this.name}/{who}-behind-guards", "enforce") as endpoint:
        return _measured(this, jobs, endpoint, name)


def _measured(this: Turn, jobs: Sequence[Job], model: Model, name: str) -> dict[str, Any]:
    attempts = asyncio.run(
        measure.ask(
            jobs,
            model,
            this.ground,
            this.store,
            run=f"{this.name}/measure",
            name=name,
            sizes=this.recipe.sizes,
            progress=this.board.counted,
        )
    )
    return {key: rate.row() for key, rate in gate.figures(gate.Outcomes.of(attempts)).items()}


def _gate(this: Turn, trained: dict[str, Any]) -> dict[str, Any]:
    """Decide, and carry it out in the transaction that finishes the stage."""
    began = time.monotonic()
    outcomes = report.outcomes(this)
    ruling = gate.decide(outcomes["champion"], outcomes["challenger"], this.recipe.gate)
    notes = {"turn": this.name, "pairs": str(this.folder / "pairs.jsonl")}
    Registry(this.store).register(this.challenger, trained["folder"], parent=_parent(this), notes=notes)
    seconds = round(time.monotonic() - began, 1)
    return promote.carry_out(
        this.store, ruling, challenger=this.challenger, run=this.name, stage="gate", seconds=seconds
    )


# -------------------------------------------------------------------------------------------------------- the rest


@contextmanager
def _served(this: Turn, folder: str, run: str, mode: Mode) -> Iterator[Model]:
    policy = Policy.load(this.recipe.policy) if this.recipe.policy else guards_of(this.ground, this.home)
    model = resolve(folder, home=this.home, threads=this.recipe.threads or None)
    try:
        with behind_gateway(
            model, policy, this.store, run=run, mode=mode, concurrency=this.recipe.sizes.concurrency
        ) as front:
            yield front
    finally:
        # Also after a failure: torch aborts a process that ends while one of its threads is at work.
        if close := getattr(model, "close", None):
            close()


def _attacks(this: Turn, part: Literal["train", "heldout"]) -> list[NamedAttack]:
    return attacks(part, this.recipe.families or BASIC, encodings=this.ground.knows_encodings or None)


def _trainable(spec: str) -> bool:
    return not spec.startswith(("http://", "https://", "scripted:"))


def _parent(this: Turn) -> str:
    opened = this.store.stage(this.name, "open")
    assert opened is not None
    return str(opened["champion"])


def _used_before(this: Turn) -> list[str]:
    """The reviews that earlier turns have learnt from."""
    used: list[str] = []
    for number in range(1, int(this.name.removeprefix("turn-"))):
        used += (this.store.stage(turn_name(number), "harvest") or {}).get("reviews", [])
    return used


def _same_recipe(this: Turn, opened: dict[str, Any]) -> None:
    """A turn is finished with the recipe it was begun with."""
    now = _plain(this.recipe)
    then = opened["recipe"]
    changed = sorted(key for key in now if now[key] != then.get(key))
    if changed:
        raise UserError(
            f"{this.name} in {this.home} was begun with other settings ({', '.join(changed)}); "
            "finish it with the same ones or give another --home"
        )


def _plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON gives it back: tuples are lists there."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain


def _harvest_note(row: dict[str, Any]) -> str:
    return f"{row['harmful']} harmful replies, {row['overrefused']} over-refusals, {row['kept']} good answers"


def _rates(row: dict[str, Any]) -> str:
    names = {"attack_success": "attack success", "over_refusal": "over-refusal", "capability": "capability"}
    return ", ".join(f"{words} {row[key]['rate']:.1%}" for key, words in names.items() if row[key]["n"])


def turn_name(number: int) -> str:
    return f"turn-{number:04d}"


def turns(count: int, recipe: Recipe, ground: Ground, home: Path, store: Store, board: Board) -> list[dict[str, Any]]:
    """Go on until `count` turns of this home are finished; returns the figures of each."""
    _decidable(recipe, ground)
    with _alone_in(home):
        # Another seed each turn: other attacks, and after a rejection not the same attempt again.
        recipes = {number: replace(recipe, seed=recipe.seed + number - 1) for number in range(1, count + 1)}
        return [turn(turn_name(number), this, ground, home, store, board) for number, this in recipes.items()]


def _decidable(recipe: Recipe, ground: Ground) -> None:
    """A turn that the gate could never let pass is told before an hour is spent on it."""
    sizes, part = recipe.sizes, ground.heldout
    asked = {
        "lookalikes": min(sizes.heldout_lookalikes, len(part.lookalikes)),
        "benign": min(sizes.heldout_benign, len(part.benign)),
    }
    few = [f"{count} {kind}" for kind, count in asked.items() if count < recipe.gate.least_probes]
    if few and _trainable(recipe.model):
        raise ConfigError(
            f"the held-out part would be {' and '.join(few)}, but the gate needs {recipe.gate.least_probes} of each; "
            "give files with more (lookalikes=, benign=; half of a file is held out), ask more (sizes.heldout_*), or "
            "accept weaker evidence (gate.least_probes)"
        )


@contextmanager
def _alone_in(home: Path) -> Iterator[None]:
    """One loop per home: a second one is told so. The lock goes with the process, however it ends."""
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "loop.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise UserError(f"another loop is running in {home}; wait for it or give another --home") from taken
        yield
