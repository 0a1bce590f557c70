"""The whole training of the shipped encoder: fine-tuning, export, joining with the light stage, figures, sources left out.

The encoder learns on the train part. The joint scores and thresholds are fitted on the dev part, with the exported
eight-bit network, so that what is calibrated is what runs. The test part is only measured on.

What counts for data of another make is *left out*: the sources that hold bad rows are dealt into FOLDS; for each fold
both stages are trained without its sources and measured on them, on rows that share no key with what was learnt.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from trivet.core.messages import digest_of
from trivet.core.stats import Rate
from trivet.monitoring.guards.cascade import MOST, MOST_OF_DOCUMENTS, Cascade, Task
from trivet.monitoring.guards.classifier import LightClassifier
from trivet.monitoring.guards.encoder import Encoder
from trivet.monitoring.learning.corpus import HARD, HEADS, Example, as_rows, load
from trivet.monitoring.learning.encoder_file import write_encoder
from trivet.monitoring.learning.encoder_training import Settings, trained
from trivet.monitoring.learning.figures import auroc, figures_of, per_source
from trivet.monitoring.learning.stacking import TASKS, Outputs, stacked, truth
from trivet.monitoring.learning.training import fit

Say = Callable[[str], None]
FOLDS = (
    (
        "prompts_safety/advbench",
        "prompts_safety/multijail",
        "prompts_safety/coconot_safety",
        "jailbreak/sap200",
        "injection/deepset_prompt_injections",
        "toxicity/davidson_tweets",
    ),
    (
        "prompts_safety/red_instruct",
        "prompts_safety/past_tense_reformulations",
        "jailbreak/inthewild",
        "jailbreak/self_reminder",
        "jailbreak/garak_dan",
        "jailbreak/giskard_jailbreaks",
        "injection/constructed",
        "injection/constructed_untriggered",
        "toxicity/paradetox",
    ),
    (
        "prompts_safety/fuzzyai_prompts",
        "prompts_safety/forbidden_questions",
        "prompts_safety/gptfuzz_questions",
        "jailbreak/jbb_artifacts",
        "jailbreak/tasktracker",
        "jailbreak/adaptive_attacks",
        "injection/cyberseceval_prompt_injection",
        "toxicity/toxigen_human",
    ),
    (
        "prompts_safety/openai_moderation",
        "prompts_safety/jailbreakbench",
        "over_refusal/rbr_gold_prompts",
        "jailbreak/gptfuzz_templates",
        "jailbreak/fuzzyai_persuasion",
        "injection/giskard_hijacking",
        "toxicity/toxic_spans",
        "toxicity/edos_sexism",
    ),
)
FOLD_ROWS = 1200


def deepen(
    data: Path,
    light: LightClassifier,
    settings: Settings,
    out: Path,
    *,
    false_positives: float = 0.01,
    leave_out: bool = True,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Train the encoder into the folder `out` and report."""
    examples = load(data)
    parts = {name: [e for e in examples if e.part == name] for name in ("train", "dev", "test", "outside", "dropped")}
    say(f"rows: {', '.join(f'{name} {len(rows):,}' for name, rows in parts.items())}")
    notes = {"trained_on": len(parts["train"]), "settings": {**asdict(settings), "start": settings.start.name}}
    if _is_there(out, notes):
        say(f"{out} was trained with these settings on these rows: joining and measuring it")
    else:
        _network(parts["train"], settings, out, say, notes)
        say("trained; joining and measuring")
    cascade = joined(parts["dev"], light, out, false_positives)
    report: dict[str, Any] = {
        "rows": {name: len(rows) for name, rows in parts.items()},
        "target_false_positives": false_positives,
        "settings": notes["settings"],
        "tasks": {task.name: asdict(task) for task in cascade.tasks},
        "test": {task: measured(cascade, task, parts["test"]) for task in TASKS},
        "outside": {task: measured(cascade, task, parts["outside"]) for task in TASKS},
        "together": {part: together(cascade, parts[part]) for part in ("test", "outside")},
        "left_out": [],
    }
    if leave_out:
        report["left_out"] = _folds(examples, settings, out, false_positives, say)
    return report


def _is_there(out: Path, notes: dict[str, Any]) -> bool:
    """Whether a training of the same settings and rows has come to its end here before."""
    try:
        about = json.loads((out / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(about.get(key) == value for key, value in notes.items())


def _folds(
    examples: Sequence[Example], settings: Settings, out: Path, false_positives: float, say: Say
) -> list[dict[str, Any]]:
    """Every fold, each kept beside the encoder as soon as it is done, so that a run cut off goes on where it was."""
    kept = out.with_name(f"{out.name}.folds.json")
    done: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    mark = digest_of([len(examples), {**asdict(settings), "start": settings.start.name}, false_positives, FOLD_ROWS])
    for number, sources in enumerate(FOLDS, start=1):
        key = digest_of([mark, sources])
        if key not in done:
            say(f"fold {number} of {len(FOLDS)}: without {', '.join(sources)}")
            done[key] = without(sources, examples, settings, false_positives, say)
            kept.write_text(json.dumps(done), encoding="utf-8")
    return [row for sources in FOLDS for row in done[digest_of([mark, sources])]]


def learnt(
    train: Sequence[Example],
    dev: Sequence[Example],
    light: LightClassifier,
    settings: Settings,
    out: Path,
    false_positives: float,
    say: Say,
) -> Cascade:
    """The encoder trained and exported into `out`, and joined with the light stage on the dev part."""
    _network(train, settings, out, say, {})
    return joined(dev, light, out, false_positives)


def _network(train: Sequence[Example], settings: Settings, out: Path, say: Say, notes: dict[str, Any]) -> None:
    (out / "encoder.json").unlink(missing_ok=True)
    model, tokenizer = trained(train, settings, say)
    write_encoder(out, model, tokenizer, notes)


def joined(dev: Sequence[Example], light: LightClassifier, out: Path, false_positives: float) -> Cascade:
    """The light stage and the encoder in `out` joined on the dev part, by what they say when they run."""
    bare = Cascade(light, Encoder(out), ())
    texts, heads = [e.text for e in dev], ([h.name for h in light.heads], bare.encoder.heads)
    outputs = {most: read_by(bare, texts, most) for most in {_most(task) for task in TASKS}}
    tasks = [stacked(dev, outputs[_most(task)], heads, task, false_positives) for task in TASKS]
    write_tasks(out, light, tasks)
    return Cascade(light, bare.encoder, tasks)


def write_tasks(out: Path, light: LightClassifier, tasks: Sequence[Task]) -> None:
    rows = [asdict(task) for task in tasks]
    (out / "cascade.json").write_text(
        json.dumps({"light": light.digest, "tasks": rows}, indent=1) + "\n", encoding="utf-8"
    )


def _most(task: str) -> int:
    """How many windows a task is read in: injections are looked for in documents."""
    return MOST_OF_DOCUMENTS if task == "injection" else MOST


def read_by(cascade: Cascade, texts: Sequence[str], most: int, rows: int = 256) -> Outputs:
    """What both stages say, exactly as the running cascade asks them."""
    light, encoder = [], []
    for start in range(0, len(texts), rows):
        for output in cascade.outputs(texts[start : start + rows], most):
            light.append(output.light)
            encoder.append(output.deep.logits)
    return Outputs(np.array(light), np.array(encoder))


def measured(cascade: Cascade, task: str, examples: Sequence[Example]) -> dict[str, Any]:
    """The figures of one task on the examples that speak about it; what speaks about sexism alone only per source."""
    known = [e for e in examples if task in e.labels]
    limit = cascade.task(task).threshold
    found = figures_of(
        scores_of(cascade, task, known), np.array([e.labels[task] for e in known], dtype=bool), known, limit
    )
    aside = [e for e in examples if task not in e.labels and truth(e, task) is not None]
    if aside:
        flagged = scores_of(cascade, task, aside) >= limit
        found["per_source"] += per_source(aside, flagged, np.array([truth(e, task) for e in aside], dtype=bool))
    return found


def scores_of(cascade: Cascade, task: str, known: Sequence[Example], rows: int = 256) -> np.ndarray:
    texts = [e.text for e in known]
    found = [cascade.scores(texts[start : start + rows], _most(task))[task] for start in range(0, len(texts), rows)]
    return np.concatenate(found) if found else np.zeros(0)


def together(cascade: Cascade, examples: Sequence[Example]) -> dict[str, Any]:
    """How often good texts are flagged by any task: what a user of all of them meets."""
    good = [e for e in examples if not any(e.labels.values()) and set(HEADS) <= set(e.labels)]
    flags = np.zeros(len(good), dtype=bool)
    for task in cascade.tasks:
        flags |= scores_of(cascade, task.name, good) >= task.threshold
    hard = np.array([e.source.startswith(HARD) for e in good], dtype=bool)
    return {
        "false_positives": Rate(int(flags.sum()), len(flags)).row(),
        "over_refusal": Rate(int(flags[hard].sum()), int(hard.sum())).row(),
    }


def without(
    sources: Sequence[str], examples: Sequence[Example], settings: Settings, false_positives: float, say: Say
) -> list[dict[str, Any]]:
    """Both stages trained without some sources, for one epoch on at most FOLD_ROWS rows of each other source, then
    measured on the sources. Good rows are those of the test part."""
    train = _thinned([e for e in examples if e.part == "train" and e.source not in sources])
    dev = _thinned([e for e in examples if e.part == "dev" and e.source not in sources])
    known = {key for e in (*train, *dev) for key in e.keys}
    light = fit(as_rows(train), as_rows(dev), HEADS, false_positives=false_positives, size=1 << 18, strength=80.0)
    with tempfile.TemporaryDirectory() as scratch:
        cascade = learnt(train, dev, light, replace(settings, epochs=1), Path(scratch), false_positives, say)
        good = [e for e in examples if e.part == "test" and e.source not in sources]
        rows = []
        for source in sources:
            strange = [
                e for e in examples if e.source == source and e.language in ("en", "zh") and not known & set(e.keys)
            ]
            for task in TASKS:
                rows += _one(cascade, task, source, _thinned(strange), good)
    return rows


def _one(
    cascade: Cascade, task: str, source: str, strange: Sequence[Example], good: Sequence[Example]
) -> list[dict[str, Any]]:
    """A left-out source on one task: what is flagged, and how well its bad rows stand apart from good ones."""
    bad = [e for e in strange if truth(e, task) is True]
    if not bad:
        return []
    own = [e for e in strange if truth(e, task) is False]
    fine = own if len(own) >= 30 else [e for e in good if e.labels.get(task) is False]
    scores = scores_of(cascade, task, [*bad, *fine])
    light = np.array([cascade.light.score(e.text, task) for e in (*bad, *fine)])
    wrong = np.arange(len(scores)) < len(bad)
    limit = cascade.task(task).threshold
    return [
        {
            "task": task,
            "source": source,
            "against": "its own good rows" if fine is own else "good rows of the test part",
            "recall": Rate(int((scores[wrong] >= limit).sum()), len(bad)).row(),
            "false_positives": Rate(int((scores[~wrong] >= limit).sum()), len(fine)).row(),
            "auroc": round(auroc(scores, wrong), 4),
            "auroc_light": round(auroc(light, wrong), 4),
        }
    ]


def _thinned(examples: Sequence[Example]) -> list[Example]:
    """At most FOLD_ROWS rows of each source, drawn by hash."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: digest_of(["fold", e.text])):
        if len(groups[example.source]) < FOLD_ROWS:
            groups[example.source].append(example)
    return [e for rows in groups.values() for e in rows]
