"""When a server was there, and whether what a client saw meanwhile was right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

#: How long after its return a server may still be taken for gone.
GRACE_S = 0.0


@dataclass
class Life:
    """One life of a server, from an empty memory to its end.

    It is there from somewhere between `started` and `back` to somewhere between `killing` and `killed`.
    """

    started: float
    back: float = math.inf
    killing: float = math.inf
    killed: float = math.inf


class Event(NamedTuple):
    """One call of a thread: of which session, when, and what came of it.

    `answer` is the number of a session, or a list of them, or None for no session; of a `kill`, 0 or 1.
    """

    name: str
    number: int
    called: float
    ended: float
    answer: Any
    error: str | None


@dataclass
class _Session:
    """In which lives of the server a session may be, and whether it surely is in one of them."""

    lives: set[int]
    sure: bool


class Account:
    """Follows the calls of one thread, in their order, and knows what it may be answered."""

    def __init__(self, lives: Sequence[Life]) -> None:
        self.figures: Counter[str] = Counter()
        self._lives = lives
        self._sessions: dict[int, _Session] = {}
        self._first = 0  # of the lives that were not over before the present call

    def violations(self, event: Event) -> Iterator[str]:
        """What is wrong with the next call."""
        while self._lives[self._first].killed < event.called:
            self._first += 1
        self.figures["calls"] += 1
        there = {
            number
            for number, life in enumerate(self._lives[self._first :], self._first)
            if life.started <= event.ended
        }
        if event.error is not None:
            yield from self._failed(event, there)
        elif not there:
            yield f"{event.name} was answered while no server was there"
        elif event.name == "create":
            self._sessions[event.number] = _Session(there, sure=True)
        elif event.name == "soid":
            yield from self._listed(event.answer, there)
        elif event.name == "kill" and event.answer == 1:
            yield from self._found("kill", event.number, there)
            del self._sessions[event.number]
        elif event.name == "kill" or event.answer is None:
            yield from self._not_found(event.name, event.number, there)
            del self._sessions[event.number]
        else:
            if event.answer != event.number:
                yield f"{event.name} of session {event.number} was answered session {event.answer}"
            yield from self._found(event.name, event.number, there)

    def _failed(self, event: Event, there: set[int]) -> Iterator[str]:
        """A call may fail if the server was away, or was being killed, at some moment of it."""
        if event.name == "create":
            self._sessions[event.number] = _Session(there, sure=False)
        elif event.name == "kill":
            self._sessions[event.number].sure = False
        lives = self._lives[self._first :]
        there_all_along = [
            life for life in lives if life.back + GRACE_S <= event.called and event.ended < life.killing
        ]
        if there_all_along:
            since_s = event.called - there_all_along[0].back
            took_s = event.ended - event.called
            when = f"{since_s:.3g} s after the server's return, in {took_s:.3g} s"
            yield f"{event.name} failed {when}: {event.error}"
        elif any(event.called <= life.killing <= event.ended for life in lives):
            self.figures["errors of calls in flight"] += 1
        else:
            self.figures["errors while it was away"] += 1

    def _found(self, name: str, number: int, there: set[int]) -> Iterator[str]:
        session = self._sessions[number]
        if not session.lives & there:
            yield f"{name} found session {number} on a server that never had it"
        session.lives &= there

    def _not_found(self, name: str, number: int, there: set[int]) -> Iterator[str]:
        """A session is gone when a server that was started after it was made says so."""
        if max(there) <= min(self._sessions[number].lives, default=-1):
            yield f"{name} did not find session {number} on the server that has it"
        self.figures["sessions that were gone"] += 1

    def _listed(self, numbers: list[int], there: set[int]) -> Iterator[str]:
        if len(set(numbers)) < len(numbers):
            yield "soid listed a session twice"
        for number in numbers:
            session = self._sessions.get(number)
            if session is None or not session.lives & there:
                yield f"soid listed session {number}, which cannot be there"
        for number, session in self._sessions.items():
            if session.sure and session.lives == there and len(there) == 1 and number not in numbers:
                yield f"soid did not list session {number}, which is there"
