"""One call at a time, beside redis-sessions: in processes that are warm, and in fresh ones.

`python -m tests.benchmarks.parts.redis_sessions ADDRESS CALLS` makes the first calls of a process, and prints
how long they took.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

from ...support.memcached import Memcached
from ..machine import Bench
from ..peers.redis_server import Redis
from ..peers.redis_sessions import RedisSessions, created
from ..report import Row, Table
from ..timing import Batch, Case, Timing, interleaved, timed
from ..versus import its_row, our_row, versus
from ..workload import APP, DATA, Plan, ours, session_cases, users

#: At least so many times faster. `rotate` has no counterpart.
TARGETS = {"get": 7.0, "create": 4.0, "set": 4.0, "kill": 15.0}
NS = "versus"
_FRESH_CALLS = 100
# So many times the calls of one repetition, before it is measured: Node compiles what was called often.
_WARM_UP = 5


def measure(bench: Bench) -> list[Table]:
    """A table for warm processes and one for fresh ones; none without redis-sessions."""
    peer = bench.redis_sessions()
    if peer is None:
        return []
    return [_warm(bench.memcached, peer, bench.plan), _fresh(bench.memcached, peer.redis, bench.plan)]


def _warm(server: Memcached, peer: RedisSessions, plan: Plan) -> Table:
    with ours(server.address, NS) as client:
        mine = {case.name: case for case in session_cases(client, plan.calls)}
        its = _calls(peer, plan.calls)
        for call in ("create", "get", "set", "kill"):
            for _ in range(_WARM_UP):
                its[call].run()  # the first `kill` ends all that `create` made
        cases: list[Case | Batch] = []
        for call in TARGETS:
            cases += [mine[call]._replace(name=our_row(call)), its[call]._replace(name=its_row(call))]
        timings = interleaved(cases, plan.repetitions, "warm processes")
    return Table(
        "Beside redis-sessions, one call at a time, in processes that are warm; "
        f"{plan.repetitions} x {plan.calls} calls, times in microseconds",
        _rows(timings),
    )


def _fresh(server: Memcached, redis: Redis, plan: Plan) -> Table:
    calls = min(_FRESH_CALLS, plan.calls)
    mine = _FirstCalls(lambda: _our_first_calls(server, calls))
    its = _FirstCalls(lambda: _its_first_calls(redis, calls))
    cases = []
    for call in TARGETS:
        cases += [mine.batch(call, our_row(call)), its.batch(call, its_row(call))]
    timings = interleaved(cases, plan.scan_repetitions, "fresh processes")
    return Table(
        "Beside redis-sessions, one call at a time, in processes that are fresh; "
        f"{plan.scan_repetitions} x the first {calls} calls, times in microseconds",
        _rows(timings),
    )


def _rows(timings: dict[str, Timing]) -> list[Row]:
    return [row for call, target in TARGETS.items() for row in versus(timings, call, target)]


# -------------------------------------------------------------------------------------- redis-sessions


def _calls(peer: RedisSessions, calls: int) -> dict[str, Batch]:
    """Each call of one session; what `create` makes is what `kill` ends."""
    names = users()
    made: list[str] = []

    def create(count: int) -> list[dict[str, object]]:
        return [created(name) for name in islice(names, count)]

    kept = [answer["token"] for answer in peer.calls("create", create(8)).answers]

    def of(tokens: Sequence[str], **more: object) -> list[dict[str, object]]:
        return [{"app": APP, "token": token, **more} for token in tokens]

    def note(answers: list[Any]) -> bool:
        made.extend(answer["token"] for answer in answers)
        return len(answers) == calls

    def take_made() -> list[dict[str, object]]:
        taken = of(made)
        made.clear()
        return taken

    def with_data(answers: list[Any]) -> bool:
        return all(answer is not None and answer["d"] == DATA for answer in answers)

    def batch(
        call: str, options: Callable[[], list[dict[str, object]]], right: Callable[[list[Any]], bool]
    ) -> Batch:
        return peer.batch(its_row(call), call, options, right)

    return {
        "create": batch("create", lambda: create(calls), note),
        "get": batch("get", lambda: of([*islice(cycle(kept), calls)]), with_data),
        "set": batch("set", lambda: of([*islice(cycle(kept), calls)], d=dict(DATA)), with_data),
        "kill": batch("kill", take_made, lambda answers: all(answer == {"kill": 1} for answer in answers)),
    }


# ------------------------------------------------------------------------------------- fresh processes


class _FirstCalls:
    """Of one process after the other. Each makes calls of all kinds once those of the first are asked for."""

    def __init__(self, start: Callable[[], dict[str, list[float]]]) -> None:
        self._start = start
        self._seconds: dict[str, list[float]] = {}

    def batch(self, call: str, name: str) -> Batch:
        def run() -> list[float]:
            self._seconds = self._seconds or self._start()
            return self._seconds.pop(call)

        return Batch(name, run)


def _our_first_calls(server: Memcached, calls: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", __name__, server.address, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = json.loads(done.stdout)
    assert isinstance(seconds, dict)
    return seconds


def _its_first_calls(redis: Redis, calls: int) -> dict[str, list[float]]:
    with RedisSessions(redis) as peer:
        batches = _calls(peer, calls)
        return {call: list(batches[call].run()) for call in TARGETS}


def main() -> None:
    address, calls = sys.argv[1], int(sys.argv[2])
    seconds = {}
    with ours(address, NS) as client:
        for case in session_cases(client, calls):
            if case.name in TARGETS:
                seconds[case.name] = timed(case, list(case.arguments()))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
