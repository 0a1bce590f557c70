"""The ladder of Perez et al. 2022 (arXiv:2202.03286) against one target: four attackers and a bandit at equal queries.

    zero    the seed attacker is told the goal
    few     the seed attacker is shown an attack that worked on another goal, drawn afresh every time from one of each wording
    sl      the seed attacker, trained on what worked
    rl      a supervised attacker, trained by a policy gradient on AttackReward, held by KL to where it started

Everything is learnt on goals of the train part, and success there is what the production eye sees. What is reported is
asked on held-out goals, `each` attacks a goal, and judged by the ground's judge, which nobody trained on.

Equal queries: whoever learns may put `Ladder.budget` attacks to the target before it is measured. The zero-shot attacker
learns nothing. Few-shot and supervised draw on a zero-shot pool of so many queries; reinforcement spends a first part on
the pool of its start and the rest in its rounds.
"""

from __future__ import annotations

from collections.abc import Sequence

from trivet.loop.adversary.learning import LEAST, evened, reinforced, seeded, supervised
from trivet.loop.adversary.workshop import Attacker, Workshop, explored, successes
from trivet.robustness.learned import Success

RUNGS = ("zero", "few", "sl", "rl")


def rungs(
    this: Workshop,
    target: str,
    name: str,
    *,
    archive: Sequence[frozenset[str]] = (),
    equal: bool = True,
    before: Attacker | None = None,
) -> dict[str, Attacker]:
    """All four attackers against a target, and `start`, the one from which reinforcement begins.

    Without `equal`, few-shot and supervised have no more queries than that one. Where too little worked to be taught by,
    the supervised attacker is the one `before` (the reinforced attacker of an earlier round), or else the seed.
    """
    ladder, seed = this.recipe.ladder, seeded(this)
    zero = Attacker("zero", seed)

    def taught(pool: Sequence[Success], stage: str) -> str:
        if len(pool) >= LEAST:
            return supervised(this, seed, pool, stage)
        return before.folder if before else seed

    first = explored(this, zero, target, ladder.pool, f"{name}-pool")
    worked = successes(first)
    start = Attacker("start", taught(worked, f"{name}-start"), queries=ladder.pool)
    rl = reinforced(this, start.folder, target, f"{name}-rl", archive)
    few, sl = Attacker("few", seed, tuple(evened(worked, most=1)), ladder.pool), start
    if equal:
        more = explored(this, zero, target, ladder.budget - ladder.pool, f"{name}-more")
        whole = successes([*first, *more])
        few = Attacker("few", seed, tuple(evened(whole, most=1)), ladder.budget)
        sl = Attacker("sl", taught(whole, f"{name}-sl"), queries=ladder.budget)
    return {"zero": zero, "few": few, "sl": sl, "rl": Attacker("rl", rl, queries=ladder.budget), "start": start}
