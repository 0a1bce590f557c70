"""A campaign raises the threshold of the garbage collector while it runs, and leaves it as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from trivet.robustness.collecting import YOUNG, fewer_collections


@pytest.fixture(autouse=True)
def threshold() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 11, 12)
    yield
    gc.set_threshold(*before)


def test_it_is_raised_within_and_put_back_after() -> None:
    with fewer_collections():
        assert gc.get_threshold() == (YOUNG, 11, 12)
    assert gc.get_threshold() == (700, 11, 12)


def test_it_is_put_back_after_a_failure() -> None:
    with pytest.raises(KeyError), fewer_collections():
        raise KeyError
    assert gc.get_threshold() == (700, 11, 12)


def test_of_two_that_overlap_the_last_puts_it_back() -> None:
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (YOUNG, 11, 12)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 11, 12)


@pytest.mark.parametrize("young", [0, YOUNG + 1])
def test_who_wants_fewer_or_none_keeps_that(young: int) -> None:
    gc.set_threshold(young, 11, 12)
    with fewer_collections():
        assert gc.get_threshold()[0] == young
    assert gc.get_threshold() == (young, 11, 12)
