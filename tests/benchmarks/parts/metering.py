"""What it costs that calls are counted: `get` beside the same without that, on the same connection."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice

from memsessions import Session, SessionsClient
from memsessions import validation as check
from memsessions.tokens import TAG

from ..machine import Bench
from ..report import Row, Table
from ..timing import Case, interleaved
from ..workload import APP, create, ours, user

UNCOUNTED = "get, not counted"
TARGETS = {"get": 1.02}
# A difference this small shows only where both are measured within the same moment, and often.
_CALLS = 50
_REPETITIONS_EACH = 16


def measure(bench: Bench) -> list[Table]:
    """Both, in turns of some milliseconds each."""
    plan = bench.plan
    repetitions = plan.repetitions * _REPETITIONS_EACH
    calls = min(_CALLS, plan.calls)
    with ours(bench.memcached.address, "metering") as client:
        tokens = [create(client, user(number)) for number in range(8)]

        def case(name: str, get: Callable[[str, str], Session | None]) -> Case:
            return Case(name, partial(get, APP), lambda: islice(cycle(tokens), calls), _found)

        cases = [case(UNCOUNTED, types.MethodType(_get, client)), case("get", client.get)]
        timings = interleaved(cases, repetitions, "metrics")
    rows = [
        Row(
            name,
            {
                **timing.figures(),
                "/ not counted": timing.over(timings[UNCOUNTED]),
            },
            TARGETS.get(name),
        )
        for name, timing in timings.items()
    ]
    title = f"Metrics: {repetitions} x {calls} calls, times in microseconds"
    return [Table(title, rows)]


def _get(client: SessionsClient, app: str, token: str) -> Session | None:
    """`SessionsClient.get`, statement by statement, but for the counting."""
    sessions = client._serving(app)
    check.check_token(token)
    on_server = sessions[token[TAG]]
    if not client._cachetime_s:
        return on_server.read(token)
    raise AssertionError("this client has no cache")


def _found(answer: object) -> bool:
    return answer is not None
