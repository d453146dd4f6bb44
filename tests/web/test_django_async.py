"""Sessions in an event loop, which never waits for the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation
from django.test import AsyncClient, override_settings

from memsessions import SessionsClient, StoreUnavailable
from memsessions.django import SessionStore, client, devices, end_all, end_device, end_others

from ..conftest import OnMemcached
from ..support.memcached import Memcached
from .django_project import sessions_on

USER = "user1234"
has_async_sessions = pytest.mark.skipif(django.VERSION < (5, 1), reason="Django has them from 5.1 on")
has_async_auth = pytest.mark.skipif(django.VERSION < (5, 0), reason="Django has it from 5.0 on")


class Barrier:
    """As asyncio's, which Python 3.10 does not have."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._open = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._open.set()
        await self._open.wait()


@pytest.fixture(autouse=True)
def _sessions(on_memcached: OnMemcached) -> Iterator[None]:
    with sessions_on(on_memcached):
        yield


def test_async_views_have_sessions() -> None:
    async def visits() -> list[Any]:
        browser = AsyncClient()
        return [(await browser.get("/count")).json()["seen"] for _ in range(3)]

    assert asyncio.run(visits()) == [0, 1, 2]


def test_requests_side_by_side_keep_each_others_keys() -> None:
    async def visits() -> Any:
        browser = AsyncClient()
        await browser.get("/count")
        key = browser.cookies["session"].value

        async def write(name: str) -> None:
            session = SessionStore(key)
            await asyncio.to_thread(session.keys)  # which reads it
            await barrier.wait()
            session[name] = name
            await session.asave()

        barrier = Barrier(8)
        names = [f"key {number}" for number in range(8)]
        await asyncio.gather(*map(write, names))
        return set(await SessionStore(key).aload()) - {"seen"} == set(names)

    assert asyncio.run(visits())


def test_a_view_that_would_wait_in_the_event_loop_is_an_error() -> None:
    async def visits() -> None:
        browser = AsyncClient()
        assert (await browser.get("/blocking")).json() == {
            "seen": None
        }  # without cookie there is nothing to ask
        await browser.get("/count")
        with pytest.raises(SynchronousOnlyOperation, match="its async methods"):
            await browser.get("/blocking")

    asyncio.run(visits())


def test_every_method_that_asks_the_store_has_an_async_one() -> None:
    async def life() -> None:
        session = SessionStore()
        await session.acreate()
        key = session.session_key
        assert key is not None
        assert await session.aexists(key)
        assert not await session.aexists(None)
        session["key"] = 1
        await session.asave()
        assert await SessionStore(key).aload() == {"key": 1}
        with pytest.raises(CreateError):
            await session.asave(must_create=True)
        await session.acycle_key()
        assert not await session.aexists(key)
        other = SessionStore(session.session_key)
        await other.adelete()
        session["key"] = 2
        with pytest.raises(UpdateError):
            await session.asave()
        await session.aflush()
        assert session.session_key is None
        await SessionStore.aclear_expired()

    asyncio.run(life())


def test_the_others_refuse_to_wait_in_an_event_loop() -> None:
    session = SessionStore()
    session["key"] = 1
    session.save()
    session["key"] = 2
    key = str(session.session_key)

    async def in_a_loop() -> None:
        for call in (
            session.save,
            session.create,
            session.load,
            session.delete,
            session.cycle_key,
            session.flush,
            SessionStore.clear_expired,
            lambda: session.exists(key),
            lambda: SessionStore(key)["key"],
            lambda: devices(USER),
            lambda: end_device(USER, "handle"),
            lambda: end_others(session),
            lambda: end_all(USER),
        ):
            with pytest.raises(SynchronousOnlyOperation):
                call()

    asyncio.run(in_a_loop())
    assert SessionStore(key)["key"] == 1


@has_async_sessions
def test_djangos_own_async_methods_work_on_it() -> None:
    async def life() -> None:
        session = SessionStore()
        await session.aset("key", 1)
        await session.aset_expiry(100)
        await session.asave()
        found = SessionStore(session.session_key)
        assert await found.aget("key") == 1
        assert await found.ahas_key("key")
        assert await found.aget_expiry_age() == 100
        assert await found.apop("key") == 1
        await found.asave()
        assert list(await SessionStore(session.session_key).akeys()) == ["_session_expiry"]

    asyncio.run(life())


@has_async_auth
def test_an_async_log_in_and_log_out() -> None:
    async def visits() -> tuple[str, str]:
        browser = AsyncClient(REMOTE_ADDR="192.0.2.7")
        await browser.get("/count")
        guest = browser.cookies["session"].value
        await browser.get("/async-log-in")
        key = browser.cookies["session"].value
        assert (await browser.get("/count")).json() == {"seen": 1, "user": USER}
        [listed] = await asyncio.to_thread(client().soid, "django", USER)
        assert listed["id"] == USER
        await browser.get("/async-log-out")
        assert await asyncio.to_thread(client().soid, "django", USER) == []
        assert browser.cookies["session"].value == ""
        return guest, key

    guest, key = asyncio.run(visits())
    assert guest != key
    assert not SessionStore().exists(guest)


def test_the_event_loop_goes_on_while_a_session_waits(own_memcached: Memcached) -> None:
    setting = {"servers": own_memcached.address, "timeout": 1.0, "wipe": 0}
    with override_settings(MEMSESSIONS=setting):
        session = SessionStore()
        session[SESSION_KEY] = USER
        session.save()
        own_memcached.freeze()

        async def waiting() -> int:
            ticks = 0
            load = asyncio.ensure_future(SessionStore(session.session_key).aload())
            while not load.done():
                await asyncio.sleep(0.002)
                ticks += 1
            with pytest.raises(StoreUnavailable):
                await load
            return ticks

        assert asyncio.run(waiting()) > 5


def test_what_is_done_in_threads_is_seen_by_others(on_memcached: OnMemcached, make_client: Any) -> None:
    async def visit() -> None:
        await AsyncClient().get("/count")

    asyncio.run(visit())
    other: SessionsClient = make_client(on_memcached.address, ns=on_memcached.ns)
    assert len(other.soapp("django")) == 1
