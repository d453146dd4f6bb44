"""The in-process store: shared by name, bounded, expiring by itself, safe between threads."""

from __future__ import annotations

import threading

import pytest

from memsessions import SessionsClient, StoreFull
from memsessions.store import memory
from memsessions.store.memory import LIMIT_BYTES, MemoryStore, named_store
from memsessions.store.operations import FOREVER, Add, Append, Count, Delete, Read, SizeMany, Swap

from ..conftest import InMemory, MakeClient


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore("memory://own", item_bytes=4096, limit_bytes=20_000, clock=clock)


# --------------------------------------------------------------------------------------------- names


def test_clients_that_name_it_equally_share_it(make_client: MakeClient) -> None:
    name = InMemory().address
    token = make_client(name).create("forum", "user1234", "127.0.0.1")["token"]
    assert make_client(name).get("forum", token) is not None
    assert make_client(InMemory().address).get("forum", token) is None


def test_it_stays_when_the_clients_that_named_it_are_closed(make_client: MakeClient) -> None:
    name = InMemory().address
    with SessionsClient(name, wipe=0) as first:
        token = first.create("forum", "user1234", "127.0.0.1")["token"]
    assert make_client(name).get("forum", token) is not None


def test_threads_that_name_it_for_the_first_time_at_once_get_one_store() -> None:
    name = InMemory().address + "-raced"
    barrier = threading.Barrier(8)
    stores: list[MemoryStore] = []

    def open_it() -> None:
        barrier.wait()
        stores.append(named_store(name, item_bytes=4096))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(store) for store in stores}) == 1


def test_its_documentation_opens_with_when_not_to_use_it() -> None:
    assert memory.__doc__ is not None
    assert memory.__doc__.split("\n\n")[1].startswith("When not to use it")


# --------------------------------------------------------------------------------------------- bound


def test_it_has_a_bound_unless_told() -> None:
    assert named_store(InMemory().address, item_bytes=4096)._limit_bytes == LIMIT_BYTES


def test_it_never_holds_more_than_its_limit(store: MemoryStore) -> None:
    with pytest.raises(StoreFull, match="memory://own") as caught:
        store.run([Add(b"%d" % number, b"v" * 100, FOREVER) for number in range(1000)])
    stored = list(caught.value.answers).count(True)
    assert 20_000 / 200 < stored < 20_000 / 100
    assert store._bytes <= 20_000
    assert len(store._entries) == stored


def test_what_is_deleted_makes_room(store: MemoryStore) -> None:
    with pytest.raises(StoreFull):
        store.run([Add(b"%d" % number, b"v" * 3000, FOREVER) for number in range(10)])
    store.run((Delete(b"0"),))
    assert store.run((Add(b"new", b"v" * 3000, FOREVER), Read(b"0"))) == [True, None]


def test_what_has_expired_makes_room_at_once(store: MemoryStore, clock: Clock) -> None:
    for number in range(6):
        store.run((Add(b"%d" % number, b"v" * 3000, 2),))
    with pytest.raises(StoreFull):
        store.run((Add(b"new", b"v" * 3000, FOREVER),))
    clock.now += 2
    assert store.run((Add(b"new", b"v" * 3000, FOREVER),)) == [True]


def test_its_account_of_bytes_is_exact_whatever_happens(store: MemoryStore, clock: Clock) -> None:
    """Shrinking, growing, counting, refusals, deletions and expiry leave nothing behind."""
    store.run((Add(b"a", b"1", 5), Add(b"b", b"x" * 1000, FOREVER), Add(b"c", b"9", 50)))
    (item,) = store.run((Read(b"b"),))
    with pytest.raises(StoreFull):
        store.run([Append(b"b", b"y"), Count(b"c"), *[Add(b"f%d" % i, b"v" * 3000, 5) for i in range(9)]])
    (item,) = store.run((Read(b"b"),))
    store.run((Swap(b"b", b"", FOREVER, item.cas), Append(b"b", b"ab"), Delete(b"a")))
    clock.now += 5
    store.run([Delete(b"f%d" % i) for i in range(9)])
    sizes = store.run((SizeMany(b"", (b"a", b"b", b"c")),))[0]
    assert sizes == [None, 2, 2]
    assert store._bytes == sum(1 + size + memory._OVERHEAD_BYTES for size in (2, 2))
    store.run((Delete(b"b"), Delete(b"c")))
    assert (store._bytes, store._entries) == (0, {})


def test_a_client_is_told_that_it_is_full_and_loses_nothing(make_client: MakeClient) -> None:
    where = InMemory()
    named_store(where.address, item_bytes=1024 * 1024)._limit_bytes = 50_000
    rs = make_client(where.address, ns=where.ns)
    tokens = []
    full = False
    while not full:
        try:
            tokens.append(rs.create("forum", "user1234", "127.0.0.1", d={"k": "v" * 1000})["token"])
        except StoreFull:
            full = True
    assert 20 < len(tokens) < 50
    with pytest.raises(StoreFull):
        rs.set("forum", tokens[0], {"more": "v" * 2000})
    sessions = [rs.get("forum", token) for token in tokens]
    assert [session and session["d"] for session in sessions] == [{"k": "v" * 1000}] * len(tokens)
    assert len(rs.soid("forum", "user1234")) == len(tokens)


# -------------------------------------------------------------------------------------------- expiry


def test_what_has_expired_is_let_go_without_being_asked_for(store: MemoryStore, clock: Clock) -> None:
    for number in range(50):
        store.run((Add(b"%d" % number, b"v", 5),))
    clock.now += 60
    store.run((Read(b"something else"),))
    assert (store._entries, store._bytes) == ({}, 0)


def test_lives_are_counted_in_whole_seconds(store: MemoryStore, clock: Clock) -> None:
    store.run((Add(b"k", b"v", 2),))
    clock.now += 1.9
    (item,) = store.run((Read(b"k"),))
    assert item.left == 1
    clock.now += 0.1
    assert store.run((Read(b"k"),)) == [None]


# ------------------------------------------------------------------------------------------- threads


def test_threads_lose_no_count_and_no_append() -> None:
    store = MemoryStore("memory://threads", item_bytes=1 << 20)
    store.run((Add(b"n", b"0", FOREVER), Add(b"list", b"", FOREVER)))

    def work(mark: bytes) -> None:
        for _ in range(500):
            store.run((Count(b"n"), Append(b"list", mark)))

    threads = [threading.Thread(target=work, args=(b"%d" % number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counter, marks = store.run((Read(b"n"), Read(b"list")))
    assert int(counter.value) == 8 * 500
    assert {mark: marks.value.count(b"%d" % mark) for mark in range(8)} == dict.fromkeys(range(8), 500)


def test_batches_of_threads_do_not_mix() -> None:
    """What a batch adds and removes again is never seen by another one."""
    store = MemoryStore("memory://atomic", item_bytes=1 << 20)
    stop = threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            store.run((Add(b"k", b"v", FOREVER), Delete(b"k")))

    threads = [threading.Thread(target=flicker) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert all(store.run((Read(b"k"),)) == [None] for _ in range(5000))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
