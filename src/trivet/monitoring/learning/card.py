"""The model card of a trained classifier, written by the command that trained it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivet.monitoring.learning.corpus import CAP_TOXICITY

_HEAD = """# The light classifier

Written by `trivet guard train`; do not edit by hand.

What it is: one file of hashed word and character n-grams with logistic regression, one column ("head") for each thing
it looks for. `unsafe`: does the text ask for harm? `jailbreak`: does it try to talk the model out of its rules?
`injection`: does it carry instructions meant to displace the real ones? `toxic`: does it insult, threaten or demean? No neural network, no download, under a
millisecond for a short prompt on one core. It is the first stage of the cascade that the default policy uses (see `encoder/MODEL_CARD.md`).

## Where it fails
- It knows words and spellings, not meaning: polite paraphrases, euphemisms and questions whose harm lies in the
  conversation get past it. On material of a make it has not seen expect the figures under *Left out*, not those under *Test*.
- It was trained on English, but for insults in Chinese. Harmful text in other languages passes (see the last tables).
- `toxic` follows labels that count plain swearing and are known to be biased against African American English.
- Alarming words in harmless requests are its commonest false alarms: see the rows of `over_refusal`.
- An injection worded like none it has seen passes: see *Left out*, where hardly any is caught.
- A short payload in a long text is seen in windows of {window} characters; one sentence among much padding may be missed.
- Labels of several sources are automatic or noisy (the data's own readme says which).

## Data and licences
{rows} rows of the public data under `--data` (tasks prompts_safety, jailbreak, injection, over_refusal, toxicity, and ordinary
requests from benign), each file at most {cap} rows ({cap_toxicity} of toxicity). Licences of the sources: MIT, Apache-2.0, CC0-1.0, CC-BY-3.0,
CC-BY-4.0, as named in that folder's readme and notices; the weights hold no text of theirs. Some of the prompts were
written by commercial chat models. Split by normalised text, goal, document, attack, translation and template cluster:
{split}. Rows whose keys fall into different parts are dropped. Thresholds: at most {target} of the good texts of
the dev part flagged, and twice that share of its over-refusal rows. Settings were chosen on the dev
part; test figures were seen while the recipe was written, so they are somewhat hopeful.

Some things are ours: grammars, in training only (harmless and harmful uses of the same verbs, requests about the same
matters, jailbreak frames and their harmless doubles, orders planted in documents, contempt in plain words), and the attack
instructions of injection/constructed said alone, as a user's own request, which are good. Documents with such an instruction
and no sentence that leads it in are kept out of training (rows `constructed_untriggered`, and bare tasks of our own), since a classifier of words that
learnt them would flag ordinary requests; they are the encoder's business.
"""


def card(report: Mapping[str, Any], window: int, cap: int) -> str:
    """The card as Markdown. Rates are in per cent with 95 % Wilson intervals."""
    counts = report["rows"]
    split = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    text = _HEAD.format(
        window=window,
        cap=f"{cap:,}",
        cap_toxicity=f"{CAP_TOXICITY:,}",
        rows=f"{sum(counts.values()):,}",
        split=split,
        target=f"{report['target_false_positives']:.1%}",
    )
    parts = [
        text,
        "\n## Test\nAt the shipped threshold, on the test part.\n\n",
        _summary(report["test"], report["heads"]),
    ]
    together = report["any_layer"]
    parts.append(
        "\nGood texts flagged by any head: "
        f"{rate(together['test']['false_positives'])} of the test part, {rate(together['test']['over_refusal'])} of its "
        f"over-refusal rows, {rate(together['outside']['false_positives'])} of sources that training never saw.\n"
    )
    if report["left_out"]:
        parts += ["\n## Left out\nTrained without the source, measured on it.\n\n", _left_out(report["left_out"])]
    parts += ["\n## Per source\nShare flagged: recall where the rows are bad, false alarms where they are good.\n"]
    parts += [f"\n### {head}\n\n{sources_table(figures['per_source'])}" for head, figures in report["test"].items()]
    parts += ["\n## Sources and languages outside training\n"]
    parts += [f"\n### {head}\n\n{sources_table(figures['per_source'])}" for head, figures in report["outside"].items()]
    return "".join(parts)


def write_card(path: Path, report: Mapping[str, Any], window: int, cap: int) -> None:
    path.write_text(card(report, window, cap), encoding="utf-8")


def rate(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "–"
    return f"{100 * row['rate']:.1f} % ({100 * row['low']:.1f}–{100 * row['high']:.1f}, n={row['n']})"


def table(headers: list[str], rows: list[list[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _summary(test: Mapping[str, Any], heads: Mapping[str, Any]) -> str:
    headers = [
        "head",
        "threshold",
        "recall",
        "false alarms",
        "over-refusal",
        "recall at 1 %",
        "recall at 5 %",
        "AUPRC",
        "AUROC",
    ]
    rows = [
        [
            head,
            f"{heads[head]['threshold']:.3f}",
            rate(f["recall"]),
            rate(f["false_positives"]),
            rate(f["over_refusal"]),
            rate(f["recall_at_1%"]),
            rate(f["recall_at_5%"]),
            f"{f['auprc']:.3f}",
            f"{f['auroc']:.3f}",
        ]
        for head, f in test.items()
    ]
    return table(headers, rows)


def _left_out(rows: list[Mapping[str, Any]]) -> str:
    cells = [[r["head"], r["source"], rate(r["recall"]), rate(r["false_positives"])] for r in rows]
    return table(["head", "source", "recall", "false alarms"], cells)


def sources_table(rows: list[Mapping[str, Any]]) -> str:
    cells = [
        [r["source"], "bad" if r["bad"] else "good", "English" if r["english"] else "other", rate(r)]
        for r in sorted(rows, key=lambda r: (not r["bad"], r["source"]))
    ]
    return table(["source", "rows are", "language", "flagged"], cells)
