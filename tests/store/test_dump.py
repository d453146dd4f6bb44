"""The dump of the keys: whole or an error, read as it comes, over every kind of connection."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymemcache import Client, PooledClient

from memsessions import DumpForbidden, StoreUnavailable
from memsessions.store import dump as module
from memsessions.store.memcached import MemcachedStore
from memsessions.store.operations import FOREVER, Add, Delete, Keys, Read, ReadMany

from ..support.fakes import FakeServer, hello
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.tries import at_one_try, least_s
from .conftest import PASSWORD, OpenAt

NUMBER = 20_000
#: Some of its characters are encoded in a dump.
PREFIX = b"dump:+/"


@pytest.fixture(scope="module")
def filled() -> Iterator[Memcached]:
    """A server with so many keys that a dump of them comes in many pieces."""
    with Memcached("-t", "2") as server:
        fill(server)
        yield server


def fill(server: Memcached) -> None:
    with server.connect() as sock:
        line = b"set %b%d 0 0 1 noreply\r\nv\r\n"
        sock.sendall(b"".join([line % (PREFIX, number) for number in range(NUMBER)]) + b"mn\r\n")
        assert sock.recv(100) == b"MN\r\n"


@pytest.fixture
def through(filled: Memcached) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", filled.port)) as proxy:
        yield proxy


def names(store: MemcachedStore) -> list[bytes]:
    return [name for keys in store.keys(PREFIX) for name in keys.names]


EXPECTED = sorted(b"%d" % number for number in range(NUMBER))


def test_every_key_is_dumped_once_and_the_connection_kept(through: Proxy, open_at: OpenAt) -> None:
    store = open_at(through.port)
    parts = list(store.keys(PREFIX))
    assert sorted(name for keys in parts for name in keys.names) == EXPECTED
    assert len(parts) > 5
    assert [keys.total for keys in parts] == [NUMBER] * len(parts)
    assert [keys.seen for keys in parts] == sorted(keys.seen for keys in parts)
    assert parts[-1].seen == NUMBER
    store.ping()
    assert through.connections == 1


def test_a_dump_over_tls_is_whole_and_keeps_the_connection(
    encrypted: Memcached, trusting: ssl.SSLContext, open_at: OpenAt
) -> None:
    with Proxy(("127.0.0.1", encrypted.port)) as proxy:
        store = open_at(proxy.port)
        store._template = Client(("localhost", proxy.port), tls_context=trusting)
        for first in range(0, NUMBER, 500):
            store.run([Add(PREFIX + b"%d" % number, b"v", FOREVER) for number in range(first, first + 500)])
        assert sorted(names(store)) == EXPECTED
        assert sorted(names(store)) == EXPECTED
        store.ping()
        assert proxy.connections == 1


def test_a_dump_can_be_had_with_credentials_and_not_without(guarded: Memcached, open_at: OpenAt) -> None:
    store = open_at(guarded.port, username="web", password=PASSWORD)
    store.run((Add(PREFIX + b"1", b"v", FOREVER),))
    assert names(store) == [b"1"]
    with pytest.raises(StoreUnavailable, match="wants a user name and a password"):
        names(open_at(guarded.port))


@pytest.mark.parametrize("options", [["-X"], ["-o", "no_lru_crawler"]])
def test_a_server_that_forbids_the_dump_is_said_to(open_at: OpenAt, options: list[str]) -> None:
    """By an error of its own, which names the server and tells what is left to do."""
    with Memcached(*options) as server:
        store = open_at(server.port)
        for _ in range(2):
            with pytest.raises(DumpForbidden, match=r"-X or without its crawler; wipe\(\) works") as caught:
                names(store)
            assert caught.value.server == server.address
        assert store.run((Read(b"none"),)) == [None]


def test_no_key_is_missed_that_is_read_and_counted_all_the_while(filled: Memcached, open_at: OpenAt) -> None:
    """Reading moves items between the lists of recent use; the hash table stays as it is."""
    store = open_at(filled.port)
    stop = threading.Event()

    def read() -> None:
        reading = open_at(filled.port)
        while not stop.is_set():
            for first in range(0, NUMBER, 1000):
                some = [b"%d" % number for number in range(first, first + 1000)]
                reading.run((ReadMany(PREFIX, some),))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert sorted(names(store)) == EXPECTED
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# -------------------------------------------------------------------------------------------- interrupts


def test_a_dump_that_is_left_gives_its_connection_up(through: Proxy, open_at: OpenAt) -> None:
    """The rest of it is never taken for the reply to a later call."""
    store = open_at(through.port)
    dump = store.keys(PREFIX)
    assert next(dump).names
    del dump
    assert store.run((Read(b"none"), ReadMany(b"none", (b"1",)))) == [None, [None]]
    assert sorted(names(store)) == EXPECTED
    assert through.connections == 2


def test_a_dump_whose_reader_fails_gives_its_connection_up(filled: Memcached, open_at: OpenAt) -> None:
    store = open_at(filled.port)
    before = int(filled.stats()["curr_connections"])

    def read_and_fail() -> None:
        for keys in store.keys(PREFIX):
            raise KeyboardInterrupt(keys.seen)

    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            read_and_fail()
    give_up = time.monotonic() + 5
    while (left := int(filled.stats()["curr_connections"])) > before and time.monotonic() < give_up:
        time.sleep(0.01)
    assert left <= before
    assert sorted(names(store)) == EXPECTED


def test_a_dump_inside_of_which_the_store_is_used_takes_another_connection(
    through: Proxy, open_at: OpenAt
) -> None:
    store = open_at(through.port)
    seen = 0
    for keys in store.keys(PREFIX):
        seen += len(keys.names)
        assert store.run((Read(b"none"),)) == [None]
    assert seen == NUMBER
    assert through.connections == 2


# ---------------------------------------------------------------------------------------------- trouble


def test_each_part_of_a_dump_has_a_deadline_of_its_own(through: Proxy, open_at: OpenAt) -> None:
    """However long all of it takes, here and there: only a silence of the server ends it."""
    store = open_at(through.port, timeout=0.3)
    through.delay_s = 0.05

    def read_slowly() -> int:
        found = 0
        for keys in store.keys(PREFIX):
            found += len(keys.names)
            time.sleep(0.05)
        return found

    started = time.monotonic()
    assert at_one_try(read_slowly) == NUMBER
    assert time.monotonic() - started > 0.3


def test_a_server_that_falls_silent_in_the_middle_costs_the_time_for_one_part(
    through: Proxy, open_at: OpenAt
) -> None:
    store = open_at(through.port, timeout=0.2)

    def fall_silent() -> None:
        through.to_client = lambda chunk: chunk
        dump = at_one_try(begun)
        through.to_client = lambda _chunk: b""
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            list(dump)

    def begun() -> Iterator[Keys]:
        dump = store.keys(PREFIX)
        next(dump)
        return dump

    assert least_s(fall_silent, 0.6) < 0.6


def test_a_dump_in_single_bytes_is_the_same(own_memcached: Memcached, open_at: OpenAt) -> None:
    store = open_at(own_memcached.port)
    store.run([Add(PREFIX + b"%d" % number, b"v", FOREVER) for number in range(3)])
    with Proxy(("127.0.0.1", own_memcached.port)) as proxy:
        split = open_at(proxy.port)
        split.ping()
        proxy.split_s = 0.0
        assert sorted(names(split)) == [b"0", b"1", b"2"]


LINE = b"key=dump%3A%2B%2F1 exp=-1 la=1 cas=1 fetch=no cls=1 size=60\n"


def dumping(*replies: bytes, end: bool = False) -> Callable[[socket.socket], None]:
    """What says hello, holds an item, and answers one request for a dump after the other."""

    def talk(sock: socket.socket) -> None:
        hello(sock)
        for reply in replies:
            request = sock.recv(4096)
            if request == b"stats\r\n":
                sock.sendall(b"STAT curr_items 1\r\nEND\r\n")
                request = sock.recv(4096)
            if not request:
                return
            assert request == b"lru_crawler metadump hash\r\n"
            sock.sendall(reply)
        if not end:
            sock.recv(4096)

    return talk


BUSY = b"BUSY currently processing crawler request\r\n"


def test_a_busy_crawler_is_asked_again(open_at: OpenAt) -> None:
    with FakeServer(dumping(BUSY, BUSY, LINE + b"END\r\n")) as server:
        assert names(open_at(server.port)) == [b"1"]


def test_a_crawler_that_stays_busy_is_an_outage(open_at: OpenAt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_S", 0.3)
    with FakeServer(dumping(*[BUSY] * 100)) as server:

        def ask() -> None:
            with pytest.raises(StoreUnavailable, match="busy with another dump"):
                names(open_at(server.port))

        assert 0.3 <= least_s(ask, 0.8) < 0.8


@pytest.mark.parametrize(
    "reply",
    [
        b"HD\r\nEND\r\n",
        b"SERVER_ERROR out of memory\r\n",
        LINE + b"secret\nEND\r\n",
        LINE + b"END\r\n" + LINE,
        LINE + b"END\r\nHD\r\n",
        b"END\r\n" + LINE + b"END\r\n",
        b"END\r\nx",
        b"key=" + b"x" * 1_000_000,
    ],
)
def test_what_is_no_dump_is_an_error_that_shows_nothing_of_it(open_at: OpenAt, reply: bytes) -> None:
    with FakeServer(dumping(reply)) as server:
        store = open_at(server.port)
        with pytest.raises(StoreUnavailable) as caught:
            names(store)
        assert "no answer in time" not in str(caught.value)
        assert "secret" not in repr([caught.value, caught.value.__cause__])
        assert store._pool.take() is None, "the connection is not used again"


def test_a_server_that_does_not_tell_how_much_it_holds_is_not_believed(open_at: OpenAt) -> None:
    def talk(sock: socket.socket) -> None:
        hello(sock)
        sock.recv(4096)
        sock.sendall(b"STAT other 1\r\nEND\r\n")
        sock.recv(4096)

    with FakeServer(talk) as server, pytest.raises(StoreUnavailable, match="how many items"):
        names(open_at(server.port))


def test_a_dump_that_is_cut_off_is_not_taken_for_a_whole_one(open_at: OpenAt) -> None:
    with FakeServer(dumping(LINE * 10, end=True)) as server, pytest.raises(StoreUnavailable):
        names(open_at(server.port))


def test_an_endless_dump_is_never_held_in_memory(open_at: OpenAt) -> None:
    """Ten megabytes pass through three."""
    line = b"key=%b exp=-1 la=1 cas=1 fetch=no cls=1 size=60\n" % (b"%3A" * 250)

    def talk(sock: socket.socket) -> None:
        hello(sock)
        sock.recv(4096)
        sock.sendall(b"STAT curr_items 1\r\nEND\r\n")
        sock.recv(4096)
        while True:
            sock.sendall(line * 1_000)

    with FakeServer(talk) as server:
        store = open_at(server.port)
        tracemalloc.start()
        try:
            for keys in store.keys(b"another"):
                if keys.seen * len(line) > 10_000_000:
                    break
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000


def test_a_shared_pool_gets_its_place_back(filled: Memcached, open_at: OpenAt) -> None:
    """Whether a dump was read to its end or left."""
    shared = PooledClient(("127.0.0.1", filled.port), max_pool_size=1)
    store = open_at(filled.port, shared_pool=shared.client_pool)
    for _ in range(3):
        assert sorted(names(store)) == EXPECTED
        dump: Any = store.keys(PREFIX)
        next(dump)
        dump.close()
        assert store.run((Delete(b"none"),))
    assert shared.get("none") is None
    shared.close()
