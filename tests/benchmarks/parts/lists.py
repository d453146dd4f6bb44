"""What goes through all sessions of an app, of 1,000 to as many as are asked for, beside redis-sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from memsessions import Session

from ..machine import Bench
from ..peers.redis_sessions import RedisSessions, lists_all
from ..report import Table
from ..snapshot import Snapshot
from ..timing import Batch, Case, interleaved, progress
from ..versus import its_row, our_row, versus
from ..workload import APP, DATA, TTL_S

_SIZES = (1_000, 10_000, 100_000, 1_000_000)
AIMED_AT = 100_000
#: At least so many times faster, with that many sessions.
TARGETS = {"soapp": 2.5, "killall": 4.0}
CALLS = ("activity", "soapp", "killall")
# redis-sessions ends one by one what has expired: of more than so many, that is not done often.
_WIPE_OFTEN = 100_000
_WIPES = 2


def measure(bench: Bench) -> list[Table]:
    """A table for each number of sessions."""
    sizes = sorted({size for size in _SIZES if size < bench.plan.sessions} | {bench.plan.sessions})
    return [_measure(bench, sessions) for sessions in sizes]


def _measure(bench: Bench, sessions: int) -> Table:
    plan = bench.plan
    mine, restore = _cases(bench, sessions)
    each: list[Mapping[str, Case | Batch]] = [mine]
    if (peer := bench.redis_sessions()) is not None:
        progress(f"creating {sessions:,} sessions of redis-sessions")
        peer.fill(sessions)
        peer.redis.keep()
        each.append(_its_cases(peer, sessions))
    wipes = plan.scan_repetitions if sessions <= _WIPE_OFTEN else _WIPES
    timings = {}
    for calls, repetitions in ((CALLS, plan.scan_repetitions), (("wipe",), wipes)):
        cases = [cases[call] for call in calls for cases in each]
        timings.update(interleaved(cases, repetitions, f"lists of {sessions:,}"))
    restore()
    if peer is not None:
        peer.redis.clear()
    targets = TARGETS if sessions == AIMED_AT else {}
    rows = [row for call in (*CALLS, "wipe") for row in versus(timings, call, targets.get(call), "ms")]
    title = (
        f"Lists of {sessions:,} sessions of distinct users; "
        f"{plan.scan_repetitions} repetitions, of wipe {wipes}; times in milliseconds"
    )
    return Table(title, rows)


def _cases(bench: Bench, sessions: int) -> tuple[dict[str, Case], Callable[[], None]]:
    """Ours, by call, and what has the namespace as it was."""
    client, ns, *_ = bench.filled(sessions)
    snapshot = Snapshot(bench.memcached, ns)

    def all_there() -> list[None]:
        snapshot.restore()
        return [None]

    def all_expired() -> list[None]:
        """What is left of sessions that nobody ended: the index lists them."""
        snapshot.restore(lasting_only=True)
        return [None]

    def once() -> list[None]:
        return [None]

    def listed(answer: list[Session]) -> bool:
        return (
            len(answer) == sessions
            and len({session["id"] for session in answer}) == sessions
            and all(session["d"] == DATA for session in answer)
        )

    cases = [
        Case(
            "activity",
            lambda _: client.activity(APP, TTL_S),
            all_there,
            lambda answer: answer == {"activity": sessions},
        ),
        Case("soapp", lambda _: client.soapp(APP, TTL_S), once, listed),
        Case("killall", lambda _: client.killall(APP), once, lambda answer: answer == {"kill": sessions}),
        Case("wipe", lambda _: client.wipe(), all_expired, lambda answer: answer == {"wiped": sessions}),
    ]
    return {case.name: case._replace(name=our_row(case.name)) for case in cases}, snapshot.restore


def _its_cases(peer: RedisSessions, sessions: int) -> dict[str, Batch]:
    redis = peer.redis

    def all_expired() -> None:
        """Redis holds when each ends: as long as that is to come, `wipe` of redis-sessions leaves it."""
        redis.restore()
        redis.ask("ZUNIONSTORE", "rs:SESSIONS", "1", "rs:SESSIONS", "WEIGHTS", "0")

    def batch(
        call: str, right: Callable[[Any], bool], prepare: Callable[[], None] | None = None, **options: object
    ) -> Batch:
        return peer.batch(
            its_row(call), call, lambda: [options], lambda answers: right(answers[0]), prepare=prepare
        )

    return {
        "activity": batch(
            "activity",
            lambda answer: bool(answer == {"activity": sessions}),
            redis.restore,
            app=APP,
            deltaTime=TTL_S,
        ),
        "soapp": batch(
            "soapp", lambda answer: lists_all(answer, sessions, sessions), app=APP, deltaTime=TTL_S
        ),
        "killall": batch("killall", lambda answer: bool(answer == {"kill": sessions}), app=APP),
        "wipe": batch("wipe", lambda _: redis.keys() == 0, all_expired),
    }
