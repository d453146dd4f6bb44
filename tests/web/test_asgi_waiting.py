"""The event loop never waits for the store; a request that is cancelled does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.abc
import pytest
from pymemcache import PooledClient

from memsessions.asgi import SessionMiddleware, in_thread
from memsessions.web import Session, SessionStorage

from ..conftest import PATIENCE_S, MakeClient, OnMemcached
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.tries import waiting
from .asgi_server import BACKENDS, App, Backend, Exchange, exchange, scope

APP = "forum"
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"done"}

_TICK_S = 0.002
#: A loop that waits for the store even once ticks a few times in all.
_TICKS = 10


def page(change: Callable[[Session], object]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        change(scope["session"])
        await send(START)
        await send(END)

    return app


def reading(session: Session) -> None:
    session.get("key")


def writing(session: Session) -> None:
    session["key"] = 1


async def with_heartbeat(
    request: Callable[[], Awaitable[Exchange]], ticked: threading.Event | None = None
) -> tuple[Exchange, int]:
    """A request, and how often another task of the same loop came to its turn meanwhile.

    `ticked` is set once that was often.
    """
    ticks = 0

    async def heart() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(_TICK_S)
            ticks += 1
            if ticked is not None and ticks > _TICKS:
                ticked.set()

    async with anyio.create_task_group() as group:
        group.start_soon(heart)
        done = await request()
        group.cancel_scope.cancel()
    return done, ticks


@pytest.mark.parametrize("change", [reading, writing])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_server_holds_up_its_visitor_only(
    own_memcached: Memcached, make_client: MakeClient, backend: Backend, change: Callable[[Session], object]
) -> None:
    storage = SessionStorage(make_client(own_memcached.address), APP)
    storage.client.ping()
    waiting(storage.client, 0.5)
    own_memcached.freeze()
    # Who has no cookie is not looked up: their session is saved without being read.
    given = scope("http", "0" * 64 if change is reading else None)

    async def main() -> tuple[Exchange, int]:
        return await with_heartbeat(lambda: exchange(SessionMiddleware(page(change), storage), given))

    done, ticks = anyio.run(main, backend=backend)
    assert done.status == 503
    assert ticks > _TICKS


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slow_server_holds_up_its_visitor_only(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient, backend: Backend
) -> None:
    storage = SessionStorage(make_client(proxy.address, ns=on_memcached.ns), APP)
    session = storage.open(None)
    session["key"] = 0
    given = scope("http", storage.save(session))
    ticked = threading.Event()

    def hold(chunk: bytes) -> bytes:
        assert ticked.wait(10), "the loop waits for the store"
        return chunk

    proxy.to_client = hold

    async def main() -> tuple[Exchange, int]:
        app = SessionMiddleware(page(writing), storage)
        return await with_heartbeat(lambda: exchange(app, given), ticked)

    done, ticks = anyio.run(main, backend=backend)
    assert (done.status, done.error) == (200, None)
    assert ticks > _TICKS


def test_many_visitors_wait_side_by_side(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    storage = SessionStorage(make_client(proxy.address, ns=on_memcached.ns, timeout=5), APP)
    session = storage.open(None)
    session["key"] = 0
    cookie = storage.save(session)
    together = 20
    all_there = threading.Event()

    def note(chunk: bytes) -> bytes:
        if proxy.connections >= together:
            all_there.set()
        return chunk

    def hold(chunk: bytes) -> bytes:
        assert all_there.wait(10), "the requests come one after the other"
        return chunk

    proxy.to_server = note
    proxy.to_client = hold

    async def main() -> list[Exchange]:
        app = SessionMiddleware(page(reading), storage)
        done = []

        async def request() -> None:
            done.append(await exchange(app, scope("http", cookie)))

        async with anyio.create_task_group() as group:
            for _ in range(together):
                group.start_soon(request)
        return done

    assert [done.status for done in anyio.run(main)] == [200] * together


# ------------------------------------------------------------------------------------- cancellation

Work = Callable[[], Coroutine[Any, Any, None]]


async def by_scope(work: Work, until: Work) -> None:
    """As anyio, trio and Starlette cancel."""
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await until()
        group.cancel_scope.cancel()


async def by_task(work: Work, until: Work) -> None:
    """As asyncio does, for `wait_for` or when a server ends: twice, for good measure."""
    task = asyncio.create_task(work())
    await until()
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def one_connection(proxy: Proxy) -> Iterator[PooledClient]:
    """A pool that lends one connection, and raises if it is asked for another."""
    pool = PooledClient(("127.0.0.1", proxy.port), max_pool_size=1)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("cancel", "backend"), [(by_scope, "asyncio"), (by_scope, "trio"), (by_task, "asyncio")]
)
@pytest.mark.parametrize("at", ["read", "save"])
def test_a_request_that_is_cancelled_waits_for_its_call_and_leaves_no_connection_in_use(
    proxy: Proxy,
    on_memcached: OnMemcached,
    one_connection: PooledClient,
    make_client: MakeClient,
    cancel: Callable[[Work, Work], Awaitable[None]],
    backend: Backend,
    at: str,
) -> None:
    """The call ends by its deadline; until then it is the request's, and after it nobody's."""
    client = make_client(client=one_connection, ns=on_memcached.ns)
    storage = SessionStorage(client, APP)
    session = storage.open(None)
    session["key"] = "value"
    cookie = storage.save(session)
    reached: list[str] = []

    def change(session: Session) -> None:
        reached.append("application")
        session["key"] = "changed"
        swallow()

    def swallow() -> None:
        waiting(client, 0.2)
        proxy.sent.clear()
        proxy.hole = True

    async def main() -> None:
        async def work() -> None:
            await exchange(SessionMiddleware(page(change), storage), scope("http", cookie))
            reached.append("response")

        async def under_way() -> None:
            while not (proxy.hole and proxy.sent):
                await anyio.sleep(0.001)

        if at == "read":
            swallow()
        await cancel(work, under_way)
        # At this very moment: there is no thread left that still uses the connection.
        proxy.hole = False
        assert len(one_connection.client_pool.used) == 0

    anyio.run(main, backend=backend)
    assert reached == ([] if at == "read" else ["application"])
    waiting(client, PATIENCE_S)
    assert dict(storage.read(cookie)) == {"key": "value"}


@pytest.mark.parametrize("cancels", [1, 3])
def test_a_call_that_asyncio_cancels_is_over_or_never_made(cancels: int) -> None:
    """Whether its thread had begun or not, and however often it is cancelled: nothing happens afterwards."""
    begun, made = [0], [0]

    def call() -> None:
        begun[0] += 1
        time.sleep(0.005)
        made[0] += 1

    async def cancelled(after: int) -> tuple[int, int]:
        task = asyncio.create_task(in_thread(call))
        for _ in range(after):
            await asyncio.sleep(0)
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await task
        return begun[0], made[0]

    async def main() -> None:
        for after in (1, 2, 3, 10) * 10:
            assert (seen := await cancelled(after)) == (begun[0], begun[0])
            await asyncio.sleep(0.01)
            assert (begun[0], made[0]) == seen

    asyncio.run(main())
