"""Reports: well formed, self-contained, escaped, and true to the numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO
from math import inf, nan
from xml.etree import ElementTree

import pytest
from rich.console import Console

from trivet.core.report import (
    MAX_POINTS,
    bars_with_intervals,
    block,
    bullets,
    lines,
    page,
    paragraph,
    section,
    table,
    terminal_table,
)
from trivet.core.stats import Rate

EVIL = "<script>alert('x') & \"y\"</script>"


def svg(figure: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.search("<svg.*</svg>", figure, re.DOTALL).group())  # type: ignore[union-attr]


def test_a_page_holds_everything_and_asks_for_nothing() -> None:
    made = page(
        EVIL,
        [
            section(EVIL, paragraph(EVIL), bullets([EVIL]), block(EVIL)),
            table([EVIL], [[EVIL]], caption=EVIL),
            bars_with_intervals([EVIL], {EVIL: [Rate(1, 2)], "b": [Rate(1, 2)]}, caption=EVIL),
            lines({EVIL: [(0, 1), (1, 2)], "b": []}, caption=EVIL, x_label=EVIL, y_label=EVIL),
        ],
        subtitle=EVIL,
    )
    assert "<script" not in made and made.count("&lt;script&gt;") >= 13
    assert not re.search(r"https?://|src=|@import|url\(", made)
    assert "prefers-color-scheme: dark" in made

    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

    Checker().feed(made)
    assert not open_tags
    assert "<p style" not in page("x", [])


def test_table() -> None:
    made = table(["name", "rate", "n"], [["a", Rate(1, 2), 3], ["b", None, True], ["c", 0.123456, 1]])
    assert "<td>a</td>" in made and '<td class="n">50.0% [' in made
    assert '<td class="n">–</td>' in made and "<td>yes</td>" in made and '<td class="n">0.1235</td>' in made
    assert '<th class="n">rate</th>' in made and "<th>n</th>" in made, "a yes among numbers makes no column of numbers"
    assert "<td>" not in table(["a"], []) and "<caption>" not in table(["a"], [])
    assert "no" in table(["a"], [[False]])


def test_bars_stand_where_the_rates_are() -> None:
    rates = {"before": [Rate(5, 10), Rate(10, 10)], "after": [Rate(0, 10), Rate(0, 0)]}
    root = svg(bars_with_intervals(["one", "two"], rates, height=300))
    bars = list(root.iter("g"))
    assert [bar.find("title").text.split(":")[0] for bar in bars] == ["one, before", "one, after", "two, before"]  # type: ignore[union-attr]
    half, none, whole = (float(bar.find("rect").get("height")) for bar in bars)  # type: ignore[union-attr, arg-type]
    assert half == pytest.approx(whole / 2) and none == 0.5, "a rate of zero is still to be seen"
    whisker = bars[0].findall("line")[0]
    top, base = 30.0, 236.0
    place = {end: (base - float(whisker.get(end, ""))) / (base - top) for end in ("y1", "y2")}
    assert place == pytest.approx({"y1": Rate(5, 10).low, "y2": Rate(5, 10).high}, abs=1e-3)
    texts = [text.text for text in root.iter("text")]
    assert {"0 %", "100 %", "one", "two", "before", "after"} <= set(texts)


def test_one_series_needs_no_legend_and_many_groups_slant() -> None:
    root = svg(bars_with_intervals([f"g{n}" for n in range(7)], {"only": [Rate(1, 2)] * 7}))
    assert "only" not in [text.text for text in root.iter("text")]
    assert sum("rotate" in text.get("transform", "") for text in root.iter("text")) == 7
    assert svg(bars_with_intervals([], {})) is not None


def test_bars_need_a_rate_for_each_group() -> None:
    with pytest.raises(ValueError, match="the series 'a' has 1 rates for 2 groups"):
        bars_with_intervals(["x", "y"], {"a": [Rate(1, 2)]})


def points(figure: str) -> list[list[tuple[float, float]]]:
    found = [line.get("points", "").split() for line in svg(figure).iter("polyline")]
    return [[(float(x), float(y)) for x, y in (place.split(",") for place in line)] for line in found]


def test_lines() -> None:
    [line] = points(lines({"loss": [(0, 1.0), (50, 0.5), (100, 0.0)]}))
    (x0, y0), (x1, y1), (x2, y2) = line
    assert x0 < x1 < x2 and y0 < y1 < y2, "downwards is larger"
    assert x1 - x0 == pytest.approx(x2 - x1) and y1 - y0 == pytest.approx(y2 - y1)
    texts = [text.text for text in svg(lines({"a": [(0, 0.001), (100, 0.0017)]})).iter("text")]
    assert {"0", "20", "100", "0.001", "0.0018"} <= set(texts)


def test_lines_that_are_broken_or_flat() -> None:
    assert [len(run) for run in points(lines({"a": [(0, 1), (1, 2), (2, nan), (3, inf), (4, 1), (5, 1)]}))] == [2, 2]
    single = svg(lines({"a": [(0, 1), (1, nan), (2, 3), (3, 4)]}))
    assert len(list(single.iter("circle"))) == 1 and len(list(single.iter("polyline"))) == 1
    assert len(points(lines({"flat": [(0, 0.0), (1, 0.0)]}))) == 1
    assert "nothing was measured" in lines({"a": []}) and "nothing was measured" in lines({"a": [(nan, 1)]})


def test_long_lines_are_thinned_and_keep_their_end() -> None:
    [line] = points(lines({"a": [(float(n), float(n)) for n in range(10_001)], "b": [(0.0, 0.0)]}))
    assert len(line) <= MAX_POINTS + 1
    [short] = points(lines({"a": [(0.0, 0.0), (10_000.0, 10_000.0)]}))
    assert line[-1] == short[-1]


def test_terminal_table() -> None:
    out = StringIO()
    Console(file=out, width=60).print(terminal_table(["[a]", "b"], [["[bold]x", Rate(1, 2)], ["y", None]], title="[t]"))
    text = out.getvalue()
    assert "[a]" in text and "[bold]x" in text and "50.0% [" in text and text.startswith("[t]")
    Console(file=StringIO()).print(terminal_table(["a"], []))


def test_a_picture_is_a_whole_svg_file() -> None:
    import xml.etree.ElementTree as ElementTree

    from trivet.core import report as html
    from trivet.core.stats import Rate

    svg = html.picture(html.bars_with_intervals(["a & b"], {"before": [Rate(1, 2)], "after": [Rate(0, 2)]}))
    tree = ElementTree.fromstring(svg)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert "a & b" in "".join(tree.itertext())
