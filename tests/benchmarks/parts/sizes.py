"""Sessions with more data, beside plain reads and writes of as many bytes."""

from __future__ import annotations

from contextlib import ExitStack

from memsessions import Data

from ..machine import Bench
from ..peers import pymemcache
from ..report import Row, Table
from ..timing import Case, interleaved
from ..workload import create, largest_item, ours, session_cases

SIZES = {"64 B": 64, "1 KB": 1 << 10, "16 KB": 16 << 10, "256 KB": 256 << 10}
#: What each call is measured beside.
PEERS = {"get": pymemcache.POOLED, "set": pymemcache.SWAP, "create": pymemcache.SET}
# A repetition moves no more than so many bytes one way.
_MOST_BYTES = 8 << 20


def measure(bench: Bench) -> list[Table]:
    rows = []
    for size, data_bytes in SIZES.items():
        calls = min(bench.plan.calls, _MOST_BYTES // data_bytes)
        rows += _rows(bench, size, data_bytes, calls)
    title = "Sizes: sessions with so much data, beside the same bytes under a key; times in microseconds"
    return [Table(title, rows)]


def _rows(bench: Bench, size: str, data_bytes: int, calls: int) -> list[Row]:
    server = bench.memcached
    ns = f"sized{data_bytes}"
    data: Data = {"text": "x" * (data_bytes - len('{"text":""}'))}
    with ExitStack() as stack:
        client = stack.enter_context(ours(server.address, ns))
        pooled = stack.enter_context(pymemcache.client(server.port))
        create(client, "user123456", data)
        name, value = largest_item(server, ns)
        key = f"plain{data_bytes}".ljust(len(name), "x")
        pooled.set(key, value, noreply=False)

        def keys() -> list[str]:
            return [key] * calls

        cases = [
            Case(pymemcache.POOLED, pooled.get, keys, lambda answer: bool(answer == value)),
            Case(pymemcache.SWAP, pymemcache.swap(pooled, value), keys, bool),
            Case(pymemcache.SET, lambda key: pooled.set(key, value, noreply=False), keys, bool),
            *session_cases(client, calls, data=data),
        ]
        timings = interleaved(cases, bench.plan.repetitions, f"{size} of data")
    rows = []
    for call, peer in PEERS.items():
        timing = timings[call]
        figures = {
            **timing.figures(),
            "peer": timings[peer].median * 1e6,
            "/ peer": timing.over(timings[peer]),
        }
        rows.append(Row(f"{size}, {call} / {peer}", figures))
    return rows
