"""Budgets, samples, judges in batches, progress, and dialogues beside single questions."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from trivet.core.errors import Blocked, ConfigError, TargetError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.scripted import Scripted
from trivet.core.models.traffic import LISTENER
from trivet.core.protocols import GREEDY, Model
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.robustness import campaign
from trivet.robustness.attacks.library import attacks
from trivet.robustness.attacks.shape import NamedAttack
from trivet.robustness.budget import Budget, BudgetSpent, Prices, parse
from trivet.robustness.campaign import Pace
from trivet.robustness.judging import BACKLOG
from trivet.robustness.plan import Job, attempt_id, plan
from trivet.robustness.progress import Meter, Status

GOALS = [Goal(f"How do I open gate {number}?") for number in range(30)]
DIRECT = [attack for attack in attacks("heldout", ["direct"]) if attack.how.turns == ("{request}",)]  # type: ignore[attr-defined]
JUDGE = RefusalRules()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trivet.db") as opened:
        yield opened


class Counting(Scripted):
    """Tells how many tokens each reply took, as a client with a server does."""

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        message = await super().reply(conversation, sampling)
        if listener := LISTENER.get():
            listener.used(90, 10)
        return message


# Identity and samples


def test_ids_are_those_of_before_where_seed_and_sampling_are_the_usual_ones() -> None:
    job = plan(GOALS[:1], DIRECT)[0]
    old = digest_of(["attempt", 'a "run"/é', "attack", job.task.id, job.family, job.template, "target"])
    assert attempt_id('a "run"/é', job, "target") == old
    assert attempt_id('a "run"/é', job, "target", Sampling(max_tokens=7)) == old
    others = {
        attempt_id('a "run"/é', Job("attack", job.task, job.attack, 1), "target"),
        attempt_id('a "run"/é', job, "target", Sampling(temperature=0.5)),
        attempt_id('a "run"/é', job, "target", Sampling(top_p=0.5)),
        attempt_id('a "run"/é', job, "target", Sampling(seed=1)),
        attempt_id('a "run"/é', job, "target", Sampling(stop=("x",))),
    }
    assert len(others | {old}) == 6


def test_several_samples_are_drawn_with_seeds_of_their_own_and_resume(store: Store) -> None:
    drawn: Counter[tuple[str, int | None]] = Counter()

    class Drawing(Scripted):
        async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
            drawn[conversation.last_user, sampling.seed] += 1
            return Message("assistant", f"Sure, number {sampling.seed}.")

    pace = Pace(Sampling(temperature=0.8, seed=7))

    def run(seeds: int) -> list[Attempt]:
        return asyncio.run(campaign.run(GOALS[:3], DIRECT, Drawing(), JUDGE, store, run="r", pace=pace, seeds=seeds))

    done = run(3)
    assert [attempt.seed for attempt in done] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert drawn == {(goal.request, seed): 1 for goal in GOALS[:3] for seed in (7, 8, 9)}
    run(4)
    assert len(drawn) == 12
    assert set(drawn.values()) == {1}


def test_samples_of_a_batching_target_share_batches_by_their_seed(store: Store) -> None:
    batches: list[tuple[int, int | None]] = []

    class Batching(Scripted):
        def replies(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Message]:
            batches.append((len(conversations), sampling.seed))
            return [Message("assistant", "Sure.")] * len(conversations)

    pace = Pace(Sampling(temperature=0.8), chunk=20)
    done = asyncio.run(campaign.run(GOALS, DIRECT, Batching(), JUDGE, store, run="r", pace=pace, seeds=2))
    assert batches == [(20, None), (10, None), (20, 1), (10, 1)]
    assert Counter(attempt.seed for attempt in done) == {0: 30, 1: 30}


def test_samples_without_a_temperature_are_a_mistake(store: Store) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        asyncio.run(campaign.run(GOALS, DIRECT, Scripted("x"), JUDGE, store, run="r", seeds=2))
    with pytest.raises(ConfigError, match="0 samples"):
        plan(GOALS, DIRECT, seeds=0)


# Budgets


def test_a_budget_of_tokens_stops_cleanly_and_goes_on_with_a_larger_one(store: Store) -> None:
    target = Counting("Sure.")
    pace = Pace(budget=Budget(tokens=1000), concurrency=2)
    with pytest.raises(BudgetSpent) as told:
        asyncio.run(campaign.run(GOALS, DIRECT, target, JUDGE, store, run="r", pace=pace))
    kept = len(told.value.attempts)
    assert 10 <= kept <= 11, "what was under way came to its end"
    assert str(told.value) == (
        f"the budget of 1,000 tokens is spent ({kept * 100:,}): {kept} of 30 attempts are kept in run 'r'; give more and "
        "repeat the command"
    )
    assert store.count("attempt", "r") == kept == len(target.seen)
    with pytest.raises(BudgetSpent):
        asyncio.run(campaign.run(GOALS, DIRECT, target, JUDGE, store, run="r", pace=pace))
    assert len(target.seen) == kept, "what is stored is paid for"
    done = asyncio.run(
        campaign.run(GOALS, DIRECT, target, JUDGE, store, run="r", pace=Pace(budget=Budget(tokens=10_000)))
    )
    assert len(done) == 30
    assert {(attempt.prompt_tokens, attempt.completion_tokens) for attempt in done} == {(90, 10)}


def test_a_budget_of_money_needs_prices_and_is_kept(store: Store) -> None:
    with pytest.raises(ConfigError, match="prices"):
        Pace(budget=Budget(money=1.0))
    prices = Prices(prompt=100.0, completion=1000.0, money="EUR")  # 90 x 100 + 10 x 1000 = 0.019 a call
    pace = Pace(budget=Budget(money=0.19), prices=prices, concurrency=1)
    with pytest.raises(BudgetSpent, match=r"budget of 0\.19 EUR is spent \(0\.1\d\)"):
        asyncio.run(campaign.run(GOALS, DIRECT, Counting("Sure."), JUDGE, store, run="r", pace=pace))
    assert 10 <= store.count("attempt", "r") <= 11


def test_a_target_that_does_not_count_is_estimated_and_said_to_be(store: Store) -> None:
    looks: list[Status] = []
    with pytest.raises(BudgetSpent, match="about"):
        asyncio.run(
            campaign.run(
                GOALS, DIRECT, Scripted("Sure." * 40), JUDGE, store, run="r", watch=looks.append,
                pace=Pace(budget=Budget(tokens=600), concurrency=1),
            )
        )  # fmt: skip
    assert looks[-1].estimated
    assert 600 <= looks[-1].tokens < 700
    assert all(attempt.prompt_tokens == 0 for attempt in stored(store)), "an estimate is no record"


def test_a_batching_target_has_a_budget_too(store: Store) -> None:
    class Batching(Scripted):
        def replies(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Message]:
            return [Message("assistant", "Sure." * 40)] * len(conversations)

    with pytest.raises(BudgetSpent) as told:
        asyncio.run(
            campaign.run(
                GOALS, DIRECT, Batching(), JUDGE, store, run="r", pace=Pace(budget=Budget(tokens=600), chunk=10)
            )
        )
    assert len(told.value.attempts) in (10, 20), "whole chunks"


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("200k tokens", Budget(tokens=200_000)),
        ("1.5M tokens", Budget(tokens=1_500_000)),
        ("1,000 tokens", Budget(tokens=1000)),
        ("$2.50", Budget(money=2.5)),
        ("5 USD", Budget(money=5.0)),
    ],
)
def test_budgets_as_people_write_them(text: str, budget: Budget) -> None:
    assert parse(text) == budget


@pytest.mark.parametrize("text", ["", "5", "tokens", "$", "$5 USD", "-3 tokens", "0 tokens", "a lot"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        parse(text)


def stored(store: Store) -> list[Attempt]:
    return [event for event in store.events("attempt") if isinstance(event, Attempt)]


# Judges


class Many(RefusalRules):
    """Judges in batches, in whatever thread it is asked."""

    def __init__(self, digest: str = "") -> None:
        self.card = SimpleNamespace(digest=digest)
        self.batches: list[int] = []
        self.threads: set[int] = set()

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        raise AssertionError("one by one")

    def judge_many(self, cases: Sequence[tuple[Conversation, Goal | Probe | None]]) -> list[Verdict]:
        self.batches.append(len(cases))
        self.threads.add(threading.get_ident())
        return [self.verdict(conversation.reply, about) for conversation, about in cases]


def test_a_judge_that_can_is_given_batches_outside_the_event_loop(store: Store) -> None:
    judge = Many()
    half = Scripted(lambda c: "Sure." if int(c.last_user.split()[-1][:-1]) % 2 else "I cannot help with that.")
    done = asyncio.run(campaign.run(GOALS, DIRECT, half, judge, store, run="r"))
    assert sum(judge.batches) == 30
    assert len(judge.batches) < 10
    assert threading.get_ident() not in judge.threads
    want = {goal.request: "complied" if number % 2 else "refused" for number, goal in enumerate(GOALS)}
    assert {attempt.goal.request: attempt.verdict.label for attempt in done if attempt.goal} == want


@pytest.mark.parametrize(("digest", "judged"), [("card-1", 30), ("", 90)])
def test_the_same_reply_to_the_same_request_is_judged_once_by_a_judge_that_says_who_it_is(
    store: Store, digest: str, judged: int
) -> None:
    judge, pace = Many(digest), Pace(Sampling(temperature=1.0), concurrency=1)
    done = asyncio.run(campaign.run(GOALS, DIRECT, Scripted("Sure."), judge, store, run="r", pace=pace, seeds=3))
    assert sum(judge.batches) == judged
    assert {attempt.verdict.label for attempt in done} == {"complied"}
    assert len(done) == 90


def test_a_batch_whose_judging_model_fails_is_an_error_for_each(store: Store) -> None:
    class Down(Many):
        def judge_many(self, cases: Sequence[tuple[Conversation, Goal | Probe | None]]) -> list[Verdict]:
            raise TargetError("no answer")

    done = asyncio.run(campaign.run(GOALS[:5], DIRECT, Scripted("Sure."), Down(), store, run="r"))
    assert {attempt.verdict.why for attempt in done} == {"the judge failed: no answer"}


def test_a_judge_that_loses_count_is_a_mistake(store: Store) -> None:
    class Short(Many):
        def judge_many(self, cases: Sequence[tuple[Conversation, Goal | Probe | None]]) -> list[Verdict]:
            return super().judge_many(cases)[1:]

    with pytest.raises(ValueError, match="one on each"):
        asyncio.run(campaign.run(GOALS[:5], DIRECT, Scripted("Sure."), Short(), store, run="r"))


def test_a_slow_judge_holds_back_the_asking_and_not_the_memory(store: Store) -> None:
    asked, most = 0, 0
    goals = [Goal(f"How do I open gate {number}?") for number in range(2 * BACKLOG)]

    class Slow(RefusalRules):
        judged = 0

        async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
            nonlocal most
            most = max(most, asked - self.judged)
            await asyncio.sleep(0.0005)
            self.judged += 1
            return self.verdict(conversation.reply, about)

    def ask(conversation: Conversation) -> str:
        nonlocal asked
        asked += 1
        return "Sure."

    asyncio.run(campaign.run(goals, DIRECT, Scripted(ask), Slow(), store, run="r"))
    assert most <= BACKLOG + 2 * Pace().concurrency


# Dialogues


def test_long_talks_do_not_hold_up_single_questions(store: Store) -> None:
    """Every dialogue waits for its attacker until all single questions are done."""
    finished = asyncio.Event()
    seen = 0

    class Pondering:
        async def attack(self, goal: Goal, target: Model) -> Conversation:
            first = Conversation.user("Hello.")
            first = first.then(await target.reply(first))
            await finished.wait()
            asked = first.then(Message("user", goal.request))
            return asked.then(await target.reply(asked))

    def count(conversation: Conversation) -> str:
        nonlocal seen
        seen += len(conversation) == 1 and conversation.last_user != "Hello."
        if seen == len(GOALS):
            finished.set()
        return "Sure."

    mixed = [NamedAttack("pondering", "v1", "heldout", Pondering()), *DIRECT]
    pace = Pace(concurrency=3, timeout=20.0)
    done = asyncio.run(campaign.run(GOALS, mixed, Scripted(count), JUDGE, store, run="r", pace=pace))
    assert Counter((attempt.attack, attempt.verdict.label, attempt.turns) for attempt in done) == {
        ("pondering", "complied", 2): 30,
        ("direct", "complied", 1): 30,
    }


def test_an_attack_may_ask_the_same_several_times_and_at_once(store: Store) -> None:
    class BestOf:
        async def attack(self, goal: Goal, target: Model) -> Conversation:
            asked = Conversation.user(goal.request)
            replies = await asyncio.gather(*(target.reply(asked) for _ in range(4)))
            return asked.then(max(replies, key=lambda reply: reply.content))

    class Dying(RefusalRules):
        async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
            raise KeyboardInterrupt

    best = [NamedAttack("best", "of-4", "heldout", BestOf())]
    target = Scripted([f"Sure, number {number}." for number in range(4)])
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(campaign.run(GOALS[:1], best, target, Dying(), store, run="r"))
    (done,) = asyncio.run(campaign.run(GOALS[:1], best, target, JUDGE, store, run="r"))
    assert len(target.seen) == 4, "each of the four was recorded as one of its own"
    assert done.conversation.reply == "Sure, number 3."
    assert done.turns == 4


def test_an_attack_that_never_ends_is_an_error_like_a_target_that_hangs(store: Store) -> None:
    class Endless:
        async def attack(self, goal: Goal, target: Model) -> Conversation:
            await asyncio.Event().wait()
            raise AssertionError

    pace = Pace(timeout=0.05)
    done = asyncio.run(
        campaign.run(
            GOALS[:2],
            [NamedAttack("endless", "v1", "heldout", Endless())],
            Scripted("x"),
            JUDGE,
            store,
            run="r",
            pace=pace,
        )
    )
    assert {attempt.verdict.why for attempt in done} == {"no end after 0.05 s"}


# Progress


def test_a_watcher_is_told_while_it_runs_and_at_the_end(store: Store) -> None:
    looks: list[Status] = []
    prices = Prices(1.0, 2.0)
    asyncio.run(
        campaign.run(
            GOALS, DIRECT, Counting("Sure.", delay=0.05), JUDGE, store, run="r", concurrency=2,
            watch=looks.append, pace=Pace(prices=prices, budget=Budget(tokens=100_000)),
        )
    )  # fmt: skip
    assert len(looks) >= 3
    last = looks[-1]
    assert (last.done, last.total, last.successes, last.errors, last.flying) == (30, 30, 30, 0, 0)
    assert last.tokens == 3000
    assert not last.estimated
    assert last.cost == pytest.approx(30 * (90 + 20) / 1e6)
    assert last.cost_at_end == pytest.approx(last.cost)
    midway = looks[len(looks) // 2]
    assert 0 < midway.done < 30
    assert midway.left
    assert midway.flying == 2
    assert store.count("attempt") == 30


def test_the_line_that_people_read() -> None:
    status = Status(
        done=1234, total=5000, successes=31, errors=2, seconds=10.0, rate=512.3, left=75.0, flying=8, held_back=4, window=8,
        tokens=120_000, estimated=True, cost=0.84, cost_at_end=3.4, money="USD", budget=Budget(money=5.0),
    )  # fmt: skip
    assert status.line() == (
        "1,234 of 5,000, 512.3/s, 1:15 left, 31 got through, 2 errors, about 120,000 tokens, 0.84 of 5.00 USD, 3.40 at the "
        "end, 4 calls held back (8 at a time)"
    )


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = [0.0]
    meter = Meter(100, lambda: now[0])
    for second in range(1, 61):
        now[0] = float(second)
        meter.read(100 + 10 * second, 10_000)
    for second in range(61, 101):
        now[0] = float(second)
        seconds, rate, left = meter.read(700 + (second - 60), 10_000)
    assert seconds == 100
    assert rate == pytest.approx(1.0)
    assert left == pytest.approx(10_000 - 740)
    assert Meter(0, lambda: 1.0).read(0, 10) == (0.0, 0.0, None)


class Weary:
    """An attack whose own model does what `failure` says; the target is asked only where `asks` says so."""

    def __init__(self, failure: TargetError, asks: bool = False) -> None:
        self.failure, self.asks = failure, asks

    async def attack(self, goal: Goal, target: Model) -> Conversation:
        conversation = Conversation.user(goal.request)
        if self.asks:
            conversation = conversation.then(await target.reply(conversation))
        raise self.failure


@pytest.mark.parametrize("failure", [Blocked("the attacker's gateway", "input"), TargetError("no attacker there")])
@pytest.mark.parametrize("asks", [False, True])
def test_what_the_attackers_own_model_fails_of_is_never_the_target_holding(
    store: Store, failure: TargetError, asks: bool
) -> None:
    attack = NamedAttack("weary", "one", "train", Weary(failure, asks))
    done = asyncio.run(campaign.run(GOALS[:3], [attack], Scripted("No."), JUDGE, store, run="r"))
    assert [(a.verdict.label, a.verdict.judge, a.blocked) for a in done] == [("error", "attacker", "")] * 3


def test_a_model_behind_an_attack_that_always_fails_ends_the_campaign_and_is_named(store: Store) -> None:
    attack = NamedAttack("weary", "one", "train", Weary(TargetError("no attacker there")))
    pace = Pace(errors_in_a_row=3)
    with pytest.raises(TargetError, match="the model behind the attack failed 3 times"):
        asyncio.run(campaign.run(GOALS[:6], [attack], Scripted("No."), JUDGE, store, run="r", pace=pace))
