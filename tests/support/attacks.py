"""Attacks in short, repeated until enough has really happened: a busy machine does less in each."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping

from ..stress.program import Plan, Report

_GIVE_UP_S = 90.0
# What a violation says that a machine can be to blame for, which is busy with something else: not every time.
_LATE = re.compile(r"no answer in time|did not work within")
_TRIES = 4


def attacked(
    attack: Callable[[Plan], Report], seed: int, duration_s: float, enough: Mapping[str, float]
) -> Mapping[str, float]:
    """The sums of the figures of as many short attacks as it takes.

    None of them may find anything, and the last one nothing that came late either.
    """
    done: Counter[str] = Counter()
    give_up = time.monotonic() + _GIVE_UP_S
    tries = 0
    while True:
        report = attack(Plan(seed, duration_s))
        wrong = [violation for violation in report.violations if not _LATE.search(violation)]
        assert wrong == [], wrong
        tries += 1
        assert tries < _TRIES or not report.violations, report.violations
        done.update({name: int(figure) for name, figure in report.figures.items()})
        missing = {name: done[name] for name, least in enough.items() if done[name] <= least}
        if not missing and not report.violations:
            return done
        assert time.monotonic() < give_up, f"too little happened: {missing}"
        seed += 1


def assert_finds(pattern: str, attack: Callable[[Plan], Report], seed: int, duration_s: float) -> None:
    """That as many short attacks as it takes find what is there to be found."""
    give_up = time.monotonic() + _GIVE_UP_S
    while True:
        violations = attack(Plan(seed, duration_s)).violations
        if any(re.search(pattern, violation) for violation in violations):
            return
        assert time.monotonic() < give_up, f"not found: {pattern}; but {violations[:20]}"
        seed += 1
