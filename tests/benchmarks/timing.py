"""Timing several things against each other in one run, so that noise hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple


class Case(NamedTuple):
    """Something to be timed."""

    name: str
    call: Callable[[Any], object]
    #: Makes the arguments of one repetition, one for each call. Not timed, so it can also tidy up.
    arguments: Callable[[], Iterable[Any]]
    #: Whether an answer is right: a call that finds nothing is no measure of one that does.
    right: Callable[[Any], bool] = lambda _answer: True


@dataclass
class Timing:
    """What was measured of one case, in seconds."""

    repetitions: list[float] = field(default_factory=list)  # the median call of each
    calls: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.repetitions)

    @property
    def best(self) -> float:
        """The repetition that was disturbed least."""
        return min(self.repetitions)

    @property
    def p95(self) -> float:
        """Of all calls of all repetitions."""
        return sorted(self.calls)[int(len(self.calls) * 0.95)]

    def over(self, other: Timing) -> float:
        """How many times longer than the other: the median over pairs that were measured side by side."""
        return statistics.median(
            mine / its for mine, its in zip(self.repetitions, other.repetitions, strict=True)
        )


def interleaved(cases: list[Case], repetitions: int, title: str) -> dict[str, Timing]:
    """Run A B C A B C ..., after one round that does not count."""
    timings = {case.name: Timing() for case in cases}
    for repetition in range(repetitions + 1):
        for case in cases:
            progress(f"{title}: repetition {repetition} of {repetitions}, {case.name}")
            times = _timed(case)
            if repetition:
                timings[case.name].calls += times
                timings[case.name].repetitions.append(statistics.median(times))
    progress("")
    return timings


def _timed(case: Case) -> list[float]:
    arguments = list(case.arguments())
    call = case.call
    times = []
    answers = []
    gc.collect()
    for argument in arguments:
        start = perf_counter()
        answer = call(argument)
        times.append(perf_counter() - start)
        answers.append(answer)
    if not all(map(case.right, answers)):
        raise RuntimeError(f"{case.name} did not answer as it should, so its time says nothing")
    return times


def progress(text: str) -> None:
    """Say what is going on, to somebody who watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
