"""What concerns many sessions: those of a user, and those of an app.

Everything here goes through an index in groups, asks for a group's sessions in one packet, and sends the
next packet before it reads the last one's reply. Nothing here counts as an access.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from . import record
from .errors import StoreDamaged
from .index import Bucket, Entry, Index, entry
from .keys import AppKeys
from .store.operations import Batch, Delete, DeleteMany, Item, LeftMany, Operation, ReadMany, Store
from .tokens import hashed
from .types import Session

# A batch asks for at most this many sessions; it begins small, as they may be large.
_BATCH_MIN, _BATCH_MAX = 64, 1_000
_BATCH_BYTES = 2_000_000
# A call that ends sessions looks again for those that appeared meanwhile, at most this often.
_PASSES = 10


class Scans:
    """The lists and log-outs of one app on one store."""

    def __init__(self, store: Store, keys: AppKeys, index: Index) -> None:
        self._store = store
        self._keys = keys
        self._index = index

    # ------------------------------------------------------------------------------------- showing

    def of_user(self, id: str) -> list[Session]:
        """The sessions of a user, the last used first. Two round trips."""
        entries = self._index.of_user(hashed(id))
        found = [session for session in self._sessions(entries) if session["id"] == id]
        return sorted(found, key=_idle)

    def active(self, dt: int) -> list[Session]:
        """The sessions of the app that were used in the last `dt` seconds, the last used first."""
        found = [session for session in self._sessions(self._entries()) if session["idle"] <= dt]
        return sorted(found, key=_idle)

    def active_users(self, dt: int) -> int:
        """How many users they belong to."""
        users: set[bytes] = set()
        waiting: deque[list[Entry]] = deque()

        def batches() -> Iterator[Batch]:
            for group in self._index.groups():
                entries = [entry(item) for bucket in group for item in bucket.records()]
                waiting.append(entries)
                yield (
                    LeftMany(self._keys.sessions, [e.session for e in entries]),
                    LeftMany(self._keys.reads, [e.session for e in entries if e.life.no_resave]),
                )

        for lefts, fixed_lefts in self._store.stream(batches()):
            ends = iter(fixed_lefts)
            for item, left in zip(waiting.popleft(), lefts, strict=True):
                over = item.life.no_resave and next(ends) is None
                if left is not None and not over and item.life.ttl + 1 - left <= dt:
                    users.add(item.user)
        return len(users)

    def _entries(self) -> Iterator[Entry]:
        for group in self._index.groups():
            for bucket in group:
                yield from map(entry, bucket.records())

    def _sessions(self, entries: Iterable[Entry]) -> Iterator[Session]:
        waiting: deque[list[Entry]] = deque()
        size = _BATCH_MIN

        def batches() -> Iterator[Batch]:
            some: list[Entry] = []
            for item in entries:
                some.append(item)
                if len(some) >= size:
                    yield ask(some)
                    some = []
            if some:
                yield ask(some)

        def ask(some: list[Entry]) -> Batch:
            waiting.append(some)
            names = [item.session for item in some]
            return ReadMany(self._keys.sessions, names), ReadMany(self._keys.reads, names)

        for items, counters in self._store.stream(batches()):
            asked = waiting.popleft()
            size = _next_size(items)
            yield from self._decoded(asked, items, counters)

    def _decoded(
        self, entries: list[Entry], items: list[Item | None], counters: list[Item | None]
    ) -> Iterator[Session]:
        living: list[tuple[Item, Item | None]] = []
        for asked, item, counter in zip(entries, items, counters, strict=True):
            if item is None or not item.value or (counter is None and asked.life.no_resave):
                continue
            living.append((item, counter))
        try:
            records = record.decode_many([item.value for item, _ in living])
        except ValueError as error:
            raise StoreDamaged(self._store.server, str(error)) from None
        for found, (item, counter) in zip(records, living, strict=True):
            _, _, _, ttl, no_resave, _, _ = found
            reads = 1 if counter is None else int(counter.value)
            fixed_left = counter.left - 1 if no_resave and counter is not None else None
            yield record.shown(found, reads, max(0, ttl + 1 - item.left), fixed_left)

    # -------------------------------------------------------------------------------------- ending

    def kill_of_user(self, id: str) -> int:
        """End the sessions of a user. Three round trips, two more where a session moved meanwhile.

        It looks again after it has ended what it found: a session that was given a new token in between
        was listed before its old token ended, so it is seen now.
        """
        user = hashed(id)
        total = 0
        seen: set[bytes] = set()
        counters: list[DeleteMany] = []
        for _pass in range(_PASSES):
            entries = [item for item in self._index.of_user(user, counters) if item.session not in seen]
            if not entries:
                break
            seen.update(item.session for item in entries)
            killed, names = self._counted(entries, self._store.run(self._ending(entries)))
            counters = [DeleteMany(self._keys.reads, names)]
            total += killed
        return total

    def kill_all(self) -> int:
        """End the sessions of the app, and remove the buckets that listed nothing else."""
        total = 0
        for _pass in range(_PASSES):
            killed = self._kill_once()
            total += killed
            if not killed:
                break
        return total

    def _kill_once(self) -> int:
        total = 0
        waiting: deque[list[tuple[Bucket, list[Entry]]]] = deque()
        leftovers: list[Operation] = []

        def batches() -> Iterator[Batch]:
            for group in self._index.groups():
                waiting.append([(bucket, [entry(item) for item in bucket.records()]) for bucket in group])
                entries = [item for _, listed in waiting[-1] for item in listed]
                batch = [*self._ending(entries), *leftovers]
                leftovers.clear()
                yield batch

        for answers in self._store.stream(batches()):
            group = waiting.popleft()
            killed, names = self._counted([item for _, listed in group for item in listed], answers)
            total += killed
            leftovers.append(DeleteMany(self._keys.reads, names))
            ended = set(names)
            for bucket, listed in group:
                # A record without a session may announce one that is just being made, and has to stay.
                if all(item.session in ended for item in listed):
                    leftovers.append(Delete(bucket.key, bucket.cas))
        if leftovers:
            self._store.run(leftovers)
        return total

    def _ending(self, entries: list[Entry]) -> list[Operation]:
        """The operations that end sessions; give their answers to `_counted`."""
        return [
            LeftMany(self._keys.reads, [item.session for item in entries if item.life.no_resave]),
            DeleteMany(self._keys.sessions, [item.session for item in entries]),
        ]

    def _counted(self, entries: list[Entry], answers: list[Any]) -> tuple[int, list[bytes]]:
        """How many sessions were ended, and the names whose counters are to be removed.

        The counter of a record that has no session is left: the session may be on its way.
        """
        ends, gone = iter(answers[0]), answers[1]
        killed = 0
        names = []
        for item, was_there in zip(entries, gone, strict=True):
            over = item.life.no_resave and next(ends) is None
            if was_there:
                names.append(item.session)
                killed += not over
        return killed, names


def _idle(session: Session) -> int:
    return session["idle"]


def _next_size(items: list[Item | None]) -> int:
    """How many sessions to ask for at once, after what these were like."""
    average = sum(len(item.value) for item in items if item is not None) // len(items) + 100
    return min(max(_BATCH_BYTES // average, _BATCH_MIN), _BATCH_MAX)
