"""Server-sent events, cut at every possible byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivet.core.errors import TargetError
from trivet.core.models.sse import COMMENT, EventStream, Frame, Frames

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


# Frames: names and comments too, for streams that nobody has seen before

PIECES = st.sampled_from(
    [
        "data",
        "event",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "x",
        "é",
        "\u2028",
        "😀",
        "\ufeff",
        "{",
        "data: ",
        "id: 1\n",
    ]
)


def frames(chunks: list[bytes]) -> list[Frame]:
    stream = Frames()
    return [frame for chunk in chunks for frame in stream.feed(chunk)] + stream.end()


@given(st.lists(PIECES, max_size=40), st.lists(st.integers(0, 120), max_size=20), st.binary(max_size=3))
def test_any_stream_cut_anywhere(parts: list[str], cuts: list[int], rubbish: bytes) -> None:
    raw = "".join(parts).encode() + rubbish
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    whole = frames([raw])
    assert frames([raw[a:b] for a, b in pairwise(places)]) == whole
    assert frames([bytes([byte]) for byte in raw]) == whole


def test_names_and_comments() -> None:
    raw = b"\xef\xbb\xbfevent: ping\ndata: {}\n\n: alive\n\nevent: lost\n\ndata: a\n\n"
    assert frames([raw]) == [("ping", "{}"), (COMMENT, "alive"), ("", "a")]


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("raw", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20, b": " + b"x" * 200 + b"\n\n"])
def test_an_endless_event(raw: bytes, size: int) -> None:
    stream = Frames(limit=100)
    fine = b"data: " + b"y" * 90 + b"\n\n"
    assert [frame.data for _ in range(5) for frame in stream.feed(fine)] == ["y" * 90] * 5
    with pytest.raises(TargetError, match="longer than the 100 bytes"):
        [stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
