"""The plots of `top`: what happened in the last minutes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..output import safe
from .readings import Point

#: A plot takes so many rows at least, and so many columns.
PLOT_ROWS, _COLUMNS = 7, 36
_MOST_ROWS = 16
# Lines of this many apps are drawn, those of the largest ones.
_MOST_APPS = 4
_APP_COLOURS = ("green", "magenta", "blue", "orange")
_TICK_COLUMNS = 16


class _Line(NamedTuple):
    label: str
    colour: str
    values: list[float | None]


class _Plot(NamedTuple):
    title: str
    lines: list[_Line]


def plots(points: Sequence[Point], width: int, height: int) -> RenderableType:
    """As many plots side by side and below each other as there is room for, the most useful first."""
    fitting = width // _COLUMNS
    across = 4 if fitting >= 4 else max(1, min(2, fitting))
    down = max(1, min(-(-4 // across), height // PLOT_ROWS))
    drawn = _plots(points)[: across * down]
    across = min(across, len(drawn))
    rows = min(_MOST_ROWS, height // down)
    grid = Table.grid(padding=0)
    for _ in range(across):
        grid.add_column(width=width // across, no_wrap=True)
    for first in range(0, len(drawn), across):
        cells = [_drawn(each, points, width // across - 1, rows) for each in drawn[first : first + across]]
        grid.add_row(*cells)
    return grid


def _plots(points: Sequence[Point]) -> list[_Plot]:
    def line(label: str, colour: str, read: Callable[[Point], float | None]) -> _Line:
        return _Line(label, colour, [read(point) for point in points])

    newest = next((point.sessions for point in reversed(points) if point.sessions), {})
    largest = sorted(newest, key=lambda app: -newest[app])[:_MOST_APPS]
    return [
        _Plot(
            "reads per second",
            [
                line("hits", "cyan", lambda point: point.hits_per_s),
                line("misses", "orange", lambda point: point.misses_per_s),
            ],
        ),
        _Plot(
            "sessions",
            [
                line(safe(app), colour, lambda point, app=app: point.sessions.get(app))  # type: ignore[misc]
                for app, colour in zip(largest, _APP_COLOURS, strict=False)
            ],
        ),
        _Plot(
            "ping in ms",
            [
                line("p99", "orange", lambda point: point.p99_ms),
                line("p50", "green", lambda point: point.p50_ms),
            ],
        ),
        _Plot(
            "sessions per second",
            [
                line("created", "green", lambda point: point.created_per_s),
                line("ended", "red", lambda point: point.ended_per_s),
            ],
        ),
    ]


def _drawn(plot: _Plot, points: Sequence[Point], width: int, height: int) -> Text:
    import plotext

    now = points[-1].at if points else 0.0
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.theme("clear")
    plotext.plotsize(width, height)
    plotext.title(plot.title)
    most = 0.0
    for line in plot.lines:
        known = [
            (point.at - now, value)
            for point, value in zip(points, line.values, strict=True)
            if value is not None
        ]
        if known:
            xs, ys = zip(*known, strict=True)
            plotext.plot(xs, ys, marker="braille", color=line.colour, label=line.label)
            most = max(most, *ys)
    first = points[0].at - now if len(points) > 1 else -1.0
    plotext.xlim(first, 0)
    plotext.ylim(0, most or 1)
    parts = max(1, min(5, width // _TICK_COLUMNS - 1))
    ticks = [first * part / parts for part in range(parts, -1, -1)]
    plotext.xticks(ticks, [_ago(tick) for tick in ticks])
    heights = [0.0, (most or 1) / 2, most or 1]
    plotext.yticks(heights, [_high(tick) for tick in heights])
    return Text.from_ansi(plotext.build().rstrip("\n"))


def _high(tick: float) -> str:
    if tick >= 100 or tick == int(tick):
        return f"{tick:,.0f}"
    return f"{tick:.1f}" if tick >= 10 else f"{tick:.2f}"


def _ago(tick: float) -> str:
    if not tick:
        return "now"
    return f"{tick:.1f} s" if tick > -10 else f"{tick:.0f} s"
