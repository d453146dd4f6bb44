"""What sessions cost in memory on the server."""

from __future__ import annotations

from ..machine import Bench
from ..report import Row, Table

#: Bytes of items on the server.
TARGET = 450


def measure(bench: Bench) -> list[Table]:
    rows = []
    for sessions in (bench.plan.few, bench.plan.sessions):
        each = bench.filled(sessions).item_bytes
        rows.append(Row(f"{sessions:,} sessions", {"bytes/session": each}, TARGET))
    return [Table("Memory of items on the server (`stats`), sessions of distinct users", rows)]
