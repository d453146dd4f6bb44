"""Comparing sessions although the server's clock may tick during a test, and looking into a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from memsessions import Session
from memsessions.store.memory import MemoryStore, named_store

if TYPE_CHECKING:
    from ..conftest import Where

T = TypeVar("T")

#: A token that nobody was given.
UNKNOWN = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"

KEYS = ["id", "r", "w", "idle", "ttl", "ip", "d"]
# How often to try to get something done between two ticks of a clock that ticks once a second.
_ATTEMPTS = 20


class Ticks:
    """How far the servers' clocks moved by themselves since the test began. In memory they stand still."""

    def __init__(self, where: Where) -> None:
        self._servers = where.servers
        self._began = self._now()

    def _now(self) -> list[int]:
        return [int(server.stats()["uptime"]) for server in self._servers]

    def _each(self) -> list[int]:
        return [now - began for now, began in zip(self._now(), self._began, strict=True)]

    def passed(self) -> int:
        return max(self._each(), default=0)

    def wait_for_all(self) -> None:
        """Until each clock has ticked: almost at the same time where the servers were started together."""
        while min(self._each()) == 0:
            time.sleep(0.002)


def since(ticks: Ticks, seconds: int) -> range:
    """So many seconds, and those that passed by themselves since the test began."""
    return range(seconds, seconds + ticks.passed() + 1)


def between_ticks(where: Where, act: Callable[[], T]) -> T:
    """What `act` answers when the server's clock does not tick in the middle of it: times are exact then.

    It is called again where it did, just after a tick, also if it found something wrong, and so must begin
    anew at each call.
    """
    for _attempt in range(_ATTEMPTS):
        ticks = Ticks(where)
        try:
            answer = act()
        except AssertionError:
            if ticks.passed() == 0:
                raise
        else:
            if ticks.passed() == 0:
                return answer
        Ticks(where).wait_for_all()
    raise AssertionError("the machine is too slow to do this within one second")


def difference(
    actual: Mapping[str, object] | None, expected: Mapping[str, object] | None, late: int = 0
) -> str | None:
    """What is wrong with a session map, or None; its clock may have ticked `late` times more than expected.

    Keys and their order, the types and the values have to be those that are expected.
    """
    if actual is None or expected is None:
        return None if actual is expected else f"{actual!r} is not {expected!r}"
    if list(actual) != list(expected):
        return f"keys are {list(actual)}, not {list(expected)}"
    for key, value in expected.items():
        found = actual[key]
        allowed = [value]
        if isinstance(value, int) and not isinstance(value, bool):
            if key == "idle":
                allowed = [value + more for more in range(late + 1)]
            elif key == "ttl" and "no_resave" in expected:
                allowed = [value - less for less in range(late + 1)]
        if found not in allowed or type(found) is not type(value):
            return f"{key} is {found!r}, not {value!r}, with {late} ticks more: {actual!r}"
    return None


class Shown:
    """`shown(session, id="u", ...)` asserts that a session is shown exactly so."""

    def __init__(self, where: Where) -> None:
        self.ticks = Ticks(where)

    def __call__(self, actual: Session | None, **expected: object) -> None:
        problem = difference(actual, expected, self.ticks.passed())
        assert problem is None, problem


def contents(where: Where) -> dict[str, bytes]:
    """Every key that stands on the store under the namespace, and its value."""
    if where.servers:
        values = {key: server.value(key) for server in where.servers for key in server.keys(where.ns)}
        return {key: value for key, value in values.items() if value is not None}
    prefix = f"{where.ns}:".encode()
    return {
        key.decode(): entry.value
        for address in (where.address if isinstance(where.address, list) else [where.address])
        for key, entry in memory_at(address)._entries.items()
        if key.startswith(prefix)
    }


def memory_at(address: str) -> MemoryStore:
    """The in-process store of this name."""
    return named_store(address, item_bytes=1024 * 1024)


def ips(sessions: Sequence[Session]) -> list[str]:
    """The addresses of some sessions, by which the tests tell them apart."""
    return [session["ip"] for session in sessions]
