"""One call at a time, over a plain cache read of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from pymemcache import Client, PooledClient

from memsessions import SessionsClient

from ...support.memcached import Memcached
from ..machine import Bench
from ..peers import pylibmc, pymemcache, remix
from ..peers.pymemcache import CLIENT, POOLED, POOLED_TIMEOUT
from ..peers.raw import RawExchange, recorded
from ..report import Row, Table
from ..timing import Case, Timing, interleaved
from ..workload import APP, DATA, TTL_S, create, largest_item, ours, session_cases

RAW_POOLED = f"raw socket, bytes of {POOLED}"
RAW = "raw socket, bytes of get"
IN_PROCESS = "get, memory://"
#: At most so many times the time of `PooledClient.get` as it comes, which waits without a timeout.
TARGETS = {"get": 0.90, "create": 1.2, "set": 1.75, "kill": 0.80, IN_PROCESS: 0.30}
#: At most so many times the time of the same bytes, exchanged without a client.
FLOOR_TARGETS = {"get": 1.25}


def measure(bench: Bench) -> list[Table]:
    """Each call of one session, and what it is compared with."""
    server, plan = bench.memcached, bench.plan
    with ExitStack() as stack:
        client = stack.enter_context(ours(server.address, "calls"))
        memory = stack.enter_context(SessionsClient("memory://benchmarks", wipe=0))
        token = create(client, "user123456")
        name, value = largest_item(server, "calls")
        key = "plain".ljust(len(name), "x")

        def same(argument: object) -> Callable[[], list[Any]]:
            return lambda: [argument] * plan.calls

        in_process = Case(
            IN_PROCESS,
            lambda token: memory.get(APP, token),
            same(create(memory, "user123456")),
            lambda answer: answer is not None,
        )
        cases = [
            *_plain_cases(stack, server, key, value, same),
            *_raw_cases(stack, server, key, value, token, same),
            *session_cases(client, plan.calls),
            in_process,
            *_remix_cases(bench, same),
        ]
        with bench.unless_lacking():
            cases += pylibmc.cases(bench, f"{key}-c", value, plan.calls)
        timings = interleaved(cases, plan.repetitions, "one call")
    times = f"{plan.repetitions} x {plan.calls} calls, times in microseconds"
    return [
        Table(
            f"One call: {len(value)} bytes of record, key of {len(key)}; {times}",
            [_row(name, timings) for name in timings],
        ),
        Table(
            "The floor: over a raw socket that exchanges the same bytes",
            [_floor_row("get", RAW, timings), _floor_row(POOLED, RAW_POOLED, timings)],
        ),
    ]


#: Makes, from the argument of every call, what `Case` wants.
Same = Callable[[object], Callable[[], list[Any]]]


def _plain_cases(stack: ExitStack, server: Memcached, key: str, value: bytes, same: Same) -> list[Case]:
    single = stack.enter_context(pymemcache.client(server.port, Client))
    pooled = stack.enter_context(pymemcache.client(server.port))
    patient = stack.enter_context(pymemcache.client(server.port, timeout=1, connect_timeout=1))
    pooled.set_many({key: value, f"{key}-swapped": value}, noreply=False)

    def right(answer: object) -> bool:
        return bool(answer == value)

    return [
        Case(POOLED, pooled.get, same(key), right),
        Case(POOLED_TIMEOUT, patient.get, same(key), right),
        Case(CLIENT, single.get, same(key), right),
        Case(pymemcache.SWAP, pymemcache.swap(pooled, value), same(f"{key}-swapped"), bool),
    ]


def _raw_cases(
    stack: ExitStack, server: Memcached, key: str, value: bytes, token: str, same: Same
) -> list[Case]:
    packets = {
        RAW_POOLED: recorded(server, lambda address: _get_plain(address, key)),
        RAW: recorded(server, lambda address: _get_session(address, token)),
    }
    cases = []
    for name, packet in packets.items():
        exchange = RawExchange(server, packet)
        stack.callback(exchange.close)
        cases.append(Case(name, exchange, same(None), lambda answer: value in answer))
    return cases


def _remix_cases(bench: Bench, same: Same) -> list[Case]:
    bench.took_part(remix.PACKAGE, remix.VERSION)
    storage = remix.RemixStorage(("127.0.0.1", bench.memcached.port), TTL_S)
    storage.save("plain", DATA)
    return [
        Case(remix.READ, storage.read, same("plain"), lambda data: bool(data == DATA)),
        Case(remix.SAVE, lambda token: storage.save(token, DATA), same("plain")),
    ]


def _row(name: str, timings: dict[str, Timing]) -> Row:
    timing = timings[name]
    figures = {
        **timing.figures(),
        "/ raw": timing.over(timings[RAW]),
        f"/ {POOLED}": timing.over(timings[POOLED]),
    }
    return Row(name, figures, TARGETS.get(name))


def _floor_row(name: str, floor: str, timings: dict[str, Timing]) -> Row:
    timing, least = timings[name], timings[floor]
    figures = {
        "median us": timing.median * 1e6,
        "raw us": least.median * 1e6,
        "/ raw, same bytes": timing.over(least),
    }
    return Row(name, figures, FLOOR_TARGETS.get(name))


def _get_plain(address: str, key: str) -> None:
    client = PooledClient(address)
    client.get(key)
    client.get(key)
    client.close()


def _get_session(address: str, token: str) -> None:
    with ours(address, "calls") as client:
        client.get(APP, token)
        client.get(APP, token)
