"""What a server says of itself, and what is taken for that."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pymemcache import Client

from memsessions import StoreUnavailable
from memsessions.store.memory import MemoryStore
from memsessions.store.operations import Protection

from ..conftest import MakeClient, OnMemcached
from ..support.memcached import Memcached
from ..support.proxy import Proxy


def test_a_server_tells_its_numbers(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """As memcached's own `stats` has them; the connection can be used on."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    store = rs._nodes[0].store
    stats, own = store.stats(), on_memcached.server.stats()
    assert set(stats) == set(own)
    for name in ("pid", "version", "limit_maxbytes", "threads"):
        assert stats[name] == own[name]
    rs.ping()
    assert store.connections().opened == 1


def test_the_store_in_memory_tells_those_that_it_has() -> None:
    stats = MemoryStore("memory://stats", item_bytes=1024, limit_bytes=1_000_000).stats()
    assert stats == {
        "bytes": "0",
        "limit_maxbytes": "1000000",
        "curr_items": "0",
        "curr_connections": "0",
        "evictions": "0",
    }


def test_a_server_tells_its_settings_and_its_pages(memcached: Memcached, make_client: MakeClient) -> None:
    store = make_client(memcached.address)._nodes[0].store
    settings = store.stats("settings")
    assert (settings["maxbytes"], settings["evictions"]) == (str(512 * 1024 * 1024), "on")
    assert store.stats("slabs")["total_malloced"].isdecimal()
    store.ping()
    assert store.connections().opened == 1


def test_the_store_in_memory_tells_the_settings_that_it_has() -> None:
    store = MemoryStore("memory://stats", item_bytes=1024)
    assert store.stats("settings") == {"evictions": "off", "item_size_max": "1024"}
    assert store.stats("slabs") == {}
    assert store.protection == (False, False, False)


@pytest.mark.parametrize("several", [False, True], ids=["alone", "one of several"])
def test_how_connections_are_protected_is_known(several: bool, make_client: MakeClient) -> None:
    def protection(**options: Any) -> Protection:
        servers = ["127.0.0.1:1", "127.0.0.1:2"] if several else "127.0.0.1:1"
        return make_client(servers, **options)._nodes[0].store.protection

    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    assert protection() == (False, False, False)
    assert protection(username="web", password="secret") == (False, False, True)
    assert protection(tls_context=ssl.create_default_context()) == (True, True, False)
    assert protection(tls_context=careless) == (True, False, False)


def test_a_shared_client_tells_how_its_connections_are_protected(make_client: MakeClient) -> None:
    shared = Client(("127.0.0.1", 1), tls_context=ssl.create_default_context())
    assert make_client(client=shared)._nodes[0].store.protection == (True, True, False)


@pytest.mark.parametrize("said", [b"ERROR\r\nEND\r\n", b"STAT\r\nEND\r\n", b"x" * 20 + b"\r\nEND\r\n"])
def test_another_answer_is_an_error(memcached: Memcached, make_client: MakeClient, said: bytes) -> None:
    """After which the connection is not used again."""
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        store = make_client(proxy.address, timeout=5)._nodes[0].store
        store.ping()
        proxy.to_client = lambda _chunk: said
        with pytest.raises(StoreUnavailable, match="unexpected reply"):
            store.stats()
        proxy.to_client = lambda chunk: chunk
        assert store.connections()[:2] == (0, 0)
        assert "pid" in store.stats()
