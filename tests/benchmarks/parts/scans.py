"""What goes through all sessions of an app, over asking for the time left of as many bare keys."""

from __future__ import annotations

import contextlib
import socket

from memsessions.keys import AppKeys

from ..machine import Bench
from ..report import Row, Table
from ..snapshot import Snapshot, pipelined
from ..timing import Case, interleaved
from ..workload import APP, TTL_S

BARE = "mg KEY t, packets made before"
BUILT = "mg KEY t, made and parsed in Python"
TARGETS = {"activity": 1.5}
_KEYS_EACH = 2_000


def measure(bench: Bench) -> list[Table]:
    """What the namespace holds are these sessions only, before and after."""
    server, plan = bench.memcached, bench.plan
    client, ns, *_ = bench.filled(plan.sessions)
    snapshot = Snapshot(server, ns)
    prefix = AppKeys(ns.encode(), APP).sessions
    keys = [name for name in snapshot.names if name.startswith(prefix)]
    parts = [keys[start : start + _KEYS_EACH] for start in range(0, len(keys), _KEYS_EACH)]
    lines_each = [len(part) for part in parts]
    packets = [_packet(part) for part in parts]

    def with_all() -> list[None]:
        snapshot.restore()
        return [None]

    def with_dead_entries() -> list[None]:
        """Right after `killall`: put back only what the index holds."""
        snapshot.restore(lasting_only=True)
        return [None]

    with contextlib.closing(server.connect()) as sock:
        cases = [
            Case(
                BARE,
                lambda _: pipelined(sock, packets, lines_each),
                with_all,
                lambda replies: replies.count(b"HD t") == plan.sessions,
            ),
            Case(BUILT, lambda _: _lefts(sock, parts), _once, lambda lefts: len(lefts) == plan.sessions),
            Case(
                "activity",
                lambda _: client.activity(APP, TTL_S),
                _once,
                lambda answer: answer == {"activity": plan.sessions},
            ),
            Case(
                "soapp",
                lambda _: len(client.soapp(APP, TTL_S)),
                _once,
                lambda found: found == plan.sessions,
            ),
            Case(
                "killall",
                lambda _: client.killall(APP),
                _once,
                lambda answer: answer == {"kill": plan.sessions},
            ),
            Case(
                "wipe",
                lambda _: client.wipe(),
                with_dead_entries,
                lambda answer: answer == {"wiped": plan.sessions},
            ),
        ]
        timings = interleaved(cases, plan.scan_repetitions, f"{plan.sessions:,} sessions")
    snapshot.restore()
    rows = []
    for name, timing in timings.items():
        figures = {
            **timing.figures("ms"),
            "us/session": timing.median * 1e6 / plan.sessions,
            "/ made and parsed": timing.over(timings[BUILT]),
            "/ mg KEY t": timing.over(timings[BARE]),
        }
        rows.append(Row(name, figures, TARGETS.get(name)))
    title = f"All of {plan.sessions:,} sessions of distinct users; {plan.scan_repetitions} repetitions"
    return [Table(title, rows)]


def _once() -> list[None]:
    return [None]


def _packet(keys: list[bytes]) -> bytes:
    return b"".join([b"mg %b t\r\n" % key for key in keys])


def _lefts(sock: socket.socket, parts: list[list[bytes]]) -> list[int]:
    """The same, with nothing made beforehand."""
    packets = [_packet(part) for part in parts]
    replies = pipelined(sock, packets, [len(part) for part in parts])
    return [int(line[4:]) for line in replies.splitlines()]
