"""Reports: one HTML file that holds everything, and tables for the terminal.

Plain functions from values to strings: put `section`s into a `page`, and tables and plots into sections. Plots are inline
SVG, legible in light and dark, without scripts and without anything fetched from elsewhere; every text is escaped here,
so callers pass plain text. What these functions return is markup already and is not escaped again.

Not covered: interaction, and plots of more points than a page can show (lines are thinned to a few hundred points).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Any

from trivet.core.stats import Rate

if TYPE_CHECKING:
    from rich.table import Table

MAX_POINTS = 400
"""Points drawn of one line: more cannot be told apart at this width."""

WIDTH = 720

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #ffffff; --faint: #6a7183; --rule: #dfe3ea; --band: #f4f6f9;
  --s0: #2f6fb0; --s1: #d9822b; --s2: #2f8f5b; --s3: #a3488d; --s4: #7b6a1e; --s5: #b23a48; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --paper: #14171d; --faint: #9aa3b5; --rule: #343a46;
  --band: #1c2028; --s0: #6aaef0; --s1: #f0a95c; --s2: #62c48f; --s3: #d98bc6; --s4: #cdb85a; --s5: #ee8090; } }
body { margin: 2rem auto; max-width: 52rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } tbody tr:nth-child(even) { background: var(--band); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .faint { fill: var(--faint); } svg .rule { stroke: var(--rule); } svg .whisker { stroke: var(--ink); stroke-width: 1.5; }
figure { margin: 1rem 0; } figcaption { color: var(--faint); font-size: .9rem; } pre { overflow-x: auto; background: var(--band);
  padding: .7rem; }
""" + "".join(
    f"svg .f{i} {{ fill: var(--s{i}); }} svg .l{i} {{ stroke: var(--s{i}); fill: none; }}\n" for i in range(6)
)


def page(title: str, sections: Sequence[str], *, subtitle: str = "", head: str = "") -> str:
    """A whole HTML document from sections that are markup already; so is what goes into its head beside the style."""
    below = f'<p style="color:var(--faint)">{escape(subtitle)}</p>' if subtitle else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{head}</head>\n"
        f"<body><h1>{escape(title)}</h1>{below}\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A heading and the markup under it."""
    return f"<section><h2>{escape(heading)}</h2>\n" + "\n".join(parts) + "\n</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def bullets(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def block(text: str) -> str:
    """Text as it is, in a fixed width: a conversation, a command's output."""
    return f"<pre>{escape(text)}</pre>"


def table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str = "") -> str:
    """An HTML table; numbers and rates stand on the right."""
    right = [bool(rows) and all(_numeric(row[column]) for row in rows) for column in range(len(headers))]
    head = "".join(_cell("th", header, right[column]) for column, header in enumerate(headers))
    body = "".join(
        "<tr>" + "".join(_cell("td", value, right[column]) for column, value in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def bars_with_intervals(
    groups: Sequence[str], series: Mapping[str, Sequence[Rate]], *, caption: str = "", height: int = 300
) -> str:
    """Grouped bars of rates with 95 % whiskers: `series["before"][i]` is the rate of `groups[i]`.

    A rate of nothing (n = 0) leaves its place empty.
    """
    for name, rates in series.items():
        if len(rates) != len(groups):
            raise ValueError(f"the series {name!r} has {len(rates)} rates for {len(groups)} groups; give one for each")
    plot = _Plot(height, bottom=64)
    parts = [plot.grid_y([(share / 4, f"{share * 25} %") for share in range(5)], 0.0, 1.0)]
    step = plot.width / max(1, len(groups))
    bar = min(46.0, step * 0.8 / max(1, len(series)))
    for g, group in enumerate(groups):
        middle = plot.left + step * (g + 0.5)
        left = middle - bar * len(series) / 2
        for s, (name, rates) in enumerate(series.items()):
            if rates[g].n:
                parts.append(_bar(plot, left + bar * s, bar, rates[g], s, f"{group}, {name}: {rates[g]}"))
        parts.append(plot.label_x(middle, group, slanted=len(groups) > 6))
    return plot.figure(parts, list(series), caption)


def picture(figure: str) -> str:
    """A figure's SVG as a file of its own, with the page's colours for light and dark."""
    svg = figure[figure.index("<svg ") : figure.index("</svg>") + len("</svg>")]
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">", f"><style>{_STYLE}</style>", 1
    )


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    caption: str = "",
    x_label: str = "",
    y_label: str = "",
    height: int = 260,
) -> str:
    """Lines through (x, y) points on shared axes with round ticks. Points that are not finite break the line."""
    points = [point for line in series.values() for point in line if isfinite(point[0]) and isfinite(point[1])]
    plot = _Plot(height, bottom=44)
    if not points:
        return plot.figure([plot.message("nothing was measured")], list(series), caption)
    ticks_x = _ticks(min(x for x, _ in points), max(x for x, _ in points))
    ticks_y = _ticks(min(y for _, y in points), max(y for _, y in points))
    low_x, high_x, low_y, high_y = ticks_x[0], ticks_x[-1], ticks_y[0], ticks_y[-1]
    parts = [plot.grid_y([(tick, _short(tick)) for tick in ticks_y], low_y, high_y)]
    parts += [plot.label_x(plot.x(tick, low_x, high_x), _short(tick)) for tick in ticks_x]
    for number, line in enumerate(series.values()):
        for run in _unbroken(_thinned(line)):
            places = [(plot.x(x, low_x, high_x), plot.y(y, low_y, high_y)) for x, y in run]
            parts.append(_path(places, number))
    parts.append(plot.axis_names(x_label, y_label))
    return plot.figure(parts, list(series), caption)


def terminal_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> Table:
    """The same table for rich: `rich.print(terminal_table(...))`. Square brackets in texts are only text."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title) if title else None, title_justify="left", header_style="bold")
    for column, header in enumerate(headers):
        right = bool(rows) and all(_numeric(row[column]) for row in rows)
        made.add_column(Text(header), justify="right" if right else "left")
    for row in rows:
        made.add_row(*(Text(_said(value)) for value in row))
    return made


class _Plot:
    """The frame of a plot: where its area lies, and the marks around it."""

    def __init__(self, height: int, *, bottom: int) -> None:
        self.left, self.top, self.height = 56.0, 30.0, float(height)
        self.width = WIDTH - self.left - 26
        self.base = height - bottom

    def x(self, value: float, low: float, high: float) -> float:
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float, low: float, high: float) -> float:
        return self.base - (self.base - self.top) * (value - low) / (high - low)

    def grid_y(self, ticks: Sequence[tuple[float, str]], low: float, high: float) -> str:
        """A rule and a label for each tick."""
        marks = []
        for value, label in ticks:
            y = self.y(value, low, high)
            marks.append(
                f'<line class="rule" x1="{self.left:.1f}" x2="{self.left + self.width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="faint" x="{self.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
            )
        return "".join(marks)

    def label_x(self, x: float, text: str, *, slanted: bool = False) -> str:
        y = self.base + 16
        turn = f' transform="rotate(-28 {x:.1f} {y:.1f})" text-anchor="end"' if slanted else ' text-anchor="middle"'
        return f'<text x="{x:.1f}" y="{y:.1f}"{turn}>{escape(text)}</text>'

    def axis_names(self, x_label: str, y_label: str) -> str:
        return (
            f'<text class="faint" x="{self.left + self.width:.1f}" y="{self.height - 6:.1f}" text-anchor="end">'
            f'{escape(x_label)}</text><text class="faint" x="4" y="{self.top - 14:.1f}">{escape(y_label)}</text>'
        )

    def message(self, text: str) -> str:
        return f'<text class="faint" x="{self.left:.1f}" y="{(self.top + self.base) / 2:.1f}">{escape(text)}</text>'

    def figure(self, parts: Sequence[str], names: Sequence[str], caption: str) -> str:
        """The whole figure, with a legend where there is more than one series."""
        legend, x = [], self.left + 60
        for number, name in enumerate(names if len(names) > 1 else ()):
            legend.append(
                f'<rect class="f{number % 6}" x="{x:.0f}" y="6" width="12" height="12" rx="2"/>'
                f'<text x="{x + 17:.0f}" y="16">{escape(name)}</text>'
            )
            x += 40 + 7.0 * len(name)
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        spoken = escape(caption or "plot")
        frame = f'viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" aria-label="{spoken}"'
        return f"<figure><svg {frame}>{''.join(legend)}{''.join(parts)}</svg>{below}</figure>"


def _bar(plot: _Plot, left: float, width: float, rate: Rate, number: int, title: str) -> str:
    top, low, high = (plot.y(value, 0.0, 1.0) for value in (rate.rate, rate.low, rate.high))
    middle = left + width / 2
    whisker = "".join(
        f'<line class="whisker" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
        for x1, x2, y1, y2 in (
            (middle, middle, low, high),
            (middle - 4, middle + 4, low, low),
            (middle - 4, middle + 4, high, high),
        )
    )
    return (
        f'<g><title>{escape(title)}</title><rect class="f{number % 6}" x="{left + 1:.1f}" y="{top:.1f}" '
        f'width="{width - 2:.1f}" height="{max(0.5, plot.base - top):.1f}"/>{whisker}</g>'
    )


def _path(places: Sequence[tuple[float, float]], number: int) -> str:
    if len(places) == 1:
        return f'<circle class="f{number % 6}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3"/>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="l{number % 6}" stroke-width="2" points="{points}"/>'


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every so-many-th point, and always the last."""
    stride = ceil(len(line) / MAX_POINTS) or 1
    kept = list(line[::stride])
    return kept if not line or kept[-1] == line[-1] else [*kept, line[-1]]


def _unbroken(line: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The stretches between points that are not finite."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in line:
        if isfinite(x) and isfinite(y):
            runs[-1].append((x, y))
        else:
            runs.append([])
    return [run for run in runs if run]


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, never fewer than two."""
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [step * number for number in range(floor(low / step), ceil(high / step) + 1)]


def _short(value: float) -> str:
    return f"{value:.4g}"


def _numeric(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float, Rate)) and not isinstance(value, bool))


def _said(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(tag: str, value: Any, right: bool) -> str:
    start = f'<{tag} class="n">' if right else f"<{tag}>"
    return f"{start}{escape(_said(value))}</{tag}>"
