"""What one call costs when there are many sessions."""

from __future__ import annotations

from collections.abc import Iterable

from ..machine import Bench
from ..report import Row, Table
from ..timing import interleaved
from ..workload import session_cases

CALLS = ("get", "create", "kill")
#: At most so many times as long among many sessions.
TARGETS = {"get": 1.1, "create": 1.3, "kill": 1.1}


def measure(bench: Bench) -> list[Table]:
    """One call in the namespace of few sessions and in that of many."""
    plan = bench.plan
    few, many = bench.filled(plan.few), bench.filled(plan.sessions)
    small = [case for case in session_cases(few.client, plan.calls, " few") if case.name.split()[0] in CALLS]
    large = [
        case for case in session_cases(many.client, plan.calls, " many") if case.name.split()[0] in CALLS
    ]

    def few_again() -> Iterable[str]:
        few.client.wipe()  # what was killed would soon outnumber what is there
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
    return [Table("Growth: one call among few and among many sessions, times in microseconds", rows)]
