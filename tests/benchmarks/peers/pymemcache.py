"""pymemcache, bare: bytes under a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymemcache import Client, PooledClient

CLIENT = "Client.get"
POOLED = "PooledClient.get"
POOLED_TIMEOUT = "PooledClient(timeout=1).get"
SWAP = "PooledClient.gets + cas"
SET = "PooledClient.set, acknowledged"


@contextmanager
def client(port: int, kind: Any = PooledClient, **options: Any) -> Iterator[Any]:
    """One with the `no_delay` that its documentation recommends.

    It recommends timeouts as well; each costs a call of the system, and it does without them by itself.
    """
    made = kind(("127.0.0.1", port), no_delay=True, **options)
    try:
        yield made
    finally:
        made.close()


def swap(pymemcache_client: Client | PooledClient, value: bytes) -> Callable[[str], bool]:
    """Reads a key, and writes this to it if nobody else did meanwhile; whether it was written."""

    def call(key: str) -> bool:
        _value, stamp = pymemcache_client.gets(key)
        return bool(pymemcache_client.cas(key, value, stamp))

    return call
