"""What this process's clients did: calls, errors, latencies, connections, wipes, and what else there is.

    from memsessions import metrics

    metrics.snapshot()["servers"]["127.0.0.1:11211"]["operations"]["get"]["latency"]["p99_s"]

It is always counted; see `meters` for how, and for what that costs. An operation is a method of
`SessionsClient`, and one of `Documents` with `documents.` before its name: `get`, `documents.read`. A call
that asks several servers counts once for each. What never asks a server is not counted: an answer from the
cache (which has a count of its own), or an argument that was refused.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypedDict

from .meters import SUM
from .tallies import Tallies, Tally, of_all_clients

if TYPE_CHECKING:
    from .breaker import BreakerState
    from .client import SessionsClient
    from .nodes import Node

# The bits in the square of the nanoseconds: 1 microsecond, and 34 seconds. Beyond these, all counts as one.
_LEAST, _MOST = 20, 70

#: The buckets' upper bounds in seconds, half an octave each. A last bucket holds what took longer.
LATENCY_BOUNDS_S = [2 ** (bits / 2) / 1e9 for bits in range(_LEAST, _MOST + 1)]

_STATES: tuple[BreakerState, ...] = ("closed", "half-open", "open")


class Latency(TypedDict):
    """How long the calls took that were answered, in seconds; the percentiles are None if there are none.

    They are computed from the buckets, so they are right to half an octave. `buckets` says how many calls are
    within each of `latency_bounds_s` and beyond the one before; the last, how many are beyond all bounds.
    """

    count: int
    sum_s: float
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    buckets: list[int]


class Operation(TypedDict):
    """The calls of one operation: how many there were, and how many failed, by the type of exception."""

    calls: int
    errors: dict[str, int]
    latency: Latency


class ConnectionCounts(TypedDict):
    """`open` and, of these, `idle` ones, now; `opened` and `lost`, so far.

    One is lost that broke, that the server ended, or that had to be given up with a call.
    """

    open: int
    idle: int
    opened: int
    lost: int


class BreakerCounts(TypedDict):
    """Whether calls go through ("closed"), fail at once ("open"), or one at a time may try ("half-open").

    `opened` is how many outages there were. A client of one server tries each call: always "closed".
    """

    state: BreakerState
    opened: int


class ServerSnapshot(TypedDict):
    """What was asked of one server.

    `wipes` of this process, the dead sessions whose records they removed (`wiped`), and the index items that
    they wrote anew without these (`compactions`). `relists`: sessions that were listed again, as each is
    now and then while it is used, or as their record had not taken effect or was lost.
    """

    operations: dict[str, Operation]
    connections: ConnectionCounts
    breaker: BreakerCounts
    wipes: int
    wiped: int
    compactions: int
    relists: int


class CacheCounts(TypedDict):
    """How often `get` found a session in the cache of `cachetime`, and how often it had to ask."""

    hits: int
    misses: int


class Snapshot(TypedDict):
    """Everything, ready for JSON. Servers go by the names that error messages have.

    `since` and `taken` are seconds since 1970: when the first of these clients was made, or this process was
    forked, and now. `pid` is the process's, `clients` how many clients there are. What a client that was
    garbage-collected had counted stays in the sums: they never become less.
    """

    pid: int
    since: float
    taken: float
    clients: int
    latency_bounds_s: list[float]
    servers: dict[str, ServerSnapshot]
    cache: CacheCounts


def snapshot(client: SessionsClient | None = None) -> Snapshot:
    """What was counted so far; in a child of a fork, since the fork. Asks no server.

    Parameters:
        client: one client; by default, all that this process has and had, as one.

    Returns:
        A `Snapshot`, which is not changed by what happens later.
    """
    nodes: list[Node]
    if client is None:
        living, tallies = of_all_clients()
        for each in living:
            tallies.add_client(each.nodes, each.cache)
        clients = sum(each.client() is not None for each in living)
        nodes = [node for each in living for node in each.nodes]
    else:
        clients, tallies, nodes = 1, Tallies(), client._nodes  # noqa: SLF001  part of this package
        tallies.add_client(nodes, client._cache)  # noqa: SLF001
    by_server: dict[str, list[Node]] = {}
    for node in nodes:
        by_server.setdefault(node.store.server, []).append(node)
    now = time.time()
    return {
        "pid": os.getpid(),
        "since": min((tally.since for tally in tallies.servers.values()), default=now),
        "taken": now,
        "clients": clients,
        "latency_bounds_s": LATENCY_BOUNDS_S.copy(),
        "servers": {
            server: _server(tally, by_server.get(server, []))
            for server, tally in sorted(tallies.servers.items())
        },
        "cache": {"hits": tallies.hits, "misses": tallies.misses},
    }


def _server(tally: Tally, nodes: list[Node]) -> ServerSnapshot:
    """What was asked of one server, and how it is with the clients that are there."""
    breakers = [node.breaker for node in nodes if node.breaker is not None]
    connections = [node.store.connections() for node in nodes]
    return {
        "operations": _operations(tally),
        "connections": {
            "open": sum(counts.open for counts in connections),
            "idle": sum(counts.idle for counts in connections),
            "opened": tally.opened,
            "lost": tally.lost,
        },
        "breaker": {
            "state": max((breaker.state for breaker in breakers), key=_STATES.index, default="closed"),
            "opened": tally.outages,
        },
        "wipes": tally.wipes,
        "wiped": tally.wiped,
        "compactions": tally.compactions,
        "relists": tally.relists,
    }


def _operations(tally: Tally) -> dict[str, Operation]:
    errors: dict[str, dict[str, int]] = {}
    for (operation, kind), number in tally.errors.items():
        errors.setdefault(operation, {})[kind] = number
    return {
        operation: _operation(tally.times.get(operation, []), errors.get(operation, {}))
        for operation in sorted({*tally.times, *errors})
    }


def _operation(times: list[int], errors: dict[str, int]) -> Operation:
    latency = _latency(times)
    return {"calls": latency["count"] + sum(errors.values()), "errors": errors, "latency": latency}


def _latency(numbers: list[int]) -> Latency:
    counts, took = numbers[:SUM], sum(numbers[SUM:])
    within = [sum(counts[: _LEAST + 1]), *(counts[_LEAST + 1 : _MOST + 1] or [0] * (_MOST - _LEAST))]
    return {
        "count": sum(counts),
        "sum_s": took / 1e9,
        "p50_s": _percentile(counts, 0.50),
        "p95_s": _percentile(counts, 0.95),
        "p99_s": _percentile(counts, 0.99),
        "buckets": [*within, sum(counts[_MOST + 1 :])],
    }


def _percentile(counts: list[int], part: float) -> float | None:
    """The time that so many calls are within, as if those of a bucket were spread evenly over its octave."""
    wanted = part * sum(counts)
    below = 0
    for bits, count in enumerate(counts):
        if count and below + count >= wanted:
            into = (wanted - below) / count
            return 2 ** ((bits - 1 + into) / 2) / 1e9
        below += count
    return None
