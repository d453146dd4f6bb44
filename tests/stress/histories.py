"""What processes saw of one session, as a history, and what is wrong with it.

A session is two objects. Its record (whether it is there, `w` and `d`) has to be linearizable. Its read
counter is counted in the same packet, but not in the same moment, and has to be between the reads that were
acknowledged and those that may have happened.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..support.linearizability import IMPOSSIBLE, Impossible, Operation, contradiction

#: What a record holds: `w`, and the keys and values of `d`. None stands for no session.
State = tuple[int, frozenset[tuple[str, Any]]] | None


class Seen(NamedTuple):
    """A session as an answer showed it."""

    w: int
    d: dict[str, Any]
    r: int

    @property
    def state(self) -> State:
        return self.w, frozenset(self.d.items())


class Call(NamedTuple):
    """One call of one session.

    `argument` is the `d` of a `create` or `set`. `answer` is what a `get`, `set` or `soid` showed, or None
    for no session; the number of a `kill`; nothing for a `create`. `error` is why nobody knows whether the
    call took effect.
    """

    name: str
    argument: dict[str, Any] | None
    called: float
    ended: float
    answer: Any
    error: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether, as it was answered, it changed nothing."""
        return self.name in ("get", "soid") or (self.name != "create" and not self.error and not self.answer)

    def __str__(self) -> str:
        said = f"unknown ({self.error})" if self.error else self.answer
        return f"{self.name}({self.argument or ''}) from {self.called:.6f} to {self.ended:.6f}: {said}"


class Cuts:
    """The periods in which connections were cut: a `get` that one of them broke may have counted twice."""

    def __init__(self, periods: Iterable[tuple[float, float]]) -> None:
        self._periods = sorted(periods)
        self._ends = [end for _, end in self._periods]

    def during(self, call: Call) -> bool:
        number = bisect_left(self._ends, call.called)
        return number < len(self._periods) and self._periods[number][0] <= call.ended


def violations(calls: Sequence[Call], cuts: Cuts) -> Iterator[str]:
    """What cannot be in the history of one session."""
    odd = contradiction(
        [
            Operation(call, call.called, math.inf if call.error else call.ended, call.is_read)
            for call in calls
            if not call.error or call.name in ("create", "set", "kill")  # an unknown read says nothing
        ],
        None,
        _step,
    )
    if odd is not None:
        yield f"not linearizable from here on: {odd.what}"
    sets = [call for call in calls if call.name == "set"]
    gets = [call for call in calls if call.name == "get"]
    yield from _miscounted("w", calls, sets, [])
    yield from _miscounted("r", calls, gets, [call for call in gets if cuts.during(call)])
    reads = [call.answer.r for call in gets if call.answer is not None]
    if len(set(reads)) < len(reads):
        yield "two reads have the same number"


def _step(state: State, call: Call) -> State | Impossible:
    """The sequential session."""
    if call.name == "create":
        return IMPOSSIBLE if state is not None else (1, _merged(frozenset(), call.argument))
    if call.name == "kill":
        right = call.error is not None or call.answer == (state is not None)
        return None if right else IMPOSSIBLE
    after = state
    if call.name == "set" and state is not None:
        after = state[0] + 1, _merged(state[1], call.argument)
    right = call.error is not None or (None if call.answer is None else call.answer.state) == after
    return after if right else IMPOSSIBLE


def _merged(found: frozenset[tuple[str, Any]], changes: dict[str, Any] | None) -> frozenset[tuple[str, Any]]:
    merged = dict(found) | (changes or {})
    return frozenset((key, value) for key, value in merged.items() if value is not None)


def _miscounted(
    counter: str, calls: Sequence[Call], counting: Sequence[Call], twice: Sequence[Call]
) -> Iterator[str]:
    """Answers in which a counter is below what was acknowledged, or above that and all that is unknown.

    It begins at 1. `counting` are the calls that count, of which `twice` may have done so two times.
    """
    acknowledged = sorted(call.ended for call in counting if call.answer is not None)
    begun = sorted(call.called for call in counting)
    again = sorted(call.called for call in twice)
    itself = {id(call) for call in counting}
    for call in calls:
        if not isinstance(call.answer, Seen):
            continue
        value = getattr(call.answer, counter)
        least = 1 + bisect_left(acknowledged, call.called) + (id(call) in itself)
        most = 1 + bisect_right(begun, call.ended) + bisect_right(again, call.ended)
        if not least <= value <= most:
            yield f"{counter} is not between {least} and {most}: {call}"
