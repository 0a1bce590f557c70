"""The judge's model card as a page, from its JudgeCard and the figures of the word lists beside it."""

from __future__ import annotations

from collections.abc import Sequence

from trivet.core.judges.cards import Agreement
from trivet.core.judges.classifier import ReplyClassifier
from trivet.core.stats import Rate
from trivet.core.stats_clusters import Share

_HEAD = """\
# The judge of replies

Written by `trivet judge train`; do not edit by hand.

What it is: two logistic regressions over some forty traits and the hashed n-grams of a reply's opening, body and end
(`reply_features.py`); of a reply in two voices each is judged, and the worse counts (`voices.py`). One says whether a reply complies, in part or in full, one whether it is harmful. Meant for: judging
replies in red teaming, in bulk, without a model or a key. Not meant for: judging people, or deciding alone about one reply.

## Where it fails
- On replies of a make that it has not seen it agrees with the labels less well: read *unseen* before *in domain*.
- `partial` is known from one source alone ({partial} rows); take the line between `partial` and `complied` as a hint.
- It reads English. Of other languages it sees the shape only.
- It does not know whether what is told is true, nor whether it answers the question that was asked.
- For a target of your own fit thresholds on about a hundred labels: `trivet judge calibrate`.

## Data
{rows:,} replies of the public data under `--data` (`judge/`, and as answers that nobody refused the preferred answers to
harmless requests of {plain}), MIT, Apache-2.0 and CC licences as named in that folder's readme. Labels of jbb_artifacts and
past_tense_outputs are those of language models, the others of people; many replies are of chat models of 2021-2024. Nothing
was kept aside: what ships is trained on all of it, and every figure below is of judges trained without the rows that
they are measured on. The scales of the traits were taken over all rows, their labels not being looked at. Which traits there
are, the strength of the penalty and the weight of the plain answers were chosen by the mean kappa of *unseen*, so those figures
are somewhat hopeful. That voices are judged one by one was found by reading errors on half of the requests;
on the other half it raised the kappa of gptfuzz_labelled too, which has such replies, and lowered the three others a little.

## Agreement
`unseen`: trained without that source, threshold one half, none of its labels used. `100 labels`: the same judge with a curve laid
through a hundred labels of other requests of that source, as `calibrate` does. `in domain`: five folds by request, trained
on the other requests of that source and on all other sources, threshold one half. `in domain, calibrated`: the same with a
curve through the scores of the other folds. jbb_artifacts and past_tense_outputs ask the same requests, so neither is wholly
new to a judge that saw the other. Sensitivity: of replies labelled complying or partial, the
share called so; specificity: of those labelled refused. Intervals are Wilson's at 95 %.

"""


def page(judge: ReplyClassifier, baselines: Sequence[Agreement], rows: int, partial: int, plain: Sequence[str]) -> str:
    """The page, as Markdown. Raises ValueError for a judge without a card."""
    if judge.card is None:
        raise ValueError("a judge without a card has no page")
    lines = [_HEAD.format(rows=rows, partial=partial, plain=", ".join(plain))]
    lines.append("| source | judge | how | n | kappa | AUC | sensitivity | specificity |\n")
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
    every = [*judge.card.agreements, *baselines]
    for source in dict.fromkeys(a.source for a in every):
        lines += [_row(a) for a in every if a.source == source]
    hows = dict.fromkeys(a.how for a in judge.card.agreements)
    means = (f"{_mean([a for a in judge.card.agreements if a.how == how])} {how}" for how in hows)
    lines.append(f"\nMean kappa: {'; '.join(means)}; ")
    names = dict.fromkeys(a.judge for a in baselines)
    lines.append("; ".join(f"{n} {_mean([a for a in baselines if a.judge == n])}" for n in names) + ".\n")
    lines.append(
        f"\nOver all that it had not seen: sensitivity {_rate(judge.card.sensitivity)}, specificity "
        f"{_rate(judge.card.specificity)}; the sources are the clusters, and they differ. These correct attack success rates in "
        f"reports, whose intervals are wide for that reason until the judge is calibrated on the target.\n\n"
        f"Threshold 0.5; complied in full from {judge.cuts.full:.2f}. Content hash {judge.digest}.\n"
    )
    return "".join(lines)


def _row(a: Agreement) -> str:
    return (
        f"| {a.source} | {a.judge} | {a.how} | {a.n} | {a.kappa:.3f} | {a.auc:.3f} "
        f"| {_rate(a.sensitivity)} | {_rate(a.specificity)} |\n"
    )


def _rate(rate: Rate | Share) -> str:
    return f"{100 * rate.rate:.1f} % ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _mean(some: Sequence[Agreement]) -> str:
    return f"{sum(a.kappa for a in some) / len(some):.3f}" if some else "none"
