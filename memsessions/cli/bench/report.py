"""What was measured: a document, a table, and a drawing."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ...wording import number
from ..output import Table
from .measuring import Measured, Plan
from .workload import BARE, Load

_PARTS = (0.50, 0.95, 0.99)
_LEAST_DRAWN = 0.01  # calls per second: there is no nothing on a logarithmic scale
_COLUMNS = ("threads", "operation", "per second", "p50 ms", "p95 ms", "p99 ms", "bare gets")


class _Fixed(float):
    """A number that is shown with so many decimals, so that they stand below each other."""

    def __new__(cls, value: float, decimals: int) -> _Fixed:
        number = super().__new__(cls, value)
        number.decimals = decimals
        return number

    decimals: int

    def __str__(self) -> str:
        return f"{float(self):.{self.decimals}f}"


def document(
    measured: Sequence[Measured], plan: Plan, load: Load, item_bytes: int, memcacheds: Mapping[str, str]
) -> dict[str, Any]:
    """Everything, ready for JSON; `memcacheds` are the servers' versions."""
    bare = {each.threads: each for each in measured if each.name == BARE}
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {
            "memsessions": version("memsessions"),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "pymemcache": version("pymemcache"),
            "orjson": version("orjson"),
        },
        "machine": {
            "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        },
        "servers": [{"server": server, "memcached": its or None} for server, its in memcacheds.items()],
        "workload": {
            "rounds": plan.rounds,
            "seconds": round(plan.rounds * plan.part_s, 6),
            "sessions": load.sessions,
            "users": load.users,
            "data_bytes": load.data_bytes,
            "item_bytes": item_bytes,
        },
        "results": [_result(each, bare.get(each.threads)) for each in measured],
    }


def _result(measured: Measured, bare: Measured | None) -> dict[str, Any]:
    p50, p95, p99 = measured.percentiles_ms(*_PARTS)
    return {
        "operation": measured.name,
        "threads": measured.threads,
        "calls": len(measured.times),
        "per_second": round(measured.rate, 3),
        "p50_ms": round(p50, 6),
        "p95_ms": round(p95, 6),
        "p99_ms": round(p99, 6),
        "bare_gets": None if bare is None else round(measured.in_calls_of(bare), 3),
    }


def table(found: Mapping[str, Any]) -> Table:
    """For people; without a bare `get`, without its column."""
    rows = []
    for result in found["results"]:
        times = [_Fixed(result[key], 3) for key in ("p50_ms", "p95_ms", "p99_ms")]
        row = [result["threads"], result["operation"], round(result["per_second"]), *times]
        rows.append(row if result["bare_gets"] is None else [*row, _Fixed(result["bare_gets"], 2)])
    columns = _COLUMNS if rows and len(rows[0]) == len(_COLUMNS) else _COLUMNS[:-1]
    return Table(columns, rows, whole=("operation",), caption=caption(found))


def caption(found: Mapping[str, Any]) -> str:
    """What was measured, with what and where."""
    versions, machine, load = found["versions"], found["machine"], found["workload"]
    servers = ", ".join(
        f"{each['server']} (memcached {each['memcached']})" if each["memcached"] else each["server"]
        for each in found["servers"]
    )
    return "; ".join(
        [
            f"memsessions {versions['memsessions']} on {servers}",
            f"{versions['python']}, pymemcache {versions['pymemcache']}, orjson {versions['orjson']}",
            f"{machine['cpus']} CPUs, {machine['system']}",
            f"{load['sessions']} sessions of {load['item_bytes']} bytes",
            found["date"],
        ]
    )


def drawing(found: Mapping[str, Any]) -> bytes:
    """Calls per second as an SVG, which needs nothing else: no script, no font, no network.

    Raises `ImportError` without pygal.
    """
    import pygal
    from pygal.style import DefaultStyle

    results = found["results"]
    operations = list(dict.fromkeys(result["operation"] for result in results))
    rates = [max(_LEAST_DRAWN, result["per_second"]) for result in results]
    # Whole powers of ten, so that the smallest has a bar, too.
    powers = range(math.ceil(math.log10(min(rates))) - 1, math.ceil(math.log10(max(rates))) + 1)
    chart = pygal.Bar(
        style=DefaultStyle(
            title_font_size=13, label_font_size=13, major_label_font_size=13, value_font_size=9
        ),
        title="calls per second",
        x_title=caption(found),
        x_labels=operations,
        y_labels=[10**power for power in powers],
        range=(10 ** powers[0], 10 ** powers[-1]),
        zero=10 ** powers[0],  # where bars begin
        logarithmic=True,
        print_values=True,
        print_values_position="top",
        formatter=_shown,
        legend_at_bottom=True,
        legend_at_bottom_columns=8,
        width=1200,
        height=640,
        js=(),
    )
    chart.add_xml_filter(_without_scripts)
    for threads in dict.fromkeys(result["threads"] for result in results):
        its = {each["operation"]: each["per_second"] for each in results if each["threads"] == threads}
        bars = [max(_LEAST_DRAWN, its[operation]) for operation in operations]
        chart.add(number(threads, "thread"), bars)
    drawn: bytes = chart.render()
    return drawn


def _shown(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _without_scripts(root: Any) -> Any:
    """pygal always writes one for what a mouse can do; where it is embedded, it would be refused."""
    for parent in list(root.iter()):
        for child in list(parent):
            if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    return root
