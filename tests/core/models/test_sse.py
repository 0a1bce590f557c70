"""Server-sent events, cut at every possible byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.models.sse import EventStream

STREAM = ": comment\n\ndata: one é\u2028ok\n\ndata:two\r\n\r\nevent: x\ndatabase: y\ndata: three\ndata: lines\r\rdata\n\nid: 4\n\ndata: five".encode()
EVENTS = ["one é\u2028ok", "two", "three\nlines", "", "five"]


def read(chunks: list[bytes]) -> list[str]:
    stream = EventStream()
    return [event for chunk in chunks for event in stream.feed(chunk)] + stream.end()


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_cut_once(cut: int) -> None:
    assert read([STREAM[:cut], STREAM[cut:]]) == EVENTS


def test_byte_by_byte() -> None:
    assert read([bytes([byte]) for byte in STREAM]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cut_anywhere(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[a:b] for a, b in pairwise(places)]) == EVENTS


def test_the_end() -> None:
    assert read([]) == read([b""]) == read([b": only a comment"]) == []
    assert read([b"data: x\r"]) == read([b"data: x\r\n"]) == read([b"data: x\r\n\r\n"]) == ["x"]
    assert read([b"data: \xff\n\n"]) == ["\ufffd"]
