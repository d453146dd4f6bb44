"""The seam between sessions and storage: what a store can be asked, and what it answers.

A store knows items (a key, bytes, the seconds they have left, a compare-and-swap unique) and nothing
of sessions. Operations are run in batches; a batch is one packet out and one reply back.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

#: A life of 0 seconds means "until removed", as memcached has it.
FOREVER = 0


class Item(NamedTuple):
    """A stored item as it was before the operation that answers with it changed its life."""

    value: bytes
    left: int  # seconds until it expires, -1 for never
    cas: int  # changes with every write to the item; 0 where the operation does not ask for it


class Outcome(Enum):
    """What became of a conditional write."""

    DONE = "done"
    MISSING = "missing"
    CHANGED = "changed"


class Read(NamedTuple):
    """Read an item, and give it `touch` seconds to live unless that is None. Answers `Item | None`."""

    key: bytes
    touch: int | None = None


class Count(NamedTuple):
    """Add one to a counter that exists, and touch it like `Read`. Answers `Item | None`, after adding."""

    key: bytes
    touch: int | None = None


class Add(NamedTuple):
    """Store an item unless one is there. Answers whether it was stored."""

    key: bytes
    value: bytes
    life: int


class Append(NamedTuple):
    """Add bytes to the end of an item. Answers whether it was done: it must be there, and able to grow."""

    key: bytes
    value: bytes


class Swap(NamedTuple):
    """Replace an item if it is still the one that was read. Answers an `Outcome`."""

    key: bytes
    value: bytes
    life: int
    cas: int


class Delete(NamedTuple):
    """Remove an item; with a `cas`, only if it is still the one that was read. Answers an `Outcome`."""

    key: bytes
    cas: int | None = None


class _Many(NamedTuple):
    """The items `prefix + name`."""

    prefix: bytes
    names: Sequence[bytes]


class ReadMany(_Many):
    """Read the items `prefix + name`. Answers `list[Item | None]`."""

    __slots__ = ()


class PeekMany(_Many):
    """The value and the seconds left of each item, which is not marked as used.

    Answers `list[tuple[bytes, int] | None]`.
    """

    __slots__ = ()


class LeftMany(_Many):
    """The seconds that each item has left; it is not marked as used. Answers `list[int | None]`."""

    __slots__ = ()


class SizeMany(_Many):
    """The length in bytes of each item's value. Answers `list[int | None]`."""

    __slots__ = ()


class DeleteMany(_Many):
    """Remove each item. Answers `list[bool]`: whether it was there."""

    __slots__ = ()


Operation = (
    Read | Count | Add | Append | Swap | Delete | ReadMany | PeekMany | LeftMany | SizeMany | DeleteMany
)
Batch = Sequence[Operation]

#: `(key, touch, counter, touch_counter)`: `Read(key, touch)` and then `Count(counter, touch_counter)`.
Visit = tuple[bytes, int, bytes, "int | None"]
#: `(value, left, cas, count, count_left)`, of both. The value is None if there is no item, and the count if
#: there is no counter. The `cas` can be digits yet, as few want it; `count_left` is the counter's life since.
Visited = tuple["bytes | None", int, "bytes | int", "bytes | None", int]


class Keys(NamedTuple):
    """Some of the keys that a store holds, out of a dump of all of them."""

    names: list[bytes]  # of those that begin with the prefix asked for, what comes after it
    seen: int  # how many keys the dump has gone through so far, whatever they begin with
    total: int  # how many items the store held when the dump began


class Connections(NamedTuple):
    """A store's connections: how many are open, and of these wait for a call; and since this process began,
    how many were opened, and were lost: broken, ended by the server, or given up with a call.
    """

    open: int
    idle: int
    opened: int
    lost: int


class Protection(NamedTuple):
    """How connections to a store are made: by TLS, checking the server's certificate, with a password."""

    encrypted: bool
    verified: bool
    authenticated: bool


class Store(Protocol):
    """One server, or what stands for it in this process."""

    @property
    def server(self) -> str:
        """What error messages call it: an address, never a password."""

    @property
    def key_prefix(self) -> bytes:
        """What every key begins with (a shared pymemcache client may bring one)."""

    @property
    def refuses_when_full(self) -> bool:
        """Whether a write can be refused for want of memory, rather than throw out what was used least."""

    def deadline(self) -> float:
        """When a call that begins now has to end; for calls of several batches, to give to each."""

    def time(self) -> float:
        """Seconds on a clock that all who use the store share; it was read when a call first reached it."""

    def run(self, batch: Batch, *, repeatable: bool = False, deadline: float | None = None) -> list[Any]:
        """The answers to one batch, in its order, for one round trip, by the deadline.

        A batch that is `repeatable` may be sent a second time if a connection broke before its reply.
        Raises `StoreUnavailable` when there is no whole and valid answer in time; `StoreFull` or
        `ItemTooLarge` when a write was refused, after everything else in the batch was done.
        """

    def visit(self, visit: Visit, deadline: float) -> Visited:
        """The most frequent batch there is, and so without a batch's costs. It is repeatable.

        One round trip; raises as `run` does, with no answers in a `StoreFull`.
        """

    def stream(
        self, batches: Iterable[Batch], deadline: float | None = None
    ) -> Generator[list[Any], None, None]:
        """The answers to many batches, each sent before the reply to the one before it is awaited.

        Holds the replies of two batches at most. Raises as `run` does; nothing is repeated. The deadline
        is that of the first batch; each further one has its own.
        """

    def keys(self, prefix: bytes) -> Generator[Keys, None, None]:
        """Every key that begins with the prefix, some at a time: once each that is there all the while.

        The server waits while its reply is not read: keep what it says, and act on it afterwards. Raises
        as `run` does, each part of the reply having a deadline of its own, and `DumpForbidden`.
        """

    @property
    def protection(self) -> Protection:
        """How its connections are made, as it was told. No round trip."""

    def stats(self, of: str = "") -> dict[str, str]:
        """What the server says of itself, as memcached's `stats`, `stats settings` or `stats slabs`.

        What a store has nothing to say of is not there. One round trip; raises as `run` does.
        """

    def connections(self) -> Connections:
        """How many connections there are. No round trip."""

    def ping(self) -> None:
        """One round trip; raises as `run` does."""

    def close(self) -> None:
        """Give back what is held. The store is not used afterwards."""
