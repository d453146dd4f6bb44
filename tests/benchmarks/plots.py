"""Tables as bars, in SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pygal

from .report import Table


def write(folder: Path, tables: Sequence[Table]) -> list[Path]:
    """A file for each table: the last figure of each row, which is its ratio where it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for table in tables:
        chart = pygal.HorizontalBar(title=table.title, show_legend=False)
        chart.x_labels = [row.name for row in table.rows]
        chart.add("", [list(row.figures.values())[-1] for row in table.rows])
        name = re.sub(r"[^a-z0-9]+", "-", re.split(r"[:;]", table.title)[0].lower()).strip("-")
        files.append(folder / f"{name}.svg")
        files[-1].write_bytes(chart.render())
    return files
