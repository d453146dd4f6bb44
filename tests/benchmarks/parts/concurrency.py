"""Calls from several threads on one client, and from several processes, beside plain reads by as many."""

from __future__ import annotations

from contextlib import ExitStack

from .. import cpus
from ..machine import Bench
from ..peers import pymemcache
from ..report import Row, Table
from ..timing import Batch, interleaved
from ..workers import CALLS, Processes, Work, threads
from ..workload import create, largest_item, ours

THREADS = (1, 4, 16)
PROCESSES = (1, 2, 4)
# Of all threads together, in one repetition, so many times the calls of one.
_MOST_CALLS = 4


def measure(bench: Bench) -> list[Table]:
    """A table for threads and one for processes."""
    plan, server = bench.plan, bench.memcached
    with ours(server.address, "sample") as client:
        create(client, "user123456")
    name, value = largest_item(server, "sample")
    work = Work(server.port, "workers", "plain-read".ljust(len(name), "x"), value, plan.calls)
    with cpus.on(cpus.ALL), ExitStack() as stack:
        pooled = stack.enter_context(pymemcache.client(server.port))
        pooled.set(work.key, work.value, noreply=False)
        by_threads = []
        for number in THREADS:
            each = min(plan.calls, plan.calls * _MOST_CALLS // number)
            by_threads += stack.enter_context(
                threads(work._replace(ns=f"threads{number}", calls=each), number)
            )
        processes = stack.enter_context(Processes(work, max(PROCESSES)))
        by_processes = [batch for number in PROCESSES for batch in processes.batches(number)]
        return [
            _table(bench, "Threads: of one process, on one client", THREADS, by_threads),
            _table(
                bench,
                f"Processes: on all {len(cpus.ALL)} cores, one of which memcached needs, too",
                PROCESSES,
                by_processes,
            ),
        ]


def _table(bench: Bench, title: str, numbers: tuple[int, ...], batches: list[Batch]) -> Table:
    timings = interleaved(batches, bench.plan.scan_repetitions, title)
    rows = []
    for call in CALLS:
        for number in numbers:
            timing = timings[f"{call}, {number}"]
            figures = {
                "calls/s": timing.per_second,
                **timing.figures(),
                f"/ {pymemcache.POOLED} by as many": timing.over(timings[f"{pymemcache.POOLED}, {number}"]),
            }
            rows.append(Row(f"{call}, {number}", figures))
    return Table(f"{title}; times in microseconds", rows)
