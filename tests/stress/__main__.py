"""Attacks the store: runs programs of this folder, prints what they did, and fails if one found something.

A program is a module with a docstring, `DURATION_S` (what a run for real takes) and `attack(plan)`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from .program import Plan, Report


def programs() -> dict[str, ModuleType]:
    """Every program of this folder, by name."""
    folder = str(Path(__file__).parent)
    names = [module.name for module in pkgutil.iter_modules([folder])]
    modules = {name: importlib.import_module(f"tests.stress.{name}") for name in names if name != "__main__"}
    return {name: module for name, module in modules.items() if hasattr(module, "attack")}


def main() -> int:
    found = programs()
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("program", nargs="*", help=f"which; all by default: {', '.join(found)}")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same decisions")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds for each program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports to this file, too")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.program if name not in found]
    if unknown:
        parser.error(f"there is no program {', '.join(unknown)}; there are {', '.join(found)}")
    reports: dict[str, Report] = {}
    for name in arguments.program or found:
        program = found[name]
        print(f"{name}: {(program.__doc__ or '').splitlines()[0]}", flush=True)
        duration_s = program.DURATION_S if arguments.duration is None else arguments.duration
        report: Report = program.attack(Plan(arguments.seed, duration_s))
        reports[name] = report
        for figure, value in report.figures.items():
            print(f"  {figure:40} {value:,.6g}")
        for violation in report.violations[:20]:
            print(f"  VIOLATION {violation}")
        print(f"  {len(report.violations)} violations", flush=True)
    if arguments.json is not None:
        content = {
            name: {"figures": report.figures, "violations": report.violations}
            for name, report in reports.items()
        }
        arguments.json.write_text(json.dumps({"seed": arguments.seed, **content}, indent=2) + "\n")
    return 1 if any(report.violations for report in reports.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
