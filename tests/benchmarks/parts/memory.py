"""What a session costs in memory, beside redis-sessions: on a server that is new, and in the client.

`python -m tests.benchmarks.parts.memory ADDRESS SESSIONS` creates so many sessions in a process of its own,
and prints what that holds of them.
"""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ...support.memcached import Memcached
from .. import cpus
from ..machine import MEMCACHED, Bench
from ..peers.redis_server import Redis
from ..peers.redis_sessions import RedisSessions
from ..report import Row, Table
from ..timing import progress
from ..versus import OURS, THEIRS
from ..workload import create, ours, users

#: Of what redis-sessions takes on its server, at most so much, with as many sessions as are asked for.
TARGET = 0.42
# A client is looked at once it has created some: its buffers are there then, and its code is loaded.
_FIRST = 1 / 10
# Python's allocations are traced of so many sessions at most, as that is slow.
_TRACED = 10_000
_MB = 1_000_000


class OnServer(NamedTuple):
    """Bytes of each session."""

    items: float  # as the server counts them
    resident: float  # as the system does


class InClient(NamedTuple):
    """Bytes. `objects` are those of each session that the language's own memory management knows."""

    objects: float
    resident_before: int
    resident_after: int
    created: int  # in between


def measure(bench: Bench) -> list[Table]:
    """A table for the servers, and one for the clients."""
    plan = bench.plan
    rows = []
    for sessions in (plan.few, plan.sessions):
        progress(f"memory of {sessions:,} sessions")
        server, client = _ours(sessions)
        servers, clients = {OURS: server}, {OURS: client}
        if bench.redis_sessions() is not None:
            servers[THEIRS], clients[THEIRS] = _theirs(sessions)
        rows += _server_rows(servers, sessions, TARGET if sessions == plan.sessions else None)
    progress("")
    return [
        Table("Memory of a session on a new server, of distinct users, in bytes", rows),
        Table(
            f"Memory that a client holds of {plan.sessions:,} sessions that it created",
            [_client_row(name, client) for name, client in clients.items()],
        ),
    ]


def _server_rows(servers: dict[str, OnServer], sessions: int, target: float | None) -> list[Row]:
    rows = []
    for what in OnServer._fields:
        figures = {name: float(getattr(server, what)) for name, server in servers.items()}
        if THEIRS in figures:
            figures["ratio"] = figures[OURS] / figures[THEIRS]
        rows.append(Row(f"{what}, {sessions:,} sessions", figures, target if THEIRS in figures else None))
    return rows


def _client_row(name: str, client: InClient) -> Row:
    return Row(
        name,
        {
            "MB resident before": client.resident_before / _MB,
            "after": client.resident_after / _MB,
            "bytes/session": (client.resident_after - client.resident_before) / client.created,
            "bytes of objects/session": client.objects,
        },
    )


def _ours(sessions: int) -> tuple[OnServer, InClient]:
    with cpus.apart(Memcached(*MEMCACHED)) as server:
        assert server.process is not None
        items, resident = int(server.stats()["bytes"]), _resident_bytes(server.process.pid)
        command = [sys.executable, "-m", __name__, server.address, str(sessions)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        stats = server.stats()
        if int(stats["evictions"]):
            raise RuntimeError("the server had no memory for all sessions, so what it holds says nothing")
        on_server = OnServer(
            (int(stats["bytes"]) - items) / sessions,
            (_resident_bytes(server.process.pid) - resident) / sessions,
        )
    return on_server, InClient(*json.loads(done.stdout))


def _theirs(sessions: int) -> tuple[OnServer, InClient]:
    with cpus.apart(Redis()) as redis, RedisSessions(redis) as peer:
        peer.call("ping")
        items, resident = _used_bytes(redis), _resident_bytes(redis.pid)
        first = int(sessions * _FIRST)
        peer.fill(first)
        before = peer.memory()
        peer.fill(sessions - first, first_user=first)
        after = peer.memory()
        on_server = OnServer(
            (_used_bytes(redis) - items) / sessions, (_resident_bytes(redis.pid) - resident) / sessions
        )
    created = sessions - first
    objects = (after["heapUsed"] - before["heapUsed"]) / created
    return on_server, InClient(objects, before["rss"], after["rss"], created)


def _used_bytes(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def _resident_bytes(pid: int | str) -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("the system does not tell a process's memory")
    return int(found[1]) * 1024


def main() -> None:
    address, sessions = sys.argv[1], int(sys.argv[2])
    names = islice(users(0), sessions)
    first = int(sessions * _FIRST)
    traced = min(_TRACED, first)
    with ours(address, "memory") as client:

        def create_some(count: int) -> None:
            """Without keeping what the caller is answered."""
            for name in islice(names, count):
                create(client, name)
            gc.collect()

        create_some(first)
        tracemalloc.start()
        create_some(traced)
        objects = tracemalloc.get_traced_memory()[0] / traced
        tracemalloc.stop()
        before = _resident_bytes("self")
        create_some(created := sessions - first - traced)
        print(json.dumps(InClient(objects, before, _resident_bytes("self"), created)))


if __name__ == "__main__":
    main()
