"""Timing several things against each other in one run, so that noise hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from memsessions.percentiles import percentile


class Case(NamedTuple):
    """Something of which each call is timed here."""

    name: str
    call: Callable[[Any], object]
    #: Makes the arguments of one repetition, one for each call. Not timed, so it can also tidy up.
    arguments: Callable[[], Iterable[Any]]
    #: Whether an answer is right: a call that finds nothing is no measure of one that does.
    right: Callable[[Any], bool] = lambda _answer: True


def _nothing() -> None:
    pass


class Batch(NamedTuple):
    """Something that times its calls itself: threads, or a process. It raises where an answer is wrong."""

    name: str
    run: Callable[[], Sequence[float]]  # the seconds of each call of one repetition
    prepare: Callable[[], None] = _nothing  # before each repetition, not timed


@dataclass
class Timing:
    """What was measured of one case, in seconds."""

    repetitions: list[float] = field(default_factory=list)  # the median call of each
    calls: list[float] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)  # all calls of each repetition, from first to last

    @property
    def median(self) -> float:
        return statistics.median(self.repetitions)

    @property
    def best(self) -> float:
        """The repetition that was disturbed least."""
        return min(self.repetitions)

    @property
    def p95(self) -> float:
        """Of all calls of all repetitions, as is p99."""
        return percentile(sorted(self.calls), 0.95)

    @property
    def p99(self) -> float:
        return percentile(sorted(self.calls), 0.99)

    @property
    def spread(self) -> float:
        """How far apart the repetitions are: the middle half of them, as a part of their median."""
        ordered = sorted(self.repetitions)
        return (percentile(ordered, 0.75) - percentile(ordered, 0.25)) / self.median

    @property
    def per_second(self) -> float:
        """Calls in a second, in the repetition in the middle."""
        return len(self.calls) / len(self.elapsed) / statistics.median(self.elapsed)

    def over(self, other: Timing) -> float:
        """How many times longer than the other: the median over pairs that were measured side by side."""
        return statistics.median(
            mine / its for mine, its in zip(self.repetitions, other.repetitions, strict=True)
        )

    def figures(self, unit: str = "us") -> dict[str, float]:
        """The columns that every table of times begins with."""
        per_unit = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
        return {
            f"median {unit}": self.median * per_unit,
            "p95": self.p95 * per_unit,
            "p99": self.p99 * per_unit,
            "best": self.best * per_unit,
            "spread %": self.spread * 100,
        }


def interleaved(cases: Sequence[Case | Batch], repetitions: int, title: str) -> dict[str, Timing]:
    """Run A B C A B C ..., after one round that does not count."""
    timings = {case.name: Timing() for case in cases}
    # No repetition pays for what others left behind; what was there before is not gone through each time.
    gc.collect()
    gc.freeze()
    try:
        for repetition in range(repetitions + 1):
            for case in cases:
                progress(f"{title}: repetition {repetition} of {repetitions}, {case.name}")
                elapsed, times = _measured(case)
                if repetition:
                    timing = timings[case.name]
                    timing.elapsed.append(elapsed)
                    timing.calls += times
                    timing.repetitions.append(statistics.median(times))
    finally:
        gc.unfreeze()
        progress("")
    return timings


def _measured(case: Case | Batch) -> tuple[float, Sequence[float]]:
    """How long one repetition took, and each of its calls."""
    if isinstance(case, Case):
        arguments = list(case.arguments())
        gc.collect()
        times = timed(case, arguments)
        return sum(times), times
    case.prepare()
    gc.collect()
    start = perf_counter()
    their_times = case.run()
    return perf_counter() - start, their_times


def timed(case: Case, arguments: list[Any]) -> list[float]:
    """The seconds of each call with these arguments."""
    call = case.call
    times = []
    answers = []
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
