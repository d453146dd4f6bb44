"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from ..support.memcached import Memcached


@dataclass
class Row:
    """One line of a table: what was measured, its figures by column, and what its last ratio should be."""

    name: str
    figures: Mapping[str, float]
    target: float | None = None


@dataclass
class Table:
    """Some rows, with the same columns where they have figures for them."""

    title: str
    rows: list[Row]

    def __str__(self) -> str:
        columns = list(dict.fromkeys(column for row in self.rows for column in row.figures))
        if any(row.target is not None for row in self.rows):
            columns.append("target")
        lines = [["", *columns]]
        for row in self.rows:
            figures = {**row.figures, "target": row.target}
            lines.append([row.name, *(_shown(figures.get(column)) for column in columns)])
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        name_width, *other_widths = widths
        text = [self.title]
        for name, *cells in lines:
            aligned = [cell.rjust(width) for cell, width in zip(cells, other_widths, strict=True)]
            text.append("  ".join([f"  {name.ljust(name_width)}", *aligned]).rstrip())
        return "\n".join(text)


def _shown(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def versions(server: Memcached) -> dict[str, str]:
    """What was measured with."""
    return {
        "memsessions": version("memsessions"),
        "Python": platform.python_version(),
        "pymemcache": version("pymemcache"),
        "orjson": version("orjson"),
        "memcached": " ".join([server.stats()["version"], *server.options]),
        "CPUs": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
    }


def write_json(path: Path, measured_with: Mapping[str, str], tables: list[Table]) -> None:
    """Everything that is printed, unrounded."""
    content = {"versions": measured_with, "tables": [asdict(table) for table in tables]}
    path.write_text(json.dumps(content, indent=2) + "\n")
