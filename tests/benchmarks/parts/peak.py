"""What the client holds in memory at most while it goes through all sessions, and how large the index gets.

`python -m tests.benchmarks.parts.peak ADDRESS NS CALL` makes one such call and prints its peak, in a process
of its own, which holds nothing else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from memsessions import SessionsClient, repair
from memsessions.index import BUCKETS
from memsessions.keys import AppKeys
from memsessions.store.operations import SizeMany

from ..machine import Bench
from ..report import Row, Table
from ..timing import progress
from ..workload import APP, TTL_S, ours

#: Each answers what it found.
CALLS: dict[str, Callable[[SessionsClient], Any]] = {
    "ping": lambda client: client.ping(),
    "activity": lambda client: client.activity(APP, TTL_S)["activity"],
    "iter_soapp": lambda client: sum(1 for _ in client.iter_soapp(APP, TTL_S)),
    "soapp": lambda client: len(client.soapp(APP, TTL_S)),
    "wipe": lambda client: client.wipe()["wiped"],
    "repair": lambda client: repair(client)[APP]["listed"],
}
#: At most so many MB of memory, and bytes of an index item.
TARGETS = {"activity": 400.0}
LARGEST_TARGET = 150_000

_MB = 1_000_000


def measure(bench: Bench) -> list[Table]:
    """All calls on a namespace of `plan.sessions` living sessions, and its largest index item."""
    server, plan = bench.memcached, bench.plan
    client, ns, *_ = bench.filled(plan.sessions)
    rows = []
    for name in CALLS:
        progress(f"peak memory of {name}")
        answer, seconds, peak_bytes = _in_a_process(server.address, ns, name)
        expected = {"ping": "PONG", "wipe": 0}.get(name, plan.sessions)
        if answer != expected:
            raise RuntimeError(f"{name} did not answer as it should, so its memory says nothing")
        rows.append(Row(name, {"s": seconds, "peak MB": peak_bytes / _MB}, TARGETS.get(name)))
    progress("")
    sizes = _index_sizes(client, ns)
    figures = {"items": float(len(sizes)), "all MB": sum(sizes) / _MB, "largest": float(max(sizes))}
    return [
        Table(f"Client memory: one call on {plan.sessions:,} sessions, in a process of its own", rows),
        Table("Index: items, and bytes of the largest", [Row("index", figures, LARGEST_TARGET)]),
    ]


def _in_a_process(address: str, ns: str, name: str) -> tuple[Any, float, int]:
    command = [sys.executable, "-m", __name__, address, ns, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer, seconds, peak_bytes = json.loads(done.stdout)
    return answer, seconds, peak_bytes


def _peak_bytes() -> int:
    # `getrusage` would also count what the parent held when it made this process.
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise RuntimeError("the system does not tell the peak of a process's memory")
    return int(found[1]) * 1024


def _index_sizes(client: SessionsClient, ns: str) -> list[int]:
    keys = AppKeys(ns.encode(), APP)
    node = client._nodes[0]
    (sizes,) = node.store.run((SizeMany(keys.buckets, [b"%d" % number for number in range(BUCKETS)]),))
    for _buckets, segments in node.app(APP).listing._segment_sizes():
        sizes += segments.values()
    return [size for size in sizes if size is not None]


def main() -> None:
    address, ns, name = sys.argv[1:]
    with ours(address, ns) as client:
        started = perf_counter()
        answer = CALLS[name](client)
        seconds = perf_counter() - started
    print(json.dumps([answer, seconds, _peak_bytes()]))


if __name__ == "__main__":
    main()
