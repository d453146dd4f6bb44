"""What the tests share: the two stores, time that can be moved, and clients of a namespace of their own."""

from __future__ import annotations

import contextlib
import gc
import secrets
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from memsessions import SessionsClient, index, tallies
from memsessions.store import memory
from memsessions.store.memory import MemoryStore, named_store

from .support.memcached import Memcached
from .support.proxy import Proxy

# How fast examples are made is a matter of what else the machine does.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

MakeClient = Callable[..., SessionsClient]

#: What clients wait for a server in tests that are not about how long they do.
PATIENCE_S = 20.0

# A table that grows as it fills, and not one of 65,536 places: every look at all keys goes through all of it.
SMALL_TABLE = ("-o", "hashpower=12")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In a worker of pytest-xdist, have coverage measured once only.

    pytest-cov begins when the worker's options are read, and then again when it sees that it is a worker: of
    the two, `no_cover` would stop the second, and so let the first go on.
    """
    coverage = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and coverage is not None and coverage.cov_controller:
        coverage.cov_controller.cov.stop()


def pytest_collection_finish() -> None:
    """What was imported until then lives for ever: no garbage collection needs to look at it again.

    Some tests collect garbage often, and each time would cost as much as all that the tests import.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # what reports at the end may ask who refers to what


@pytest.fixture(autouse=True)
def _no_exception_stays_handled() -> Iterator[None]:
    """Or whatever is raised by later tests would have it as its context."""
    yield
    assert sys.exc_info() == (None, None, None)


@pytest.fixture(autouse=True)
def _counts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Or each snapshot would show the thousand servers of all tests before.

    What is counted of a client holds its stores, and those that a test put in their place may hold the
    client: thousands would stay, and every garbage collection would look at them again.
    """
    book = tallies.Book()
    monkeypatch.setattr(tallies, "_book", book)
    yield
    for number in list(book._clients):
        book._clients[number] = tallies.Tallies()


@pytest.fixture(autouse=True)
def _stores_of_its_own() -> Iterator[None]:
    """What it stores in memory goes with it."""
    before = set(memory._named)
    yield
    for name in memory._named.keys() - before:
        del memory._named[name]


class Where:
    """A store to run a test on: its address, a namespace nobody else uses, and the hands of its clock."""

    kind: str
    address: Any
    #: The memcacheds it runs on; none in memory.
    servers: tuple[Memcached, ...] = ()

    def __init__(self) -> None:
        self.ns = "t" + secrets.token_hex(6)

    def advance(self, seconds: int) -> None:
        """Let so many seconds pass, at once."""
        raise NotImplementedError


class InMemory(Where):
    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.address = f"memory://{self.ns}"
        self.now = 1_000_000.0
        store = named_store(self.address, item_bytes=1024 * 1024)
        assert isinstance(store, MemoryStore)
        store._clock = lambda: self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds


class OnMemcached(Where):
    kind = "memcached"

    def __init__(self, server: Memcached) -> None:
        super().__init__()
        self.address = server.address
        self.server = server
        self.servers = (server,)

    def advance(self, seconds: int) -> None:
        self.server.advance(self.ns, seconds)


class OnSeveral(Where):
    """Several stores as one, each in memory or a memcached."""

    def __init__(self, each: list[Where]) -> None:
        super().__init__()
        self.each = each
        self.kind = each[0].kind
        self.address = [one.address for one in each]
        self.servers = tuple(server for one in each for server in one.servers)
        for one in each:
            one.ns = self.ns

    def advance(self, seconds: int) -> None:
        for one in self.each:
            one.advance(seconds)


@pytest.fixture(scope="module")
def memcached() -> Iterator[Memcached]:
    """A server for a module's tests that do not harm it. It is shared: look at your own namespace only."""
    with Memcached("-m", "512", "-t", "2", *SMALL_TABLE) as server:
        yield server


@pytest.fixture
def own_memcached() -> Iterator[Memcached]:
    """A server for one test, to be frozen, killed and restarted."""
    with Memcached("-t", "1", *SMALL_TABLE) as server:
        yield server


@pytest.fixture(scope="module")
def three_memcacheds() -> Iterator[list[Memcached]]:
    """Servers for a module's tests that do not harm them."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Memcached("-m", "128", "-t", "1", *SMALL_TABLE)) for _ in range(3)]


def every_where(request: pytest.FixtureRequest) -> Where:
    """One of the stores there are, alone or as three that work as one; `param` says which."""
    several, _, kind = request.param.rpartition(" ")
    if kind == "memory":
        return OnSeveral([InMemory() for _ in range(3)]) if several else InMemory()
    if several:
        return OnSeveral([OnMemcached(server) for server in request.getfixturevalue("three_memcacheds")])
    return OnMemcached(request.getfixturevalue("memcached"))


@pytest.fixture(params=["memory", "memcached"])
def where(request: pytest.FixtureRequest) -> Where:
    """Each of the two stores in turn: whatever uses this is part of the conformance suite."""
    return every_where(request)


@pytest.fixture
def on_memcached(memcached: Memcached) -> OnMemcached:
    return OnMemcached(memcached)


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Makes clients that are closed at the end of the test.

    They have no wipe thread unless asked for, and wait patiently: a machine that is busy is no outage.
    """
    clients = []

    def make(*args: Any, **options: Any) -> SessionsClient:
        client = SessionsClient(
            *args, **{"wipe": 0, "timeout": PATIENCE_S, "connect_timeout": PATIENCE_S, **options}
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(where: Where, make_client: MakeClient) -> SessionsClient:
    return make_client(where.address, ns=where.ns)


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of one bucket, so that a scan is a few operations and not hundreds."""
    monkeypatch.setattr(index, "BUCKETS", 1)
    monkeypatch.setattr(index, "_BUCKET_NAMES", [b"0"])
    monkeypatch.setattr(index, "SEGMENTS", 2)


@pytest.fixture
def proxy(memcached: Memcached) -> Iterator[Proxy]:
    """A proxy in front of the shared server."""
    with Proxy(("127.0.0.1", memcached.port)) as running:
        yield running
