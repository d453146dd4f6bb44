"""A session that is used gets back into an index that lost it, at next to no cost."""

from __future__ import annotations

from typing import Any

import pytest

from memsessions import SessionsClient, StoreUnavailable
from memsessions.store.operations import Append
from memsessions.tokens import hashed

from .conftest import InMemory, MakeClient, Where
from .support.damage import bucket_key, evict, value
from .support.sessions import memory_at

APP = "forum"
USER = "user1234"
IP = "192.0.2.1"


def created(rs: SessionsClient, **options: Any) -> str:
    return rs.create(APP, USER, IP, **options)["token"]


@pytest.mark.parametrize(("ttl", "quarter"), [(7200, 1800), (400, 100), (100, 60)])
@pytest.mark.parametrize("call", ["get", "get_many", "set"])
@pytest.mark.parametrize("no_resave", [False, True])
def test_a_session_that_is_used_is_listed_again_after_a_quarter_of_its_life(
    where: Where, client: SessionsClient, ttl: int, quarter: int, call: str, no_resave: bool
) -> None:
    """But not more often than once a minute. From then on every call that goes through the index finds it."""
    token = created(client, ttl=ttl, no_resave=no_resave)
    evict(client, bucket_key(client, USER))
    assert client.soid(APP, USER) == []
    assert client.killsoid(APP, USER) == {"kill": 0}
    where.advance(quarter)
    if call == "get":
        assert client.get(APP, token) is not None
    elif call == "get_many":
        assert client.get_many(APP, [token]) != [None]
    else:
        assert client.set(APP, token, {"a": 1}) is not None
    assert [session["ip"] for session in client.soid(APP, USER)] == [IP]
    assert len(client.soapp(APP)) == 1
    assert client.activity(APP) == {"activity": 1}
    assert client.killsoid(APP, USER) == {"kill": 1}
    assert client.get(APP, token) is None


@pytest.mark.parametrize("pause", [1, 7, 50, 1000])
def test_it_comes_back_in_that_time_however_often_it_is_used(make_client: MakeClient, pause: int) -> None:
    """At the first use after a quarter at the latest, wherever in its quarters the index was lost."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    for start in range(0, 1800, 211):
        token = created(rs)
        where.advance(start)
        assert rs.get(APP, token) is not None
        evict(rs, bucket_key(rs, USER))
        for _ in range(1800 // pause + 1):
            where.advance(pause)
            rs.get(APP, token)
        assert rs.killall(APP) == {"kill": 1}


@pytest.mark.parametrize("ttl", [7200, 60])
def test_of_a_hundred_reads_less_than_one_has_to_do_more(make_client: MakeClient, ttl: int) -> None:
    """Of a session that is read ten times a second, for hours."""
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    token = created(rs, ttl=ttl)
    store = memory_at(where.address)
    packets = appended = 0
    run = store.run

    def counting(batch: Any, **options: Any) -> list[Any]:
        nonlocal packets, appended
        packets += 1
        appended += any(isinstance(op, Append) for op in batch)
        return run(batch, **options)

    store.run = counting  # type: ignore[method-assign]
    rs._nodes[0]._apps.clear()
    rs._apps.clear()
    reads = 0
    for _ in range(4000):
        where.advance(1)
        for _ in range(10):
            assert rs.get(APP, token) is not None
            reads += 1
    assert appended > 1
    assert packets - reads < reads / 100


@pytest.mark.parametrize("call", ["get", "get_many"])
def test_a_read_is_not_failed_by_what_it_does_for_the_index(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    where = InMemory()
    rs = make_client(where.address, ns=where.ns)
    token = created(rs, d={"a": 1})
    serving = rs._nodes[0].app(APP)

    def refuse(*_: object) -> None:
        raise StoreUnavailable(where.address, "no answer in time")

    monkeypatch.setattr(serving.listing, "listing", refuse)
    where.advance(3000)
    session = rs.get(APP, token) if call == "get" else rs.get_many(APP, [token])[0]
    assert session is not None
    assert (session["d"], session["idle"], session["r"]) == ({"a": 1}, 3000, 2)


def test_the_record_of_a_session_that_is_used_all_the_time_does_not_pile_up(
    where: Where, client: SessionsClient
) -> None:
    """It stands in the index once more for each quarter, and once again after a wipe."""
    token = created(client)
    for _ in range(6):
        where.advance(1900)
        client.get(APP, token)
    listed = value(client, bucket_key(client, USER)) or b""
    assert listed.count(hashed(token)) == 7
    assert len(client.soid(APP, USER)) == 1
    assert client.wipe() == {"wiped": 0}
    listed = value(client, bucket_key(client, USER)) or b""
    assert listed.count(hashed(token)) == 1


def test_a_session_that_was_listed_before_its_bucket_spilled_is_shown_once(
    where: Where, client: SessionsClient
) -> None:
    """Its bucket lists it, and a segment does since it was used again."""
    token = created(client)
    client._nodes[0].app(APP).listing.mark_full(hashed(USER))
    where.advance(1900)
    assert client.get(APP, token) is not None
    assert len(client.soid(APP, USER)) == 1
    assert len(client.soapp(APP)) == 1
    assert client.activity(APP) == {"activity": 1}
    assert client.killall(APP) == {"kill": 1}
