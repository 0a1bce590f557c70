"""The model card of the encoder and of the cascade it is part of, written by the command that trained it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trivet.monitoring.learning.card import rate, sources_table, table

_HEAD = """# The encoder, and the cascade

Written by `trivet guard train --stage encoder`; do not edit by hand.

What it is: a BERT encoder of 384 dimensions, started from the lowest {layers} layers of all-MiniLM-L6-v2 (Apache-2.0, by the
Sentence-Transformers project, on Microsoft's MiniLM-L6-H384-uncased), fine-tuned here with one output per head, stored in
eight bits as ONNX and run by onnxruntime. Heads: `unsafe` (asks for harm), `jailbreak` (talks the model out of its rules),
`injection` (a text that was to be read gives orders to its reader's assistant), `toxic`, and kinds of toxicity: insult,
obscene, hate, threat, sexual, violence, self_harm, sexism. Each of the four tasks below joins it with the light classifier
(see `../MODEL_CARD.md`) by a small logistic regression; its threshold is set so that at most {target} of the good texts of the
dev part are flagged, and of the rows that are easily taken for bad (`toxic`: three times that share).

Meant for: the second stage of the shipped policies, on text in English. Not meant for: judging people, deciding alone
about accounts, languages other than English (it has seen insults in Chinese and nothing bad or good in other languages).

## Where it fails
- On material of a make it has not seen it catches less: read *Left out* before *Test*.
- Harm that lies in a whole conversation, or behind a pretext without a harmful word, gets past it. So do most languages
  (last tables).
- Kinds of toxicity are learnt from few rows (sexual, violence, self_harm: a few dozen each); take them as hints.
- `toxic` follows labels that count plain swearing and that are known to be biased against African American English
  (davidson_tweets); it is a poor judge of who is hurt.
- Requests that merely mention weapons, drugs or attacks are its commonest false alarms: rows `over_refusal`.
- Of a long text the encoder reads the first window of {window} tokens and those that look clearly worse to the light stage, {most}
  together (of a document {most_of_documents}); what only the encoder would have seen elsewhere is missed.

## Data and licences
{rows} rows of the public data under `--data` (prompts_safety, jailbreak, injection, over_refusal, toxicity, benign), split by
normalised text, goal, document, attack, translation, rewrite pair and template: {split}. Licences of the sources: MIT,
Apache-2.0, CC0-1.0, CC-BY-3.0, CC-BY-4.0, CDLA-Permissive-2.0, as named in that folder's readme and notices; some prompts were
written by commercial chat models. Grammars of our own (lookalikes, contrasts, planted, frames and their doubles, orders,
tasks, slights) are in training only. The
encoder learns on train, the joint scores and thresholds on dev, with the eight-bit network; test is only measured on. It was
looked at while the recipe was written, though: that rows easily taken for bad may be flagged no more than others, and that
toxicity may flag three times as many, was decided after a first look, so the test figures are somewhat hopeful. Settings:
{settings}.
"""


def encoder_card(report: Mapping[str, Any], window: int, most: tuple[int, int]) -> str:
    """The card as Markdown. Rates are in per cent with 95 % Wilson intervals."""
    counts = report["rows"]
    settings = ", ".join(f"{key} {value}" for key, value in report["settings"].items())
    parts = [
        _HEAD.format(
            layers=report["settings"]["layers"],
            target=f"{report['target_false_positives']:.1%}",
            window=window,
            most=most[0],
            most_of_documents=most[1],
            rows=f"{sum(counts.values()):,}",
            split=", ".join(f"{name} {count:,}" for name, count in counts.items()),
            settings=settings,
        ),
        "\n## Test\nAt the shipped threshold, and at the threshold that flags the stated share of these same good rows.\n\n",
        _summary(report["test"], report["tasks"]),
    ]
    both = report["together"]
    parts.append(
        "\nGood texts flagged by any of the tasks: "
        f"{rate(both['test']['false_positives'])} of the test part, {rate(both['test']['over_refusal'])} of its rows that "
        f"are easily taken for bad, {rate(both['outside']['false_positives'])} of sources that training never saw.\n"
    )
    if report["left_out"]:
        parts += [
            "\n## Left out\nBoth stages trained without the source and others with it (in folds; one epoch, at most 1,200 "
            "rows of each other source, so somewhat lower than a full training), then measured on it. How far the light "
            "stage is heeded about jailbreaks was chosen with jbb_artifacts and inthewild left out.\n\n",
            _left_out(report["left_out"]),
        ]
    if report.get("unmeasured"):
        parts.append(f"\nLeft out of this measurement for want of time: {', '.join(report['unmeasured'])}.\n")
    parts += ["\n## Per source\nShare flagged: recall where the rows are bad, false alarms where they are good.\n"]
    parts += [f"\n### {task}\n\n{sources_table(figures['per_source'])}" for task, figures in report["test"].items()]
    parts += ["\n## Sources and languages outside training\n"]
    parts += [f"\n### {task}\n\n{sources_table(figures['per_source'])}" for task, figures in report["outside"].items()]
    return "".join(parts)


def write_encoder_card(path: Path, report: Mapping[str, Any]) -> None:
    from trivet.monitoring.guards.cascade import MOST, MOST_OF_DOCUMENTS
    from trivet.monitoring.guards.encoder import WINDOW

    path.write_text(encoder_card(report, WINDOW, (MOST, MOST_OF_DOCUMENTS)), encoding="utf-8")


def _summary(test: Mapping[str, Any], tasks: Mapping[str, Any]) -> str:
    headers = ["task", "threshold", "recall", "false alarms", "easily taken for bad", "recall at 1 %", "recall at 5 %"]
    rows = [
        [
            task,
            f"{tasks[task]['threshold']:.3f}",
            *(rate(f[key]) for key in ("recall", "false_positives", "over_refusal", "recall_at_1%", "recall_at_5%")),
            f"{f['f1']:.3f}",
            f"{f['auprc']:.3f}",
            f"{f['auroc']:.3f}",
        ]
        for task, f in test.items()
    ]
    return table([*headers, "F1", "AUPRC", "AUROC"], rows)


def _left_out(rows: Sequence[Mapping[str, Any]]) -> str:
    headers = ["task", "source", "recall", "false alarms", "on", "AUROC", "AUROC of the light stage alone"]
    cells = [
        [
            r["task"],
            r["source"],
            rate(r["recall"]),
            rate(r["false_positives"]),
            r["against"],
            f"{r['auroc']:.3f}",
            f"{r['auroc_light']:.3f}",
        ]
        for r in sorted(rows, key=lambda r: (r["task"], r["source"]))
    ]
    return table(headers, cells)
