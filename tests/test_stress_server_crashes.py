"""What a thread sees while its server crashes is judged rightly, and a short attack crashes it often."""

from __future__ import annotations

from typing import Any

import pytest

from .stress import server_crashes
from .stress.lives import Account, Event, Life
from .support.attacks import attacked

# The same lines again and again: to measure that they are covered would take longer than to run them.
pytestmark = pytest.mark.no_cover

#: A server that was away between 11 and 20, and between 31 and 40.
LIVES = [Life(0, 1, killing=10, killed=11), Life(20, 21, killing=30, killed=31), Life(40, 41)]


def an_event(name: str, when: tuple[float, float], answer: Any = None, error: str | None = None) -> Event:
    """A call of session 7."""
    return Event(name, 7, *when, answer, error)


CREATED = an_event("create", (2, 3))
KILLED = an_event("kill", (4, 5), 1)

RIGHT = {
    "a read": [CREATED, an_event("get", (4, 5), 7)],
    "a session that went with its server": [CREATED, an_event("get", (22, 23), None)],
    "a read that lasted until the next life": [CREATED, an_event("get", (9, 23), None)],
    "a session made while the server may have been replaced": [
        an_event("create", (9, 23)),
        an_event("get", (24, 25), None),
    ],
    "a session made in the second life": [an_event("create", (22, 23)), an_event("soid", (24, 25), [7])],
    "an error of a call in flight": [CREATED, an_event("get", (9, 10.5), error="closed")],
    "an error while the server was away": [CREATED, an_event("get", (12, 13), error="refused")],
    "an error of a call that began while it was away": [CREATED, an_event("set", (12, 22), error="late")],
    "a list without what ended": [CREATED, KILLED, an_event("soid", (6, 7), [])],
    "a list without what was lost": [CREATED, an_event("soid", (22, 23), [])],
    "a list after an unknown end": [
        CREATED,
        an_event("kill", (4, 10.5), error="closed"),
        an_event("soid", (22, 23), []),
    ],
}

WRONG = {
    "get of session 7 was answered session 8": [CREATED, an_event("get", (4, 5), 8)],
    "get did not find session 7 on the server that has it": [CREATED, an_event("get", (4, 5), None)],
    "kill did not find session 7 on the server that has it": [CREATED, an_event("kill", (4, 5), 0)],
    "set found session 7 on a server that never had it": [CREATED, an_event("set", (22, 23), 7)],
    "kill found session 7 on a server that never had it": [CREATED, an_event("kill", (22, 23), 1)],
    "get was answered while no server was there": [CREATED, an_event("get", (12, 13), None)],
    "soid was answered while no server was there": [CREATED, an_event("soid", (12, 13), [])],
    "create was answered while no server was there": [an_event("create", (12, 13))],
    "get failed 3 s after the server's return, in 1 s: refused": [
        CREATED,
        an_event("get", (4, 5), error="refused"),
    ],
    "create failed 0 s after the server's return, in 1 s: closed": [
        an_event("create", (21, 22), error="closed")
    ],
    "soid did not list session 7, which is there": [CREATED, an_event("soid", (4, 5), [])],
    "soid listed session 7, which cannot be there": [CREATED, KILLED, an_event("soid", (6, 7), [7])],
    "soid listed session -1, which cannot be there": [CREATED, an_event("soid", (6, 7), [-1, 7])],
    "soid listed a session twice": [CREATED, an_event("soid", (6, 7), [7, 7])],
}


def judged(events: list[Event]) -> list[str]:
    account = Account(LIVES)
    return [text for event in events for text in account.violations(event)]


@pytest.mark.parametrize("events", RIGHT.values(), ids=RIGHT)
def test_what_can_be_is_not_a_violation(events: list[Event]) -> None:
    assert judged(events) == []


@pytest.mark.parametrize(("violation", "events"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_is_a_violation(violation: str, events: list[Event]) -> None:
    assert judged(events) == [violation]


def test_calls_in_flight_are_told_from_those_of_an_absent_server() -> None:
    account = Account(LIVES)
    for when in [(9, 10.5), (9, 12), (10.5, 10.6), (12, 13), (15, 22)]:
        assert list(account.violations(an_event("create", when, error="gone"))) == []
    assert account.figures["errors of calls in flight"] == 2
    assert account.figures["errors while it was away"] == 3


def test_a_short_attack_finds_nothing_in_several_crashes() -> None:
    enough = {"crashes": 1, "calls": 1000, "sessions that were gone": 10, "errors of calls in flight": 0}
    figures = attacked(server_crashes.attack, 5, 4, enough)
    threads = len(server_crashes.PAUSES_S) * server_crashes.THREADS
    assert figures["errors of calls in flight"] <= threads * figures["crashes"]
