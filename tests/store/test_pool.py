"""Where connections wait: few, the last used first, none for long; and those borrowed from pymemcache."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymemcache import Client, PooledClient

from memsessions import StoreUnavailable
from memsessions.config import open_stores
from memsessions.store.connection import Connection
from memsessions.store.memcached import MemcachedStore
from memsessions.store.operations import Add, Batch, Delete, Read
from memsessions.store.pool import Pool, SharedPool

from ..conftest import OnMemcached
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.tries import least_s, until


def store_with(client: Any, timeout: float = 20.0) -> MemcachedStore:
    store = open_stores(
        "127.0.0.1:11211",
        client=client,
        timeout=timeout,
        connect_timeout=20.0,
        tls_context=None,
        username=None,
        password=None,
        max_item_bytes=1024 * 1024,
    )[0][1]
    assert isinstance(store, MemcachedStore)
    return store


@pytest.fixture
def store(proxy: Proxy) -> Iterator[MemcachedStore]:
    made = store_with(Client(("127.0.0.1", proxy.port)))
    yield made
    made.close()


def at_once(number: int, work: Callable[[], object]) -> None:
    """Have so many threads do it, all of them in the middle of it at the same time."""
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def burst(store: MemcachedStore, number: int) -> None:
    """Use so many connections at once."""
    barrier = threading.Barrier(number)

    def use() -> None:
        connection, _ = store._acquire(store.deadline(), check=True)
        barrier.wait()
        store._pool.put(connection)

    at_once(number, use)


def readable(sock: socket.socket) -> bool:
    """Whether something has come in, or the end."""
    return bool(select.select([sock], [], [], 0)[0])


def waiting(store: MemcachedStore) -> list[Connection]:
    return list(store._pool._idle)


# --------------------------------------------------------------------------------------- our own pool


def test_nothing_is_opened_before_it_is_needed(proxy: Proxy, store: MemcachedStore) -> None:
    assert proxy.connections == 0
    store.ping()
    assert proxy.connections == 1


def test_calls_one_after_the_other_need_one_connection(proxy: Proxy, store: MemcachedStore) -> None:
    for _ in range(50):
        store.run((Read(b"none"),))
        store.ping()
        assert list(store.stream([(), ()])) == [[], []]
    assert proxy.connections == 1


def test_calls_at_the_same_time_need_one_each(proxy: Proxy, store: MemcachedStore) -> None:
    burst(store, 5)
    assert proxy.connections == 5
    burst(store, 5)
    assert proxy.connections == 5


def test_eight_busy_threads_need_no_more_than_eight(proxy: Proxy, store: MemcachedStore) -> None:
    at_once(8, lambda: [store.run((Read(b"none"),)) for _ in range(50)])
    assert 1 <= proxy.connections <= 8
    assert len(waiting(store)) == proxy.connections


def test_the_connection_that_was_used_last_is_taken_first(store: MemcachedStore) -> None:
    burst(store, 3)
    *_, last = waiting(store)
    for _ in range(5):
        store.ping()
        assert waiting(store)[-1] is last


def test_connections_that_nobody_needs_are_closed_after_a_minute(store: MemcachedStore) -> None:
    """One with each call, so that a burst leaves none behind and no call pays for all."""
    burst(store, 4)
    first, second, third, last = waiting(store)
    first.last_used -= 61
    second.last_used -= 61
    third.last_used -= 50
    store.ping()
    assert waiting(store) == [second, third, last]
    store.ping()
    store.ping()
    assert waiting(store) == [third, last]
    assert (first.sock.fileno(), second.sock.fileno()) == (-1, -1)
    assert -1 not in (third.sock.fileno(), last.sock.fileno())


def test_the_only_connection_is_used_however_long_it_waited(proxy: Proxy, store: MemcachedStore) -> None:
    store.ping()
    waiting(store)[0].last_used -= 3600
    store.ping()
    assert proxy.connections == 1


def test_a_pool_that_is_closed_keeps_nothing_that_comes_back(store: MemcachedStore) -> None:
    burst(store, 3)
    connections = waiting(store)
    lent, _ = store._acquire(store.deadline(), check=True)
    store.close()
    store._pool.put(lent)
    assert [connection.sock.fileno() for connection in connections] == [-1] * 3
    assert waiting(store) == []


def test_an_empty_pool_has_nothing() -> None:
    assert Pool().take() is None


@pytest.mark.parametrize("batch", [(Delete(b"none"),), ()], ids=["delete", "ping"])
@pytest.mark.parametrize("repeatable", [True, False])
def test_a_connection_with_stray_bytes_in_it_misleads_nobody(
    proxy: Proxy, store: MemcachedStore, batch: Batch, repeatable: bool
) -> None:
    """As after somebody else's request: what can be seen is thrown away, and nothing wrong is answered."""
    store.ping()
    (connection,) = waiting(store)
    connection.sock.send(b"mn\r\n")
    until(lambda: not connection.is_clean())
    if repeatable:
        with contextlib.suppress(StoreUnavailable):
            assert store.run(batch, repeatable=True) == store.run(batch)
    expected = store.run(batch, repeatable=repeatable)
    assert len(expected) == len(batch)
    assert proxy.connections == 2
    assert connection.sock.fileno() == -1


# ------------------------------------------------------------------------------ a pool of pymemcache's


@pytest.fixture
def shared(proxy: Proxy) -> Iterator[PooledClient]:
    client = PooledClient(("127.0.0.1", proxy.port), max_pool_size=3, timeout=7.5, connect_timeout=5)
    yield client
    client.close()


@pytest.fixture
def borrowing(shared: PooledClient) -> MemcachedStore:
    store = store_with(shared)
    assert isinstance(store._pool, SharedPool)
    return store


def test_connections_are_shared_in_both_directions(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore, on_memcached: OnMemcached
) -> None:
    key = f"{on_memcached.ns}:k"
    for number in range(5):
        shared.set(key, b"%d" % number, noreply=False)
        (item,) = borrowing.run((Read(key.encode()),))
        assert item.value == b"%d" % number
        assert borrowing.run((Delete(key.encode()), Add(key.encode(), b"ours", 60)))[1] is True
        assert shared.get(key) == b"ours"
    assert proxy.connections == 1


def test_a_socket_goes_back_as_its_other_users_expect_it(
    shared: PooledClient, borrowing: MemcachedStore
) -> None:
    """With the time limit that they gave it."""
    borrowing.ping()
    (client,) = shared.client_pool.free
    assert client.sock.gettimeout() == 7.5
    assert not shared.client_pool.used


def test_the_limit_of_the_pool_is_kept(proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore) -> None:
    """With pymemcache's own users counted in; who comes too late is told why, at once."""
    pool = shared.client_pool
    lent = [pool.get() for _ in range(3)]

    def ask() -> None:
        with pytest.raises(StoreUnavailable, match="all 3 connections of the shared pool are in use"):
            borrowing.ping()

    assert least_s(ask, 1) < 1
    pool.release(lent.pop())
    borrowing.ping()
    for client in lent:
        pool.release(client)
    assert proxy.connections == 1


def test_threads_of_both_kinds_stay_within_the_limit(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore
) -> None:
    """Three of them at once."""

    def theirs() -> None:
        for _ in range(100):
            assert shared.get("none") is None

    def ours() -> None:
        for _ in range(100):
            assert borrowing.run((Read(b"none"),)) == [None]

    threads = [threading.Thread(target=work) for work in (theirs, ours, ours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.connections <= 3
    assert not shared.client_pool.used
    assert len(shared.client_pool.free) <= 3


def test_what_fails_gives_its_place_in_the_pool_back(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore
) -> None:
    for _ in range(10):
        borrowing.ping()
        proxy.to_client = lambda _chunk: None
        for repeatable in (True, False):
            with pytest.raises(StoreUnavailable):
                borrowing.run((Read(b"none"),), repeatable=repeatable)
        proxy.to_client = lambda chunk: chunk
    assert not shared.client_pool.used
    borrowing.ping()


def test_a_server_that_is_not_there_costs_no_place_in_the_pool() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    shared = PooledClient(("127.0.0.1", port), max_pool_size=2)
    borrowing = store_with(shared)
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="refused"):
            borrowing.ping()
    assert not shared.client_pool.used


@pytest.mark.parametrize(
    ("left_by_others", "answered"),
    [(b"mn\r\n", True), (b"get none\r\n", True), (b"set x 0 0 1\r\n", False), (b"mg no", False)],
)
def test_a_connection_that_others_left_in_the_middle_is_not_believed(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore, left_by_others: bytes, answered: bool
) -> None:
    """Their reply lies in it, or their request was not even whole."""
    shared.get("none")
    (client,) = shared.client_pool.free
    client.sock.sendall(left_by_others)
    if answered:
        until(lambda: readable(client.sock))
    if not answered:  # that cannot be seen: the reply shows it
        with pytest.raises(StoreUnavailable):
            borrowing.run((Read(b"none"),))
    assert borrowing.run((Read(b"none"),)) == [None]
    assert shared.get("none") is None
    assert proxy.connections == 2
    assert not shared.client_pool.used


def test_a_connection_that_the_server_ended_is_replaced(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore
) -> None:
    borrowing.ping()
    (client,) = shared.client_pool.free
    proxy.cut()
    until(lambda: readable(client.sock))
    assert borrowing.run((Delete(b"none"),)) == [borrowing.run((Delete(b"none"),))[0]]
    assert proxy.connections == 2
    assert not shared.client_pool.used


def test_a_connection_that_was_opened_again_by_pymemcache_is_greeted_again(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore
) -> None:
    """Its version and clock may be those of another server now."""
    borrowing.ping()
    (client,) = shared.client_pool.free
    client.close()
    assert shared.get("none") is None
    assert borrowing.run((Read(b"none"),)) == [None]
    assert bytes(proxy.sent).count(b"version\r\n") == 2


def test_closing_the_store_leaves_the_shared_pool_alone(
    proxy: Proxy, shared: PooledClient, borrowing: MemcachedStore
) -> None:
    borrowing.ping()
    borrowing.close()
    assert shared.get("none") is None
    assert proxy.connections == 1


def test_the_idle_limit_of_the_shared_pool_is_its_own(memcached: Memcached) -> None:
    """pymemcache closes what waited for too long, and the store opens anew."""
    shared = PooledClient(("127.0.0.1", memcached.port), pool_idle_timeout=30)
    borrowing = store_with(shared)
    borrowing.ping()
    (client,) = shared.client_pool.free
    client._last_used -= 31
    borrowing.ping()
    assert client.sock is None
    assert client not in shared.client_pool.free
    shared.close()
