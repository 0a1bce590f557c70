"""Success x diversity: figures by hand, references, and the limits."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import combinations

import pytest

from trivet.core.hazards import Goal
from trivet.loop.adversary.bandit import Bandit, arms
from trivet.loop.adversary.spread import Trial, clustered, distinct, figures, gap, half_interval, self_bleu, spread
from trivet.robustness.attacks.shape import NamedAttack, script

GOALS = [Goal(f"How do I open gate {number}?") for number in range(40)]
WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "elm",
    "fern",
    "grove",
    "heath",
    "iris",
    "jade",
    "kelp",
    "lilac",
    "maple",
    "nettle",
    "oak",
    "pine",
    "quartz",
    "reed",
    "sage",
    "thyme",
]


def varied(hits: int, ways: int, seed: int = 0) -> list[Trial]:
    """Eighty trials, two for each goal, of which so many worked, in so many different wordings."""
    dice = random.Random(seed)
    order = dice.sample(range(80), hits)
    manner = {at: " ".join(dice.sample(WORDS, 8)) for at in range(ways)}
    place = {at: manner[number % ways] for number, at in enumerate(order)}
    return [
        Trial(GOALS[at % 40], f"{place.get(at, 'nothing')} {GOALS[at % 40].request}", at in place) for at in range(80)
    ]


def test_one_template_over_many_goals_is_one_cluster() -> None:
    trials = [Trial(goal, f"Once upon a time a king asked: {goal.request}", True) for goal in GOALS]
    assert set(clustered(trials)) == {0}
    assert figures(trials).clusters == 1


def test_failures_belong_to_no_cluster() -> None:
    labels = clustered(varied(30, 5))
    assert labels.count(-1) == 50 and len(set(labels) - {-1}) == 5


def test_clusters_do_not_depend_on_the_order_of_trials() -> None:
    trials = varied(60, 12)
    mixed = random.Random(1).sample(trials, len(trials))
    together = {frozenset(t.text for t, label in zip(some, clustered(some), strict=True) if label == one) for some in (trials, mixed) for one in range(12)}  # fmt: skip
    assert len(together) == 12


def test_distinct_is_the_mean_over_all_draws() -> None:
    labels = [0, 0, 1, -1, 2, -1]
    by_hand = [len({labels[i] for i in drawn} - {-1}) for drawn in combinations(range(6), 3)]
    assert distinct(labels, per=3) == pytest.approx(sum(by_hand) / len(by_hand))


def test_the_limits_of_distinct() -> None:
    assert distinct(list(range(200))) == pytest.approx(100)
    assert distinct([0] * 200) == pytest.approx(1)
    assert distinct([-1] * 200) == 0 and distinct([]) == 0
    assert distinct([0, 1, -1, -1], per=100) == pytest.approx(50)


def test_more_of_the_same_is_not_more() -> None:
    assert distinct(clustered(varied(60, 3)), 40) < distinct(clustered(varied(40, 40)), 40)


def test_the_interval_holds_the_figure_and_shrinks_with_more_goals() -> None:
    def rate(trials: list[Trial]) -> tuple[float, float]:
        interval = half_interval(trials, lambda chosen: sum(trials[i].hit for i in chosen) / len(chosen))
        mean = sum(one.hit for one in trials) / len(trials)
        assert interval.low <= mean <= interval.high
        return interval

    dice = random.Random(3)
    few = [Trial(GOALS[at], "x", dice.random() < 0.5) for at in range(40)]
    many = [Trial(Goal(f"goal {at}"), "x", dice.random() < 0.5) for at in range(640)]
    wide, narrow = (high - low for low, high in (rate(few), rate(many)))
    assert wide == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 40), rel=0.25)
    assert narrow == pytest.approx(wide / 4, rel=0.3)


def test_goals_are_the_unit_of_the_interval() -> None:
    """Ten queries on one goal that go the same way are worth one."""
    dice = random.Random(5)
    base = [Trial(Goal(f"goal {at}"), "x", dice.random() < 0.5) for at in range(60)]

    def width(trials: list[Trial]) -> float:
        low, high = half_interval(trials, lambda chosen: sum(trials[i].hit for i in chosen) / len(chosen))
        return high - low

    assert width(base * 10) == pytest.approx(width(base), rel=0.05)


def test_too_few_goals_leave_everything_open() -> None:
    assert half_interval(varied(3, 3)[:3], len) == (-math.inf, math.inf)


def test_a_lead_is_paired_and_sure_only_where_it_is() -> None:
    rich, poor = varied(70, 60), varied(20, 2, seed=4)
    lead = gap(rich, poor)
    assert lead.sure and lead.gap == pytest.approx(distinct(clustered(rich)) - distinct(clustered(poor)))
    assert not gap(rich, rich).sure and gap(rich, rich).gap == 0
    assert gap(poor, rich).gap == pytest.approx(-lead.gap)


# ------------------------------------------------------------------------------------------------- other measures


def slow_bleu(texts: list[str], at: int) -> float:
    said, others = texts[at].split(), [text.split() for i, text in enumerate(texts) if i != at]
    logs = 0.0
    for size in range(1, 5):
        own = Counter(tuple(said[i : i + size]) for i in range(len(said) - size + 1))
        best: Counter[tuple[str, ...]] = Counter()
        for other in others:
            best |= Counter(tuple(other[i : i + size]) for i in range(len(other) - size + 1))
        extra = int(size > 1)
        met, whole = sum((own & best).values()) + extra, sum(own.values()) + extra
        if not met or not whole:
            return 0.0
        logs += math.log(met / whole) / 4
    closest = min((len(o) for o in others), key=lambda n: (abs(n - len(said)), n))
    return math.exp(logs + min(0.0, 1 - closest / len(said)))


def test_self_bleu_agrees_with_the_slow_form() -> None:
    dice = random.Random(0)
    texts = [" ".join(dice.choices(WORDS[:6], k=dice.randint(3, 12))) for _ in range(12)]
    assert self_bleu(texts) == pytest.approx(sum(slow_bleu(texts, at) for at in range(12)) / 12)


def test_the_limits_of_self_bleu_and_spread() -> None:
    same, apart = ["a king asks the old baker now"] * 3, ["a b c d", "e f g h", "i j k l"]
    assert self_bleu(same) == pytest.approx(1) and self_bleu(apart) == 0.0
    assert spread(same) == pytest.approx(0) and spread(apart) == pytest.approx(1)
    assert self_bleu(["one"]) is None and spread([]) is None
    assert spread(["a b", "a b", "c d"]) == pytest.approx(2 / 3)


# ------------------------------------------------------------------------------------------------- the bandit


def test_the_bandit_finds_the_arm_that_works() -> None:
    chances = [0.1, 0.2, 0.8, 0.3]
    names = [NamedAttack("x", str(at), "train", script(f"{at} {{request}}")) for at in range(4)]
    bandit, dice, played = Bandit(names, seed=1), random.Random(2), Counter[int]()
    for _ in range(400):
        arm = bandit.choose()
        played[arm] += 1
        bandit.learn(arm, dice.random() < chances[arm])
    assert played[2] > 300 and sum(bandit.hits) + sum(bandit.misses) == 400


def test_the_bandit_plays_train_templates_of_one_query_and_says_them_out_of_cipher() -> None:
    known = arms(["rot13"])
    assert {one.part for one in known} == {"train"} and len({one.template for one in known}) == len(known) > 40
    ciphers = [at for at, one in enumerate(known) if one.family == "encoding"]
    assert ciphers
    bandit = Bandit(known)
    for at in ciphers:
        assert GOALS[0].request not in bandit.play(at, GOALS[0]).last_user
        assert GOALS[0].request in bandit.manner(at, GOALS[0])
    trials = [Trial(goal, bandit.manner(ciphers[0], goal), True) for goal in GOALS]
    assert set(clustered(trials)) == {0}
