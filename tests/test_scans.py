"""The calls that go through many sessions: the same answers however the work is cut into packets."""

from __future__ import annotations

import pytest

from memsessions import SessionsClient, index, scans
from memsessions.tokens import hashed

from .conftest import MakeClient, OnMemcached, Where
from .support.damage import append, bucket_key, value
from .support.proxy import Proxy
from .support.sessions import contents, ips

APP = "forum"
USERS = 40


@pytest.fixture(params=[1, 3, 64], ids="in groups of {}".format)
def small_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Everything that is read or asked for at once is this little."""
    size = int(request.param)
    monkeypatch.setattr(index, "_READ_BYTES", size * index.RECORD_LENGTH)
    monkeypatch.setattr(index, "GROUP_RECORDS", size)
    monkeypatch.setattr(scans, "_BATCH_MIN", size)
    monkeypatch.setattr(scans, "_BATCH_MAX", size)
    return size


def fill(rs: SessionsClient) -> list[str]:
    """Users with one to three sessions, one in five of which is `no_resave`, and some that are dead."""
    tokens = []
    for n in range(USERS):
        for more in range(n % 3 + 1):
            created = rs.create(APP, f"user{n}", f"{n}.{more}", no_resave=n % 5 == 0)
            tokens.append(created["token"])
        rs.kill(APP, rs.create(APP, f"user{n}", "dead")["token"])
    return tokens


def expected() -> list[str]:
    return sorted(f"{n}.{more}" for n in range(USERS) for more in range(n % 3 + 1))


@pytest.mark.usefixtures("small_groups")
def test_every_session_is_shown_once_however_small_the_groups(client: SessionsClient) -> None:
    fill(client)
    assert sorted(ips(client.soapp(APP))) == expected()
    assert client.activity(APP) == {"activity": USERS}
    for n in range(USERS):
        assert sorted(ips(client.soid(APP, f"user{n}"))) == [f"{n}.{more}" for more in range(n % 3 + 1)]


@pytest.mark.usefixtures("small_groups")
def test_every_session_is_ended_and_counted_once_however_small_the_groups(
    where: Where, client: SessionsClient
) -> None:
    tokens = fill(client)
    assert client.killsoid(APP, "user2") == {"kill": 3}
    assert client.killall(APP) == {"kill": len(tokens) - 3}
    assert all(client.get(APP, token) is None for token in tokens)
    assert client.soapp(APP) == []
    client.wipe()
    assert set(contents(where)) == {f"{where.ns}:apps"}


@pytest.mark.usefixtures("small_groups")
def test_every_dead_record_is_wiped_once_however_small_the_groups(client: SessionsClient) -> None:
    fill(client)
    assert client.wipe() == {"wiped": USERS}
    assert client.wipe() == {"wiped": 0}
    assert sorted(ips(client.soapp(APP))) == expected()


def test_the_list_of_an_app_is_ordered_across_groups(where: Where, client: SessionsClient) -> None:
    for n in range(5):
        client.create(APP, f"user{n}", f"ip{n}")
        where.advance(20)
    assert ips(client.soapp(APP)) == [f"ip{n}" for n in reversed(range(5))]


def test_killall_removes_the_buckets_that_list_nothing_else(where: Where, client: SessionsClient) -> None:
    """So that it needs no wipe, and the next call has nothing to go through."""
    for n in range(USERS):
        client.create(APP, f"user{n}", "192.0.2.1")
    assert client.killall(APP) == {"kill": USERS}
    assert set(contents(where)) == {f"{where.ns}:apps"}


def test_a_session_listed_under_another_user_is_not_shown_as_that_users(client: SessionsClient) -> None:
    """What a hash cannot tell apart, the session's own record does."""
    client.create(APP, "mine", "192.0.2.1")
    client.create(APP, "theirs", "192.0.2.2")
    theirs = value(client, bucket_key(client, "theirs"))
    assert theirs is not None
    forged = hashed("mine") + theirs[len(hashed("mine")) :]
    append(client, bucket_key(client, "mine"), forged)
    assert [session["id"] for session in client.soid(APP, "mine")] == ["mine"]


def test_sessions_of_very_different_sizes_are_listed_together(client: SessionsClient) -> None:
    """Small ones make the next packet ask for many; large ones make it ask for few."""
    sizes = [10, 200_000, 10, 10, 100_000, *[10] * 200, 300_000]
    for n, size in enumerate(sizes):
        client.create(APP, f"user{n}", f"ip{n}", d={"k": "x" * size})
    shown = {session["ip"]: len(str((session["d"] or {})["k"])) for session in client.soapp(APP)}
    assert shown == {f"ip{n}": size for n, size in enumerate(sizes)}


@pytest.mark.parametrize(
    ("values", "asked", "size"),
    [
        ([], 64, 1000),
        ([b"x" * 100] * 64, 64, 1000),
        ([b"x" * 10_000] * 64, 64, 198),
        ([b"x" * 1_000_000] * 64, 64, 128),
        ([b"x" * 10_000] * 32, 64, 392),
    ],
)
def test_the_size_of_a_packet_follows_the_sessions_that_came_before(
    values: list[bytes], asked: int, size: int
) -> None:
    assert scans._next_size(values, asked) == size


def test_round_trips_grow_with_the_bytes_and_not_with_the_sessions(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """Ten times as many sessions of a user cost no round trip more."""
    rs = make_client(proxy.address, ns=on_memcached.ns)
    counts = []
    for number in (10, 100):
        for n in range(number):
            rs.create(APP, f"of {number}", f"ip{n}")
        begun = proxy.round_trips
        assert len(rs.soid(APP, f"of {number}")) == number
        assert rs.killsoid(APP, f"of {number}") == {"kill": number}
        counts.append(proxy.round_trips - begun)
    assert counts == [5, 5]
