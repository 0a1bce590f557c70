"""What a campaign may cost, in tokens, in money and in failures, and what it has cost so far.

Tokens are the target's own count where it tells one, else an estimate of four characters each; a total that holds
any estimate says so. Money is tokens times prices that the user gives: none are known here, since they change and differ by
contract. A budget stops new attempts, and lets those that are under way come to their end, so it is overdrawn by no more than
these. Errors have a budget too: past it there is no target any more, or no judge.

Not covered: what attacker models and judges cost, and discounts for cached prompts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from trivet.core.errors import ConfigError, TargetError, TrivetError
from trivet.core.events import Attempt
from trivet.core.messages import Conversation

CHARACTERS = 4
"""Characters for each token, where nobody counts."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, of prompts and of replies, and the name of the money."""

    prompt: float
    completion: float
    money: str = "USD"

    def __post_init__(self) -> None:
        if self.prompt < 0 or self.completion < 0:
            raise ConfigError(f"prices are {self.prompt:g} and {self.completion:g}, and cannot be less than 0")

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """So many tokens, so much money, or both: what is reached first ends the campaign."""

    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("money", self.money)):
            if value is not None and value <= 0:
                raise ConfigError(f"a budget of {value:g} in {name} buys nothing; give more than 0, or none")


_AMOUNT = re.compile(r"\s*([$€£]?)\s*(\d+(?:[_,]\d{3})*(?:\.\d+)?)\s*([kM]?)\s*([A-Za-z]*)\s*")


def parse(text: str) -> Budget:
    """A budget as people write it: `200k tokens`, `1.5M tokens`, `5 USD`, `$2.50`.

    >>> parse("200k tokens"), parse("$2.50")
    (Budget(tokens=200000, money=None), Budget(tokens=None, money=2.5))
    """
    found = _AMOUNT.fullmatch(text)
    sign, number, factor, unit = found.groups() if found else ("", "", "", "")
    if not found or bool(sign) == bool(unit):
        raise ConfigError(f"{text!r} is no budget; write it like `200k tokens`, `5 USD` or `$5`")
    amount = float(number.replace(",", "").replace("_", "")) * {"": 1, "k": 1e3, "M": 1e6}[factor]
    return Budget(tokens=int(amount)) if unit.lower() in ("token", "tokens") else Budget(money=amount)


class BudgetSpent(TrivetError):  # noqa: N818
    """The budget is spent before the plan was done. `attempts` are those that are done, in the order of the plan."""

    exit_code = 2

    def __init__(self, message: str, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.attempts = list(attempts)


def estimate(conversation: Conversation) -> int:
    """About how many tokens a prompt has."""
    characters = 0
    for message in conversation.messages:
        characters += len(message.content)
    return characters // CHARACTERS + 1


def estimate_of(conversation: Conversation) -> tuple[int, int]:
    """About how many tokens the prompts and the replies of a whole talk have had: every prompt holds all before it."""
    prompts = replies = before = 0
    for message in conversation.messages:
        if message.role == "assistant":
            prompts += before // CHARACTERS + 1
            replies += len(message.content) // CHARACTERS + 1
        before += len(message.content)
    return prompts, replies


@dataclass(slots=True)
class Spent:
    """Tokens so far in this process; what earlier runs stored is not counted again."""

    prompt: int = 0
    completion: int = 0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion

    def add(self, prompt: int, completion: int, estimated: bool) -> None:
        self.prompt += prompt
        self.completion += completion
        if estimated:
            self.estimated = True

    def over(self, budget: Budget, prices: Prices | None) -> str:
        """What of the budget is spent, in words, or an empty string."""
        about = "about " if self.estimated else ""
        if budget.tokens is not None and self.tokens >= budget.tokens:
            return f"the budget of {budget.tokens:,} tokens is spent ({about}{self.tokens:,})"
        if budget.money is not None and prices is not None:
            cost = prices.of(self.prompt, self.completion)
            if cost >= budget.money:
                return f"the budget of {budget.money:.2f} {prices.money} is spent ({about}{cost:.2f})"
        return ""


@dataclass
class ErrorBudget:
    """How many failures are bad luck, and when there is no target (or whoever `who` is) any more.

    Raises TargetError after `in_a_row` failures without a success between them, or when more than `share` of at least
    `at_least` attempts have failed.
    """

    in_a_row: int = 20
    share: float = 0.25
    at_least: int = 40
    who: str = "the target"
    row: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    tried: int = field(default=0, init=False)

    def succeeded(self) -> None:
        self.tried += 1
        self.row = 0

    def note(self, why: str) -> None:
        self.tried += 1
        self.row += 1
        self.failed += 1
        if self.row >= self.in_a_row:
            raise TargetError(f"{self.who} failed {self.row} times in a row, the last time: {why}")
        if self.tried >= self.at_least and self.failed > self.share * self.tried:
            raise TargetError(f"{self.who} failed {self.failed} of {self.tried} times, the last time: {why}")
