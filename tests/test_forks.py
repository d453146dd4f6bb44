"""A client that was made before a fork works in parent and children at once, with nothing to call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymemcache import Client, PooledClient

from .conftest import InMemory, MakeClient, OnMemcached, Where
from .support.forking import APP, CHILD_S, IP, Sessions, sockets
from .support.memcached import Memcached

pytestmark = [
    # From Python 3.12 on; that it is safe all the same is what is shown here.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
    # Its tracer has a lock, which another thread of the parent may hold when a child is made.
    pytest.mark.no_cover,
]


class Child:
    """A process that was forked to do something."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _in_child(work, writing)
        os.close(writing)

    def result(self) -> Any:
        """What it did; fails if it did not."""
        with os.fdopen(self._reading) as pipe:
            said = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"the child ended with status {status}: {said}"
        return json.loads(said)


def _in_child(work: Callable[[], Any], writing: int) -> None:
    """Do it and end, whatever happens: nothing of the parent's test is gone on with."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_S)
        try:
            said = json.dumps(work())
            code = 0
        except BaseException:  # noqa: BLE001
            said = traceback.format_exc()
        with os.fdopen(writing, "w") as pipe:
            pipe.write(said)
    finally:
        os._exit(code)


def in_child(work: Callable[[], Any]) -> Any:
    return Child(work).result()


# ------------------------------------------------------------------------------------- parent and children


@pytest.mark.parametrize("cachetime", [0, 5])
def test_parent_and_children_work_at_once(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient, cachetime: int
) -> None:
    """With the client that the parent had used before, each reads its own replies only."""
    sessions = Sessions(make_client(memcached.address, ns=on_memcached.ns, cachetime=cachetime))
    sessions.work(5)
    children = [Child(lambda: sessions.work(60)) for _ in range(4)]
    sessions.work(60)
    assert [child.result() for child in children] == [60] * 4
    sessions.work(5)


def test_a_client_that_was_not_used_before_works_in_a_child(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns)
    assert in_child(lambda: Sessions(rs).work(5)) == 5
    rs.killall(APP)
    assert Sessions(rs).work(5) == 5


def test_children_of_children_work(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    sessions = Sessions(make_client(memcached.address, ns=on_memcached.ns))

    def child() -> list[int]:
        grandchild = Child(lambda: [sessions.work(10), in_child(lambda: sessions.work(10))])
        return [sessions.work(10), *grandchild.result()]

    assert in_child(child) == [10, 10, 10]
    sessions.work(10)


def test_a_memory_store_is_copied_by_a_fork(make_client: MakeClient) -> None:
    """As its documentation says."""
    where = InMemory()
    sessions = Sessions(make_client(where.address, ns=where.ns))

    def child() -> int:
        sessions.work(3)
        return int(sessions.rs.killall(APP)["kill"])

    assert in_child(child) == 8
    sessions.work(3)


# ---------------------------------------------------------------------------------------- whose sockets


def shared_client(port: int) -> Client:
    return Client(("127.0.0.1", port))


def shared_pool(port: int) -> PooledClient:
    return PooledClient(("127.0.0.1", port))


@pytest.mark.parametrize("share", [None, shared_client, shared_pool])
def test_children_use_none_of_the_parents_sockets(
    own_memcached: Memcached, make_client: MakeClient, share: Callable[[int], Any] | None
) -> None:
    """They close theirs, which leaves the parent's open, and open others."""
    port = own_memcached.port
    client = share(port) if share else None
    sessions = Sessions(make_client(client=client) if client else make_client(own_memcached.address))
    before = sockets(port)
    assert len(before) == 1

    def child() -> list[list[int]]:
        unused = sockets(port)
        sessions.work(3)
        return [sorted(unused), sorted(sockets(port))]

    seen = [in_child(child) for _ in range(3)]
    for unused, used in seen:
        assert unused == []
        assert len(used) == 1
        assert not before & set(used)
    sessions.work(3)
    assert sockets(port) == before, "the parent still has the connection that it had"
    if client:
        client.close()


def test_a_child_that_does_nothing_leaves_the_parents_connections_open(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    sessions = Sessions(make_client(own_memcached.address))
    before = sockets(own_memcached.port)
    for _ in range(5):
        in_child(lambda: None)
    sessions.work(3)
    assert sockets(own_memcached.port) == before


def test_a_child_that_closes_its_client_leaves_the_parents_open(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    sessions = Sessions(make_client(own_memcached.address, wipe=600))
    in_child(lambda: sessions.rs.quit())
    sessions.work(3)


# ---------------------------------------------------------------------------------------- threads, locks


@pytest.mark.parametrize("kind", ["memcached", "memory", "pool"])
def test_a_fork_while_threads_are_in_the_middle_of_calls_blocks_no_child(
    memcached: Memcached, make_client: MakeClient, kind: str
) -> None:
    """Whatever locks they hold just then: of the cache, of the store in memory, of a shared pool."""
    where = InMemory() if kind == "memory" else OnMemcached(memcached)
    options: dict[str, Any] = {"ns": where.ns, "cachetime": 1, "cachemax": 4}
    if kind == "pool":
        options["client"] = PooledClient(("127.0.0.1", memcached.port))
    else:
        options["servers"] = where.address
    sessions = Sessions(make_client(**options))
    stop = threading.Event()
    failures: list[BaseException] = []

    def busy() -> None:
        try:
            while not stop.is_set():
                sessions.work(1)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            assert in_child(lambda: sessions.work(2)) == 2
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    sessions.work(5)
    if kind == "pool":
        options["client"].close()


def test_a_child_of_a_thread_works(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    sessions = Sessions(make_client(memcached.address, ns=on_memcached.ns))
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(in_child(lambda: sessions.work(5))))
    thread.start()
    sessions.work(20)
    thread.join()
    assert results == [5]


# ------------------------------------------------------------------------------------ the wipe thread


def wipe_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "memsessions-wipe"]


def test_the_wipe_thread_runs_again_in_a_child_that_uses_the_client(
    where: Where, make_client: MakeClient
) -> None:
    others = wipe_threads()  # of clients that an earlier test closed: they may end at any moment
    sessions = Sessions(make_client(where.address, ns=where.ns, wipe=600))
    assert len([thread for thread in wipe_threads() if thread not in others]) == 1

    def child() -> list[int]:
        before = len(wipe_threads())
        sessions.work(1)
        sessions.work(1)
        after = len(wipe_threads())
        sessions.rs.quit()
        for thread in wipe_threads():
            thread.join(5)
        return [before, after, len(wipe_threads())]

    assert in_child(child) == [0, 1, 0]
    assert len([thread for thread in wipe_threads() if thread not in others]) == 1


def test_the_wipe_thread_of_a_child_wipes(memcached: Memcached, make_client: MakeClient) -> None:
    where = OnMemcached(memcached)
    rs = make_client(where.address, ns=where.ns, wipe=600)
    for _ in range(3):
        rs.create(APP, "user1234", IP, ttl=10)
    where.advance(12)
    (bucket,) = (key for key in memcached.keys(where.ns) if ":i:" in key)
    assert memcached.value(bucket)
    rs._wipe_s = 0.05  # type: ignore[assignment]  # shorter than can be asked for

    def child() -> bool:
        rs.ping()
        give_up = time.monotonic() + 10
        while memcached.value(bucket) and time.monotonic() < give_up:
            time.sleep(0.02)
        return not memcached.value(bucket)

    assert in_child(child)


def test_a_client_that_was_closed_stays_closed_in_a_child(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns)
    rs.ping()
    rs.quit()

    def child() -> str:
        try:
            rs.get(APP, "0" * 64)
        except RuntimeError as error:
            return type(error).__name__
        return "no error"

    assert in_child(child) == "ClientClosed"


# --------------------------------------------------------------------- a fork in the middle of one's own call


def forking(server: Memcached, *arguments: str) -> int:
    """Run `tests.support.forking`; the number that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.forking", server.address, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("kind", ["first", "later", "pool"])
@pytest.mark.parametrize(("name", "step"), [("get", 1), ("set", 3), ("create", 3)])
def test_a_fork_at_any_line_of_a_call_leaves_parent_and_child_apart(
    own_memcached: Memcached, name: str, kind: str, step: int
) -> None:
    """As by a signal handler: the parent's call is not disturbed, and the child never uses its connection."""
    assert forking(own_memcached, "at-lines", name, kind, str(step)) > 20


def test_a_fork_in_a_signal_handler_at_any_time_leaves_parent_and_child_apart(
    own_memcached: Memcached,
) -> None:
    assert forking(own_memcached, "at-any-time") > 20
