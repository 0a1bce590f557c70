"""How an attacker is made: taught to write, taught by what worked, and trained by a policy gradient.

Each is an ordinary run of an alignment recipe in a folder named by what went in, so it resumes and is not done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from trivet.core.errors import TrivetError
from trivet.core.lessons import Demonstration, Origin
from trivet.core.messages import Sampling, digest_of
from trivet.core.models.resolve import model_folder
from trivet.loop.adversary.seed import lessons
from trivet.loop.adversary.spread import ALIKE
from trivet.loop.adversary.workshop import Workshop
from trivet.robustness.learned import AttackReward, Success, Watched, asking, grams, likeness, wording

LEAST = 8
"""Successes below which an attacker cannot be taught by them."""


def seeded(this: Workshop) -> str:
    """The folder of the seed attacker: the start model, taught to write attacks and to follow examples."""
    from trivet.alignment import sft  # torch

    config, start = this.recipe.seeding, model_folder(this.recipe.attacker)
    goals = this.ground.train.goals
    taught = lessons(
        goals, config.lessons, examples=max(config.examples, this.recipe.ladder.shown), seed=this.recipe.seed
    )
    said = digest_of([[one.prompt.rows(), one.reply] for one in taught])
    key = ["seed", asdict(config), this.recipe.seed, this.shelf.digest(start), said]
    settings = sft.Config(
        model=start,
        out=str(this.shelf.room("seed", key)),
        lr=config.lr,
        batch_tokens=config.batch_tokens,
        max_length=512,
        seed=this.recipe.seed,
        threads=this.recipe.threads,
        save_every=50,
    )
    return str(sft.run(settings, taught, progress=this.told("seed")).folder)


def supervised(this: Workshop, start: str, pool: Sequence[Success], stage: str) -> str:
    """The folder of an attacker taught on what worked."""
    from trivet.alignment import sft  # torch

    ladder = this.recipe.ladder
    if len(pool) < LEAST:
        raise TrivetError(
            f"{stage}: {len(pool)} attacks worked and at least {LEAST} are needed to learn from; raise ladder.pool, or "
            "seeding.lessons if the attacker hardly says its goals"
        )
    taught = [Demonstration(asking(one.goal), one.text, Origin(f"attacker:{stage}")) for one in evened(pool)]
    key = [stage, ladder.sl_lr, ladder.sl_epochs, this.recipe.seed, this.shelf.digest(start), [d.reply for d in taught]]
    settings = sft.Config(
        model=start,
        out=str(this.shelf.room(stage, key)),
        lr=ladder.sl_lr,
        epochs=ladder.sl_epochs,
        batch_tokens=this.recipe.seeding.batch_tokens // 2,
        max_length=512,
        seed=this.recipe.seed,
        threads=this.recipe.threads,
        save_every=50,
    )
    return str(sft.run(settings, taught, progress=this.told(stage)).folder)


def evened(pool: Sequence[Success], most: int = 6) -> list[Success]:
    """At most so many of attacks that are worded alike: what is common already must not become all there is."""
    leaders: list[tuple[frozenset[str], int]] = []
    kept = []
    for one in sorted(pool, key=lambda one: (-one.score, one.text)):
        said = grams(wording(one.text, one.goal))
        at = next((i for i, (leader, _) in enumerate(leaders) if likeness(said, leader) >= ALIKE), None)
        if at is None:
            leaders.append((said, 1))
        elif leaders[at][1] < most:
            leaders[at] = (leaders[at][0], leaders[at][1] + 1)
        else:
            continue
        kept.append(one)
    return kept


def reinforced(this: Workshop, start: str, target: str, stage: str, archive: Sequence[frozenset[str]] = ()) -> str:
    """The folder of an attacker trained by a policy gradient; the gold judge only watches."""
    from trivet.alignment import policy_gradient  # torch

    ladder, goals = this.recipe.ladder, this.ground.train.goals
    loss = {"advantage": "grpo", "kl_in": "loss", "kl": "k3", "ratio": "token"} if ladder.how == "grpo" else {}
    settings = policy_gradient.Config(
        model=start,
        rounds=ladder.rounds,
        batch_size=ladder.batch,
        replies=ladder.replies,
        minibatch=max(ladder.replies, ladder.batch // 2),
        passes=2,
        beta=ladder.beta,
        lr=ladder.rl_lr,
        temperature=ladder.temperature,
        max_tokens=ladder.max_tokens,
        max_length=256,
        missing_end=0.2,
        seed=this.recipe.seed,
        threads=this.recipe.threads,
        save_every=5,
        **loss,  # type: ignore[arg-type]
    )
    decides = {
        name: value for name, value in asdict(settings).items() if name not in ("model", "threads", "save_every")
    }
    key = [
        stage, decides, ladder.novelty, ladder.reply_tokens, this.shelf.digest(start), this.shelf.digest(target),
        [goal.id for goal in goals], sorted(sorted(one) for one in archive),
    ]  # fmt: skip
    settings = replace(settings, out=str(this.shelf.room(stage, key)))
    model = this.model(target)
    sampling = Sampling(max_tokens=ladder.reply_tokens)
    paid = AttackReward(goals, model, this.ground.eye, novelty=ladder.novelty, archive=archive, sampling=sampling)
    watch = {"gold": Watched(paid, this.ground.judge)}
    asked = [asking(goal) for goal in goals]
    result = policy_gradient.run(settings, asked, reward=paid, watch=watch, progress=this.told(stage))
    return str(result.folder)
