"""What a measurement is made of: goals, probes and judge, from the names that the options hold."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trivet.core.errors import ConfigError
from trivet.core.models.resolve import resolve
from trivet.core.protocols import Ground, Judge, Model
from trivet.robustness.factual import by_facts
from trivet.robustness.goals import load_goals
from trivet.robustness.measure import Config, Material
from trivet.robustness.reports.correction import Card
from trivet.robustness.suites import capability, catalogue, loaders, overrefusal, regression

PACKAGED = Path(overrefusal.__file__).parent / "data" / "goals.jsonl"
_REMOTE = ("scripted", "http", "https", "anthropic", "rest", "python")
"""Targets that know nothing of the town: their goals are the packaged ones unless others are named."""


class Asked(NamedTuple):
    """Everything that is asked, who judges, its card where it has one, and a name for all of it."""

    material: Material
    judge: Judge
    card: Card | None
    source: str
    pairs: tuple[overrefusal.Pair, ...]
    oracle: bool


def ground(config: Config, home: Path) -> Asked:
    """What the config names. Nothing of the target is touched yet."""
    suite = catalogue.suite(config.suite)
    source = str(config.goals) if config.goals else _usual(config.target)
    town = _town() if source == "town" else None
    judge = _judge(config.judge, town, home)
    loaded = loaders.load(config.probes) if config.probes else None
    pairs = loaded.pairs if loaded else tuple(overrefusal.pairs()) if town is None else ()
    attacker = None
    writer = resolve(config.attacker, home=home) if config.attacker != "template" else None
    names = config.families or (catalogue.DIALOGUES if suite.dialogues else ())
    encodings = town.knows_encodings if town else None
    if any(name in catalogue.DIALOGUES for name in names):
        attacker = writer or _templates(config, encodings)
    part = getattr(town, config.part) if town else None
    probes = loaded.probes if loaded else part.lookalikes if part else overrefusal.packaged()
    if suite.contrasts and not loaded:
        probes, pairs = overrefusal.packaged(), tuple(overrefusal.pairs())
    material = Material(
        goals=part.goals if part else load_goals(PACKAGED if source == "packaged" else source),
        lookalikes=probes,
        benign=part.benign if part else capability.packaged(),
        encodings=encodings,
        contrasts=loaded.goals if loaded else [pair.unsafe for pair in pairs],
        cases=regression.load(cases_file(config, home)) if suite.cases else (),
        attacker=attacker,
        # Not the judge that reports: a search that ends where its own judge is content flatters itself.
        judge=town.eye if town else judge_named("rules", home),
        writer=writer,
    )
    name = source if source in ("town", "packaged") else Path(source).name
    return Asked(material, judge, _card(config, judge), name, pairs, town is not None and judge is town.judge)


def cases_file(config: Config, home: Path) -> Path:
    return config.cases or home / regression.FILE


def card_of(judge: Judge) -> Card | None:
    """The judge's card, where it has one that tells sensitivity and specificity."""
    card = getattr(judge, "card", None)
    if card is None:
        return None
    return Card(getattr(judge, "name", type(judge).__name__), card.sensitivity, card.specificity, card.digest)


def _card(config: Config, judge: Judge) -> Card | None:
    """The card of the file that was named, which must be this judge's; else the one that the judge has."""
    if config.judge_card is None:
        return card_of(judge)
    from trivet.core.judges.cards import JudgeCard

    read = JudgeCard.load(config.judge_card)
    other = getattr(judge, "other", judge)  # facts are counted before it; the card speaks of what is judged
    name, digest = getattr(other, "name", type(other).__name__), getattr(other, "digest", "")
    if read.judge != name or (read.digest and digest and read.digest != digest):
        raise ConfigError(
            f"{config.judge_card} is the card of {read.judge} {read.digest[:12]}, and {name} {digest[:12]} judges; make one "
            "with `trivet judge eval --judge ... --card FILE`, and name the same judge"
        )
    return Card(read.judge, read.sensitivity, read.specificity, read.digest)


def judge_named(name: str, home: Path) -> Judge:
    """A judge that needs no ground: the shipped classifier (auto), rules, one that was trained or calibrated (a .npz), or a
    model by a rubric."""
    if name == "rules":
        from trivet.core.judges.rules import RefusalRules

        return RefusalRules()
    if name in ("auto", "classifier"):
        from trivet.core.judges.classifier import ReplyClassifier

        return by_facts(ReplyClassifier.shipped())
    if name.endswith(".npz"):
        from trivet.core.judges.classifier import ReplyClassifier

        return by_facts(ReplyClassifier.load(name))
    from trivet.core.judges.rubric import Rubric

    return by_facts(Rubric(resolve(name, home=home), name=name))


def _judge(name: str, town: Ground | None, home: Path) -> Judge:
    if name in ("auto", "oracle") and town:
        return town.judge
    if name == "oracle":
        raise ConfigError("only the town has an oracle; give --goals town, or --judge rules, classifier or a model")
    return judge_named(name, home)


def _templates(config: Config, encodings: tuple[str, ...] | None) -> Model:
    from trivet.robustness.dialogues.template import TemplateAttacker

    return TemplateAttacker(config.part, encodings=encodings, seed=config.seed)


def _usual(target: str) -> str:
    return "packaged" if target.partition(":")[0] in _REMOTE else "town"


def _town() -> Ground:
    try:
        from trivet.town.ground import ground as made
    except ModuleNotFoundError as missing:
        raise ConfigError(f"the town needs {missing.name}, which is not installed; give --goals FILE") from missing
    return made()
