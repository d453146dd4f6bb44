"""What a store can lose, or be given by others, under the feet of the library."""

from __future__ import annotations

from memsessions import SessionsClient, index
from memsessions.store.operations import FOREVER, Add, Append, Delete, Outcome, Read
from memsessions.tokens import hashed

APP = "forum"


def session_key(rs: SessionsClient, token: str) -> bytes:
    return b"%b:forum:s:%b" % (rs._nodes[0].root, hashed(token))


def counter_key(rs: SessionsClient, token: str) -> bytes:
    return b"%b:forum:r:%b" % (rs._nodes[0].root, hashed(token))


def bucket_key(rs: SessionsClient, id: str) -> bytes:
    """The index item that lists the sessions of a user."""
    return b"%b:forum:i:%d" % (rs._nodes[0].root, index._bucket_of(hashed(id)))


def evict(rs: SessionsClient, key: bytes) -> None:
    """Remove an item that is there, as a server does that needs its memory."""
    assert rs._nodes[0].store.run((Delete(key),)) == [Outcome.DONE]


def put(rs: SessionsClient, key: bytes, value: bytes, life: int = FOREVER) -> None:
    """Store an item, whatever was there."""
    assert rs._nodes[0].store.run((Delete(key), Add(key, value, life)))[1] is True


def append(rs: SessionsClient, key: bytes, value: bytes) -> None:
    """Write behind an item that is there."""
    assert rs._nodes[0].store.run((Append(key, value),)) == [True]


def value(rs: SessionsClient, key: bytes) -> bytes | None:
    (item,) = rs._nodes[0].store.run((Read(key),))
    return None if item is None else item.value
