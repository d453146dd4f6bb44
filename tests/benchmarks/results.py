"""A run that was written to JSON, or has just ended: its tables by how their titles begin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .report import Row, Table


@dataclass
class Results:
    """What was measured, on what and with what."""

    tables: Sequence[Table]
    date: str = ""
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, int] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, str]] = ()

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `--json` wrote."""
        content: dict[str, Any] = json.loads(path.read_text())
        tables = [
            Table(
                table["title"],
                [Row(row["name"], row["figures"], row["target"], row["better"]) for row in table["rows"]],
            )
            for table in content.pop("tables")
        ]
        return cls(tables, **content)

    def table(self, title: str) -> Table | None:
        """The one whose title begins so, if it was measured."""
        found = [table for table in self.tables if table.title.startswith(title)]
        return found[0] if found else None

    def row(self, title: str, name: str) -> Row | None:
        """The row of this name in that table; the last one whose name begins so, if that ends in a blank."""
        table = self.table(title)
        found = [
            row
            for row in (table.rows if table else ())
            if row.name == name or (name.endswith(" ") and row.name.startswith(name))
        ]
        return found[-1] if found else None
