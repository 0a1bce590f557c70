"""TAP: a tree of messages that branches, loses what strays from the goal, and keeps the branches that score best.

Tree of Attacks with Pruning (Mehrotra et al. 2023, arXiv:2312.02119). At each level every leaf is refined `branching` times;
messages off the topic are pruned before they cost a query; the rest is sent and judged; the `width` best become the
leaves of the next level, `depth` levels deep. With branching 1 and no pruning it is one stream of PAIR.

Departures: equal messages are sent once; whether a message is on the topic is decided by a function, from words
(`names_the_goal`, reading our converters' encodings) or by a model (`asks_a_model`; the paper always asks one), and where
everything at a level is off the topic nothing is, rather than ending the search. Not covered: leaves in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from trivet.core.hazards import Goal
from trivet.core.messages import Conversation, Message
from trivet.core.protocols import Judge, Model
from trivet.robustness.attacks.shape import Part
from trivet.robustness.dialogues.attacker import Attacker, Move
from trivet.robustness.dialogues.pair import APPROACHES, BRIEF, FORM, opening
from trivet.robustness.dialogues.search import QUERIES, Search, Seen, at_least_one
from trivet.robustness.dialogues.topic import OnTopic, names_the_goal


class _Leaf(NamedTuple):
    talk: Conversation
    seen: Seen


@dataclass(frozen=True)
class Tap:
    """`queries` bounds the whole tree, which ends earlier when `depth` is reached or the target gives in."""

    attacker: Attacker
    judge: Judge
    part: Part = "heldout"
    queries: int = QUERIES
    width: int = 4
    branching: int = 3
    depth: int = 6
    on_topic: OnTopic | None = None

    def __post_init__(self) -> None:
        at_least_one(queries=self.queries, width=self.width, branching=self.branching, depth=self.depth)

    async def attack(self, goal: Goal, target: Model) -> Conversation:
        search = Search(goal, target, self.judge, self.attacker, self.queries)
        talks = [opening(goal, APPROACHES[self.part][0])]
        sent: set[str] = set()
        for _ in range(self.depth):
            moves = await self._grown(search, talks, sent)
            leaves = await _sent(search, await self._pruned(goal, moves))
            if not search.open or not leaves:
                break
            # sorted is stable: of equals the earlier branch stays
            best = sorted(leaves, key=lambda leaf: -leaf.seen.score)[: self.width]
            talks = [leaf.talk.then(Message("user", leaf.seen.told())) for leaf in best]
        return search.result()

    async def _grown(
        self, search: Search, talks: list[Conversation], sent: set[str]
    ) -> list[tuple[Conversation, Move]]:
        """Every leaf refined `branching` times, each message once in the whole tree."""
        found = []
        for talk in talks:
            for _ in range(self.branching):
                move = await search.move(talk, FORM) if search.open else None
                if move is not None:
                    self.attacker.tally["repeated"] += move.message in sent
                    found += [(talk, move)] if move.message not in sent else []
                    sent.add(move.message)
        return found

    async def _pruned(self, goal: Goal, moves: list[tuple[Conversation, Move]]) -> list[tuple[Conversation, Move]]:
        on_topic = self.on_topic or names_the_goal
        kept = [move for move in moves if await on_topic(goal, move[1].message)]
        self.attacker.tally["off_topic"] += len(moves) - len(kept)
        return kept or moves

    @property
    def texts(self) -> tuple[str, ...]:
        return (BRIEF, FORM.wanted(), APPROACHES[self.part][0], getattr(self.on_topic, "__name__", ""))


async def _sent(search: Search, moves: list[tuple[Conversation, Move]]) -> list[_Leaf]:
    leaves = []
    for talk, move in moves:
        if not search.open:
            break
        leaves.append(_Leaf(talk.then(move.said), await search.ask(Conversation.user(move.message))))
    return leaves
