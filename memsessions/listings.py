"""Keeping sessions listed: new ones are announced, and those in use are listed again now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from . import tokens
from .errors import StoreError, StoreFull, WriteRefused
from .index import Entry, Index, Together
from .keys import AppKeys
from .meters import Meter
from .record import Record
from .store.operations import Operation, Store
from .tokens import Life

_ATTEMPTS = 4
#: Making a session may take this long before a wipe may mistake it for a failed one; see `wiping`.
LONG_S = 3
# A session that is used is listed again each quarter of its time to live, but not more often than this.
_RELIST_LEAST_S = 60
_NO_ROOM = "it has no memory left for the index"


class New(NamedTuple):
    """Where a session that is being stored goes, and what lists it."""

    key: bytes
    counter: bytes
    user: bytes
    name: bytes
    life: Life
    listing: list[Operation]


class Listings:
    """The sessions of an app on one store, as its index has to know them."""

    def __init__(self, store: Store, keys: AppKeys, index: Index, meter: Meter) -> None:
        self._store = store
        self._keys = keys
        self._index = index
        self._meter = meter

    def new(self, name: bytes, user: bytes, life: Life, surely: bool = False) -> New:
        """What is needed to store a session and to list it; give the answers to `confirm`."""
        listing = self._index.listing(user, name, life, surely)
        return New(self._keys.sessions + name, self._keys.reads + name, user, name, life, listing)

    def confirm(self, new: New, listed: list[Any], started: float, deadline: float) -> None:
        """List again a session whose listing did not take effect, or did so long ago.

        In the latter case a wipe may have taken it for the rest of somebody's failure.
        """
        for _attempt in range(_ATTEMPTS):
            if self._index.listed(new.user, listed) and time.monotonic() - started < LONG_S:
                return
            self._meter.relists += 1
            started = time.monotonic()
            listed = self._store.run(self._index.listing(new.user, new.name, new.life), deadline=deadline)
        raise StoreFull(self._store.server, _NO_ROOM)

    def keep(self, found: Record, name: bytes, idle: int, deadline: float) -> None:
        """List a session again, now and then: what it was listed in may have been evicted.

        Once in each quarter of its time to live, by the first access in it. Nothing has to be remembered for
        that, as each access tells when the one before it was; the quarters of each session begin at another
        time. This process's idea of the store's clock may be off by one second.
        """
        due = _due(found, name, idle, int(self._store.time()))
        if due is None:
            return
        self._meter.relists += 1
        # The access itself is done, and the next quarter will come.
        with contextlib.suppress(StoreError):
            listed = self._store.run(self._index.listing(*due), deadline=deadline)
            if not self._index.listed(due.user, listed):
                again = self._store.run(self._index.listing(*due), deadline=deadline)
                self._index.listed(due.user, again)

    def keep_all(self, used: Iterable[tuple[Record, bytes, int]], deadline: float) -> None:
        """As `keep`, for sessions that were used together: those that are due are listed in one packet."""
        now = int(self._store.time())
        due = [entry for each in used if (entry := _due(*each, now)) is not None]
        if due:
            self._meter.relists += len(due)
            with contextlib.suppress(StoreError):
                self.each(due, deadline)

    def together(self, entries: Sequence[Entry]) -> list[Together]:
        """What lists sessions that are being made at once; give the answers to `took`."""
        return self._index.together(entries)

    def took(self, group: Together, listed: list[Any]) -> bool:
        """Whether such a listing took effect."""
        return self._index.listed_together(group, listed)

    def each(self, entries: list[Entry], deadline: float | None = None) -> int:
        """List sessions that are there, or are just about to be; return how many could not be listed."""
        for _attempt in range(_ATTEMPTS):
            listings = [self._index.listing(*item) for item in entries]
            batch = [operation for listing in listings for operation in listing]
            try:
                answers = iter(self._store.run(batch, deadline=deadline))
            except WriteRefused as error:  # a full server, which may have room for some of it
                answers = iter(error.answers)
            missed = []
            for item, listing in zip(entries, listings, strict=True):
                its = list(islice(answers, len(listing)))
                if not self._index.listed(item.user, its) or None in its:
                    missed.append(item)
            if not missed:
                return 0
            entries = missed
        return len(entries)

    def surely(self, entries: list[Entry], deadline: float | None = None) -> None:
        """The same for all of them, or `StoreFull`."""
        if self.each(entries, deadline):
            raise StoreFull(self._store.server, _NO_ROOM)


def _due(found: Record, name: bytes, idle: int, now: int) -> Entry | None:
    """What lists a session, if this access is the first in a quarter of its time to live."""
    _, user, _, ttl, no_resave, _, _ = found
    period, moment = max(_RELIST_LEAST_S, ttl // 4), now + int.from_bytes(name[:4], "big")
    if moment // period == (moment - idle - 1) // period:
        return None
    return Entry(tokens.hashed(user), name, Life(ttl, bool(no_resave)))
