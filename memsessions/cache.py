"""The optional in-process cache of `get`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from .types import Session


class NoCache:
    """What stands where there is no cache."""

    #: How many sessions were found in it, and not found, since this process began.
    hits = misses = 0

    def moment(self) -> int:
        return 0

    def get(self, _app: str, _token: str) -> Session | None:
        return None

    def put(self, _app: str, _token: str, _session: Session, _moment: int) -> None:
        pass

    def drop(self, _app: str, _token: str) -> None:
        pass

    def drop_app(self, _app: str, _id: str | None = None) -> None:
        pass

    def clear(self) -> None:
        pass

    def after_fork_in_child(self) -> None:
        pass


class SessionCache(NoCache):
    """The sessions that were read last, each for a few seconds, at most `size` of them.

    A read that was under way while something was dropped is not kept: it may show what was before.
    """

    def __init__(self, lifetime_s: float, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._size = size
        self._clock = clock
        # By app and token: the session, and when it is forgotten.
        self._entries: OrderedDict[tuple[str, str], tuple[Session, float]] = OrderedDict()
        self._drops = 0
        # A signal handler may call in the middle of a call: so it is reentrant, and what was there a moment
        # ago may be gone.
        self._lock = threading.RLock()

    def moment(self) -> int:
        """To be taken before a read, and given to `put` after it."""
        return self._drops

    def get(self, app: str, token: str) -> Session | None:
        """A copy of the session, or None."""
        with self._lock:
            cached = self._entries.get((app, token))
            if cached is None:
                self.misses += 1
                return None
            session, ends = cached
            if ends <= self._clock():
                self.misses += 1
                self._entries.pop((app, token), None)
                return None
            self.hits += 1
            with contextlib.suppress(KeyError):
                self._entries.move_to_end((app, token))
        return _copy(session)

    def put(self, app: str, token: str, session: Session, moment: int) -> None:
        """Keep a copy of what was read, though never longer than the session lives."""
        lifetime = min(self._lifetime_s, session["ttl"])
        with self._lock:
            if moment != self._drops:
                return
            self._entries[app, token] = _copy(session), self._clock() + lifetime
            with contextlib.suppress(KeyError):
                self._entries.move_to_end((app, token))
                while len(self._entries) > self._size:
                    self._entries.popitem(last=False)

    def drop(self, app: str, token: str) -> None:
        """Forget one session."""
        with self._lock:
            self._drops += 1
            self._entries.pop((app, token), None)

    def drop_app(self, app: str, id: str | None = None) -> None:
        """Forget the sessions of an app, or of one of its users."""
        with self._lock:
            self._drops += 1
            for key, (session, _) in list(self._entries.items()):
                if key[0] == app and id in (None, session["id"]):
                    self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all sessions."""
        with self._lock:
            self._drops += 1
            self._entries.clear()

    def after_fork_in_child(self) -> None:
        """A lock that another thread of the parent held would never be released here."""
        self._lock = threading.RLock()
        self.hits = self.misses = 0


def _copy(session: Session) -> Session:
    copied = session.copy()
    if copied["d"] is not None:
        copied["d"] = copied["d"].copy()
    return copied
