"""Whether a concurrent history is linearizable: the search of Wing and Gong, which remembers where it was.

There is a sequential order of the operations that explains every answer, and in which no operation comes
before one that had returned when it was called. See Wing and Gong, "Testing and Verifying Concurrent
Objects" (1993), and Lowe, "Testing for Linearizability" (2017), for the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Hashable)
What = TypeVar("What")


class _Sentinel(Enum):
    IMPOSSIBLE = "impossible"


#: What a step returns where the operation could not have had its answer in this state.
IMPOSSIBLE: Final = _Sentinel.IMPOSSIBLE
Impossible = _Sentinel


class Operation(NamedTuple, Generic[What]):
    """One call: what it was, its answer included, and between which moments it took effect.

    An infinite `returned` is a call of which nobody knows whether it took effect, or will. One that with its
    answer changes no state, whatever that is, is a read: the search need not try it in several places.
    """

    what: What
    called: float
    returned: float
    is_read: bool = False

    @property
    def is_known(self) -> bool:
        return self.returned < math.inf


def contradiction(
    history: Sequence[Operation[What]],
    initial: State,
    step: Callable[[State, What], State | Impossible],
) -> Operation[What] | None:
    """None if the history is linearizable; else the call at which the longest order that was found ends.

    Parameters:
        initial: the state before all operations.
        step: the state after an operation in this state, or `IMPOSSIBLE`.
    """
    known = sorted((op for op in history if op.is_known), key=lambda op: op.called)
    unknown = sorted((op for op in history if not op.is_known), key=lambda op: op.called)
    everything = (1 << len(known)) - 1
    stack: list[tuple[int, int, State]] = [(0, 0, initial)]  # done of each kind, as bits, and the state
    seen: set[tuple[int, int, State]] = set()
    furthest = (-1, 0)
    while stack:
        config = stack.pop()
        if config in seen:
            continue
        seen.add(config)
        done, tried, state = config
        if done == everything:
            return None
        furthest = max(furthest, (done.bit_count(), done))
        open_, limit = _open(known, done)
        branches: list[tuple[int, int, State]] = []
        for number, op in enumerate(unknown):
            if op.called > limit:
                break
            if not tried >> number & 1:
                after = step(state, op.what)
                # One that changes nothing now need not have happened yet.
                if after is not IMPOSSIBLE and after != state:
                    branches.append((done, tried | 1 << number, after))
        # The one that returned first is looked at first: it is pushed last.
        for number in sorted(open_, key=lambda number: -known[number].returned):
            after = step(state, known[number].what)
            if after is IMPOSSIBLE:
                continue
            taken = (done | 1 << number, tried, after)
            if known[number].is_read:
                # It fits here: any order that has it later may have it here as well.
                branches = [taken]
                break
            branches.append(taken)
        stack.extend(branches)
    open_, _ = _open(known, furthest[1])
    return min((known[number] for number in open_), key=lambda op: op.returned)


def _open(known: Sequence[Operation[Any]], done: int) -> tuple[list[int], float]:
    """Which of those that are not done may come next: none of the others had returned when it was called.

    Also returns the moment until which that is so.
    """
    found = []
    limit = math.inf
    number = (~done & (done + 1)).bit_length() - 1
    while number < len(known) and known[number].called <= limit:
        if not done >> number & 1:
            found.append(number)
            limit = min(limit, known[number].returned)
        number += 1
    return found, limit
