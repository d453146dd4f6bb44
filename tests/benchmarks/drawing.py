"""How plots look: SVG without scripts, fonts or links; light or dark as its reader wants it.

The same figures make the same bytes: no date, no random id. Text stays text.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pygal
from pygal.style import Style

from .styles import FONT, css, strokes

# It finds plug-ins for maps, and has Python 3.11 warn at each import of what is not there.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

WIDTH = 840
_MARGIN = 14
_INDENT = 14  # of a bar's label below its heading
_LINE = 22  # pixels of height of a bar
_LEAST_DRAWN = 0.1  # a bar that is longer to the left says nothing more, and makes all others short


class Bar(NamedTuple):
    """One horizontal bar; without figures, its label is the heading of those below it."""

    label: str
    figure: float | None = None
    p95: float | None = None
    ours: bool = True


def heading(label: str) -> Bar:
    """Of the bars below it."""
    return Bar(label)


def amounts(name: str, title: str, description: str, bars: Sequence[Bar], unit: str) -> bytes:
    """Bars as long as their figures, and paler up to the 95th percentile; ours in colour."""
    most = max(bar.p95 or bar.figure or 0.0 for bar in bars)
    tailed = any(bar.p95 for bar in bars)
    chart = pygal.HorizontalStackedBar(
        **_looks(title, len(bars)),
        **_labels(bars, "  00,000"),
        x_title=f"{unit}; paler: to the 95th percentile" if tailed else unit,
        y_labels=[_label(step) for step in _steps(most)],
        range=(0, most),
    )
    for ours in (True, False):
        its = [bar if bar.ours is ours else heading("") for bar in reversed(bars)]
        chart.add("median", [bar.figure for bar in its])
        chart.add("p95", [bar.p95 and max(0.0, bar.p95 - (bar.figure or 0.0)) for bar in its])
    return _drawn(chart, name, title, description, lambda root: _label_amounts(root, bars))


def times_faster(name: str, title: str, description: str, bars: Sequence[Bar]) -> bytes:
    """Bars to the right of a line at 1, and to the left of it where ours is the slower one.

    Of what is much slower, the bar ends at the edge, and its figure stands beside it.
    """
    drawn = [bar.figure and max(bar.figure, _LEAST_DRAWN) for bar in bars]
    ratios = [ratio for ratio in drawn if ratio is not None]
    low, high = min(*ratios, 0.9), max(*ratios, 1.1)
    room = (high / low) ** 0.1  # for what is written beside the longest bars
    chart = pygal.HorizontalBar(
        **_looks(title, len(bars)),
        **_labels(bars),
        x_title="times faster (logarithmic); left of 1: slower",
        y_labels=[_label(mark) for mark in _marks(low, high) if low / room <= mark <= high * room],
        y_labels_major=[1],
        range=(low / room, high * room),
        logarithmic=True,
        zero=1,
        print_values=True,
        print_values_position="top",
    )
    chart.add(
        "times faster",
        [
            ratio and {"value": ratio, "node": {"class": "faster" if ratio >= 1 else "slower"}}
            for ratio in reversed(drawn)
        ],
    )
    return _drawn(chart, name, title, description, lambda root: _label_ratios(root, bars))


def lines(
    name: str,
    title: str,
    description: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    axes: tuple[str, str],
) -> bytes:
    """A line for each series through its points, on logarithmic axes.

    Those whose names begin alike, before a comma, have one colour; only the first of them is unbroken.
    """
    upwards = [y for points in series.values() for _, y in points]
    marks = _marks(min(upwards), max(upwards))
    columns = len(series) if len(series) <= 3 or len(series) % 2 else len(series) // 2
    chart = pygal.XY(
        **_looks(title, 15),
        x_title=axes[0],
        y_title=axes[1],
        x_labels=sorted({x for points in series.values() for x, _ in points}),
        y_labels=[_label(mark) for mark in marks],
        range=(marks[0], marks[-1] * 1.001),
        x_value_formatter=_whole,
        logarithmic=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=columns,
        truncate_legend=-1,
        dots_size=3,
    )
    for label, points in series.items():
        chart.add(label, sorted(points))
    return _drawn(chart, name, title, description, lambda _root: None, strokes(list(series)))


def _label(figure: float) -> dict[str, Any]:
    return {"value": figure, "label": _whole(figure)}


def _whole(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1 else f"{figure:g}"


def _ratio(ratio: float) -> str:
    if ratio < _LEAST_DRAWN:
        return f"1/{1 / ratio:,.0f}, beyond the edge"
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def _steps(most: float) -> list[float]:
    """Some five round numbers from nothing to the most."""
    step = 10.0 ** math.floor(math.log10(most / 5))
    step = next(step * factor for factor in (1, 2, 5, 10) if step * factor * 6 >= most)
    return [step * at for at in range(int(most / step) + 1)]


def _marks(low: float, high: float) -> list[float]:
    """Round numbers around both, to be shown on a logarithmic scale."""
    factors = (1,) if high / low > 1_000 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    first = max(mark for mark in marks if mark <= low)
    last = min(mark for mark in marks if mark >= high)
    return [mark for mark in marks if first <= mark <= last]


def _labels(bars: Sequence[Bar], room: str = "") -> dict[str, Any]:
    """From the lowest upwards. Headings are written later: they need no room to the left of the bars."""
    labels = ["" if bar.figure is None else f"   {bar.label}{room}" for bar in reversed(bars)]
    return {"x_labels": labels, "show_legend": False}


def _looks(title: str, rows: int) -> dict[str, Any]:
    sizes = {f"{what}_font_size": 13 for what in ("label", "major_label", "value", "legend")}
    return {
        "title": title,
        "style": Style(font_family=FONT, title_font_size=14, **sizes),
        "width": WIDTH,
        "height": rows * _LINE + 100,
        "margin": _MARGIN,
        "margin_right": 40,
        "spacing": 8,
        "truncate_label": -1,
        "js": (),
    }


def _drawn(
    chart: Any,
    name: str,
    title: str,
    description: str,
    labelled: Callable[[Any], None],
    more_rules: str = "",
) -> bytes:
    def finished(root: Any) -> Any:
        """Without what is not seen, and with words for who sees nothing of it."""
        for parent in list(root.iter()):
            for child in list(parent):
                if _is_not_seen(child):
                    parent.remove(child)
        for text in _texts(root, "titles"):
            if "plot_title" in _classes(text):
                text.set("x", str(_MARGIN))
        labelled(root)
        for tag, words in (("desc", description), ("title", title)):
            element = root.makeelement(tag, {"id": f"{name}-{tag}"})
            element.text = words
            root.insert(0, element)
        root.set("role", "img")
        root.set("aria-labelledby", f"{name}-title {name}-desc")
        return root

    chart.uuid = name
    chart.css = [f"inline:{css(f'#chart-{name} ', more_rules)}"]
    chart.add_xml_filter(finished)
    drawn: bytes = chart.render()
    return drawn + b"\n"


def _place_labels(root: Any, bars: Sequence[Bar]) -> Any:
    """Below each other, at the left. The plot that they belong to."""
    plot = next(element for element in root.iter() if "plot" in _classes(element))
    left = _MARGIN - float(re.findall(r"[\d.]+", plot.get("transform"))[0])
    for text, bar in zip(_texts(plot, "y"), reversed(bars), strict=True):
        text.set("x", str(left if bar.figure is None else left + _INDENT))
        text.text = bar.label
        if bar.figure is None:
            text.set("class", "heading")
    labels = next(element for element in plot if "y" in _classes(element))
    plot.remove(labels)
    plot.append(labels)  # above the guides, which cross what is as long as a heading
    return plot


def _label_amounts(root: Any, bars: Sequence[Bar]) -> None:
    plot = _place_labels(root, bars)
    for text, bar in zip(_texts(plot, "y"), reversed(bars), strict=True):
        if bar.figure is not None:
            figure = text.makeelement("text", {"class": "figure", "x": "-6", "y": text.get("y")})
            figure.text = f"{bar.figure:,.1f}" if bar.figure < 100 else _whole(bar.figure)
            next(guides for guides in plot.iter() if text in list(guides)).append(figure)


def _label_ratios(root: Any, bars: Sequence[Bar]) -> None:
    """Outside the bars, beside their ends; on the other side of the line of one that ends at the edge."""
    plot = _place_labels(root, bars)
    one = next(float(text.get("x")) for text in _texts(plot, "x") if text.text == "1")
    ratios = [bar.figure for bar in reversed(bars) if bar.figure is not None]
    for text, ratio in zip(_texts(root, "text-overlay"), ratios, strict=True):
        text.text = _ratio(ratio)
        if ratio < _LEAST_DRAWN:
            text.set("x", str(one + 6))
        text.set("text-anchor", "end" if _LEAST_DRAWN <= ratio < 1 else "start")


def _classes(element: Any) -> list[str]:
    return str(element.get("class", "")).split()


def _texts(root: Any, kind: str) -> list[Any]:
    """Those within the elements of this class."""
    parents = [element for element in root.iter() if kind in _classes(element)]
    return [text for parent in parents for text in parent.iter() if _tag(text) == "text"]


def _tag(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # "" of a comment


def _is_not_seen(element: Any) -> bool:
    """Comments, bars of nothing, and what is for a script that shows it to a mouse."""
    kind = _tag(element)
    return (
        kind in ("", "script", "desc", "title")
        or "tooltip-overlay" in _classes(element)
        or (kind == "rect" and element.get("width") is None)
    )
