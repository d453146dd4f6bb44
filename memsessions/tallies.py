"""What all clients of this process counted, those included that are gone: sums never become less.

A client's counts are read where it counts, in its meters, until it is collected. That may happen anywhere, in
the middle of a snapshot, too; so its end puts what it had counted in its own place by one assignment. What
ended clients left is added up when the next client is made: what is kept does not grow with their number.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple

from . import forks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .cache import NoCache
    from .client import SessionsClient
    from .nodes import Node


class Tally:
    """What was counted on one server, by one client or several. See `Meter` for `times` and `errors`."""

    def __init__(self) -> None:
        self.since = math.inf
        self.times: dict[str, list[int]] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.opened = self.lost = self.outages = 0
        self.wipes = self.wiped = self.compactions = self.relists = 0

    def add_node(self, node: Node) -> None:
        """Add what a client asked of this server so far."""
        meter = node.meter
        connections = node.store.connections()
        self.since = min(self.since, meter.since)
        # Copies, as other threads go on calling.
        for operation, numbers in meter.times.copy().items():
            self._add_times(operation, numbers.copy())
        for failed, (number,) in meter.errors.copy().items():
            self.errors[failed] = self.errors.get(failed, 0) + number
        self.opened += connections.opened
        self.lost += connections.lost
        self.outages += 0 if node.breaker is None else node.breaker.outages
        self.wipes += meter.wipes
        self.wiped += meter.wiped
        self.compactions += meter.compactions
        self.relists += meter.relists

    def add(self, other: Tally) -> None:
        """Add what others asked of it."""
        self.since = min(self.since, other.since)
        for operation, numbers in other.times.items():
            self._add_times(operation, numbers)
        for failed, number in other.errors.items():
            self.errors[failed] = self.errors.get(failed, 0) + number
        self.opened += other.opened
        self.lost += other.lost
        self.outages += other.outages
        self.wipes += other.wipes
        self.wiped += other.wiped
        self.compactions += other.compactions
        self.relists += other.relists

    def _add_times(self, operation: str, numbers: list[int]) -> None:
        before = self.times.get(operation)
        self.times[operation] = (
            numbers if before is None else [one + more for one, more in zip(before, numbers, strict=True)]
        )


class Tallies:
    """The same of every server, by its name, and of the caches."""

    def __init__(self) -> None:
        self.servers: dict[str, Tally] = {}
        self.hits = self.misses = 0

    def add_client(self, nodes: Iterable[Node], cache: NoCache) -> None:
        """Add what a client counted so far."""
        for node in nodes:
            self._of(node.store.server).add_node(node)
        self.hits += cache.hits
        self.misses += cache.misses

    def add(self, other: Tallies) -> None:
        """Add what others counted."""
        for server, tally in other.servers.items():
            self._of(server).add(tally)
        self.hits += other.hits
        self.misses += other.misses

    def _of(self, server: str) -> Tally:
        return self.servers.setdefault(server, Tally())


class Living(NamedTuple):
    """A client that is there, and where it counts: both outlive it until its counts are taken."""

    client: weakref.ref[SessionsClient]
    nodes: list[Node]
    cache: NoCache


class _Rest(NamedTuple):
    """What ended clients had counted, and whose counts are in it, if these are still in the book, too."""

    tallies: Tallies
    of: frozenset[int]


class Book:
    """All clients of a process. In a child of a fork it begins again, with those that are there."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._clients: dict[int, Living | Tallies] = {}
        self._rest = _Rest(Tallies(), frozenset())
        self._adding_up = threading.Lock()
        forks.call_in_child(self, Book._after_fork_in_child)

    def enter(self, client: SessionsClient) -> None:
        """Have a client's counts in the book from now on."""
        self._add_up()
        number = next(self._numbers)
        self._clients[number] = Living(weakref.ref(client), client._nodes, client._cache)  # noqa: SLF001
        weakref.finalize(client, self._end, number).atexit = False

    def read(self) -> tuple[list[Living], Tallies]:
        """Those whose counts are to be read where they count, and the sum of what the others had counted."""
        while True:
            rest = self._rest
            clients = self._clients.copy()
            if self._rest is rest:  # if not, some were just added up
                break
        tallies = Tallies()
        tallies.add(rest.tallies)
        living = []
        for number, each in clients.items():
            if isinstance(each, Living):
                living.append(each)
            elif number not in rest.of:
                tallies.add(each)
        return living, tallies

    def _end(self, number: int) -> None:
        """A client is gone. Waits for nothing: whoever is interrupted by this may hold any lock."""
        living = self._clients[number]
        if isinstance(living, Living):
            left = Tallies()
            left.add_client(living.nodes, living.cache)
            self._clients[number] = left

    def _add_up(self) -> None:
        if not self._adding_up.acquire(blocking=False):
            return  # another thread does it, or this one in what a signal handler interrupts
        try:
            clients, before = self._clients.copy(), self._rest
            ended = {number: each for number, each in clients.items() if isinstance(each, Tallies)}
            if not ended:
                return
            sums = Tallies()
            sums.add(before.tallies)
            for number, tallies in ended.items():
                if number not in before.of:
                    sums.add(tallies)
            self._rest = _Rest(sums, frozenset(ended))
            for number in ended:
                del self._clients[number]
        finally:
            self._adding_up.release()

    def _after_fork_in_child(self) -> None:
        """What ended clients had counted was the parent's, and so may be the holder of the lock."""
        self._adding_up = threading.Lock()
        self._rest = _Rest(Tallies(), frozenset())
        for number, each in self._clients.copy().items():
            if isinstance(each, Tallies):
                del self._clients[number]


_book = Book()


def watch(client: SessionsClient) -> None:
    """Have a client counted among those of this process; what it has counted stays when it is gone."""
    _book.enter(client)


def of_all_clients() -> tuple[list[Living], Tallies]:
    """As `Book.read`, of this process's."""
    return _book.read()
