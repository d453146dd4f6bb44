"""What was measured, as tables for people and as JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .lacking import FLAG, Lacking
from .workload import Plan

_AIMS = {"lower": "<=", "higher": ">="}


@dataclass
class Row:
    """One line of a table: what was measured, its figures by column, and what the last of these should be."""

    name: str
    figures: Mapping[str, float]
    target: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def met(self) -> bool | None:
        """Whether the last figure is on the right side of the target."""
        if self.target is None:
            return None
        last = list(self.figures.values())[-1]
        return last <= self.target if self.better == "lower" else last >= self.target

    def content(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}

    def aim(self) -> str:
        """The target as it is printed."""
        if self.target is None:
            return ""
        return f"{_AIMS[self.better]} {shown(self.target)} {'met' if self.met else 'missed'}"


@dataclass
class Table:
    """Some rows, with the same columns where they have figures for them."""

    title: str
    rows: list[Row]

    def __str__(self) -> str:
        columns = list(dict.fromkeys(column for row in self.rows for column in row.figures))
        aimed = any(row.target is not None for row in self.rows)
        lines = [["", *columns, *(["target"] if aimed else [])]]
        for row in self.rows:
            cells = [shown(row.figures.get(column)) for column in columns]
            lines.append([row.name, *cells, *([row.aim()] if aimed else [])])
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        name_width, *other_widths = widths
        text = [self.title]
        for name, *cells in lines:
            aligned = [cell.rjust(width) for cell, width in zip(cells, other_widths, strict=True)]
            text.append("  ".join([f"  {name.ljust(name_width)}", *aligned]).rstrip())
        return "\n".join(text)

    def content(self) -> dict[str, Any]:
        return {"title": self.title, "rows": [row.content() for row in self.rows]}


def shown(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


#: What the columns are that most tables have.
LEGEND = """\
median: of the repetitions' medians. p95, p99: of all calls. best: the lowest median of a repetition.
spread %: between the first and the third quarter of the repetitions, as a part of the median.
/ X, times faster: the median of the ratios of repetitions made side by side, not the ratio of the medians.
target: our own aim, for the last ratio of its row."""


def skipped_lines(skipped: Sequence[Lacking]) -> list[str]:
    """What is lacking, by name."""
    return [f"skipped {lacking.what}: {lacking.why} ({FLAG} installs it)" for lacking in skipped]


def write_json(
    path: Path,
    measured_on: Mapping[str, str],
    versions: Mapping[str, str],
    plan: Plan,
    skipped: Sequence[Lacking],
    tables: Sequence[Table],
) -> None:
    """Everything that is printed, unrounded."""
    content = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": measured_on,
        "versions": versions,
        "plan": asdict(plan),
        "skipped": [{"what": lacking.what, "why": lacking.why, "flag": FLAG} for lacking in skipped],
        "tables": [table.content() for table in tables],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")
