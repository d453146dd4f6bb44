"""How plots look: SVG without scripts, fonts or links; light or dark as its reader wants it.

The same figures make the same bytes: no date, no random id. Text stays text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pygal
from pygal.style import Style

WIDTH = 840
_MARGIN = 14
_LINE = 22  # pixels of height of a bar
_SERIES = ("#2f81f7", "#d9622b", "#1a9e77", "#a371f7", "#c4932b", "#8b949e")  # are seen on both grounds
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


class _Palette(NamedTuple):
    paper: str
    ink: str
    faint: str  # guides
    ours: str
    theirs: str
    behind: str  # where ours loses


_LIGHT = _Palette("#ffffff", "#1f2328", "#d1d9e0", "#0969da", "#8c959f", "#c4501b")
_DARK = _Palette("#0d1117", "#e6edf3", "#30363d", "#4493f8", "#7d8590", "#f0883e")


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
        **_labels(bars),
        x_title=f"{unit}: the median, and paler up to the 95th percentile" if tailed else unit,
        y_labels=_steps(most),
        range=(0, most),
        formatter=_whole,
    )
    for ours in (True, False):
        its = [bar if bar.ours is ours else heading("") for bar in reversed(bars)]
        chart.add("median", [bar.figure for bar in its])
        chart.add("p95", [bar.p95 and max(0.0, bar.p95 - (bar.figure or 0.0)) for bar in its])
    return _drawn(chart, name, title, description, bars)


def times_faster(name: str, title: str, description: str, bars: Sequence[Bar]) -> bytes:
    """Bars to the right of a line at 1, and to the left of it where ours is the slower one."""
    ratios = [bar.figure for bar in bars if bar.figure is not None]
    low, high = min(*ratios, 0.9), max(*ratios, 1.1)
    labels = [factor * 10.0**power for power in range(-3, 5) for factor in (1, 2, 5)]
    room = (high / low) ** 0.1  # for what is written beside the longest bars
    chart = pygal.HorizontalBar(
        **_looks(title, len(bars)),
        **_labels(bars),
        x_title="times faster (a logarithmic scale); left of 1: slower",
        y_labels=[
            {"value": label, "label": f"{label:g}"} for label in labels if low / room <= label <= high * room
        ],
        y_labels_major=[1],
        range=(low / room, high * room),
        logarithmic=True,
        zero=1,
        formatter=_ratio,
        print_values=True,
        print_values_position="top",
    )
    chart.add("times faster", [_in_its_colour(bar) for bar in reversed(bars)])
    return _drawn(chart, name, title, description, bars)


def lines(
    name: str,
    title: str,
    description: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    axes: tuple[str, str],
) -> bytes:
    """A line for each series through its points, on logarithmic axes."""
    upwards = [y for points in series.values() for _, y in points]
    powers = range(math.floor(math.log10(min(upwards))), math.ceil(math.log10(max(upwards))) + 1)
    chart = pygal.XY(
        **_looks(title, 15),
        x_title=axes[0],
        y_title=axes[1],
        x_labels=sorted({x for points in series.values() for x, _ in points}),
        y_labels=[10.0**power for power in powers],
        range=(10.0 ** powers[0], 10.0 ** powers[-1]),
        x_value_formatter=_whole,
        value_formatter=_whole,
        logarithmic=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=len(series),
        truncate_legend=-1,
        dots_size=3,
    )
    for label, points in series.items():
        chart.add(label, sorted(points))
    return _drawn(chart, name, title, description, ())


def _whole(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1 else f"{figure:g}"


def _steps(most: float) -> list[float]:
    """Some five round numbers from nothing to the most."""
    step = 10.0 ** math.floor(math.log10(most / 5))
    step = next(step * factor for factor in (1, 2, 5, 10) if step * factor * 6 >= most)
    return [step * at for at in range(int(most / step) + 1)]


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _in_its_colour(bar: Bar) -> dict[str, Any] | None:
    if bar.figure is None:
        return None
    return {"value": bar.figure, "node": {"class": "faster" if bar.figure >= 1 else "slower"}}


def _labels(bars: Sequence[Bar]) -> dict[str, Any]:
    """From the lowest upwards. Headings are written later: they need no room to the left of the bars."""
    labels = ["" if bar.figure is None else f"   {bar.label}" for bar in reversed(bars)]
    return {"x_labels": labels, "show_legend": False}


def _looks(title: str, rows: int) -> dict[str, Any]:
    sizes = {f"{what}_font_size": 13 for what in ("label", "major_label", "value", "legend")}
    return {
        "title": title,
        "style": Style(font_family=_FONT, title_font_size=14, **sizes),
        "width": WIDTH,
        "height": rows * _LINE + 120,
        "margin": _MARGIN,
        "margin_right": 40,
        "spacing": 8,
        "truncate_label": -1,
        "js": (),
        "css": (),  # all is written here
    }


def _drawn(chart: Any, name: str, title: str, description: str, bars: Sequence[Bar]) -> bytes:
    chart.uuid = name
    chart.css = [f"inline:{_css(f'#chart-{name} ')}"]
    chart.add_xml_filter(lambda root: _finished(root, name, title, description, bars))
    drawn: bytes = chart.render()
    return drawn + b"\n"


def _finished(root: Any, name: str, title: str, description: str, bars: Sequence[Bar]) -> Any:
    """Without what pygal writes for a mouse, and with what it does not write: words for who cannot see it."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _is_for_a_mouse(child):
                parent.remove(child)
    for text in _texts(root, "titles"):
        if "plot_title" in _classes(text):
            text.set("x", str(_MARGIN))
    if bars:
        _place_labels(root, bars)
    for tag, words in (("desc", description), ("title", title)):
        element = root.makeelement(tag, {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(0, element)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    return root


def _place_labels(root: Any, bars: Sequence[Bar]) -> None:
    """Those of bars at the left, below each other; figures outside, beside the ends of their bars."""
    plot = next(element for element in root.iter() if "plot" in _classes(element))
    left = _MARGIN - float(re.findall(r"[\d.]+", plot.get("transform"))[0])
    for text, bar in zip(_texts(plot, "y"), reversed(bars), strict=True):
        text.set("x", str(left if bar.figure is None else left + 14))
        text.text = bar.label
        if bar.figure is None:
            text.set("class", "heading")
    labels = next(element for element in plot if "y" in _classes(element))
    plot.remove(labels)
    plot.append(labels)  # above the guides, which cross what is as long as a heading
    one = [float(text.get("x")) for text in _texts(plot, "x") if text.text == "1"]
    for text in _texts(root, "text-overlay"):
        text.set("text-anchor", "end" if float(text.get("x")) < one[0] else "start")


def _classes(element: Any) -> list[str]:
    return str(element.get("class", "")).split()


def _texts(root: Any, kind: str) -> list[Any]:
    """Those within the elements of this class."""
    parents = [element for element in root.iter() if kind in _classes(element)]
    return [text for parent in parents for text in parent.iter() if _tag(text) == "text"]


def _tag(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # "" of a comment


def _is_for_a_mouse(element: Any) -> bool:
    return "tooltip-overlay" in _classes(element) or _tag(element) in ("", "script", "desc", "title")


def _css(chart: str) -> str:
    """Of one chart: several may stand in one document."""
    layout = """
        text { stroke: none; }
        .titles .title { text-anchor: middle; font-weight: normal; font-size: 12px; }
        .titles .plot_title { text-anchor: start; font-weight: 600; font-size: 15px; }
        .axis.x text { text-anchor: middle; }
        .axis.y text { text-anchor: end; }
        .horizontal .axis.y text { text-anchor: start; }
        .axis.y text.heading { font-weight: 600; stroke-width: 5px; paint-order: stroke; }
        .guide.line, .axis .line { fill: none; }
        .horizontal .axis.y .line, .vertical .axis.x .guide.line { opacity: 0; }
        .horizontalbar-graph .axis.x > .line { opacity: 0; }
        .horizontalbar-graph .major.guide.line { stroke-width: 1.5px; }
        .horizontalstackedbar-graph .bar { stroke: none; }
        .color-1 .bar, .color-3 .bar { fill-opacity: .4; }
        .series .line { fill: none; stroke-width: 2px; }
    """
    for at, colour in enumerate(_SERIES):
        layout += f".xy-graph .color-{at} {{ fill: {colour}; stroke: {colour}; }}\n"
    light, dark = _prefixed(chart, layout + _colours(_LIGHT)), _prefixed(chart, _colours(_DARK))
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}"


def _colours(palette: _Palette) -> str:
    return f"""
        .graph > .background {{ fill: {palette.paper}; }}
        .plot > .background {{ fill: none; }}
        .titles text, .axis text, .legends text, .series text {{ fill: {palette.ink}; }}
        .axis.y text.heading {{ stroke: {palette.paper}; }}
        .axis .line {{ stroke: {palette.faint}; }}
        .horizontalbar-graph .major.guide.line {{ stroke: {palette.ink}; }}
        .faster, .color-0 .bar, .color-1 .bar {{ fill: {palette.ours}; }}
        .color-2 .bar, .color-3 .bar {{ fill: {palette.theirs}; }}
        .slower {{ fill: {palette.behind}; }}
    """


def _prefixed(chart: str, rules: str) -> str:
    return "".join(
        ", ".join(chart + selector.strip() for selector in selectors.split(",")) + f" {{{body}}}\n"
        for selectors, body in re.findall(r"([^{}]+){([^{}]*)}", rules)
    )
