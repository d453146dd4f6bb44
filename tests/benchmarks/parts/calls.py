"""One call at a time, over a plain cache read of the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from pymemcache import PooledClient

from memsessions import SessionsClient

from ...support.memcached import Memcached
from ..machine import Bench
from ..peers.raw import RawExchange, recorded
from ..report import Row, Table
from ..timing import Case, Timing, interleaved
from ..workload import APP, create, session_cases

POOLED = "PooledClient.get"
POOLED_TIMEOUT = "PooledClient(timeout=1).get"
RAW_POOLED = f"raw socket, bytes of {POOLED}"
RAW = "raw socket, bytes of get"
IN_PROCESS = "get, memory://"
#: At most so many times the time of `PooledClient.get` as it comes, which waits without a timeout.
TARGETS = {"get": 1.00, "create": 1.4, "set": 2.0, "kill": 0.95}


def measure(bench: Bench) -> list[Table]:
    """Each call of one session, and what it is compared with."""
    server, plan = bench.memcached, bench.plan
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(SessionsClient(server.address, ns="calls", wipe=0))
        memory = stack.enter_context(SessionsClient("memory://benchmarks", wipe=0))
        token = create(client, "user123456")
        key, value = _largest_item(server, "calls")
        plain_key = "plain".ljust(len(key), "x")

        pooled = PooledClient(("127.0.0.1", server.port))
        stack.callback(pooled.close)
        pooled_timeout = PooledClient(("127.0.0.1", server.port), timeout=1, connect_timeout=1)
        stack.callback(pooled_timeout.close)
        pooled.set(plain_key, value)

        raw_pooled = RawExchange(server, recorded(server, lambda address: _get_plain(address, plain_key)))
        stack.callback(raw_pooled.close)
        raw = RawExchange(server, recorded(server, lambda address: _get_session(address, token)))
        stack.callback(raw.close)

        def same(argument: object) -> Callable[[], list[Any]]:
            return lambda: [argument] * plan.calls

        cases = [
            Case(POOLED, pooled.get, same(plain_key), lambda answer: bool(answer == value)),
            Case(POOLED_TIMEOUT, pooled_timeout.get, same(plain_key), lambda answer: bool(answer == value)),
            Case(RAW_POOLED, raw_pooled, same(None), lambda answer: value in answer),
            Case(RAW, raw, same(None), lambda answer: value in answer),
            *session_cases(client, plan.calls),
            Case(
                IN_PROCESS,
                lambda token: memory.get(APP, token),
                same(create(memory, "user123456")),
                lambda answer: answer is not None,
            ),
        ]
        timings = interleaved(cases, plan.repetitions, "one call")
    title = (
        f"One call: {len(value)} bytes of record, key of {len(key)}; "
        f"{plan.repetitions} x {plan.calls} calls, times in microseconds"
    )
    return [Table(title, [_row(name, timings) for name in timings])]


def _row(name: str, timings: dict[str, Timing]) -> Row:
    timing = timings[name]
    figures = {
        **timing.figures(),
        "/ raw": timing.over(timings[RAW]),
        "/ timeout=1": timing.over(timings[POOLED_TIMEOUT]),
        f"/ {POOLED}": timing.over(timings[POOLED]),
    }
    return Row(name, figures, TARGETS.get(name))


def _get_plain(address: str, key: str) -> None:
    client = PooledClient(address)
    client.get(key)
    client.get(key)
    client.close()


def _get_session(address: str, token: str) -> None:
    with SessionsClient(address, ns="calls", wipe=0) as client:
        client.get(APP, token)
        client.get(APP, token)


def _largest_item(server: Memcached, ns: str) -> tuple[str, bytes]:
    """The key and the value of the session in a namespace that has only one."""
    items = [(key, server.value(key) or b"") for key in server.keys(ns)]
    return max(items, key=lambda item: len(item[1]))
