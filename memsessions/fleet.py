"""Several servers as one: where a new session goes, and what all of them answer together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .errors import LogoutIncomplete, StoreError, StoreFull, StoreUnavailable, UnsupportedServer
from .nodes import Node
from .scans import idle_time
from .side_by_side import SideBySide
from .tokens import TAG

if TYPE_CHECKING:
    from .sessions import Making
    from .types import Session

T = TypeVar("T")


class Fleet:
    """The servers of a client."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._taking_new = [node for node in nodes if node.weight]
        self._side_by_side = SideBySide(len(nodes))

    def create(self, app: str, making: Making) -> str:
        """The token of a new session, on the first server that takes it."""
        servers = self._taking_new
        if len(servers) == 1:
            return servers[0].create(app, making, servers[0].store.deadline())
        *others, last = _in_random_order(servers)
        deadline = last.store.deadline()
        for node in others:
            now = time.monotonic()
            try:
                return node.create(app, making, now + (deadline - now) / 2)
            except (StoreUnavailable, UnsupportedServer, StoreFull):
                if time.monotonic() >= deadline:
                    raise
        return last.create(app, making, deadline)

    def adopt(self, app: str, token: str, making: Making) -> bool:
        """Make a session that has a token already, on the server that this names; whether it was made."""
        for node in self._nodes:
            if len(self._nodes) == 1 or node.tag == token[TAG]:
                return node.adopt(app, token, making, node.store.deadline())
        return False

    def on_each(self, work: Callable[[Node], T]) -> list[T]:
        """What some work answers for each server, done at the same time. Raises the first error."""
        return self._side_by_side.answers([partial(work, node) for node in self._nodes])

    def outcome_on_each(self, work: Callable[[Node], T]) -> list[T | StoreError]:
        """The same, with an error in the place of an answer."""
        return self._side_by_side.outcomes([partial(work, node) for node in self._nodes])

    def sessions(self, listed: Callable[[Node], list[Session]]) -> list[Session]:
        """The sessions that all servers list, the last used first."""
        lists = self.on_each(listed)
        return lists[0] if len(lists) == 1 else sorted(chain.from_iterable(lists), key=idle_time)

    def end(self, ending: Callable[[Node], Iterator[int]]) -> int:
        """How many sessions were ended on all servers, each of which says so as it goes on."""
        tallies = self.on_each(lambda node: _tally(ending(node)))
        killed = sum(tally.killed for tally in tallies)
        errors = [tally.error for tally in tallies if tally.error is not None]
        unreached = [error for error in errors if isinstance(error, (StoreUnavailable, UnsupportedServer))]
        if unreached and (len(tallies) > 1 or isinstance(unreached[0], StoreUnavailable)):
            names = tuple(error.server for error in unreached)
            others = f"; {killed} sessions were ended elsewhere or before, others may live" if killed else ""
            reason = unreached[0].reason + others
            raise LogoutIncomplete(", ".join(names), reason, killed, names) from unreached[0]
        for error in errors:
            raise error
        return killed

    def close(self) -> None:
        """Let go of threads and connections."""
        self._side_by_side.close()
        for node in self._nodes:
            node.store.close()


def _in_random_order(nodes: list[Node]) -> list[Node]:
    """The servers for a new session, in the order in which to try them: by chance, by their weights."""
    # The exponential race: the first of these is each server as often as its weight says.
    return sorted(nodes, key=lambda node: random.expovariate(node.weight))


class _Tally(NamedTuple):
    """What was ended on one server, and what kept it from going on."""

    killed: int
    error: StoreError | None


def _tally(ending: Iterator[int]) -> _Tally:
    killed = 0
    try:
        for number in ending:
            killed += number
    except StoreError as error:
        return _Tally(killed, error)
    return _Tally(killed, None)
