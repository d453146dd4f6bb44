"""What concerns many sessions: those of a user, and those of an app.

Everything here goes through an index in groups, asks for a group's sessions in one packet, and sends the
next packet before it reads the last one's reply. Nothing here counts as an access.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from . import record
from .errors import StoreDamaged
from .index import Bucket, Entry, GoOn, Index, always, entry, session_of
from .keys import AppKeys
from .record import Record
from .store.operations import Batch, Delete, DeleteMany, LeftMany, Operation, PeekMany, Store
from .tokens import LIFE_LENGTH, NAME_LENGTH, hashed, parse_life
from .types import Session
from .wiping import is_old

if TYPE_CHECKING:
    from typing import TypeAlias

#: A batch asks for at most this many sessions; it begins small, as they may be large.
BATCH_MIN, BATCH_MAX = 128, 1_000
BATCH_BYTES = 2_000_000
# A call that ends sessions looks again for those that appeared meanwhile, at most this often.
_PASSES = 10


#: A session that was looked at: its name in the store, what stands there, and what is shown of it. It is just
#: a tuple, as one is made of every session that is listed.
Peeked: TypeAlias = "tuple[bytes, Record, Session]"


class Counted(NamedTuple):
    """What was counted in some of a bucket's records: living sessions, and the users they belong to."""

    bucket: int
    sessions: int
    users: set[bytes]
    active: set[bytes]
    #: The records themselves, with the seconds that each session has left; None for one that ended.
    records: list[tuple[bytes, int | None]]


class Scans:
    """The lists and log-outs of one app on one store."""

    def __init__(self, store: Store, keys: AppKeys, index: Index) -> None:
        self._store = store
        self._keys = keys
        self._index = index

    # ------------------------------------------------------------------------------------- showing

    def of_user(self, id: str) -> list[Session]:
        """The sessions of a user, the last used first. Two round trips."""
        return [session for _, session in self.named_of_user(id)]

    def named_of_user(self, id: str) -> list[tuple[bytes, Session]]:
        """The same, each with its name in the store."""
        deadline = self._store.deadline()
        names = [item.session for item in self._index.of_user(hashed(id), deadline=deadline)]
        found = self.peeked(names, deadline=deadline)
        named = [(name, session) for name, _, session in found if session["id"] == id]
        return sorted(named, key=lambda pair: idle_time(pair[1]))

    def active(self, dt: int) -> list[Session]:
        """The sessions of the app that were used in the last `dt` seconds, the last used first."""
        return sorted(self.each_active(dt), key=idle_time)

    def each_active(self, dt: int) -> Iterator[Session]:
        """The same in no order, with one batch of them held at a time."""
        return (session for _, _, session in self.peeked(self._index.sessions(), dt))

    def every(self) -> Iterator[Peeked]:
        """Every session of the app, in no order, with one batch of them held at a time."""
        return self.peeked(self._index.sessions())

    def active_users(self, dt: int) -> set[bytes]:
        """The users they belong to."""
        users: set[bytes] = set()
        least: dict[bytes, int] = {}  # what a session of this life has left if it was used then
        groups = (
            [item for bucket in group for item in bucket.repeated_records()] for group in self._index.groups()
        )
        for records, lives, lefts in self._lefts(groups):
            _add_least(least, lives, dt)
            users.update(
                item[:NAME_LENGTH]
                for item, left in zip(records, lefts, strict=True)
                if left is not None and left >= least[item[-LIFE_LENGTH:]]
            )
        return users

    def counted(self, dt: int, go_on: GoOn = always) -> Iterator[Counted]:
        """How many sessions there are, and whose, bucket by bucket in ascending order.

        One bucket may come several times; holds one group of records at a time.
        """
        least: dict[bytes, int] = {}
        numbers: deque[list[tuple[int, int]]] = deque()

        def groups() -> Iterator[list[bytes]]:
            for group in self._index.distinct():
                numbers.append([(number, len(records)) for number, records in group])
                yield [item for _, records in group for item in records]

        for records, lives, lefts in self._lefts(groups()):
            _add_least(least, lives, dt)
            pairs = zip(records, lefts, strict=True)
            for number, length in numbers.popleft():
                asked = list(islice(pairs, length))
                living = [(item, left) for item, left in asked if left is not None]
                users = {item[:NAME_LENGTH] for item, _ in living}
                active = {item[:NAME_LENGTH] for item, left in living if left >= least[item[-LIFE_LENGTH:]]}
                yield Counted(number, len(living), users, active, asked)
            if not go_on(len(records)):
                return

    def reads(self, names: Sequence[bytes]) -> Iterator[list[int | None]]:
        """How often sessions of these names were read, some at a time; None where it is not known.

        Of sessions that are there: a counter can outlive its session. Looking counts as no access.
        """
        some = [names[first : first + BATCH_MAX] for first in range(0, len(names), BATCH_MAX)]
        for (counters,) in self._store.stream((PeekMany(self._keys.reads, each),) for each in some):
            yield [
                None if each is None or not each[0].strip().isdigit() else int(each[0]) for each in counters
            ]

    def _lefts(
        self, groups: Iterable[list[bytes]]
    ) -> Iterator[tuple[list[bytes], set[bytes], list[int | None]]]:
        """Groups of records, the lives that occur, and the seconds left to each; None for what has ended."""
        waiting: deque[tuple[list[bytes], set[bytes], list[bytes]]] = deque()

        def batches() -> Iterator[Batch]:
            for records in groups:
                lives = {item[-LIFE_LENGTH:] for item in records}
                ending = _fixed(records, lives)
                waiting.append((records, lives, ending))
                names = [session_of(item) for item in records]
                yield LeftMany(self._keys.sessions, names), LeftMany(self._keys.reads, ending)

        for lefts, ending_lefts in self._store.stream(batches()):
            records, lives, ending = waiting.popleft()
            over = {name for name, left in zip(ending, ending_lefts, strict=True) if left is None}
            if over:
                lefts = [
                    None if session_of(item) in over else left
                    for item, left in zip(records, lefts, strict=True)
                ]
            yield records, lives, lefts

    def peeked(
        self, names: Iterable[bytes], dt: int | None = None, deadline: float | None = None
    ) -> Iterator[Peeked]:
        """Of the sessions of these names those that are there, and were used in the last `dt` seconds."""
        size = BATCH_MIN
        ahead = iter(names)
        waiting: deque[list[bytes]] = deque()

        def batches() -> Iterator[Batch]:
            while some := list(islice(ahead, size)):
                waiting.append(some)
                yield PeekMany(self._keys.sessions, some), PeekMany(self._keys.reads, some)

        for items, counters in self._store.stream(batches(), deadline):
            asked = zip(waiting.popleft(), items, counters, strict=True)
            living = [each for each in asked if each[1] is not None]
            values = [item[0] for _, item, _ in living]
            size = next_size(values, len(items))
            for found, (name, (_, left), counter) in zip(decoded(self._store, values), living, strict=True):
                _, _, _, ttl, no_resave, _, _ = found
                if counter is None and no_resave:
                    continue
                idle = ttl + 1 - left
                if idle < 0:
                    idle = 0
                if dt is None or idle <= dt:
                    reads, reads_left = counter or (b"1", 0)
                    try:
                        fixed_left = reads_left - 1 if no_resave else None
                        session = record.shown(found, reads, idle, fixed_left)
                    except ValueError:
                        reason = "what stands under a counter's key is no number"
                        raise StoreDamaged(self._store.server, reason) from None
                    yield name, found, session

    # -------------------------------------------------------------------------------------- ending

    def kill_of_user(self, id: str) -> Iterator[int]:
        """End the sessions of a user; says how many, as it goes on.

        Three round trips, two more where a session moved meanwhile.
        It looks again after it has ended what it found: a session that was given a new token in between
        was listed before its old token ended, so it is seen now.
        """
        user = hashed(id)
        seen: set[bytes] = set()
        counters: list[DeleteMany] = []
        deadline: float | None = self._store.deadline()
        for _pass in range(_PASSES):
            listed = self._index.of_user(user, counters, deadline)
            entries = [item for item in listed if item.session not in seen]
            if not entries:
                break
            seen.update(item.session for item in entries)
            if len(seen) > BATCH_MAX:
                deadline = None  # too many for one; each packet has its own then
            killed, ended, missing = self._end(entries, deadline)
            counters = [DeleteMany(self._keys.reads, ended)]
            yield killed
            yield from self._kill_late(missing)

    def _kill_late(self, entries: list[Entry]) -> Iterator[int]:
        """End those of whom there was only a counter: they were being made, or moved to another token."""
        for first in range(0, len(entries), BATCH_MAX):
            some = entries[first : first + BATCH_MAX]
            (lefts,) = self._store.run((LeftMany(self._keys.reads, [item.session for item in some]),))
            late = [
                item
                for item, left in zip(some, lefts, strict=True)
                if left is not None and not is_old(item.life, left)
            ]
            if late:
                killed, ended, _ = self._end(late)
                yield killed
                self._store.run((DeleteMany(self._keys.reads, ended),))

    def _end(
        self, entries: list[Entry], deadline: float | None = None
    ) -> tuple[int, list[bytes], list[Entry]]:
        """End sessions, in one round trip; answers as `count_ended`."""
        names = [item.session for item in entries]
        fixed = [item.session for item in entries if item.life.no_resave]
        answers = self._store.run(ending(self._keys, names, fixed), deadline=deadline)
        killed, ended, missing = count_ended(names, fixed, answers)
        return killed, ended, [item for item in entries if item.session in missing]

    def kill_all(self, go_on: GoOn = always) -> Iterator[int]:
        """End the sessions of the app, and remove the buckets that listed nothing else; as `kill_of_user`."""
        seen: set[tuple[bytes, int]] = set()  # buckets that are done, as they were
        for _pass in range(_PASSES):
            known = len(seen)
            yield from self._kill_once(seen, go_on)
            if len(seen) == known or not go_on(0):
                break

    def _kill_once(self, seen: set[tuple[bytes, int]], go_on: GoOn) -> Iterator[int]:
        waiting: deque[tuple[list[tuple[Bucket, list[bytes]]], list[bytes], list[bytes]]] = deque()
        leftovers: list[Operation] = []
        unfinished: list[Entry] = []

        def batches() -> Iterator[Batch]:
            for group in self._index.groups():
                new = [bucket for bucket in group if (bucket.key, bucket.cas) not in seen]
                seen.update((bucket.key, bucket.cas) for bucket in new)
                listed = [(bucket, bucket.records()) for bucket in new]
                records = [record for _, some in listed for record in some]
                names = [session_of(record) for record in records]
                fixed = _fixed(records, {record[-LIFE_LENGTH:] for record in records})
                waiting.append((listed, names, fixed))
                batch = [*ending(self._keys, names, fixed), *leftovers]
                leftovers.clear()
                yield batch
                if not go_on(len(names)):
                    return

        for answers in self._store.stream(batches()):
            listed, names, fixed = waiting.popleft()
            killed, ended, missing = count_ended(names, fixed, answers)
            yield killed
            leftovers.append(DeleteMany(self._keys.reads, ended))
            for bucket, records in listed:
                # A record without a session may announce one that is just being made, and has to stay.
                here = [entry(item) for item in records if session_of(item) in missing] if missing else []
                unfinished += here
                if not here:
                    leftovers.append(Delete(bucket.key, bucket.cas))
        if leftovers:
            self._store.run(leftovers)
        yield from self._kill_late(unfinished)


def decoded(store: Store, values: list[bytes]) -> list[Record]:
    """The records of sessions, as they stand in a store."""
    try:
        return record.decode_many(values)
    except ValueError as error:
        raise StoreDamaged(store.server, str(error)) from None


def ending(keys: AppKeys, names: list[bytes], fixed: list[bytes]) -> list[Operation]:
    """The operations that end sessions, some of which have a fixed end; give the answers to `count_ended`."""
    return [LeftMany(keys.reads, fixed), DeleteMany(keys.sessions, names)]


def count_ended(
    names: list[bytes], fixed: list[bytes], answers: list[Any]
) -> tuple[int, list[bytes], set[bytes]]:
    """How many sessions were ended, the names whose counters are to be removed, and who was not there.

    The counter of a record that has no session is left: the session may be on its way.
    """
    lefts, gone = answers[:2]
    over = {name for name, left in zip(fixed, lefts, strict=True) if left is None}
    if all(gone):
        ended, missing = names, set()
    else:
        ended = [name for name, was_there in zip(names, gone, strict=True) if was_there]
        missing = set(names).difference(ended)
    return len(ended) - len(over.intersection(ended)), ended, missing


def _fixed(records: list[bytes], lives: set[bytes]) -> list[bytes]:
    """Of some records, in which these lives occur, the names of the sessions that have a fixed end."""
    fixed = {text for text in lives if parse_life(text).no_resave}
    return [session_of(item) for item in records if item[-LIFE_LENGTH:] in fixed] if fixed else []


def _add_least(least: dict[bytes, int], lives: set[bytes], dt: int) -> None:
    """What a session of each of these lives has left at least, if it was used in the last `dt` seconds."""
    for text in lives.difference(least):
        least[text] = parse_life(text).ttl + 1 - dt


def idle_time(session: Session) -> int:
    """What lists are sorted by."""
    return session["idle"]


def next_size(values: list[bytes], asked: int) -> int:
    """How many sessions to ask for at once, after what these were like."""
    average = sum(map(len, values)) // asked + 100
    return min(max(BATCH_BYTES // average, BATCH_MIN), BATCH_MAX)
