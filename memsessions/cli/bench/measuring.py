"""Timing several things against each other, from several threads, so that noise hits all of them alike."""

from __future__ import annotations

import gc
import math
import statistics
import threading
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import NamedTuple

from ... import signals
from ...errors import ConfigurationError
from ...percentiles import percentile

#: One call: answers False, and is not counted, where there is nothing left to call.
Call = Callable[[], bool]
#: Makes the calls of one thread, from its number and how many there are.
Caller = Callable[[int, int], Call]

# A measurement is cut into parts of about this length, which take turns with those of the others.
_PART_S = 0.2
_LEAST_ROUNDS = 3
# How often it is asked whether to end early.
_LOOK_S = 0.05


class Case(NamedTuple):
    """Something to be timed; `after` tidies up, which is not timed."""

    name: str
    caller: Caller
    after: Callable[[], None] = lambda: None


@dataclass
class Measured:
    """What was measured of one case with so many threads."""

    name: str
    threads: int
    rates: dict[int, float] = field(default_factory=dict)  # calls per second, by the number of the round
    took_s: float = 0.0
    times: array[int] = field(default_factory=lambda: array("Q"))  # nanoseconds of each call

    @property
    def rate(self) -> float:
        """Calls per second, the median over the rounds."""
        return statistics.median(self.rates.values())

    def percentiles_ms(self, *parts: float) -> list[float]:
        """For each of these parts of all calls, the time that they took at most, in milliseconds. Exact."""
        times = sorted(self.times)
        return [percentile(times, part) / 1e6 for part in parts]

    def in_calls_of(self, other: Measured) -> float:
        """How many calls of another case could be made in the time of one: the median over the rounds."""
        return statistics.median(
            other.rates[number] / rate for number, rate in self.rates.items() if number in other.rates
        )


class Plan(NamedTuple):
    """How long is measured."""

    rounds: int
    part_s: float


def planned(seconds: float) -> Plan:
    """So many seconds for each measurement, cut into rounds."""
    rounds = max(_LEAST_ROUNDS, round(seconds / _PART_S))
    return Plan(rounds, seconds / rounds)


def measure(
    cases: Sequence[Case],
    counts: Sequence[int],
    plan: Plan,
    tell: Callable[[int, int], None],
    stop: Callable[[], bool],
) -> list[Measured]:
    """Every case with every number of threads, all in turn in each round, after one that does not count.

    What has been measured for long enough, as one call takes that long, is left out of further rounds. Ends
    early, with less, when it is told to stop. Raises what a call raises.
    """
    turns = [(case, Measured(case.name, count)) for count in counts for case in cases]
    enough_s = plan.rounds * plan.part_s
    for number in range(plan.rounds + 1):
        gc.collect()
        for at, (case, measured) in enumerate(turns):
            if stop():
                return []
            if len(measured.rates) < _LEAST_ROUNDS or measured.took_s < enough_s:
                done = in_threads(case.caller, measured.threads, stop, plan.part_s if number else 0)
                if number and done.times:
                    measured.rates[number] = len(done.times) / done.took_s
                    measured.took_s += done.took_s
                    measured.times += done.times
                case.after()
            tell(number * len(turns) + at + 1, (plan.rounds + 1) * len(turns))
    return [measured for _, measured in turns]


class Done(NamedTuple):
    """The calls of some threads together."""

    times: array[int]
    took_s: float


def in_threads(
    caller: Caller, threads: int, stop: Callable[[], bool] = lambda: False, seconds: float = math.inf
) -> Done:
    """Call from so many threads at once, for so long, but once each at least, or until nothing is left.

    It is for the main thread, which is interrupted meanwhile. Raises what a call raised first.
    """
    crew = _Crew(threads, seconds)
    workers = [_Worker(crew, caller(number, threads)) for number in range(threads)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(_LOOK_S)
                if stop():
                    crew.end()
    except RuntimeError:
        reason = f"this machine has no room for {threads} threads: give fewer (--threads)"
        raise ConfigurationError(reason) from None
    finally:
        crew.end()
        for worker in workers:
            if worker.ident is not None:
                worker.join()  # it is in its last call, which has a deadline
    for error in crew.errors:
        raise error
    times = array("Q")
    for worker in workers:
        times += worker.times
    ended, began = max(worker.ended for worker in workers), min(worker.began for worker in workers)
    return Done(times, (ended - began) / 1e9)


class _Crew:
    """Threads that begin together, and end when one fails."""

    def __init__(self, threads: int, seconds: float) -> None:
        self.gate = threading.Barrier(threads)
        self.nanoseconds = seconds * 1e9
        self.ended = False
        self.errors: list[BaseException] = []

    def end(self) -> None:
        self.ended = True
        self.gate.abort()


class _Worker(threading.Thread):
    def __init__(self, crew: _Crew, call: Call) -> None:
        super().__init__(name="memsessions-bench", daemon=True)
        self._crew = crew
        self._call = call
        self.times = array("Q")
        self.began = self.ended = 0

    def run(self) -> None:
        signals.leave_to_others()
        try:
            self._crew.gate.wait()
            self._measure()
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:  # noqa: BLE001  it is raised again in the main thread
            self._crew.errors.append(error)
            self._crew.end()

    def _measure(self) -> None:
        crew, call, add, clock = self._crew, self._call, self.times.append, perf_counter_ns
        self.began = self.ended = clock()
        until = self.began + crew.nanoseconds
        while True:
            before = clock()
            if not call():
                break
            self.ended = clock()
            add(self.ended - before)
            if self.ended >= until or crew.ended:
                break
