"""Which sessions an app has, and which of them are a user's.

An app's index is 512 buckets, chosen by the user, of records of fixed width, appended and unordered:

    22 characters   the user's name    (a hash of the id)
    22 characters   the session's name (a hash of the token)
     5 characters   the session's life

All sessions of a user are in one bucket, so that one read lists them. A bucket that has grown to its
limit, because the app is huge or because one id has thousands of sessions, spills: newer records go to
its 32 segments, and a flag tells readers of the app to look there too.

Records are appended before the session they announce and removed after it is gone, so a session that
anyone can use is always listed. A reader skips records without a session; `wiping` removes them.
Appends are atomic on the server, and every other change is a compare-and-swap: none can undo another.
"""

from __future__ import annotations

import random
import time
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .errors import StoreDamaged
from .keys import AppKeys
from .store.operations import (
    FOREVER,
    Add,
    Append,
    Batch,
    Delete,
    Item,
    Operation,
    Read,
    ReadMany,
    SizeMany,
    Store,
)
from .tokens import ALPHABET, LIFE_LENGTH, NAME_LENGTH, Life, life_text, parse_life

BUCKETS = 512
SEGMENTS = 32
#: A bucket spills from here on: appending to a longer item costs time, and full servers evict it first.
FULL_BYTES = 100_000
RECORD_LENGTH = 2 * NAME_LENGTH + LIFE_LENGTH

# How often a listing asks for the size of a bucket that is known, and of one that may soon be full.
_ASK_AGAIN, _ASK_AGAIN_SOON = 1 / 64, 1 / 8
# A bucket that was full is tried again after this long: it may have been wiped.
_FULL_AGAIN_S = 60.0
# A scan reads buckets up to this many bytes at a time, and hands out groups of about this many records.
_READ_BYTES = 400_000
GROUP_RECORDS = 2_000
# It asks for the segments of so many buckets at once.
_BUCKETS_AT_ONCE = 64

# What records are made of.
_CHARACTERS = f"{ALPHABET}+/".encode()

_BUCKET_NAMES = [b"%d" % bucket for bucket in range(BUCKETS)]

#: Told how many more records were dealt with; answers whether to go on. If not, the work ends in order.
GoOn = Callable[[int], bool]


def always(_records: int) -> bool:
    """To the end."""
    return True


class Entry(NamedTuple):
    """One record."""

    user: bytes
    session: bytes
    life: Life


class Bucket(NamedTuple):
    """An index item as it was read."""

    key: bytes
    cas: int
    value: bytes

    def repeated_records(self) -> list[bytes]:
        """Its records as they stand there; some may stand there twice."""
        value = self.value
        return [value[start : start + RECORD_LENGTH] for start in range(0, len(value), RECORD_LENGTH)]

    def records(self) -> list[bytes]:
        """Its records, each once."""
        return list(dict.fromkeys(self.repeated_records()))

    def records_of(self, user: bytes) -> list[bytes]:
        """The records of one user, without cutting up those of the others."""
        found: dict[bytes, None] = {}
        at = self.value.find(user)
        while at >= 0:
            if at % RECORD_LENGTH == 0:
                found[self.value[at : at + RECORD_LENGTH]] = None
            at = self.value.find(user, at + 1)
        return list(found)


class Together(NamedTuple):
    """Sessions that are listed at once, by their places among those given, and the operations that do so."""

    places: list[int]
    user: bytes  # one of theirs
    listing: list[Operation]


def session_of(record: bytes) -> bytes:
    """The session's name in a record."""
    return record[NAME_LENGTH:-LIFE_LENGTH]


def entry(record: bytes) -> Entry:
    """What a record says."""
    return Entry(record[:NAME_LENGTH], session_of(record), parse_life(record[-LIFE_LENGTH:]))


class Index:
    """The index of one app."""

    def __init__(self, store: Store, keys: AppKeys) -> None:
        self._store = store
        self._keys = keys
        # The buckets that are there and have room, as far as this process knows, and how often to ask again.
        self._known: dict[int, float] = {}
        self._full_since: dict[int, float] = {}

    # -------------------------------------------------------------------------------------- adding

    def listing(self, user: bytes, session: bytes, life: Life, surely: bool = False) -> list[Operation]:
        """The operations that list a session; give their answers to `listed`.

        They may find that a bucket which this process knows is gone; not so where it must be sure.
        """
        record = user + session + life_text(life).encode()
        bucket = _bucket_of(user)
        name = _BUCKET_NAMES[bucket]
        key = self._keys.buckets + name
        if bucket in self._known and not surely:
            return [Append(key, record)]
        if not self._is_full(bucket):
            # One of the two is done: there is no moment at which the item is empty and could be wiped.
            return [Append(key, record), Add(key, record, FOREVER), SizeMany(self._keys.buckets, (name,))]
        key = self._keys.segments + _segment_name(bucket, _segment_of(session))
        # The flag is there before the record, as a client may end in between, and a segment without the flag
        # would never be wiped. It is set, and its unique changed, after the record once more: who takes it
        # back has seen the record, or finds the flag changed.
        flag = self._keys.spilled
        set_flag = Add(flag, b"", FOREVER)
        return [set_flag, Append(key, record), Add(key, record, FOREVER), set_flag, Append(flag, b"")]

    def listed(self, user: bytes, answers: list[Any]) -> bool:
        """Whether a listing took effect: its bucket may have been wiped and removed, or be unable to grow.

        If not, the next listing may go elsewhere.
        """
        bucket = _bucket_of(user)
        if len(answers) == 1:
            if not answers[0] or random.random() < self._known.get(bucket, 1):  # noqa: S311  not a secret
                self._known.pop(bucket, None)
            return bool(answers[0])
        if len(answers) > 3:  # in a segment
            _, appended, added, *_ = answers
            return bool(appended or added)
        appended, added, (size,) = answers
        done = bool(appended or added)
        if (size or 0) > FULL_BYTES:
            self.mark_full(user)
        elif done:
            self._known[bucket] = _ASK_AGAIN if (size or 0) < FULL_BYTES // 2 else _ASK_AGAIN_SOON
        return done

    def together(self, entries: Sequence[Entry]) -> list[Together]:
        """The operations that list sessions, those of a bucket as one.

        Give their answers to `listed_together`. An item that cannot grow by all of them may still take one
        after the other: see `listing`.
        """
        by_bucket: dict[int, list[int]] = {}
        for place, item in enumerate(entries):
            by_bucket.setdefault(_bucket_of(item.user), []).append(place)
        groups = []
        for bucket, places in by_bucket.items():
            user = entries[places[0]].user
            if self._is_full(bucket):
                groups += [Together([place], user, self.listing(*entries[place])) for place in places]
                continue
            name = _BUCKET_NAMES[bucket]
            key = self._keys.buckets + name
            records = b"".join([_record(entries[place]) for place in places])
            listing: list[Operation] = [Append(key, records)]
            if bucket not in self._known:  # as one session is listed there
                listing += [Add(key, records, FOREVER), SizeMany(self._keys.buckets, (name,))]
            groups.append(Together(places, user, listing))
        return groups

    def listed_together(self, group: Together, answers: list[Any]) -> bool:
        """As `listed`. Each record counts: a bucket that grows fast is asked for its size as often."""
        done = self.listed(group.user, answers)
        bucket = _bucket_of(group.user)
        asked_again = (len(group.places) - 1) * self._known.get(bucket, 0)
        if random.random() < asked_again:  # noqa: S311  not a secret
            self._known.pop(bucket, None)
        return done and None not in answers

    def mark_full(self, user: bytes) -> None:
        """List the user's sessions in segments for a while."""
        bucket = _bucket_of(user)
        self._known.pop(bucket, None)
        self._full_since[bucket] = time.monotonic()

    def _is_full(self, bucket: int) -> bool:
        since = self._full_since.get(bucket)
        return since is not None and time.monotonic() - since < _FULL_AGAIN_S

    # ------------------------------------------------------------------------------------- reading

    def of_user(self, user: bytes, first: Batch = (), deadline: float | None = None) -> list[Entry]:
        """The records of one user, read after the operations given. One round trip; two if it has spilled."""
        bucket = _bucket_of(user)
        key = self._keys.buckets + _BUCKET_NAMES[bucket]
        *_, home, spilled = self._store.run(
            (*first, Read(key), Read(self._keys.spilled)), repeatable=True, deadline=deadline
        )
        buckets = [] if home is None else [self._bucket(key, home)]
        if spilled is not None:
            names = [_segment_name(bucket, segment) for segment in range(SEGMENTS)]
            buckets += self._read(self._keys.segments, names)
        records = dict.fromkeys(record for read in buckets for record in read.records_of(user))
        return [entry(record) for record in records]

    def groups(self) -> Iterator[list[Bucket]]:
        """Every bucket that is there, in groups of some thousand records."""
        group: list[Bucket] = []
        records = 0
        for bucket in self._buckets():
            group.append(bucket)
            records += len(bucket.value) // RECORD_LENGTH
            if records >= GROUP_RECORDS:
                yield group
                group, records = [], 0
        if group:
            yield group

    def sessions(self) -> Iterator[bytes]:
        """The name of every session that is listed, once."""
        for group in self.distinct():
            for _, records in group:
                yield from map(session_of, records)

    def distinct(self) -> Iterator[list[tuple[int, list[bytes]]]]:
        """Every record, once, by the number of its bucket, in ascending order and in groups.

        A segment may repeat what its bucket says.
        """
        in_bucket: list[bytes] = []
        known: set[bytes] = set()
        for group in self.groups():
            found = []
            for item in group:
                records = item.records()
                if item.key.startswith(self._keys.buckets):
                    in_bucket, known = records, set()
                else:
                    known = known or set(in_bucket)
                    records = [record for record in records if record not in known]
                found.append((_number_of(item.key), records))
            yield found

    def size(self) -> int:
        """How many records there are, those of sessions that ended included. One round trip, or nine."""
        return sum(size for _, size in self._sized()) // RECORD_LENGTH

    def keys(self) -> list[bytes]:
        """The keys of all that it consists of, for who removes it. One round trip, or nine."""
        return [*(key for key, _ in self._sized()), self._keys.spilled]

    def _buckets(self) -> Iterator[Bucket]:
        """Every item of the index, each bucket followed by its segments."""
        yield from self._read_sized(self._sized())

    def _sized(self) -> Iterable[tuple[bytes, int]]:
        """The keys and sizes of these items."""
        batch: Batch = (SizeMany(self._keys.buckets, _BUCKET_NAMES), Read(self._keys.spilled))
        sizes, spilled = self._store.run(batch, repeatable=True)
        found = [
            (self._keys.buckets + name, size)
            for name, size in zip(_BUCKET_NAMES, sizes, strict=True)
            if size is not None
        ]
        return found if spilled is None else self._with_segments(dict(found))

    def _with_segments(self, sizes: dict[bytes, int]) -> Iterator[tuple[bytes, int]]:
        """The keys and sizes of all buckets that have one, each followed by those of its segments."""
        for buckets, segments in self._segment_sizes():
            for bucket in buckets:
                key = self._keys.buckets + _BUCKET_NAMES[bucket]
                if key in sizes:
                    yield key, sizes[key]
                for segment in range(SEGMENTS):
                    name = _segment_name(bucket, segment)
                    if (size := segments[name]) is not None:
                        yield self._keys.segments + name, size

    def _read_sized(self, items: Iterable[tuple[bytes, int]]) -> Iterator[Bucket]:
        """These items, some at a time."""
        some: list[bytes] = []
        total = 0
        for key, size in items:
            if some and total + size > _READ_BYTES:
                yield from self._read(b"", some)
                some, total = [], 0
            some.append(key)
            total += size
        if some:
            yield from self._read(b"", some)

    def _read(self, prefix: bytes, names: list[bytes]) -> list[Bucket]:
        (items,) = self._store.run((ReadMany(prefix, names),), repeatable=True)
        found = zip(names, items, strict=True)
        return [self._bucket(prefix + name, item) for name, item in found if item is not None]

    def _bucket(self, key: bytes, item: Item) -> Bucket:
        if len(item.value) % RECORD_LENGTH or item.value.translate(None, _CHARACTERS):
            raise StoreDamaged(self._store.server, "an index item is not made of whole records")
        return Bucket(key, item.cas, item.value)

    # ------------------------------------------------------------------------------------ spilling

    def forget_spilled(self) -> None:
        """Take the flag back if no segment is left."""
        (spilled,) = self._store.run((Read(self._keys.spilled),), repeatable=True)
        if spilled is not None and not self._has_segments():
            self._store.run((Delete(self._keys.spilled, spilled.cas),))

    def _has_segments(self) -> bool:
        return any(size is not None for _, sizes in self._segment_sizes() for size in sizes.values())

    def _segment_sizes(self) -> Iterator[tuple[range, dict[bytes, int | None]]]:
        """Some buckets at a time, and the sizes of their segments by name."""
        for first in range(0, BUCKETS, _BUCKETS_AT_ONCE):
            some = range(first, min(first + _BUCKETS_AT_ONCE, BUCKETS))
            names = [_segment_name(bucket, segment) for bucket in some for segment in range(SEGMENTS)]
            (sizes,) = self._store.run((SizeMany(self._keys.segments, names),), repeatable=True)
            yield some, dict(zip(names, sizes, strict=True))


def _record(item: Entry) -> bytes:
    return item.user + item.session + life_text(item.life).encode()


def _bucket_of(user: bytes) -> int:
    return int.from_bytes(a2b_base64(user[:4]), "big") % BUCKETS


def _number_of(key: bytes) -> int:
    """The number of the bucket that an item is, or is a segment of."""
    return int(key.rpartition(b":")[2].partition(b".")[0])


def _segment_of(session: bytes) -> int:
    return a2b_base64(session[:4])[0] % SEGMENTS


def _segment_name(bucket: int, segment: int) -> bytes:
    return b"%d.%d" % (bucket, segment)
