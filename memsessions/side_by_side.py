"""Asking several servers at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from . import forks, signals
from .errors import StoreError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

# Threads are made when all others are busy, and wait for the next call.
_MOST_THREADS = 256


class SideBySide:
    """Makes calls at the same time: the first in the caller's thread, each other in one of its own."""

    def __init__(self, most: int) -> None:
        """For at most so many calls at the same time."""
        self._threads: ThreadPoolExecutor | None = None
        if most > 1:
            # Only who has several servers pays for this import; not in a call, which may be interrupted.
            from concurrent.futures import ThreadPoolExecutor

            self._make = partial(ThreadPoolExecutor, _MOST_THREADS, "memsessions", signals.leave_to_others)
        forks.call_in_child(self, SideBySide._after_fork_in_child)

    def outcomes(self, calls: Sequence[Callable[[], T]]) -> list[T | StoreError]:
        """What each call returned, or the `StoreError` that it raised, in their order."""
        others = [self._begin(call) for call in calls[1:]]
        found = [_outcome(call) for call in calls[:1]]
        return found + [
            _outcome(call) if future is None else future.result()
            for call, future in zip(calls[1:], others, strict=True)
        ]

    def answers(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What each call returned. Raises the first error, after all have ended."""
        if len(calls) == 1:
            return [calls[0]()]
        answers = []
        for outcome in self.outcomes(calls):
            if isinstance(outcome, StoreError):
                raise outcome
            answers.append(outcome)
        return answers

    def close(self) -> None:
        """Let the threads end."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _begin(self, call: Callable[[], T]) -> Future[T | StoreError] | None:
        """The call under way; None where there can be no more threads."""
        try:
            threads = self._threads
            if threads is None:
                threads = self._threads = self._make()
            return threads.submit(_outcome, call)
        except RuntimeError:  # the interpreter is shutting down, or the system has no thread left
            return None

    def _after_fork_in_child(self) -> None:
        self._threads = None  # they stayed behind in the parent


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except StoreError as error:
        return error
