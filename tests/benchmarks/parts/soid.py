"""The sessions of one user, who has 1, 10 and 100 of them, beside redis-sessions."""

from __future__ import annotations

from typing import Any

from memsessions import SessionsClient

from ..machine import Bench
from ..peers.redis_sessions import RedisSessions, created, lists_all
from ..report import Table
from ..timing import Batch, Case, interleaved
from ..versus import its_row, our_row, versus
from ..workload import APP, DATA, create, ours, user

COUNTS = (1, 10, 100)


def measure(bench: Bench) -> list[Table]:
    """All users' sessions are in one app."""
    peer, plan = bench.redis_sessions(), bench.plan
    calls = plan.calls // 4  # those of a hundred sessions take long
    with ours(bench.memcached.address, "soid") as client:
        cases: list[Case | Batch] = []
        for sessions in COUNTS:
            cases.append(_case(client, sessions, calls))
            if peer is not None:
                cases.append(_its(peer, sessions, calls))
        timings = interleaved(cases, plan.repetitions, "soid")
    rows = [row for sessions in COUNTS for row in versus(timings, f"soid of {sessions}")]
    title = f"One user's sessions; {plan.repetitions} x {calls} calls, times in microseconds"
    return [Table(title, rows)]


def _case(client: SessionsClient, sessions: int, calls: int) -> Case:
    name = user(sessions)
    for _ in range(sessions):
        create(client, name)

    def right(answer: Any) -> bool:
        return len(answer) == sessions and all(
            session["id"] == name and session["d"] == DATA for session in answer
        )

    return Case(
        our_row(f"soid of {sessions}"), lambda name: client.soid(APP, name), lambda: [name] * calls, right
    )


def _its(peer: RedisSessions, sessions: int, calls: int) -> Batch:
    name = user(sessions)
    peer.calls("create", [created(name) for _ in range(sessions)])
    return peer.batch(
        its_row(f"soid of {sessions}"),
        "soid",
        lambda: [{"app": APP, "id": name}] * calls,
        lambda answers: all(lists_all(answer, sessions, 1) for answer in answers),
    )
