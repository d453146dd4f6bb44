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
import weakref
from typing import TYPE_CHECKING, TypedDict

from .meters import SUM

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
    forked, and now. `pid` is the process's, `clients` how many clients were counted.
    """

    pid: int
    since: float
    taken: float
    clients: int
    latency_bounds_s: list[float]
    servers: dict[str, ServerSnapshot]
    cache: CacheCounts


_living: dict[int, weakref.ref[SessionsClient]] = {}


def watch(client: SessionsClient) -> None:
    """Have a client counted among those of this process, as long as it lives."""
    number = id(client)

    def forget(_: object, living: dict[int, weakref.ref[SessionsClient]] = _living) -> None:
        living.pop(number, None)  # at the interpreter's exit, the module's own name is gone

    _living[number] = weakref.ref(client, forget)


def snapshot(client: SessionsClient | None = None) -> Snapshot:
    """What was counted so far; in a child of a fork, since the fork. Asks no server.

    Parameters:
        client: one client; by default, all that this process has, closed ones included, as one.

    Returns:
        A `Snapshot`, which is not changed by what happens later.
    """
    clients = [client] if client is not None else _all_living()
    caches = [each._cache for each in clients]  # noqa: SLF001  part of this package
    nodes = [node for each in clients for node in each._nodes]  # noqa: SLF001
    by_server: dict[str, list[Node]] = {}
    for node in nodes:
        by_server.setdefault(node.store.server, []).append(node)
    now = time.time()
    return {
        "pid": os.getpid(),
        "since": min((node.meter.since for node in nodes), default=now),
        "taken": now,
        "clients": len(clients),
        "latency_bounds_s": LATENCY_BOUNDS_S.copy(),
        "servers": {server: _server(its) for server, its in sorted(by_server.items())},
        "cache": {
            "hits": sum(cache.hits for cache in caches),
            "misses": sum(cache.misses for cache in caches),
        },
    }


def _all_living() -> list[SessionsClient]:
    found = (reference() for reference in list(_living.values()))
    return [client for client in found if client is not None]


def _server(nodes: list[Node]) -> ServerSnapshot:
    """What several clients asked of one server."""
    meters = [node.meter for node in nodes]
    breakers = [node.breaker for node in nodes if node.breaker is not None]
    connections = [node.store.connections() for node in nodes]
    return {
        "operations": _operations(nodes),
        "connections": {
            "open": sum(counts.open for counts in connections),
            "idle": sum(counts.idle for counts in connections),
            "opened": sum(counts.opened for counts in connections),
            "lost": sum(counts.lost for counts in connections),
        },
        "breaker": {
            "state": max((breaker.state for breaker in breakers), key=_STATES.index, default="closed"),
            "opened": sum(breaker.outages for breaker in breakers),
        },
        "wipes": sum(meter.wipes for meter in meters),
        "wiped": sum(meter.wiped for meter in meters),
        "compactions": sum(meter.compactions for meter in meters),
        "relists": sum(meter.relists for meter in meters),
    }


def _operations(nodes: list[Node]) -> dict[str, Operation]:
    times: dict[str, list[list[int]]] = {}
    errors: dict[str, dict[str, int]] = {}
    for node in nodes:
        # Copies, as other threads go on calling.
        for operation, numbers in list(node.meter.times.items()):
            times.setdefault(operation, []).append(numbers.copy())
        for (operation, kind), (number,) in list(node.meter.errors.items()):
            kinds = errors.setdefault(operation, {})
            kinds[kind] = kinds.get(kind, 0) + number
    return {
        operation: _operation(times.get(operation, []), errors.get(operation, {}))
        for operation in sorted({*times, *errors})
    }


def _operation(times: list[list[int]], errors: dict[str, int]) -> Operation:
    latency = _latency([sum(same) for same in zip(*times, strict=True)])
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
