"""What sessions cost in memory, and what one call costs when there are many."""

from __future__ import annotations

from collections.abc import Iterable

from memsessions import SessionsClient

from ..support.memcached import Memcached
from .calls import session_cases
from .report import Row, Table
from .timing import interleaved
from .workload import Plan, fill

#: Bytes of items on the server.
MEMORY_TARGET = 450
CALLS = ("get", "create", "kill")
#: At most so many times as long among many sessions.
TARGETS = {"get": 1.1, "create": 1.3}


def measure_memory(server: Memcached, plan: Plan, few: SessionsClient, many: SessionsClient) -> Table:
    """Fills both clients' namespaces, which are empty."""
    rows = []
    for client, sessions in ((few, plan.few), (many, plan.sessions)):
        before = int(server.stats()["bytes"])
        fill(client, sessions)
        each = (int(server.stats()["bytes"]) - before) / sessions
        rows.append(Row(f"{sessions:,} sessions", {"bytes/session": each}, MEMORY_TARGET))
    return Table("Memory of items on the server (`stats`), sessions of distinct users", rows)


def measure_growth(plan: Plan, few: SessionsClient, many: SessionsClient) -> Table:
    """One call in the namespace of few sessions and in that of many."""
    small = [case for case in session_cases(few, plan.calls, " few") if case.name.split()[0] in CALLS]
    large = [case for case in session_cases(many, plan.calls, " many") if case.name.split()[0] in CALLS]

    def few_again() -> Iterable[str]:
        few.wipe()  # what was killed would soon outnumber what is there
        return small[0].arguments()

    cases = [case for pair in zip(small, large, strict=True) for case in pair]
    cases[0] = small[0]._replace(arguments=few_again)
    timings = interleaved(cases, plan.repetitions, f"{plan.few:,} and {plan.sessions:,} sessions")
    rows = []
    for name in CALLS:
        at_few, at_many = timings[f"{name} few"], timings[f"{name} many"]
        figures = {
            f"at {plan.few:,}": at_few.median * 1e6,
            f"at {plan.sessions:,}": at_many.median * 1e6,
            "ratio": at_many.over(at_few),
        }
        rows.append(Row(name, figures, TARGETS.get(name)))
    return Table("Growth: one call among few and among many sessions, times in microseconds", rows)
