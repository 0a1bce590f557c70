"""Watching a policy gradient: whether what rises is what was wanted, told in plain words while the run goes on.

A policy gradient finds whatever the reward pays for, the reward's mistakes included. Three things give this away early:
KL to the reference that grows without end, replies whose length the reward follows, and a second reward that is only
watched (`gold` in a simulation, a judge, a rule) and falls while the first one rises. Curves bend with the distance
d = sqrt(KL) (Gao et al. 2022, arXiv:2210.10760), so the reward is shown against it as well as over time.

All functions read rows of metrics as ppo.py and policy_gradient.py write them, one a round. Not covered: a reward that is
wrong from the start, and hacking that costs no KL. That nothing is said is no proof.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trivet.alignment.files import write_file
from trivet.core.report import lines

Rows = Sequence[Mapping[str, float]]

FAR = 10.0
"""Nats of KL a reply that nobody calls near, however short the reply is; long ones may go a quarter nat a token."""

log = logging.getLogger(__name__)


def review(rows: Rows, *, watched: Sequence[str] = ("gold",)) -> dict[str, str]:
    """What a person should know about a run so far, under the name of the rule that says so; nothing before its fifth round."""
    found = {f"gamed {name}": _gamed(rows, name) for name in watched}
    found |= {name: rule(rows) for name, rule in RULES.items()}
    return {name: told for name, told in found.items() if told}


def tell(out: Path, rows: Rows, *, watched: Sequence[str], heard: set[str]) -> None:
    """Review the run, keep OUT/warnings.txt current, and log what no rule in `heard` has said yet; they are added to it."""
    told = review(rows, watched=watched)
    for name in told.keys() - heard:
        log.warning("%s", told[name])
    heard.update(told)
    text = "".join(f"{one}\n" for one in told.values())
    write_file(out / "warnings.txt", lambda path: path.write_text(text, encoding="utf-8"))


def figures(rows: Rows, *, watched: Sequence[str] = ("gold",)) -> list[str]:
    """Plots for a report: rewards over KL's square root, and the round's rewards against the replies' length."""
    names = [name for name in ("reward", *watched) if any(name in row for row in rows)]
    against = {
        name: [(math.sqrt(max(0.0, row["kl"])), row[name]) for row in rows if name in row and "kl" in row]
        for name in names
    }
    tied = [(row["step"], row["length_correlation"]) for row in rows if "length_correlation" in row]
    return [
        lines(against, x_label="d = sqrt(KL)", caption="Rewards against the distance from the reference"),
        lines(
            {"correlation of reward and length": tied},
            x_label="step",
            caption="How far the reward is the replies' length",
        ),
    ]


# --------------------------------------------------------------------------------------------------- rules of thumb


def _ends(rows: Rows, name: str) -> tuple[float, float] | None:
    """The means over the first and the last fifth of a figure that has been measured five times at least."""
    values = [row[name] for row in rows if name in row and math.isfinite(row[name])]
    if len(values) < 5:
        return None
    part = max(1, len(values) // 5)
    return sum(values[:part]) / part, sum(values[-part:]) / part


def _runaway(rows: Rows) -> str:
    reward, kl, length = (_ends(rows, name) for name in ("reward", "kl", "length"))
    if not reward or not kl or not length:
        return ""
    far = max(FAR, length[1] / 4)
    if reward[1] <= reward[0] or kl[1] < far or kl[1] < 1.5 * kl[0]:
        return ""
    return (
        f"The reward rose from {reward[0]:.3g} to {reward[1]:.3g} while KL to the reference ran away to {kl[1]:.3g} nats a "
        f"reply (more than {far:.3g} is far for replies of {length[1]:.3g} tokens): the policy may be gaming the reward "
        "model where it was never trained. Read some replies; raise beta or set kl_target, use an ensemble, or stop earlier."
    )


def _gamed(rows: Rows, name: str) -> str:
    """The watched reward's best fifth of the run lies behind and the reward has risen since."""
    both = [(row["reward"], row[name]) for row in rows if name in row and "reward" in row]
    if len(both) < 10:
        return ""
    part = len(both) // 5
    windows = [both[at : at + part] for at in range(len(both) - part + 1)]
    means = [tuple(sum(pair[i] for pair in window) / part for i in (0, 1)) for window in windows]
    best, last = max(means, key=lambda pair: pair[1]), means[-1]
    spread = max(pair[1] for pair in means) - min(pair[1] for pair in means)
    if last[0] <= best[0] or best[1] - last[1] < max(0.05, 0.25 * spread):
        return ""
    return (
        f"Reward hacking: `{name}`, which is only watched, fell from {best[1]:.3g} to {last[1]:.3g} while the reward that is "
        f"trained on rose from {best[0]:.3g} to {last[0]:.3g}. What came after is worth less than what came before: go back to "
        "an earlier checkpoint or beta, and mend the reward."
    )


def _length(rows: Rows) -> str:
    tied, length = _ends(rows, "length_correlation"), _ends(rows, "length")
    if not tied or not length or abs(tied[1]) < 0.5 or 0.75 < length[1] / max(1.0, length[0]) < 1.33:
        return ""
    return (
        f"Replies went from {length[0]:.3g} to {length[1]:.3g} tokens, and within a round the reward follows their length "
        f"(correlation {tied[1]:.2f}): look for a length bias in the reward."
    )


def _certain(rows: Rows) -> str:
    entropy = _ends(rows, "entropy")
    if not entropy or entropy[1] >= 0.1 * entropy[0]:
        return ""
    return (
        f"The entropy fell from {entropy[0]:.3g} to {entropy[1]:.3g} nats a token: the policy says hardly more than one thing, "
        "so there is little left to compare. Raise beta or temperature, or lower lr."
    )


def _clipped(rows: Rows) -> str:
    clipped = _ends(rows, "clip_fraction")
    if not clipped or clipped[1] < 0.3:
        return ""
    return f"{clipped[1]:.0%} of the tokens are clipped: the steps within a round go too far. Lower lr or passes."


def _critic(rows: Rows) -> str:
    explained = _ends(rows, "explained_variance")
    if not explained or len(rows) < 20 or explained[1] >= 0:
        return ""
    return (
        f"The value model foretells returns worse than a constant would (explained variance {explained[1]:.2f}): raise "
        "value_pace, or start it from the reward model."
    )


def _cut(rows: Rows) -> str:
    ended = _ends(rows, "ended")
    if not ended or ended[1] >= 0.8:
        return ""
    return f"Only {ended[1]:.0%} of the replies end by themselves; the others are cut. Raise max_tokens or missing_end."


def _alike(rows: Rows) -> str:
    spread = _ends(rows, "reward_std")
    if not spread or spread[1] > 1e-6:
        return ""
    return "All replies of a round have the same reward: there is nothing to learn from. Look at the reward and at the prompts."


def _groups(rows: Rows) -> str:
    alike = _ends(rows, "groups_alike")
    if not alike or alike[1] < 0.8:
        return ""
    return (
        f"In {alike[1]:.0%} of the groups all replies have one reward, so comparing them teaches nothing. Raise temperature or "
        "replies, or start from a policy that says more than one thing."
    )


RULES: dict[str, Callable[[Rows], str]] = {
    "runaway": _runaway,
    "length": _length,
    "certain": _certain,
    "clipped": _clipped,
    "critic": _critic,
    "cut": _cut,
    "alike": _alike,
    "groups": _groups,
}
