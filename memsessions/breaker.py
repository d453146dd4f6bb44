"""What keeps calls away from a server that failed, so that each need not wait to find out by itself.

After a failure, calls for the server fail at once for a short time, which grows with each further failure
and differs by chance, so that not all processes come back in the same moment. Then one call at a time tries
the server again; the first success lets everybody through.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

from . import forks
from .errors import NoConnectionFree, StoreError, StoreUnavailable, UnsupportedServer
from .logs import about
from .store.operations import Batch, Keys, Store, Visit, Visited

_log = logging.getLogger(__name__)

T = TypeVar("T")

# The first pause, and the longest: a server that came back is in use again within a second.
_FIRST_S, _LONGEST_S = 0.05, 0.9
# More are of no use, and a number of any size does not fit into a float.
_DOUBLINGS = 10


#: Calls go through; they fail at once; or one at a time may try whether the server is back.
BreakerState = Literal["closed", "open", "half-open"]


class _Outage:
    """A server's failure: how many in a row there were, and when it may be tried again."""

    def __init__(self, failures: int, until: float, probe_ends: float) -> None:
        self.failures = failures
        self.until = until
        self.probe_ends = probe_ends  # who tries and has not told by then was interrupted
        self.turns = deque([None])  # taken by the one call that tries; its end is atomic


class Breaker:
    """The state of one server, as this process knows it. There is no lock that a fork could leave behind."""

    def __init__(
        self,
        server: str,
        probe_s: float,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._probe_s = probe_s
        self._clock = clock
        self._dice = dice
        self._since = 0.0
        self._outage: _Outage | None = None
        #: How many outages this process has seen.
        self.outages = 0
        forks.call_in_child(self, Breaker._after_fork_in_child)

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once now."""
        return self.state == "open"

    @property
    def state(self) -> BreakerState:
        """What is done with calls: see `BreakerState`."""
        outage = self._outage
        if outage is None:
            return "closed"
        return "open" if self._clock() < outage.until else "half-open"

    def enter(self) -> _Outage | None:
        """Begin a call: answers the outage that it probes, if any. Raises `StoreUnavailable` in a pause."""
        outage = self._outage
        if outage is None:
            return None
        now = self._clock()
        if now >= outage.until:
            try:
                outage.turns.pop()
            except IndexError:
                if now >= outage.probe_ends:
                    self._outage = self._failed(outage.failures, now)
            else:
                outage.probe_ends = now + self._probe_s
                return outage
        raise StoreUnavailable(self._server, "it failed just now, and is tried again in a moment")

    def failed(self, probed: _Outage | None) -> bool:
        """A call that had entered failed; whether an outage begins with that.

        Of those that were under way when the server died, one counts.
        """
        if probed is not self._outage:
            return False
        now = self._clock()
        if probed is not None:
            self._outage = self._failed(probed.failures, now)
            return False
        self._since = now
        self._outage = self._failed(0, now)
        self.outages += 1
        return True

    def succeeded(self) -> None:
        if self._outage is None:
            return
        self._outage = None
        outage_s = round(self._clock() - self._since, 3)
        said = {"server": self._server, "outage_s": outage_s}
        _log.info("%s is in use again after %.1f s", self._server, outage_s, extra=said)

    def _after_fork_in_child(self) -> None:
        """Count from nothing. What is known of the server is as good there."""
        self.outages = 0

    def _failed(self, failures: int, now: float) -> _Outage:
        longest_s = min(_FIRST_S * 2 ** min(failures, _DOUBLINGS), _LONGEST_S)
        pause_s = longest_s * (0.5 + self._dice() / 2)
        return _Outage(failures + 1, now + pause_s, now + pause_s + self._probe_s)


class GuardedStore:
    """A store whose calls go through a breaker."""

    def __init__(self, store: Store, breaker: Breaker) -> None:
        self._store = store
        self._breaker = breaker
        self.server = store.server
        self.key_prefix = store.key_prefix
        self.deadline = store.deadline
        self.time = store.time
        self.close = store.close
        self.connections = store.connections
        self.protection = store.protection

    @property
    def refuses_when_full(self) -> bool:
        return self._store.refuses_when_full

    def run(self, batch: Batch, *, repeatable: bool = False, deadline: float | None = None) -> list[Any]:
        probed = self._breaker.enter()
        try:
            answers = self._store.run(batch, repeatable=repeatable, deadline=deadline)
        except StoreError as error:
            self._judge(error, probed)
            raise
        self._breaker.succeeded()
        return answers

    def visit(self, visit: Visit, deadline: float) -> Visited:
        return self._through(partial(self._store.visit, visit, deadline))

    def stream(
        self, batches: Iterable[Batch], deadline: float | None = None
    ) -> Generator[list[Any], None, None]:
        probed: _Outage | None = None

        def entered() -> Iterator[Batch]:
            nonlocal probed
            waiting = iter(batches)
            # What makes the first batch may itself ask this store, and may be the call that tries again.
            for first in islice(waiting, 1):
                probed = self._breaker.enter()
                yield first
            yield from waiting

        yield from self._watched(self._store.stream(entered(), deadline), lambda: probed)

    def keys(self, prefix: bytes) -> Generator[Keys, None, None]:
        probed = self._breaker.enter()
        yield from self._watched(self._store.keys(prefix), lambda: probed)

    def _watched(
        self, replies: Generator[T, None, None], probed: Callable[[], _Outage | None]
    ) -> Generator[T, None, None]:
        """Hands out replies; the first, or what comes in its place, says how the server is."""
        with contextlib.closing(replies):
            while True:
                try:
                    reply = next(replies)
                except StopIteration:
                    return
                except StoreError as error:
                    self._judge(error, probed())
                    raise
                self._breaker.succeeded()
                yield reply

    def stats(self, of: str = "") -> dict[str, str]:
        return self._through(partial(self._store.stats, of))

    def ping(self) -> None:
        self.run((), repeatable=True)

    def _through(self, call: Callable[[], T]) -> T:
        probed = self._breaker.enter()
        try:
            answer = call()
        except StoreError as error:
            self._judge(error, probed)
            raise
        self._breaker.succeeded()
        return answer

    def _judge(self, error: StoreError, probed: _Outage | None) -> None:
        if isinstance(error, NoConnectionFree):
            return  # which says nothing of the server
        if isinstance(error, (StoreUnavailable, UnsupportedServer)):
            if self._breaker.failed(probed):
                message = "%s failed, and is left alone for moments: %s"
                _log.warning(message, self.server, error.reason, extra=about(error))
        else:
            self._breaker.succeeded()
