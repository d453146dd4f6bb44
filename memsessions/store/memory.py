"""The in-process store, for development, examples and small scripts.

When not to use it: whenever a session must outlive this process or be seen by another one. Each
process has a store of its own (a child made by `fork` begins with a copy), so with two web workers a
user is logged in on one and unknown to the other; a restart logs everybody out; and there is no
eviction: a store that has reached its limit refuses new sessions.

It keeps items in a dict, with memcached's rules for lives, compare-and-swap and size.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple

from .. import forks
from ..errors import ItemTooLarge, StoreDamaged, StoreFull, WriteRefused
from .operations import (
    Add,
    Append,
    Batch,
    Connections,
    Count,
    Delete,
    DeleteMany,
    Item,
    Keys,
    LeftMany,
    Outcome,
    PeekMany,
    Protection,
    Read,
    ReadMany,
    SizeMany,
    Swap,
    Visit,
    Visited,
)

#: As in a memcached started with `-m 256`.
LIMIT_BYTES = 256 * 1024 * 1024
# What memcached adds to the key and the value of an item, about.
_OVERHEAD_BYTES = 60
_SWEEP_S = 10
# A dump of the keys comes in parts of so many.
_KEYS_EACH = 1_000


# In place of an item's value, life and unique.
_NO_ITEM: tuple[None, int, int] = None, 0, 0


class _Entry(NamedTuple):
    value: bytes
    ends: int | None  # on the store's clock
    cas: int


class MemoryStore:
    """Items in a dict; safe to share between threads, and after a fork."""

    key_prefix = b""
    refuses_when_full = True

    def __init__(
        self,
        server: str,
        *,
        item_bytes: int,
        limit_bytes: int = LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self._item_bytes = item_bytes
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._lock = threading.RLock()  # a signal handler may call in the middle of a call
        self._entries: dict[bytes, _Entry] = {}
        self._bytes = 0
        self._cas = 0
        self._next_sweep = 0
        forks.call_in_child(self, MemoryStore._after_fork_in_child)

    def deadline(self) -> float:
        return math.inf  # nothing here waits

    def time(self) -> float:
        return self._clock()

    def run(
        self,
        batch: Batch,
        *,
        repeatable: bool = False,  # noqa: ARG002
        deadline: float | None = None,  # noqa: ARG002
    ) -> list[Any]:
        answers: list[Any] = []
        refused: WriteRefused | None = None
        with self._lock:
            now = self._now()
            for op in batch:
                try:
                    answers.append(_RUN[type(op)](self, op, now))
                except WriteRefused as refusal:
                    answers.append(None)
                    refused = refused or refusal
        if refused is not None:
            refused.answers = answers
            raise refused
        return answers

    def visit(self, visit: Visit, deadline: float) -> Visited:  # noqa: ARG002
        key, touch, counter, touch_counter = visit
        with self._lock:
            now = self._now()
            item = self._read_item(key, touch, now) or _NO_ITEM
            count = self._count_item(counter, touch_counter, now)
        value, left, cas = item
        if count is None:
            return value, left, cas, None, 0
        return value, left, cas, count[0], count[1] if touch_counter is None else touch_counter

    def stream(
        self,
        batches: Iterable[Batch],
        deadline: float | None = None,  # noqa: ARG002
    ) -> Generator[list[Any], None, None]:
        for batch in batches:
            yield self.run(batch)

    def keys(self, prefix: bytes) -> Generator[Keys, None, None]:
        with self._lock:
            self._sweep(int(self._clock()))
            held = list(self._entries)
        for start in range(0, len(held), _KEYS_EACH):
            some = held[start : start + _KEYS_EACH]
            names = [key[len(prefix) :] for key in some if key.startswith(prefix)]
            yield Keys(names, start + len(some), len(held))

    @property
    def protection(self) -> Protection:
        return Protection(encrypted=False, verified=False, authenticated=False)

    def stats(self, of: str = "") -> dict[str, str]:
        if of:
            return {"evictions": "off", "item_size_max": str(self._item_bytes)} if of == "settings" else {}
        with self._lock:
            self._sweep(int(self._clock()))
            numbers = {
                "bytes": self._bytes,
                "limit_maxbytes": self._limit_bytes,
                "curr_items": len(self._entries),
                "curr_connections": 0,
                "evictions": 0,
            }
        return {name: str(number) for name, number in numbers.items()}

    def connections(self) -> Connections:
        return Connections(0, 0, 0, 0)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        """The items stay, for the clients that name this store."""

    def _after_fork_in_child(self) -> None:
        """A lock that another thread of the parent held would never be released here."""
        self._lock = threading.RLock()

    # ------------------------------------------------------------------------------------- entries

    def _now(self) -> int:
        """The moment of what is done next, after what has expired was removed if that is due."""
        now = int(self._clock())
        if now >= self._next_sweep:
            self._sweep(now)
        return now

    def _sweep(self, now: int) -> None:
        self._next_sweep = now + _SWEEP_S
        for key in list(self._entries):
            self._live(key, now)

    def _live(self, key: bytes, now: int) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.ends is not None and entry.ends <= now:
            self._drop(key)
            return None
        return entry

    def _drop(self, key: bytes) -> None:
        self._bytes -= len(key) + len(self._entries.pop(key).value) + _OVERHEAD_BYTES

    def _write(self, key: bytes, value: bytes, ends: int | None, now: int) -> None:
        """Store an item whole or, where that is refused, leave what is there."""
        if len(key) + len(value) + _OVERHEAD_BYTES > self._item_bytes:
            raise ItemTooLarge(self.server, "the item is larger than the store takes")
        old = self._entries.get(key)
        more = len(key) + len(value) + _OVERHEAD_BYTES if old is None else len(value) - len(old.value)
        if more > 0 and self._bytes + more > self._limit_bytes:
            self._sweep(now)
            if self._bytes + more > self._limit_bytes:
                raise StoreFull(self.server, f"it holds its limit of {self._limit_bytes} bytes")
        self._bytes += more
        self._cas += 1
        self._entries[key] = _Entry(value, ends, self._cas)

    # ---------------------------------------------------------------------------------- operations

    def _read(self, op: Read, now: int) -> Item | None:
        item = self._read_item(op.key, op.touch, now)
        return item and Item(*item)

    def _read_item(self, key: bytes, touch: int | None, now: int) -> tuple[bytes, int, int] | None:
        entry = self._live(key, now)
        if entry is None:
            return None
        value, _, cas = entry
        if touch is not None:
            self._entries[key] = _Entry(value, _ends(touch, now), cas)
        return value, _left(entry, now), cas

    def _count(self, op: Count, now: int) -> Item | None:
        counted = self._count_item(op.key, op.touch, now)
        return counted and Item(*counted)

    def _count_item(self, key: bytes, touch: int | None, now: int) -> tuple[bytes, int, int] | None:
        entry = self._live(key, now)
        if entry is None:
            return None
        try:
            value = b"%d" % (int(entry.value) + 1)
        except ValueError:
            raise StoreDamaged(self.server, "what is to be counted is no number") from None
        self._write(key, value, entry.ends if touch is None else _ends(touch, now), now)
        return value, _left(entry, now), 0

    def _add(self, op: Add, now: int) -> bool:
        if self._live(op.key, now) is not None:
            return False
        self._write(op.key, op.value, _ends(op.life, now), now)
        return True

    def _append(self, op: Append, now: int) -> bool:
        entry = self._live(op.key, now)
        if entry is None:
            return False
        try:
            self._write(op.key, entry.value + op.value, entry.ends, now)
        except WriteRefused:
            return False  # as memcached answers
        return True

    def _swap(self, op: Swap, now: int) -> Outcome:
        entry = self._live(op.key, now)
        if entry is None:
            return Outcome.MISSING
        if entry.cas != op.cas:
            return Outcome.CHANGED
        self._write(op.key, op.value, _ends(op.life, now), now)
        return Outcome.DONE

    def _delete(self, op: Delete, now: int) -> Outcome:
        entry = self._live(op.key, now)
        if entry is None:
            return Outcome.MISSING
        if op.cas is not None and entry.cas != op.cas:
            return Outcome.CHANGED
        self._drop(op.key)
        return Outcome.DONE

    def _read_many(self, op: ReadMany, now: int) -> list[Item | None]:
        return [self._read(Read(op.prefix + name), now) for name in op.names]

    def _peek_many(self, op: PeekMany, now: int) -> list[tuple[bytes, int] | None]:
        entries = [self._live(op.prefix + name, now) for name in op.names]
        return [None if entry is None else (entry.value, _left(entry, now)) for entry in entries]

    def _left_many(self, op: LeftMany, now: int) -> list[int | None]:
        entries = [self._live(op.prefix + name, now) for name in op.names]
        return [None if entry is None else _left(entry, now) for entry in entries]

    def _size_many(self, op: SizeMany, now: int) -> list[int | None]:
        entries = [self._live(op.prefix + name, now) for name in op.names]
        return [None if entry is None else len(entry.value) for entry in entries]

    def _delete_many(self, op: DeleteMany, now: int) -> list[bool]:
        return [self._delete(Delete(op.prefix + name), now) is Outcome.DONE for name in op.names]


_RUN: dict[type, Callable[[MemoryStore, Any, int], Any]] = {
    Read: MemoryStore._read,  # noqa: SLF001
    Count: MemoryStore._count,  # noqa: SLF001
    Add: MemoryStore._add,  # noqa: SLF001
    Append: MemoryStore._append,  # noqa: SLF001
    Swap: MemoryStore._swap,  # noqa: SLF001
    Delete: MemoryStore._delete,  # noqa: SLF001
    ReadMany: MemoryStore._read_many,  # noqa: SLF001
    PeekMany: MemoryStore._peek_many,  # noqa: SLF001
    LeftMany: MemoryStore._left_many,  # noqa: SLF001
    SizeMany: MemoryStore._size_many,  # noqa: SLF001
    DeleteMany: MemoryStore._delete_many,  # noqa: SLF001
}


def _ends(life: int, now: int) -> int | None:
    return now + life if life else None


def _left(entry: _Entry, now: int) -> int:
    return -1 if entry.ends is None else entry.ends - now


# ------------------------------------------------------------------------------------------- names

_named: dict[str, MemoryStore] = {}


def named_store(name: str, *, item_bytes: int) -> MemoryStore:
    """The store of this process that has this name; it is made at its first use and stays."""
    store = _named.get(name)
    if store is None:
        store = _named.setdefault(name, MemoryStore(name, item_bytes=item_bytes))  # atomic, so no lock
    return store
