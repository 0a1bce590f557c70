"""One tiny model folder for all tests of alignment, and lessons for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from alignment.tiny import tiny_folder, tiny_lessons, words
from trivet.core.lessons import Demonstration, Preference
from trivet.core.messages import Conversation


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def demonstrations() -> list[Demonstration]:
    return tiny_lessons()


@pytest.fixture(scope="session")
def preferences() -> list[Preference]:
    dice = random.Random(1)
    made = []
    for number in range(30):
        chosen, rejected = "the lamp " + words(dice, 1, 12), "the ferry " + words(dice, 1, 12)
        made.append(
            Preference(Conversation.user(words(dice, 2, 12)), chosen, rejected, 2.0 if number % 7 == 0 else 1.0)
        )
    return made
