"""One session: made, read, written, moved to another token and ended, each in one or two packets.

What the order of the operations in a packet guarantees:

- The read counter is there before the index entry, and that before the session: a reader of the index
  that finds a counter without a session knows a session that is just being made.
- A read asks for the session before its counter, and both get their new life in that order, so a counter
  does not expire before its session.

A normal session's items are both renewed by each access, the counter for twice as long: memcached forgets
to renew one that it counts up while somebody else reads it. Of a `no_resave` session the counter keeps the
end that it was made with, counting changes no life, and the session lives while its counter does; the
session's own item is renewed by each access, which is how its idle time is known.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from . import record, tokens
from .errors import ItemTooLarge, SessionTooLarge, StoreDamaged, StoreError, StoreFull, WriteRefused
from .index import Index
from .keys import AppKeys
from .record import Record
from .store.operations import Add, Batch, Count, Delete, Item, Operation, Outcome, Read, Store, Swap, Visit
from .tokens import Life
from .types import Data, Scalar, Session
from .validation import ITEM_OVERHEAD_BYTES, check_size

_ATTEMPTS = 4
#: Making a session may take this long before a wipe may mistake it for a failed one; see `wiping`.
LONG_S = 3
# A counter at its beginning. It is wide enough to be counted up in place, for which a full server has room.
_FIRST = b"1         "
# A session that is used is listed again each quarter of its time to live, but not more often than this.
_RELIST_LEAST_S = 60
# Of a session that was moved, the counter at its old place is left this long.
_OLD_COUNTER_S = 5
# A server that evicts can refuse to store, too: where it is just sending all items of about that size. Of
# items up to this one it has hundreds.
_SURELY_STORED_BYTES = 4 * 1024
_NO_NUMBER = "what stands under a counter's key is no number"


def counter_life(life: Life) -> int:
    """Seconds that the counter of a new session lives."""
    return life.ttl + 1 if life.no_resave else 2 * (life.ttl + 1)


class _New(NamedTuple):
    """Where a session that is being stored goes."""

    key: bytes
    counter: bytes
    user: bytes
    name: bytes
    life: Life
    listing: list[Operation]


class AppSessions:
    """The sessions of one app on one store."""

    def __init__(self, store: Store, keys: AppKeys, index: Index, item_bytes: int, tag: str) -> None:
        self._store = store
        self._run = store.run
        self._keys = keys
        self._index = index
        self._item_bytes = item_bytes
        self._tag = tag

    def create(self, id: str, ip: str, life: Life, d: Data | None, first: Batch, deadline: float) -> str:
        """Make a session, after the operations given, and return its token. One round trip."""
        value = record.encode(record.new_record(id, ip, life.ttl, life.no_resave, d))
        user = tokens.hashed(id)
        left = life.ttl + 1
        counter_left = counter_life(life)
        for _attempt in range(_ATTEMPTS):
            started = time.monotonic()
            token = tokens.new_token(self._tag, life)
            new = self._listed(tokens.hashed(token), user, life)
            batch = (*first, Add(new.counter, _FIRST, counter_left), *new.listing, Add(new.key, value, left))
            try:
                *_, stored = answers = self._run(batch, deadline=deadline)
                if stored:
                    self._relist(new, answers[-1 - len(new.listing) : -1], started, deadline)
                    return token
            except WriteRefused as error:
                self._run((Delete(new.key), Delete(new.counter)), deadline=deadline)
                if isinstance(error, ItemTooLarge):
                    raise SessionTooLarge(f"d does not fit into an item of {error.server}") from error
                raise
        raise StoreError(self._store.server, "no token could be found that is free")

    def _listed(self, name: bytes, user: bytes, life: Life, surely: bool = False) -> _New:
        listing = self._index.listing(user, name, life, surely)
        return _New(self._keys.sessions + name, self._keys.reads + name, user, name, life, listing)

    def _relist(self, new: _New, listed: list[Any], started: float, deadline: float) -> None:
        """List again a session whose listing did not take effect, or did so long ago.

        In the latter case a wipe may have taken it for the rest of somebody's failure.
        """
        for _attempt in range(_ATTEMPTS):
            if self._index.listed(new.user, listed) and time.monotonic() - started < LONG_S:
                return
            started = time.monotonic()
            listed = self._run(self._index.listing(new.user, new.name, new.life), deadline=deadline)
        raise StoreFull(self._store.server, "it has no memory left for the index")

    def read(self, token: str) -> Session | None:
        """Read, count and renew a session. One round trip."""
        deadline = self._store.deadline()
        ttl, no_resave = tokens.token_life(token)
        name = tokens.hashed(token)
        key, counter, touch = self._keys.sessions + name, self._keys.reads + name, ttl + 1
        visit = Visit(key, counter, touch, None if no_resave else 2 * touch)
        try:
            ((value, left, reads, reads_left),) = self._run((visit,), repeatable=True, deadline=deadline)
        except StoreFull:
            # memcached can want memory to count what somebody else is reading. Read on, then, uncounted.
            item, counted = self._run((Read(key, touch), Read(counter)), repeatable=True, deadline=deadline)
            value, left = (None, 0) if item is None else item[:2]
            reads, reads_left = (
                (None, 0) if counted is None else (self._one_more(counted.value), counted.left)
            )
        if value is None:
            if reads is not None:  # of a session that has ended or moved; the call has just renewed it
                self._run((Delete(counter),), deadline=deadline)
            return None
        if reads is None:
            reads = None if no_resave else self._recount(key, counter, touch, deadline)
            if reads is None:
                return None
        found = self._decoded(value)
        if left < touch:
            self._keep_listed(found, name, touch - left, deadline)
        return self._shown(found, reads, touch - left, reads_left - 1 if no_resave else None)

    def _keep_listed(self, found: Record, name: bytes, idle: int, deadline: float) -> None:
        """List a session again, now and then: what it was listed in may have been evicted.

        Once in each quarter of its time to live, by the first access in it. Nothing has to be remembered for
        that, as each access tells when the one before it was; the quarters of each session begin at another
        time. This process's idea of the store's clock may be off by one second.
        """
        _, user_id, _, ttl, no_resave, _, _ = found
        period = max(_RELIST_LEAST_S, ttl // 4)
        now = int(self._store.time()) + int.from_bytes(name[:4], "big")
        if now // period == (now - idle - 1) // period:
            return
        user, life = tokens.hashed(user_id), Life(ttl, bool(no_resave))
        # The access itself is done, and the next quarter will come.
        with contextlib.suppress(StoreError):
            listed = self._run(self._index.listing(user, name, life), deadline=deadline)
            if not self._index.listed(user, listed):
                self._index.listed(user, self._run(self._index.listing(user, name, life), deadline=deadline))

    def _recount(self, key: bytes, counter: bytes, touch: int, deadline: float) -> bytes | None:
        """A counter for a session that has lost its own: evicted, or gone because the session was killed."""
        batch = (Add(counter, _FIRST, 2 * touch), Count(counter, 2 * touch), Read(key))
        try:
            added, counted, item = self._run(batch, deadline=deadline)
        except StoreFull as full:  # the session can be read all the same
            added, counted, item = full.answers
        if item is not None:
            return _FIRST if counted is None else cast(Item, counted).value
        if added:
            self._run((Delete(counter),), deadline=deadline)
        return None

    def write(self, token: str, changes: Mapping[str, Scalar]) -> Session | None:
        """Merge changes into a session's data. Two round trips, two more for each other writer in between."""
        ttl, no_resave = tokens.token_life(token)
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        touch = ttl + 1
        deadline = self._store.deadline()
        collisions = 0
        while True:
            (item,) = self._run((Read(key),), repeatable=True, deadline=deadline)
            if item is None:
                return None
            found = record.written(self._decoded(item.value), changes)
            # The counter follows the session, so that it does not expire before it.
            batch = (
                self._swapping(key, found, touch, item.cas),
                Read(counter_key, None if no_resave else 2 * touch),
            )
            try:
                outcome, counter = self._run(batch, deadline=deadline)
            except ItemTooLarge as error:
                raise SessionTooLarge(f"d does not fit into an item of {error.server}") from error
            if outcome is Outcome.MISSING:
                return None
            if outcome is Outcome.DONE:
                if counter is None and not no_resave:
                    counter = Item(_FIRST, 2 * touch, 0)
                    with contextlib.suppress(StoreFull):  # the write itself is done
                        self._run((Add(counter_key, _FIRST, 2 * touch),), deadline=deadline)
                if counter is None:
                    return None
                if item.left < touch:
                    self._keep_listed(found, name, touch - item.left, deadline)
                fixed_left = counter.left - 1 if no_resave else None
                return self._shown(found, counter.value, touch - item.left, fixed_left)
            collisions += 1
            if collisions > 1:  # many write at once: spread them out
                time.sleep(random.random() * 0.0005 * min(collisions, 10))  # noqa: S311  not a secret

    def _swapping(self, key: bytes, found: Record, touch: int, cas: int) -> Swap:
        value = record.encode(found)
        if len(value) + ITEM_OVERHEAD_BYTES > self._item_bytes:
            check_size(found[-1] or {}, self._item_bytes)
        return Swap(key, value, touch, cas)

    def kill(self, token: str) -> bool:
        """End a session. One round trip."""
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        if not tokens.token_life(token).no_resave:
            return self._run((Delete(key), Delete(counter_key)))[0] is Outcome.DONE
        # Its item may be there after its end; only the counter tells.
        counter, ended, _ = self._run((Read(counter_key), Delete(key), Delete(counter_key)))
        return counter is not None and ended is Outcome.DONE

    def rotate(self, token: str) -> str | None:
        """Move a session to a new token. Two round trips, more for each other writer in between.

        The new session is there before the old one is removed, and is taken back where the old one had
        changed or ended in between, so no write is lost and no log-out undone. Where the server can refuse
        the new one, as it runs with `-M` or the session is large, the old one is removed only when that has
        not happened: one more round trip. A read that runs at the same moment may be left out of the count.
        """
        deadline = self._store.deadline()
        life = tokens.token_life(token)
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        while True:
            both = (Read(key), Read(counter_key))
            item, counter = self._run(both, repeatable=True, deadline=deadline)
            if item is None or (counter is None and life.no_resave):
                return None
            counter = counter or Item(_FIRST, 2 * item.left, 0)
            started = time.monotonic()
            new_token = tokens.new_token(self._tag, life)
            new = self._listed(
                tokens.hashed(new_token), tokens.hashed(self._decoded(item.value)[1]), life, surely=True
            )
            moving = (
                Add(new.counter, counter.value, counter.left if life.no_resave else counter_life(life)),
                *new.listing,
                Add(new.key, item.value, item.left),
                Read(new.counter),
            )
            # The old counter tells its last value, as reads may be counting right now, and goes by itself.
            ending = (Delete(key, item.cas), Read(counter_key, _OLD_COUNTER_S))
            undo = (Delete(new.key), Delete(new.counter), Read(counter_key, counter.left))
            try:
                if self._store.refuses_when_full or len(item.value) > _SURELY_STORED_BYTES:
                    _, *listed, _, copied = self._run(moving, deadline=deadline)
                    self._relist(new, listed, started, deadline)
                    ended, counted = self._run(ending, deadline=deadline)
                else:
                    answers = self._run((*moving, *ending), deadline=deadline)
                    _, *listed, _, copied, ended, counted = answers
            except WriteRefused:
                self._run(undo, deadline=deadline)
                raise
            if ended is Outcome.DONE:
                if counted is not None and copied is not None and counted.value != counter.value:
                    left = counter.left if life.no_resave else counter_life(life)
                    self._run((Swap(new.counter, counted.value, left, copied.cas),), deadline=deadline)
                self._relist(new, listed, started, deadline)
                return new_token
            self._run(undo, deadline=deadline)
            if ended is Outcome.MISSING:
                return None

    def _one_more(self, reads: bytes) -> bytes:
        try:
            return b"%d" % (int(reads) + 1)
        except ValueError:
            raise StoreDamaged(self._store.server, _NO_NUMBER) from None

    def _shown(self, found: Record, reads: bytes, idle: int, fixed_left: int | None) -> Session:
        try:
            return record.shown(found, reads, max(0, idle), fixed_left)
        except ValueError:
            raise StoreDamaged(self._store.server, _NO_NUMBER) from None

    def _decoded(self, value: bytes) -> Record:
        try:
            return record.decode(value)
        except ValueError as error:
            raise StoreDamaged(self._store.server, str(error)) from None
