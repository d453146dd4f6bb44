"""Prints how memsessions compares with plain cache reads, on a memcached of its own with one thread."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from memsessions import SessionsClient

from ..support.memcached import Memcached
from . import calls, growth, metering, peak, scans, web
from .report import Table, versions, write_json
from .workload import QUICK, Plan

_LEAST_SESSIONS = 100


def _sessions(text: str) -> int:
    number = int(text)
    if number < _LEAST_SESSIONS:
        raise argparse.ArgumentTypeError(f"at least {_LEAST_SESSIONS}")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds only: shows that it works, not how fast"
    )
    parser.add_argument("--sessions", type=_sessions, metavar="N", help="sessions of the large app (100,000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file, too")
    return parser.parse_args()


def measure(server: Memcached, plan: Plan) -> list[Table]:
    """Every table, in the order in which they are printed."""
    # In namespaces of their own, as `wipe` goes through all apps of one.
    with (
        SessionsClient(server.address, ns="few", wipe=0) as few,
        SessionsClient(server.address, ns="many", wipe=0) as many,
    ):
        return [
            calls.measure(server, plan),
            metering.measure(server, plan),
            *web.measure(server, plan),
            growth.measure_memory(server, plan, few, many),
            scans.measure(server, plan, many, "many"),
            *peak.measure(server, plan, many, "many"),
            growth.measure_growth(plan, few, many),
        ]


def main() -> None:
    arguments = _arguments()
    plan = QUICK if arguments.quick else Plan()
    if arguments.sessions is not None:
        plan = dataclasses.replace(plan, sessions=arguments.sessions)
    with Memcached("-t", "1", "-m", "2048") as server:
        measured_with = versions(server)
        tables = measure(server, plan)
    print("  ".join(f"{name} {what}" for name, what in measured_with.items()))
    for table in tables:
        print(f"\n{table}")
    if arguments.json is not None:
        write_json(arguments.json, measured_with, tables)


if __name__ == "__main__":
    main()
