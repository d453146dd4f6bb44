"""One session: made, written, moved to another token and ended, each in one or two packets.

What the order of the operations in a packet guarantees:

- The read counter is there before the index entry, and that before the session: a reader of the index
  that finds a counter without a session knows a session that is just being made.
- A read asks for the session before its counter, and both get their new life in that order, so a counter
  does not expire before its session.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from . import record, tokens
from .errors import ItemTooLarge, SessionTooLarge, StoreError, StoreFull, WriteRefused
from .reading import FIRST, Held, SessionReader
from .record import Record
from .store.operations import Add, Batch, Delete, Item, Outcome, Read, Swap
from .tokens import Life
from .types import Scalar, Session
from .validation import ITEM_OVERHEAD_BYTES, check_size

_ATTEMPTS = 4
# Of a session that was moved, the counter at its old place is left this long.
_OLD_COUNTER_S = 5
# A server that evicts can refuse to store, too: where it is just sending all items of about that size. Of
# items up to this one it has hundreds.
_SURELY_STORED_BYTES = 4 * 1024

#: What a write makes of the session that it finds.
Rewrite = Callable[[Record], Record]


def counter_life(life: Life) -> int:
    """Seconds that the counter of a new session lives."""
    return life.ttl + 1 if life.no_resave else 2 * (life.ttl + 1)


class Making(NamedTuple):
    """A session to be made, `counter_left` being the life of its counter."""

    record: Record
    life: Life
    counter_left: int


class AppSessions(SessionReader):
    """The sessions of one app on one store."""

    # ----------------------------------------------------------------------------------- making

    def create(self, making: Making, first: Batch, deadline: float) -> str:
        """Make a session, after the operations given, and return its token. One round trip."""
        for _attempt in range(_ATTEMPTS):
            token = tokens.new_token(self._tag, making.life)
            if self.make(token, making, first, deadline):
                return token
        raise StoreError(self._store.server, "no token could be found that is free")

    def make(self, token: str, making: Making, first: Batch, deadline: float) -> bool:
        """Make a session of this token, unless there is one. One round trip."""
        value = self._encoded(making.record)
        started = time.monotonic()
        new = self._listings.new(tokens.hashed(token), tokens.hashed(making.record[1]), making.life)
        counter = Add(new.counter, FIRST, making.counter_left)
        batch = (*first, counter, *new.listing, Add(new.key, value, making.life.ttl + 1))
        try:
            *_, stored = answers = self._run(batch, deadline=deadline)
            if stored:
                self._listings.confirm(new, answers[-1 - len(new.listing) : -1], started, deadline)
        except WriteRefused as error:
            self._run((Delete(new.key), Delete(new.counter)), deadline=deadline)
            if isinstance(error, ItemTooLarge):
                raise _too_large(error) from error
            raise
        return bool(stored)

    def _encoded(self, found: Record) -> bytes:
        value = record.encode(found)
        if len(value) + ITEM_OVERHEAD_BYTES > self._item_bytes:
            check_size(found[-1] or {}, self._item_bytes)
        return value

    # ---------------------------------------------------------------------------------- writing

    def write(self, token: str, changes: Mapping[str, Scalar]) -> Session | None:
        """Merge changes into a session's data. Two round trips, two more for each other writer in between."""
        held = self.rewrite(token, lambda found: record.written(found, changes))
        return None if held is None else held.shown()

    def rewrite(
        self, token: str, rewrite: Rewrite, held: Held | None = None, ends_in: int | None = None
    ) -> Held | None:
        """Replace a session by what `rewrite` makes of it: two round trips, one if it is held.

        Two more for each other writer that came in between. `ends_in` moves the end of a session that
        has a fixed one. None if the session has ended.
        """
        ttl, no_resave = tokens.token_life(token)
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        touch = ttl + 1
        # The counter follows the session, so that it does not expire before it.
        counter_touch = (ends_in and ends_in + 1) if no_resave else 2 * touch
        deadline = self._store.deadline()
        collisions = 0
        if held is not None and not held.item.cas:
            held = None
        while True:
            if held is None:
                (item,) = self._run((Read(key),), repeatable=True, deadline=deadline)
                if item is None:
                    return None
                found = self._decoded(item.value)
            else:
                item, found = held.item, held.found
            found = rewrite(found)
            value = self._encoded(found)
            swap = Swap(key, value, touch, item.cas)
            try:
                if held is None or no_resave:
                    batch = (swap, Read(counter_key, counter_touch))
                    outcome, counter = self._run(batch, deadline=deadline)
                else:  # it has just been renewed
                    (outcome,) = self._run((swap,), deadline=deadline)
                    counter = held.counter
            except ItemTooLarge as error:
                raise _too_large(error) from error
            if outcome is Outcome.MISSING:
                return None
            if outcome is Outcome.DONE:
                if counter is None and not no_resave:
                    counter = Item(FIRST, 2 * touch, 0)
                    with contextlib.suppress(StoreFull):  # the write itself is done
                        self._run((Add(counter_key, FIRST, 2 * touch),), deadline=deadline)
                if counter is None:
                    return None
                if item.left < touch:
                    self._listings.keep(found, name, touch - item.left, deadline)
                if no_resave and counter_touch is not None:
                    counter = Item(counter.value, counter_touch, 0)
                return self._held(Held(token, found, Item(value, touch, 0), counter, touch - item.left))
            held = None
            collisions += 1
            if collisions > 1:  # many write at once: spread them out
                time.sleep(random.random() * 0.0005 * min(collisions, 10))  # noqa: S311  not a secret

    # ----------------------------------------------------------------------------------- ending

    def kill(self, token: str) -> bool:
        """End a session. One round trip."""
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        if not tokens.token_life(token).no_resave:
            return self._run((Delete(key), Delete(counter_key)))[0] is Outcome.DONE
        # Its item may be there after its end; only the counter tells.
        counter, ended, _ = self._run((Read(counter_key), Delete(key), Delete(counter_key)))
        return counter is not None and ended is Outcome.DONE

    def kill_held(self, held: Held) -> bool:
        """End a session if nobody has written to it since it was read. Two round trips."""
        if not held.item.cas:
            return False
        name = tokens.hashed(held.token)
        (outcome,) = self._run((Delete(self._keys.sessions + name, held.item.cas),))
        if outcome is Outcome.DONE:
            self._run((Delete(self._keys.reads + name),))
        return outcome is Outcome.DONE

    def kill_named(self, name: bytes, id: str) -> bool:
        """End a session that goes by this name in the store, if it is this user's. Two round trips."""
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        item, counter = self._run((Read(key), Read(counter_key)), repeatable=True)
        if item is None:
            return False
        _, user, _, _, no_resave, _, _ = self._decoded(item.value)
        if user != id:
            return False
        outcome, _ = self._run((Delete(key), Delete(counter_key)))
        return outcome is Outcome.DONE and not (no_resave and counter is None)

    # ----------------------------------------------------------------------------------- moving

    def rotate(
        self,
        token: str,
        rewrite: Rewrite | None = None,
        held: Held | None = None,
        life: Life | None = None,
        ends_in: int | None = None,
    ) -> Held | None:
        """Move a session to a new token. Two round trips, one if it is held; more for each other writer.

        On the way, `rewrite` may change it, and `life` and `ends_in` how long it lives. None if it has ended.

        The new session is there before the old one is removed, and is taken back where the old one had
        changed or ended in between, so no write is lost and no log-out undone. Where the server can refuse
        the new one, as it runs with `-M` or the session is large, the old one is removed only when that has
        not happened: one more round trip. A read that runs at the same moment may be left out of the count.
        """
        deadline = self._store.deadline()
        fixed = tokens.token_life(token).no_resave
        life = life or tokens.token_life(token)
        name = tokens.hashed(token)
        key, counter_key = self._keys.sessions + name, self._keys.reads + name
        item, counter = (held.item, held.counter) if held and held.item.cas else (None, None)
        while True:
            if item is None:
                both = (Read(key), Read(counter_key))
                item, counter = self._run(both, repeatable=True, deadline=deadline)
                if item is None or (counter is None and fixed):
                    return None
            counter = counter or Item(FIRST, 2 * item.left, 0)
            found, value, left = self._decoded(item.value), item.value, item.left
            if rewrite is not None:
                found, left = rewrite(found), life.ttl + 1
                value = self._encoded(found)
            if life.no_resave:
                counter_left = counter.left if ends_in is None else ends_in + 1
            else:
                counter_left = counter_life(life)
            started = time.monotonic()
            new_token = tokens.new_token(self._tag, life)
            new = self._listings.new(tokens.hashed(new_token), tokens.hashed(found[1]), life, surely=True)
            moving = (
                Add(new.counter, counter.value, counter_left),
                *new.listing,
                Add(new.key, value, left),
                Read(new.counter),
            )
            # The old counter tells its last value, as reads may be counting right now, and goes by itself.
            ending = (Delete(key, item.cas), Read(counter_key, _OLD_COUNTER_S))
            undo = (Delete(new.key), Delete(new.counter), Read(counter_key, counter.left))
            try:
                if self._store.refuses_when_full or len(value) > _SURELY_STORED_BYTES:
                    _, *listed, _, copied = self._run(moving, deadline=deadline)
                    self._listings.confirm(new, listed, started, deadline)
                    ended, counted = self._run(ending, deadline=deadline)
                else:
                    answers = self._run((*moving, *ending), deadline=deadline)
                    _, *listed, _, copied, ended, counted = answers
            except WriteRefused as error:
                self._run(undo, deadline=deadline)
                if isinstance(error, ItemTooLarge):
                    raise _too_large(error) from error
                raise
            if ended is Outcome.DONE:
                if counted and copied and counted.value.strip() != counter.value.strip():
                    counter = counted
                    self._run(
                        (Swap(new.counter, counted.value, counter_left, copied.cas),), deadline=deadline
                    )
                self._listings.confirm(new, listed, started, deadline)
                moved = Item(counter.value, counter_left, 0)
                return Held(new_token, found, Item(value, left, 0), moved, held.idle if held else 0)
            self._run(undo, deadline=deadline)
            if ended is Outcome.MISSING:
                return None
            item = None


def _too_large(error: ItemTooLarge) -> SessionTooLarge:
    return SessionTooLarge(f"d does not fit into an item of {error.server}")
