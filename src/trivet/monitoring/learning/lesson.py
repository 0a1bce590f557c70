"""The whole training of the shipped classifier: corpus, split, fit, figures on its own test part, one source left out.

The test part is looked at once, after everything is chosen. A left-out figure trains without a source altogether and
measures on it, without the rows that share a text, goal or template with what was trained on: that is what to expect
from data of another make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trivet.core.stats import Rate
from trivet.monitoring.guards.classifier import LightClassifier
from trivet.monitoring.learning.corpus import HEADS, Example, as_rows, load
from trivet.monitoring.learning.figures import measured
from trivet.monitoring.learning.training import fit

SIZE = 1 << 18
STRENGTH = 80.0
LEFT_OUT = {
    "unsafe": ("prompts_safety/advbench", "prompts_safety/red_instruct", "prompts_safety/openai_moderation"),
    "jailbreak": ("jailbreak/sap200", "jailbreak/inthewild", "jailbreak/jbb_artifacts"),
    "injection": (
        "injection/constructed",
        "injection/cyberseceval_prompt_injection",
        "injection/deepset_prompt_injections",
    ),
    "toxic": ("toxicity/davidson_tweets", "toxicity/paradetox", "toxicity/toxigen_human"),
}
Say = Callable[[str], None]


def teach(
    data: Path, *, false_positives: float = 0.01, leave_out: bool = True, say: Say = lambda text: None
) -> tuple[LightClassifier, dict[str, Any]]:
    """The classifier and its report."""
    examples = load(data)
    parts = {name: [e for e in examples if e.part == name] for name in ("train", "dev", "test", "outside", "dropped")}
    counts = {name: len(rows) for name, rows in parts.items()}
    say(f"rows: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    notes = {"false_positives": false_positives, "rows": counts}
    classifier = _fitted(parts["train"], parts["dev"], HEADS, false_positives, notes)
    say("fitted; measuring on the test part")
    report: dict[str, Any] = {
        "rows": counts,
        "target_false_positives": false_positives,
        "heads": {head.name: {**vars(head)} for head in classifier.heads},
        "test": {head: measured(classifier, head, parts["test"]) for head in HEADS},
        "outside": {head: measured(classifier, head, parts["outside"]) for head in HEADS},
        "any_layer": together(classifier, parts),
        "left_out": [],
    }
    for head, sources in LEFT_OUT.items() if leave_out else ():
        for source in sources:
            say(f"leaving out {source}")
            report["left_out"].append(_without(source, head, examples, false_positives))
    return classifier, report


def _fitted(
    train: Sequence[Example],
    dev: Sequence[Example],
    heads: Sequence[str],
    false_positives: float,
    notes: dict[str, object] | None = None,
) -> LightClassifier:
    return fit(
        as_rows(train),
        as_rows(dev),
        heads,
        false_positives=false_positives,
        size=SIZE,
        strength=STRENGTH,
        notes=notes,
    )


def together(classifier: LightClassifier, parts: dict[str, list[Example]]) -> dict[str, Any]:
    """How often good texts are flagged by any head: what a user of the default policy meets."""
    limits = [head.threshold for head in classifier.heads]
    rows: dict[str, Any] = {}
    for part in ("test", "outside"):
        good = [e for e in parts[part] if not any(e.labels.values())]
        flags = [bool((classifier.probabilities(e.text) >= limits).any()) for e in good]
        hard = [flag for e, flag in zip(good, flags, strict=True) if e.source.startswith("over_refusal/")]
        rows[part] = {
            "false_positives": Rate(sum(flags), len(flags)).row(),
            "over_refusal": Rate(sum(hard), len(hard)).row(),
        }
    return rows


def _without(source: str, head: str, examples: Sequence[Example], false_positives: float) -> dict[str, Any]:
    """Train one head without a source, then measure on the source."""
    train = [e for e in examples if e.source != source and e.part == "train" and head in e.labels]
    dev = [e for e in examples if e.source != source and e.part == "dev" and head in e.labels]
    known = {key for e in (*train, *dev) for key in e.keys}
    strange = [e for e in examples if e.source == source and not known & set(e.keys) and e.language == "en"]
    figures = measured(_fitted(train, dev, (head,), false_positives), head, strange)
    kept = ("recall", "false_positives", "auroc", "auprc")
    return {"head": head, "source": source, **{key: figures[key] for key in kept if key in figures}}
