"""What is counted of the calls to one server while they are made; `metrics` shows it.

A call is counted by two readings of a clock and two additions to a list of integers, in half a microsecond.
There is no lock. `numbers[i] += 1` reads, adds and writes, and between these CPython, from 3.10 on, lets no
other thread run and no signal handler: it looks for those where a function is called and where a loop begins
again. (Up to 3.9 it looked anywhere.) Its free-threaded builds may lose one of two additions that are made
at the same instant, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from typing import ParamSpec, TypeVar

from . import forks
from .errors import StoreError, StoreFull
from .logs import Seldom, about

P = ParamSpec("P")
R = TypeVar("R")

# For times of any length: the square of 2 ** 63 ns has 127 bits. The last number is the sum.
NUMBERS = 128
SUM = NUMBERS - 1

_log = logging.getLogger("memsessions.calls")


class _Times(dict[str, list[int]]):
    """Begins to count when it is first asked for an operation."""

    def __missing__(self, operation: str) -> list[int]:
        return self.setdefault(operation, [0] * NUMBERS)


class Meter:
    """Counts what a client asks of one server. In a child of a fork it begins again at nothing."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._full = Seldom()
        #: Failed over to another server.
        self.passed_over = Seldom()
        self.reset()
        forks.call_in_child(self, Meter.reset)

    def reset(self) -> None:
        """Begin at nothing."""
        self.since = time.time()
        #: By operation: how many calls took so long, by the bits in the square of their nanoseconds. So each
        #: number is for half an octave, times from 2 ** ((n - 1) / 2) ns to 2 ** (n / 2) ns. The last is the
        #: sum of all times.
        self.times: dict[str, list[int]] = _Times()
        #: By operation and type of exception: how many calls failed, in a list of one number.
        self.errors: dict[tuple[str, str], list[int]] = {}
        self.wipes = 0
        self.wiped = 0  # sessions whose records were removed
        self.compactions = 0  # buckets of an index that were written anew without these
        self.relists = 0  # sessions that were listed again

    def call(self, operation: str, function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """Call a function that asks this server, and count that.

        Of one that fails only that is counted: a server that refuses connections would seem fast.
        """
        started = perf_counter_ns()
        try:
            answer = function(*arguments, **options)
        except BaseException as error:
            self.failed(operation, error)
            raise
        took = perf_counter_ns() - started
        # What follows is `_took`; a call of it would cost half as much again.
        numbers = self.times[operation]
        numbers[(took * took).bit_length()] += 1
        numbers[SUM] += took
        return answer

    def iterate(self, operation: str, iterator: Iterator[R]) -> Iterator[R]:
        """The same for what answers bit by bit: from the first to the last, or until nobody wants more."""
        started = perf_counter_ns()
        try:
            yield from iterator
        except GeneratorExit:
            self._took(operation, perf_counter_ns() - started)
            raise
        except BaseException as error:
            self.failed(operation, error)
            raise
        self._took(operation, perf_counter_ns() - started)

    def _took(self, operation: str, took: int) -> None:
        numbers = self.times[operation]
        numbers[(took * took).bit_length()] += 1
        numbers[SUM] += took

    def failed(self, operation: str, error: BaseException) -> None:
        """Count a call that failed, and log it."""
        kind = type(error).__name__
        self.errors.setdefault((operation, kind), [0])[0] += 1
        if isinstance(error, StoreFull) and (times := self._full.due()):
            said = about(error, operation=operation, times=times)
            _log.warning("%s is full: %s", self.server, error.reason, extra=said)
        elif isinstance(error, StoreError):
            said = about(error, operation=operation)
            _log.debug("%s failed on %s: %s", operation, self.server, error.reason, extra=said)
        else:
            said = {"server": self.server, "error": kind, "operation": operation}
            _log.debug("%s failed on %s: %s", operation, self.server, kind, extra=said)
