"""The colours of plots, on light and on dark paper, as CSS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_SERIES = ("#2f81f7", "#d9622b", "#1a9e77", "#a371f7", "#c4932b", "#8b949e")  # are seen on both grounds


class _Palette(NamedTuple):
    paper: str
    ink: str
    faint: str  # guides
    ours: str
    theirs: str
    behind: str  # where ours loses


_LIGHT = _Palette("#ffffff", "#1f2328", "#d1d9e0", "#0969da", "#8c959f", "#c4501b")
_DARK = _Palette("#0d1117", "#e6edf3", "#30363d", "#4493f8", "#7d8590", "#f0883e")


def css(chart: str, more_rules: str) -> str:
    """Of one chart: several may stand in one document."""
    layout = """
        text { stroke: none; }
        .titles .title { text-anchor: middle; font-weight: normal; font-size: 12px; }
        .titles .plot_title { text-anchor: start; font-weight: 600; font-size: 15px; }
        .axis.x text { text-anchor: middle; }
        .axis.y text { text-anchor: end; }
        .horizontal .axis.y text { text-anchor: start; }
        .horizontal .axis.y text.figure { text-anchor: end; }
        .axis.y text.heading { font-weight: 600; stroke-width: 5px; paint-order: stroke; }
        .guide.line, .axis .line { fill: none; }
        .horizontal .axis.y .line, .vertical .axis.x .guide.line { opacity: 0; }
        .horizontalbar-graph .axis.x > .line { opacity: 0; }
        .horizontalbar-graph .major.guide.line { stroke-width: 1.5px; }
        .horizontalstackedbar-graph .bar { stroke: none; }
        .color-1 .bar, .color-3 .bar { fill-opacity: .4; }
        .series .line { fill: none; stroke-width: 2px; }
    """
    light = _prefixed(chart, layout + more_rules + _colours(_LIGHT))
    dark = _prefixed(chart, _colours(_DARK))
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}"


def strokes(names: Sequence[str]) -> str:
    """More rules: the lines of one call have one colour, and all but the first are broken."""
    rules = ""
    begun: list[str] = []
    for at, name in enumerate(names):
        group = name.partition(", ")[0]
        if group in begun:
            rules += f".xy-graph .color-{at} .line {{ stroke-dasharray: 6 4; }}\n"
        else:
            begun.append(group)
        colour = _SERIES[begun.index(group) % len(_SERIES)]
        rules += f".xy-graph .color-{at} {{ fill: {colour}; stroke: {colour}; }}\n"
    return rules


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
