"""Which plots are drawn of a run, and a compact one for a page that has room for one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from . import drawing
from .comparisons import PICKS, lines
from .drawing import Bar, heading
from .report import Table
from .results import Results

#: What is memsessions in the table of one call; the other rows are what it is beside.
_OURS = ("get", "create", "set", "rotate", "kill", "get, memory://")
_LISTED = ("soapp", "killall", "activity")


def write(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """A file for each plot that these tables have figures for."""
    results = Results(tables)
    plots = {
        "overview": overview(results),
        "calls": _calls(results),
        "faster": _faster(results),
        "lists": _lists(results),
        "growth": _growth(results),
        "concurrency": _concurrency(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, plot in plots.items():
        if plot is not None:
            files.append(folder / f"{name}.svg")
            files[-1].write_bytes(plot)
    return files


def overview(results: Results) -> bytes | None:
    """What is compared with others, in one plot."""
    bars = []
    for group, picks in PICKS.items():
        found = [Bar(line.label.replace("`", ""), line.times) for line in lines(results, picks)]
        bars += [heading(group), *found] if found else []
    return _ratios("overview", "How many times faster memsessions is", bars)


def _faster(results: Results) -> bytes | None:
    bars = []
    for table in results.tables:
        found = [
            Bar(row.name.removesuffix(", memsessions"), row.figures["times faster"])
            for row in table.rows
            if "times faster" in row.figures
        ]
        bars += [heading(_subject(table)), *found] if found else []
    return _ratios("faster", "How many times faster than redis-sessions", bars)


def _ratios(name: str, title: str, bars: list[Bar]) -> bytes | None:
    return drawing.times_faster(name, title, _said(bars, "times faster"), bars) if bars else None


def _calls(results: Results) -> bytes | None:
    table = results.table("One call")
    if table is None:
        return None
    of_row = {row.name: Bar(row.name, row.figures["median us"], row.figures["p95"]) for row in table.rows}
    bars = [
        heading("memsessions"),
        *(of_row[name] for name in _OURS if name in of_row),
        heading("beside it"),
        *(bar._replace(ours=False) for name, bar in of_row.items() if name not in _OURS),
    ]
    return drawing.amounts("calls", _subject(table), _said(bars, "microseconds"), bars, "microseconds")


def _lists(results: Results) -> bytes | None:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for table in results.tables:
        size = re.match(r"Lists of ([\d,]+)", table.title)
        for row in table.rows:
            if size and row.name.partition(", ")[0] in _LISTED:
                series[row.name].append((_number(size[1]), row.figures["median ms"]))
    beside = " (broken lines: redis-sessions)" if any("redis-sessions" in name for name in series) else ""
    return _over_sessions(
        "lists", f"What goes through all sessions of an app{beside}", series, "milliseconds"
    )


def _growth(results: Results) -> bytes | None:
    table = results.table("Growth")
    series = {
        row.name: [
            (_number(column[3:]), figure)
            for column, figure in row.figures.items()
            if column.startswith("at ")
        ]
        for row in (table.rows if table else ())
    }
    return _over_sessions("growth", "One call among so many sessions", series, "microseconds")


def _over_sessions(
    name: str, title: str, series: dict[str, list[tuple[float, float]]], unit: str
) -> bytes | None:
    if not any(len(points) > 1 for points in series.values()):
        return None
    said = "; ".join(
        f"{label}: " + ", ".join(f"{_rounded(y)} {unit} with {x:,.0f} sessions" for x, y in sorted(points))
        for label, points in series.items()
    )
    return drawing.lines(name, title, said, series, ("sessions", unit))


def _concurrency(results: Results) -> bytes | None:
    bars = []
    for title in ("Threads", "Processes"):
        table = results.table(title)
        calls: dict[str, list[Bar]] = defaultdict(list)
        for row in table.rows if table else ():
            call, _, number = row.name.rpartition(", ")
            ours = call in _OURS
            calls[call].append(Bar(number, row.figures["calls/s"], ours=ours))
        for call, its in calls.items():
            bars += [heading(f"{call}, {title.lower()}"), *its]
    unit = "calls per second"
    if not bars:
        return None
    return drawing.amounts(
        "concurrency", "Calls per second, from so many at once", _said(bars, unit), bars, unit
    )


def _subject(table: Table) -> str:
    """What a title says before it says how it was measured."""
    return re.split("[;:]", table.title)[0]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _said(bars: Sequence[Bar], unit: str) -> str:
    """A plot in words."""
    words = [
        f"{bar.label}:" if bar.figure is None else f"{bar.label} {_rounded(bar.figure)} {unit};"
        for bar in bars
    ]
    return " ".join(words)


def _rounded(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
