"""Sessions spread over three memcacheds, beside the same on one; all of them on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from itertools import count

from memsessions import SessionsClient

from ...support.memcached import Memcached
from .. import cpus
from ..machine import MEMCACHED, Bench
from ..report import Row, Table
from ..timing import Case, interleaved
from ..workload import APP, TTL_S, create, fill, ours, session_cases

SERVERS = 3
#: So many sessions has the user who is listed, and each who is logged out.
EACH = 10
_SINGLE_CALLS = ("get", "create", "set", "rotate", "kill")
_CALLS = (*_SINGLE_CALLS, "soid", "killsoid", "soapp")


def measure(bench: Bench) -> list[Table]:
    """Each call on one server and on three."""
    plan = bench.plan
    with ExitStack() as stack:
        servers = [stack.enter_context(cpus.apart(Memcached(*MEMCACHED))) for _ in range(1 + SERVERS)]
        bench.took_part("memcached", " ".join([servers[0].stats()["version"], *MEMCACHED]))
        addresses = [server.address for server in servers]
        one = stack.enter_context(ours(addresses[0], "servers"))
        three = stack.enter_context(ours(addresses[1:], "servers"))
        on_one = _cases(one, plan.few, plan.calls, " 1")
        on_three = _cases(three, plan.few, plan.calls, f" {SERVERS}")
        cases = [case for pair in zip(on_one, on_three, strict=True) for case in pair]
        timings = interleaved(cases, plan.scan_repetitions, "servers")
    rows = []
    for name in _CALLS:
        alone, spread = timings[f"{name} 1"], timings[f"{name} {SERVERS}"]
        figures = {"on one": alone.median * 1e6, **spread.figures(), "/ one": spread.over(alone)}
        rows.append(Row(name, figures))
    title = (
        f"Servers: three memcacheds over one; soid and killsoid of {EACH} sessions, soapp of {plan.few:,}; "
        "times in microseconds"
    )
    return [Table(title, rows)]


def _cases(client: SessionsClient, sessions: int, calls: int, suffix: str) -> list[Case]:
    numbers = count()
    fill(client, sessions)
    for _ in range(EACH):
        create(client, "listed")
    single = session_cases(client, calls, suffix)
    listed = len(client.soapp(APP, TTL_S))
    if listed < sessions + EACH:
        raise RuntimeError("soapp does not list what was created")

    def logged_in() -> list[str]:
        names = [f"leaving{next(numbers)}" for _ in range(max(1, calls // EACH))]
        for name in names:
            for _ in range(EACH):
                create(client, name)
        return names

    return [
        *single,
        Case(
            f"soid{suffix}",
            partial(client.soid, APP),
            lambda: ["listed"] * max(1, calls // EACH),
            lambda found: len(found) == EACH,
        ),
        Case(
            f"killsoid{suffix}",
            partial(client.killsoid, APP),
            logged_in,
            lambda answer: answer == {"kill": EACH},
        ),
        Case(
            f"soapp{suffix}",
            lambda dt: client.soapp(APP, dt),
            lambda: [TTL_S],
            lambda found: len(found) == listed,
        ),
    ]
