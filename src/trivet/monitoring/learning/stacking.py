"""How the outputs of the two stages are joined: one small logistic regression per task, on rows neither was trained on.

    z = light . l + encoder . e + b,   minimised:  sum_i a_i log(1 + exp(-y_i z_i)) + |w - w0|^2 / (2 C)

l are the light stage's calibrated logits, e the encoder's raw ones. The weights are drawn to w0, the plain mean of the
two stages' own heads, and not to zero, so that a task with few rows keeps a sensible answer. Within a task good and bad
weigh the same and a source of n rows as the root of n; the bias is then shifted to a base rate, so that
probabilities mean something for a stream of requests rather than for a data set of attacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize

from trivet.core.errors import DataError
from trivet.monitoring.guards.cascade import Task
from trivet.monitoring.learning.corpus import HARD, Example
from trivet.monitoring.learning.training import threshold

# A task is answered by the head of its name. Toxicity also counts what is labelled for sexism alone.
TASKS = ("unsafe", "jailbreak", "injection", "toxic")
BASE = {"jailbreak": 0.17}
"""Where not one in ten. Jailbreaks of the dev part stand so far apart from good texts that at one half hardly any of these
is flagged, and those of another make come out lower: with a higher base, one half is about where the dev part allows."""
STRENGTH = 4.0
# Good rows of toxicity were picked for being close to insults (posts found by slurs, rewrites of insults), so a larger
# share of them may be flagged; of ordinary requests hardly one is. No floor either: see `threshold`.
TOLERANCE = {"toxic": 3.0}
LEAST_LIGHT = {"jailbreak": -2.0}
"""What the light stage's word counts for at least, in logits. It is very sure of attacks in spellings that it never met: that
they are none. Chosen on sources left out of training (jbb_artifacts and inthewild), of which it lets much more be caught at
the same share of false alarms; for harm and injections, where words carry more, it did not help."""


class Outputs(NamedTuple):
    """What both stages say about some rows: light logits [rows, light heads], encoder logits [rows, encoder heads]."""

    light: np.ndarray
    encoder: np.ndarray


def truth(example: Example, task: str) -> bool | None:
    """Whether a row is bad for a task, None where it does not say."""
    label = example.labels.get(task)
    return example.labels.get("sexism") if label is None and task == "toxic" else label


def stacked(
    examples: Sequence[Example],
    outputs: Outputs,
    heads: tuple[Sequence[str], Sequence[str]],
    task: str,
    false_positives: float,
) -> Task:
    """The task's weights and threshold; `heads` are the names of the light and the encoder's columns."""
    known = [i for i, example in enumerate(examples) if truth(example, task) is not None]
    bad = np.array([truth(examples[i], task) for i in known], dtype=bool)
    if not known or bad.all() or not bad.any():
        raise DataError(f"task {task!r}: joining the stages needs good and bad rows, has {len(known)} rows")
    least = LEAST_LIGHT.get(task, -60.0)
    x = np.concatenate(
        [np.maximum(outputs.light[known], least), outputs.encoder[known], np.ones((len(known), 1))], axis=1
    )
    start = np.zeros(x.shape[1])
    start[heads[0].index(task)] = start[len(heads[0]) + heads[1].index(task)] = 0.5
    weight = _weights([examples[i].source for i in known], bad)
    y = np.where(bad, 1.0, -1.0)
    pull = np.full(x.shape[1], 1.0 / (STRENGTH * len(known) ** 0.5))
    pull[-1] = 0.0

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = y * (x @ theta)
        slack = np.logaddexp(0.0, -margin)
        away = theta - start
        gradient = x.T @ (-weight * y * np.exp(-margin - slack)) + pull * away
        return float(weight @ slack + 0.5 * (pull * away) @ away), gradient

    theta = optimize.minimize(loss, start, jac=True, method="L-BFGS-B").x
    base = BASE.get(task, 0.1)
    theta[-1] += np.log(base / (1 - base))
    chances = 1 / (1 + np.exp(-(x @ theta)))
    # Posts that are merely not sexist may well be toxic: they do not speak about false alarms.
    good = np.array([not b and task in examples[i].labels for i, b in zip(known, bad, strict=True)])
    hard = np.array([examples[i].source.startswith(HARD) for i in known])
    share = TOLERANCE.get(task, 1.0) * false_positives
    limit = threshold(chances[good], chances[good & hard], share, 0.0 if task in TOLERANCE else 0.5, hard_share=1.0)
    at = len(heads[0])
    return Task(
        task,
        tuple(theta[:at].round(5).tolist()),
        tuple(theta[at:-1].round(5).tolist()),
        round(float(theta[-1]), 5),
        limit,
        least,
    )


def _weights(sources: Sequence[str], bad: np.ndarray) -> np.ndarray:
    """The root rule by source and label; good and bad one half each."""
    sizes: Mapping[tuple[str, bool], int] = Counter(zip(sources, bad.tolist(), strict=True))
    weights = np.array([sizes[key] ** -0.5 for key in zip(sources, bad.tolist(), strict=True)])
    for side in (bad, ~bad):
        weights[side] /= 2 * weights[side].sum()
    return weights
