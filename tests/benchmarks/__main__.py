"""Prints how memsessions compares with other ways to keep sessions, and with plain cache reads.

Every server that it needs is started for the run. What the machine lacks is skipped by name.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from . import cpus, parts
from .lacking import FLAG, install
from .machine import Bench, machine
from .report import LEGEND, Table, skipped_lines, write_json
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
    parser.add_argument(
        "--only", nargs="+", choices=parts.PARTS, metavar="PART", help="these parts only; --list names them"
    )
    parser.add_argument("--list", action="store_true", help="say what the parts are, and measure nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file, too")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the tables into this folder (SVG)")
    parser.add_argument(
        FLAG,
        action="store_true",
        help="first install what is lacking: Debian packages (as root, or by sudo), Python packages into "
        "this environment, npm packages into .benchmarks/",
    )
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else Plan()
    return plan if arguments.sessions is None else dataclasses.replace(plan, sessions=arguments.sessions)


def _check_writable(arguments: argparse.Namespace) -> None:
    """Before minutes of work that would be lost."""
    try:
        if arguments.json is not None:
            arguments.json.open("a").close()
        if arguments.plots is not None:
            arguments.plots.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"python -m tests.benchmarks: {error.filename}: {error.strerror}") from None


def main() -> None:
    arguments = _arguments()
    if arguments.list:
        for name, what in parts.PARTS.items():
            print(f"{name:12} {what}")
        return
    _check_writable(arguments)
    if arguments.install:
        install()
    tables: list[Table] = []
    with cpus.on(cpus.CLIENTS), Bench(_plan(arguments)) as bench:
        for name in parts.PARTS:
            if arguments.only is None or name in arguments.only:
                tables += parts.measure(name, bench)
    measured_on = machine()
    for line in (measured_on, bench.versions):
        print("  ".join(f"{name} {what}" for name, what in line.items()))
    for skipped in skipped_lines(bench.skipped):
        print(skipped)
    if arguments.quick:
        print("--quick: too few calls to say how fast anything is")
    print(LEGEND)
    for table in tables:
        print(f"\n{table}")
    if arguments.json is not None:
        write_json(arguments.json, measured_on, bench.versions, bench.plan, bench.skipped, tables)
    if arguments.plots is not None:
        # Only who wants plots needs what draws them.
        from . import plots

        drawn = [file.name for file in plots.write(arguments.plots, tables)]
        print(f"\ndrawn: {', '.join(drawn) or 'nothing; these parts have no plot'}")


if __name__ == "__main__":
    main()
