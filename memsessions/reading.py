"""Reading one session: in one packet, which counts and renews it.

A normal session's items are both renewed by each access, the counter for twice as long: memcached forgets
to renew one that it counts up while somebody else reads it. Of a `no_resave` session the counter keeps the
end that it was made with, counting changes no life, and the session lives while its counter does; the
session's own item is renewed by each access, which is how its idle time is known.
"""

from __future__ import annotations

from typing import NamedTuple

from . import record
from .errors import StoreDamaged, StoreFull
from .keys import AppKeys
from .listings import Listings
from .meters import Meter
from .record import Record
from .store.operations import Add, Count, Delete, Item, Read, Store
from .tokens import hashed, token_life
from .types import Session

#: A counter at its beginning. It is wide enough to be counted up in place, for which a full server has room.
FIRST = b"1         "
_NO_NUMBER = "what stands under a counter's key is no number"


class Held(NamedTuple):
    """A session that was read or written, and what a write that goes over it has to know."""

    token: str
    found: Record
    item: Item  # as it is since; the unique is 0 where it is not known
    counter: Item  # its number counts the access
    idle: int

    @property
    def fixed_left(self) -> int | None:
        """Seconds until its fixed end, if it has one."""
        return self.counter.left - 1 if self.found[4] else None

    def shown(self) -> Session:
        """The session as the client shows it. Raises `ValueError` where the counter is no number."""
        return record.shown(self.found, self.counter.value, max(0, self.idle), self.fixed_left)


class SessionReader:
    """Reads the sessions of one app on one store."""

    def __init__(
        self, store: Store, keys: AppKeys, listings: Listings, meter: Meter, item_bytes: int, tag: str
    ) -> None:
        self.meter = meter
        self._store = store
        self._run = store.run
        self._keys = keys
        self._listings = listings
        self._item_bytes = item_bytes
        self._tag = tag

    def read(self, token: str) -> Session | None:
        """Read, count and renew a session. One round trip."""
        visited = self._visit(token)
        if visited is None:
            return None
        found, _, _, idle, reads, reads_left = visited
        try:
            return record.shown(found, reads, max(0, idle), reads_left - 1 if found[4] else None)
        except ValueError:
            raise StoreDamaged(self._store.server, _NO_NUMBER) from None

    def hold(self, token: str) -> Held | None:
        """As `read`, with all that a write which goes over what was read has to know. One round trip."""
        visited = self._visit(token)
        if visited is None:
            return None
        found, value, cas, idle, reads, reads_left = visited
        # Counting answers the bare number; where the counter is stored again, it must be as wide as it was.
        counter = Item(reads.ljust(len(FIRST)), reads_left, 0)
        item = Item(value, token_life(token).ttl + 1, int(cas))
        return self._held(Held(token, found, item, counter, idle))

    def _visit(self, token: str) -> tuple[Record, bytes, bytes | int, int, bytes, int] | None:
        """Read, count and renew: the record, its value and unique, the idle time, and the counter."""
        store = self._store
        deadline = store.deadline()
        ttl, no_resave = token_life(token)
        name, keys, touch = hashed(token), self._keys, ttl + 1
        key, counter = keys.sessions + name, keys.reads + name
        visit = key, touch, counter, None if no_resave else 2 * touch
        try:
            value, left, cas, reads, reads_left = store.visit(visit, deadline)
        except StoreFull:
            item, counted = self._uncounted(key, counter, touch, deadline)
            value, left, cas = (None, 0, 0) if item is None else item
            reads, reads_left = (None, 0) if counted is None else counted[:2]
        if value is None:
            if reads is not None:  # of a session that has ended or moved; the call has just renewed it
                self._run((Delete(counter),), deadline=deadline)
            return None
        if reads is None:
            reads, reads_left = None if no_resave else self._recount(key, counter, touch, deadline), 2 * touch
            if reads is None:
                return None
        found = self._decoded(value)
        if left < touch:
            self._listings.keep(found, name, touch - left, deadline)
        return found, value, cas, touch - left, reads, reads_left

    def exists(self, token: str) -> bool:
        """Whether there is such a session, which is neither counted nor renewed. One round trip."""
        name = hashed(token)
        both = (Read(self._keys.sessions + name), Read(self._keys.reads + name))
        item, counter = self._run(both, repeatable=True)
        return item is not None and (counter is not None or not token_life(token).no_resave)

    def _uncounted(
        self, key: bytes, counter: bytes, touch: int, deadline: float
    ) -> tuple[Item | None, Item | None]:
        """A session and its counter as a read would find them, where the server cannot count.

        memcached can want memory to count what somebody else is reading.
        """
        item, counted = self._run((Read(key, touch), Read(counter)), repeatable=True, deadline=deadline)
        return item, counted and Item(self._one_more(counted.value), counted.left, 0)

    def _recount(self, key: bytes, counter: bytes, touch: int, deadline: float) -> bytes | None:
        """A counter for a session that has lost its own: evicted, or gone because the session was killed."""
        batch = (Add(counter, FIRST, 2 * touch), Count(counter, 2 * touch), Read(key))
        try:
            added, counted, item = self._run(batch, deadline=deadline)
        except StoreFull as full:  # the session can be read all the same
            added, counted, item = full.answers
        if item is not None:
            return FIRST if counted is None else Item(*counted).value
        if added:
            self._run((Delete(counter),), deadline=deadline)
        return None

    def _one_more(self, reads: bytes) -> bytes:
        try:
            return b"%d" % (int(reads) + 1)
        except ValueError:
            raise StoreDamaged(self._store.server, _NO_NUMBER) from None

    def _held(self, held: Held) -> Held:
        try:
            int(held.counter.value)
        except ValueError:
            raise StoreDamaged(self._store.server, _NO_NUMBER) from None
        return held

    def _decoded(self, value: bytes) -> Record:
        try:
            return record.decode(value)
        except ValueError as error:
            raise StoreDamaged(self._store.server, str(error)) from None
