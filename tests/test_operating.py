"""What tools for operators ask of a store, on every kind of store."""

from __future__ import annotations

import tracemalloc

import pytest

from memsessions import (
    ClientClosed,
    InvalidFormat,
    LogoutIncomplete,
    SessionsClient,
    StoreUnavailable,
    index,
    operating,
    scans,
)
from memsessions.handles import handle_of_token

from .conftest import MakeClient, OnMemcached, Where, every_where
from .support.sessions import UNKNOWN

APP = "forum"


@pytest.fixture(params=["memory", "memcached", "several memory", "several memcached"])
def where(request: pytest.FixtureRequest) -> Where:
    """One store, and three that work as one."""
    return every_where(request)


@pytest.fixture(params=[1, 64], ids="in groups of {}".format)
def small_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_READ_BYTES", request.param * index.RECORD_LENGTH)
    monkeypatch.setattr(index, "GROUP_RECORDS", request.param)
    monkeypatch.setattr(scans, "BATCH_MIN", request.param)
    monkeypatch.setattr(scans, "BATCH_MAX", request.param)


def fill(rs: SessionsClient, users: int = 30) -> list[str]:
    """Users with one to three sessions each, some of a fixed life, and as many dead entries."""
    tokens = []
    for n in range(users):
        tokens += [
            rs.create(APP, f"user{n}", "10.0.0.1", ttl=3600, no_resave=n % 5 == 0)["token"]
            for _ in range(n % 3 + 1)
        ]
        rs.kill(APP, rs.create(APP, f"user{n}", "10.0.0.1")["token"])
    return tokens


@pytest.mark.usefixtures("small_groups")
def test_a_census_counts_living_sessions_and_each_user_once(client: SessionsClient, where: Where) -> None:
    assert operating.census(client, APP) == (0, 0, 0)
    fill(client)
    assert operating.census(client, APP) == (60, 30, 30)
    where.advance(700)
    for _ in range(3):  # of one who has sessions, and of a new one
        client.create(APP, "user1", "10.0.0.1")
        client.create(APP, "somebody", "10.0.0.1")
    assert operating.census(client, APP) == (66, 31, 2)
    assert operating.census(client, APP, 1000) == (66, 31, 31)
    where.advance(3000)
    assert operating.census(client, APP) == (6, 2, 0)


def test_a_census_counts_a_session_once_that_is_listed_twice(
    client: SessionsClient, small_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bucket that spills may repeat in a segment what it says itself."""
    del small_index
    tokens = [client.create(APP, f"user{n}", "10.0.0.1", ttl=3600)["token"] for n in range(20)]
    monkeypatch.setattr(index, "FULL_BYTES", 1)
    for node in client._nodes:
        scanned = node.app(APP)
        for bucket in scanned.listing.groups():
            for item in [entry for each in bucket for entry in map(index.entry, each.records())]:
                scanned.listing.mark_full(item.user)
                assert scanned.listing.listed(
                    item.user, node.store.run(scanned.listing.listing(item.user, item.session, item.life))
                )
    assert operating.census(client, APP) == (20, 20, 20)
    assert operating.sessions(client, APP).total == 20
    assert len(tokens) == 20


def test_a_census_takes_no_more_memory_for_more_sessions(make_client: MakeClient) -> None:
    def peak(sessions: int) -> int:
        rs = make_client(f"memory://census{sessions}")
        for n in range(sessions):
            rs.create(APP, f"user{n}", "10.0.0.1")
        operating.census(rs, APP)
        tracemalloc.start()
        try:
            assert operating.census(rs, APP).users == sessions
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(16_000) < 1.5 * peak(8_000)


def test_looking_neither_counts_nor_renews(client: SessionsClient, where: Where) -> None:
    token = client.create(APP, "alice", "10.0.0.1", ttl=100)["token"]
    where.advance(60)
    for _ in range(3):
        operating.census(client, APP)
        operating.sessions(client, APP)
        operating.sessions(client, APP, id="alice")
        found = operating.peek(client, APP, token)
        assert found is not None
        assert operating.peek_named(client, APP, found.handle) is not None
        assert (found.session["r"], found.session["w"]) == (1, 1)
        assert 60 <= found.session["idle"] <= 62
    where.advance(45)
    assert operating.peek(client, APP, token) is None
    assert client.get(APP, token) is None


def test_peek_shows_what_get_would_without_the_access(client: SessionsClient) -> None:
    for fixed in (False, True):
        token = client.create(APP, "alice", "10.0.0.1", d={"a": 1}, no_resave=fixed)["token"]
        found = operating.peek(client, APP, token)
        session = client.get(APP, token)
        assert found is not None
        assert session is not None
        assert {**found.session, "r": 2, "idle": 0, "ttl": 0} == {**session, "idle": 0, "ttl": 0}
        assert found.handle == handle_of_token(token)
        client.kill(APP, token)
        assert operating.peek(client, APP, token) is None
        assert operating.peek_named(client, APP, found.handle) is None
    assert operating.peek(client, APP, UNKNOWN) is None


@pytest.mark.parametrize("handle", ["", "x" * 21, "x" * 23, "a b" + "x" * 19, "\r\n" + "x" * 20, "ä" * 22])
def test_what_cannot_be_a_handle_is_refused_before_anything_is_asked(
    make_client: MakeClient, handle: str
) -> None:
    with pytest.raises(InvalidFormat, match="Invalid handle format"):
        operating.peek_named(make_client("127.0.0.1:1"), APP, handle)


@pytest.mark.usefixtures("small_groups")
def test_sessions_are_listed_the_last_used_first_and_so_many_at_most(
    client: SessionsClient, where: Where
) -> None:
    for n in range(6):
        client.create(APP, f"user{n}", f"10.0.0.{n}")
        where.advance(100)
    listed, total = operating.sessions(client, APP)
    assert [each.session["ip"] for each in listed] == [f"10.0.0.{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert total == 6
    listed, total = operating.sessions(client, APP, limit=2)
    assert ([each.session["id"] for each in listed], total) == (["user5", "user4"], 6)
    listed, total = operating.sessions(client, APP, dt=350)
    assert (len(listed), total) == (3, 3)
    client.create(APP, "user1", "10.0.0.9")
    listed, total = operating.sessions(client, APP, id="user1")
    assert ([each.session["ip"] for each in listed], total) == (["10.0.0.9", "10.0.0.1"], 2)
    assert operating.sessions(client, APP, id="user1", dt=60).total == 1
    assert operating.sessions(client, APP, id="nobody") == ([], 0)
    assert operating.sessions(client, "another") == ([], 0)


@pytest.mark.usefixtures("small_groups")
def test_work_tells_how_far_it_has_come(client: SessionsClient) -> None:
    fill(client)
    for work in (
        lambda tell: operating.census(client, APP, tell=tell),
        lambda tell: operating.sessions(client, APP, tell=tell),
        lambda tell: operating.wipe(client, tell),
        lambda tell: operating.kill_all(client, APP, tell),
    ):
        told: list[tuple[int, int]] = []
        work(lambda done, total, told=told: told.append((done, total)))
        assert told == sorted(told)
        assert all(done <= total for done, total in told)
    assert told[-1] == (60, 60)  # the dead entries were wiped


def test_every_app_is_named_once(client: SessionsClient) -> None:
    assert operating.app_names(client) == []
    for app in ("shop", "forum", "shop", "forum", "shop"):
        client.create(app, "alice", "10.0.0.1")
    assert operating.app_names(client) == ["forum", "shop"]


# ------------------------------------------------------------------------------------------ changing


def test_kill_all_and_wipe_do_what_the_clients_calls_do(client: SessionsClient) -> None:
    fill(client)
    client.create("another", "alice", "10.0.0.1")
    assert operating.wipe(client) == 30
    assert operating.kill_all(client, APP) == 60
    assert operating.kill_all(client, APP) == 0
    assert operating.census(client, APP) == (0, 0, 0)
    assert operating.census(client, "another") == (1, 1, 1)


@pytest.mark.usefixtures("small_groups")
def test_kill_all_that_is_stopped_has_ended_what_it_says_and_no_more(client: SessionsClient) -> None:
    """And it leaves the index as it should be: what lives is listed, and what is ended is not there."""
    tokens = fill(client)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    killed = operating.kill_all(client, APP, stop=stop)
    assert 0 <= killed <= 60  # all of it, where that is one packet
    living = [token for token in tokens if operating.peek(client, APP, token)]
    assert len(living) == 60 - killed == operating.census(client, APP).sessions
    assert operating.kill_all(client, APP) == len(living)
    assert not any(operating.peek(client, APP, token) for token in tokens)


def test_kill_all_that_is_stopped_leaves_no_counter_behind(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    for n in range(5000):
        rs.create(APP, f"user{n}", "10.0.0.1")
    asked = iter([False, True])
    killed = operating.kill_all(rs, APP, stop=lambda: next(asked, True))
    assert 0 < killed < 5000
    keys = on_memcached.server.keys(on_memcached.ns)
    sessions = {key.rpartition(":")[2] for key in keys if f":{APP}:s:" in key}
    counters = {key.rpartition(":")[2] for key in keys if f":{APP}:r:" in key}
    assert len(sessions) == 5000 - killed
    assert counters == sessions
    assert operating.census(rs, APP).sessions == len(sessions)


@pytest.mark.usefixtures("small_groups")
def test_a_wipe_that_is_stopped_leaves_the_rest_to_the_next(client: SessionsClient) -> None:
    fill(client)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 4

    first = operating.wipe(client, stop=stop)
    assert 0 <= first <= 30
    assert first + operating.wipe(client) == 30
    assert operating.census(client, APP).sessions == 60


# ------------------------------------------------------------------------------------------- outages


def test_each_servers_answer_or_error_stands_by_its_name(make_client: MakeClient) -> None:
    rs = make_client(["memory://one", "memory://two"])
    assert operating.on_each_server(rs, lambda node: node.name) == [
        ("memory://one", "memory://one"),
        ("memory://two", "memory://two"),
    ]
    (found,) = operating.on_each_server(make_client("127.0.0.1:1"), lambda node: node.ping())
    assert found[0] == "127.0.0.1:1"
    assert isinstance(found[1], StoreUnavailable)


def test_a_census_of_which_a_server_is_missing_is_an_error(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client([on_memcached.address, "127.0.0.1:1"], ns=on_memcached.ns)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1: Connection refused"):
        operating.census(rs, APP)


@pytest.fixture
def one_away(on_memcached: OnMemcached, make_client: MakeClient) -> SessionsClient:
    """A client of two servers, one of which refuses connections; the other has two users' sessions."""
    rs = make_client([on_memcached.address, "127.0.0.1:1"], ns=on_memcached.ns, cachetime=60)
    for user in ("alice", "alice", "bob"):
        rs.create(APP, user, "10.0.0.1")
    return rs


def nobody(_done: int, _total: int) -> None:
    """Nobody is told how far it has come."""


def test_kill_all_ends_what_is_on_the_living_servers_and_says_which_is_away(
    one_away: SessionsClient,
) -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(LogoutIncomplete) as raised:
        operating.kill_all(one_away, APP, lambda *far: told.append(far))
    assert (raised.value.killed, raised.value.unreached) == (3, ("127.0.0.1:1",))
    assert told[-1] == (3, 3)
    assert operating.living(one_away, APP).sessions == 0


def test_a_wipe_reaches_the_living_servers_though_one_is_away(
    one_away: SessionsClient, on_memcached: OnMemcached
) -> None:
    assert one_away._nodes[0].app(APP).listing.size() == 3
    on_memcached.advance(7300)
    with pytest.raises(StoreUnavailable):
        operating.wipe(one_away, nobody)
    assert one_away._nodes[0].app(APP).listing.size() == 0


def test_the_living_sessions_are_counted_where_they_can_be_and_who_is_away_is_named(
    one_away: SessionsClient, make_client: MakeClient
) -> None:
    assert operating.living(one_away, APP, nobody) == (3, ["127.0.0.1:1"])
    with pytest.raises(StoreUnavailable):
        operating.living(make_client(["127.0.0.1:1", "127.0.0.1:2"]), APP)


def test_a_session_is_found_and_ended_by_its_handle_though_another_server_is_away(
    one_away: SessionsClient,
) -> None:
    """Of one that is not on the living servers nobody can say whether there is one."""
    token = one_away.create(APP, "carol", "10.0.0.1")["token"]
    found = operating.peek_named(one_away, APP, handle_of_token(token))
    assert found is not None
    assert found.session["id"] == "carol"
    assert one_away.documents(APP).end_device("carol", found.handle)
    assert one_away.get(APP, token) is None
    with pytest.raises(StoreUnavailable):
        operating.peek_named(one_away, APP, found.handle)
    with pytest.raises(StoreUnavailable):
        one_away.documents(APP).end_device("carol", found.handle)


def test_kill_all_drops_what_the_client_has_cached(make_client: MakeClient) -> None:
    rs = make_client("memory://cached", cachetime=60)
    token = rs.create(APP, "alice", "10.0.0.1")["token"]
    assert rs.get(APP, token) is not None
    assert operating.kill_all(rs, APP) == 1
    assert rs.get(APP, token) is None


def test_kill_all_by_a_closed_client_is_refused(make_client: MakeClient) -> None:
    rs = make_client("memory://closed")
    rs.quit()
    with pytest.raises(ClientClosed):
        operating.kill_all(rs, APP)
