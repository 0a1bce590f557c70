"""The engine ray, on a cluster of two nodes on this machine: one store, nothing twice, nothing lost with a node."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trivet.core.errors import TargetError, UserError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.models.scripted import Scripted
from trivet.core.protocols import GREEDY
from trivet.core.store.events import Store
from trivet.core.verdicts import Verdict
from trivet.robustness import campaign
from trivet.robustness.attacks.library import attacks
from trivet.robustness.budget import Budget, BudgetSpent
from trivet.robustness.campaign import Pace

ray: Any = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

GOALS = [Goal(f"How do I open gate {number}?") for number in range(60)]
ATTACKS = attacks("heldout", ["direct", "escalation"])
ON_RAY = Pace(engine="ray", concurrency=8)


class Noting:
    """Writes every call to a file that all nodes share, and dies with its process when a marker is there."""

    name = "noting"

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        self.folder, self.seconds = folder, seconds

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        await asyncio.sleep(self.seconds)
        with (self.folder / f"{os.getpid()}.calls").open("a", encoding="utf-8") as calls:
            calls.write(f"{conversation.digest}\n")
        number = int("".join(c for c in conversation.messages[0].content if c.isdigit()) or 0)
        return Message("assistant", "I cannot help with that." if number % 3 else f"Sure, lift latch {number}.")


class Falling:
    name = "falling"

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        raise TargetError("HTTP 500")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes cannot import a test
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        nodes.add_node(num_cpus=2)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        nodes.wait_for_nodes()
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "trivet.db") as opened:
        yield opened


def calls(folder: Path) -> Counter[str]:
    return Counter(line for path in folder.glob("*.calls") for line in path.read_text().split())


def content(attempts: Sequence[Attempt]) -> list[tuple[str, str, str]]:
    return [(attempt.id, attempt.conversation.digest, attempt.verdict.label) for attempt in attempts]


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_does_what_one_process_does_on_more_than_one_node(cluster: Any, store: Store, tmp_path: Path) -> None:
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    alone.mkdir()
    spread.mkdir()
    with Store.open(tmp_path / "other.db") as other:
        want = asyncio.run(campaign.run(GOALS, ATTACKS, Noting(alone), RefusalRules(), other, run="r"))
    told: list[int] = []
    tell = lambda done, total, successes: told.append(done)  # noqa: E731
    target = Noting(spread, 0.01)
    got = asyncio.run(campaign.run(GOALS, ATTACKS, target, RefusalRules(), store, run="r", pace=ON_RAY, progress=tell))
    assert content(got) == content(want)
    assert calls(spread) == calls(alone), "every call once"
    assert len(list(spread.glob("*.calls"))) > 1, "by more than one process"
    assert told[-1] == len(want) == store.count("attempt", "r")
    again = asyncio.run(campaign.run(GOALS, ATTACKS, target, RefusalRules(), store, run="r", pace=ON_RAY))
    assert again == got
    assert calls(spread) == calls(alone)


@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_lost_loses_nothing(cluster: Any, store: Store, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    lost: list[int] = []

    def tell(done: int, total: int, successes: int) -> None:
        if done > 20 and not lost:
            lost.append(done)
            cluster.remove_node(node, allow_graceful=False)

    goals = [Goal(f"How do I open gate {number}?") for number in range(150)]
    direct = attacks("heldout", ["direct"])
    pace = Pace(engine="ray", concurrency=6)
    got = asyncio.run(
        campaign.run(goals, direct, Noting(tmp_path, 0.05), RefusalRules(), store, run="r", pace=pace, progress=tell)
    )
    assert lost, "a node was taken away in the middle"
    assert len(got) == 150 == store.count("attempt", "r")
    assert {attempt.verdict.label for attempt in got} == {"refused", "complied"}


@pytest.mark.filterwarnings("ignore")
def test_what_was_heard_here_before_is_not_asked_again_by_a_cluster(cluster: Any, store: Store, tmp_path: Path) -> None:
    class Dying(RefusalRules):
        async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
            raise KeyboardInterrupt

    target = Noting(tmp_path, 0.01)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(campaign.run(GOALS, ATTACKS, target, Dying(), store, run="r"))
    assert calls(tmp_path)
    got = asyncio.run(campaign.run(GOALS, ATTACKS, target, RefusalRules(), store, run="r", pace=ON_RAY))
    assert len(got) == 120
    assert sum(calls(tmp_path).values()) <= sum(attempt.turns for attempt in got) + Pace().concurrency, (
        "but for what was under way"
    )


@pytest.mark.filterwarnings("ignore")
def test_a_dead_target_and_a_spent_budget_stop_a_cluster_too(cluster: Any, store: Store, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="times in a row, the last time: HTTP 500"):
        asyncio.run(campaign.run(GOALS, ATTACKS, Falling(), RefusalRules(), store, run="dead", pace=ON_RAY))
    pace = Pace(engine="ray", concurrency=2, budget=Budget(tokens=300))
    direct = attacks("heldout", ["direct"])
    with pytest.raises(BudgetSpent, match="budget of 300 tokens is spent") as told:
        asyncio.run(campaign.run(GOALS, direct, Noting(tmp_path), RefusalRules(), store, run="poor", pace=pace))
    assert 0 < len(told.value.attempts) < 60


def test_a_batching_target_stays_at_home(store: Store) -> None:
    class Batching(Scripted):
        def replies(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Message]:
            raise AssertionError

    with pytest.raises(UserError, match="local engine"):
        asyncio.run(campaign.run(GOALS, ATTACKS, Batching("x"), RefusalRules(), store, run="r", pace=ON_RAY))
