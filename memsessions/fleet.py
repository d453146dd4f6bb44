"""Several servers as one: where a new session goes, and what all of them answer together."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .errors import LogoutIncomplete, StoreError, StoreFull, StoreUnavailable, UnsupportedServer
from .logs import about
from .nodes import Node
from .scans import idle_time
from .side_by_side import SideBySide
from .tokens import TAG

if TYPE_CHECKING:
    from .sessions import Making
    from .types import Session

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Fleet:
    """The servers of a client."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._taking_new = [node for node in nodes if node.weight]
        self._side_by_side = SideBySide(len(nodes))

    def create(self, app: str, making: Making, operation: str) -> str:
        """The token of a new session, on the first server that takes it."""
        servers = self._taking_new
        if len(servers) == 1:
            (only,) = servers
            return only.meter.call(operation, only.create, app, making, only.store.deadline())
        *others, last = _in_random_order(servers)
        deadline = last.store.deadline()
        for node in others:
            now = time.monotonic()
            try:
                half = now + (deadline - now) / 2
                return node.meter.call(operation, node.create, app, making, half)
            except (StoreUnavailable, UnsupportedServer, StoreFull) as error:
                passed_over(node, app, operation, error)
                if time.monotonic() >= deadline:
                    raise
        return last.meter.call(operation, last.create, app, making, deadline)

    def adopt(self, app: str, token: str, making: Making, operation: str) -> bool:
        """Make a session that has a token already, on the server that this names; whether it was made."""
        for node in self.nodes:
            if len(self.nodes) == 1 or node.tag == token[TAG]:
                deadline = node.store.deadline()
                return node.meter.call(operation, node.adopt, app, token, making, deadline)
        return False

    def in_random_order(self) -> list[Node]:
        """The servers for a new session, in the order in which to try them: by chance, by their weights."""
        servers = self._taking_new
        return servers if len(servers) == 1 else _in_random_order(servers)

    def on_each(
        self, work: Callable[[Node], T], operation: str | None = None, nodes: Sequence[Node] | None = None
    ) -> list[T]:
        """What some work answers for each server, done at the same time. Raises the first error.

        It is counted as this operation; without one it is no call of a client's, or counts itself.
        `nodes` are the servers, if not all.
        """
        nodes = self.nodes if nodes is None else nodes
        if operation is None:
            return self._side_by_side.answers([partial(work, node) for node in nodes])
        return self._side_by_side.answers([partial(node.meter.call, operation, work, node) for node in nodes])

    def outcome_on_each(
        self, work: Callable[[Node], T], nodes: Sequence[Node] | None = None
    ) -> list[T | StoreError]:
        """The same, with an error in the place of an answer."""
        return self._side_by_side.outcomes(
            [partial(work, node) for node in (self.nodes if nodes is None else nodes)]
        )

    def find(self, work: Callable[[Node], T | None]) -> T | None:
        """What one of the servers has. An error is raised only if no server that answers has it."""
        outcomes = self.outcome_on_each(work)
        errors = []
        for outcome in outcomes:
            if isinstance(outcome, StoreError):
                errors.append(outcome)
            elif outcome is not None:
                return outcome
        for error in errors:
            raise error
        return None

    def sessions(self, listed: Callable[[Node], list[Session]], operation: str) -> list[Session]:
        """The sessions that all servers list, the last used first."""
        lists = self.on_each(listed, operation)
        return lists[0] if len(lists) == 1 else sorted(chain.from_iterable(lists), key=idle_time)

    def end(
        self,
        ending: Callable[[Node], Iterator[int]],
        operation: str,
        nodes: Sequence[Node] | None = None,
    ) -> int:
        """How many sessions were ended on all servers, each of which says so as it goes on."""
        tallies = self.on_each(lambda node: _tally(node, ending, operation), nodes=nodes)
        killed = sum(tally.killed for tally in tallies)
        errors = [tally.error for tally in tallies if tally.error is not None]
        unreached = [error for error in errors if isinstance(error, (StoreUnavailable, UnsupportedServer))]
        if unreached and (len(self.nodes) > 1 or isinstance(unreached[0], StoreUnavailable)):
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
        for node in self.nodes:
            node.store.close()


def passed_over(node: Node, app: str, operation: str, error: StoreError) -> None:
    """Say, now and then, that a new session has to go to another server."""
    if times := node.meter.passed_over.due():
        said = about(error, app=app, operation=operation, times=times)
        _log.info("%s takes no new session, another server does: %s", error.server, error.reason, extra=said)


def _in_random_order(nodes: list[Node]) -> list[Node]:
    """The servers for a new session, in the order in which to try them: by chance, by their weights."""
    # The exponential race: the first of these is each server as often as its weight says.
    return sorted(nodes, key=lambda node: random.expovariate(node.weight))


class _Tally(NamedTuple):
    """What was ended on one server, and what kept it from going on."""

    killed: int
    error: StoreError | None


def _tally(node: Node, ending: Callable[[Node], Iterator[int]], operation: str) -> _Tally:
    killed = 0

    def end() -> None:
        nonlocal killed
        for number in ending(node):
            killed += number

    try:
        node.meter.call(operation, end)
    except StoreError as error:
        return _Tally(killed, error)
    return _Tally(killed, None)
