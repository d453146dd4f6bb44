"""The calls that go through many sessions: the same answers however the work is cut into packets."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from memsessions import ClientClosed, InvalidFormat, InvalidValue, Session, SessionsClient, index, scans
from memsessions.store.operations import Batch, PeekMany
from memsessions.tokens import hashed

from .conftest import MakeClient, OnMemcached, Where
from .support.damage import append, bucket_key, value
from .support.memcached import Memcached
from .support.proxy import Proxy
from .support.sessions import between_ticks, contents, ips

APP = "forum"
USERS = 40


@pytest.fixture(params=[1, 3, 64], ids="in groups of {}".format)
def small_groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Everything that is read or asked for at once is this little."""
    size = int(request.param)
    monkeypatch.setattr(index, "_READ_BYTES", size * index.RECORD_LENGTH)
    monkeypatch.setattr(index, "GROUP_RECORDS", size)
    monkeypatch.setattr(scans, "BATCH_MIN", size)
    monkeypatch.setattr(scans, "BATCH_MAX", size)
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
    assert sorted(ips(list(client.iter_soapp(APP)))) == expected()
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
    assert scans.next_size(values, asked) == size


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


# ---------------------------------------------------------------------------------------- one by one


class Asked:
    """Counts the sessions whose data a client asks its store for, and those that it has been given."""

    def __init__(self, client: SessionsClient, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sessions = 0
        self.streams = 0
        stream = client._nodes[0].store.stream

        def counted(batches: Iterable[Batch], deadline: float | None = None) -> Iterator[list[Any]]:
            self.streams += 1
            yield from stream(map(self._count, batches), deadline)

        monkeypatch.setattr(client._nodes[0].store, "stream", counted)

    def _count(self, batch: Batch) -> Batch:
        self.sessions += max(len(op.names) for op in batch if isinstance(op, PeekMany))
        return batch


def test_iter_soapp_shows_what_soapp_shows(where: Where, client: SessionsClient) -> None:
    """The same maps of the same sessions, those not used in the last `dt` seconds left out."""
    fill(client)
    where.advance(100)
    client.create(APP, "late", "late", d={"a": 1})

    def both(dt: int) -> tuple[list[Session], list[Session]]:
        listed, each = between_ticks(where, lambda: (client.soapp(APP, dt), list(client.iter_soapp(APP, dt))))
        return listed, sorted(each, key=lambda session: (session["idle"], session["ip"]))

    for dt, number in ((50, 1), (600, len(expected()) + 1)):
        listed, each = both(dt)
        assert each == sorted(listed, key=lambda session: (session["idle"], session["ip"]))
        assert len(each) == number


def test_iter_soapp_checks_its_arguments_before_the_first_session_is_taken(client: SessionsClient) -> None:
    with pytest.raises(InvalidValue, match="dt must be"):
        client.iter_soapp(APP, 9)
    with pytest.raises(InvalidFormat, match="Invalid app"):
        client.iter_soapp("x")
    client.quit()
    with pytest.raises(ClientClosed):
        client.iter_soapp(APP)


def test_iter_soapp_asks_for_nothing_before_the_first_session_is_taken(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(client, monkeypatch)
    sessions = client.iter_soapp(APP)
    client.create(APP, "user", "192.0.2.1")
    assert asked.streams == 0
    assert ips(list(sessions)) == ["192.0.2.1"]


def test_iter_soapp_asks_for_no_more_than_the_batch_that_is_next(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are left: what it holds is the batch that it hands out, while one is on its way."""
    monkeypatch.setattr(scans, "BATCH_MIN", 10)
    monkeypatch.setattr(scans, "BATCH_MAX", 10)
    for number in range(500):
        client.create(APP, f"user{number}", f"ip{number}")
    asked = Asked(client, monkeypatch)
    seen = 0
    for _session in client.iter_soapp(APP):
        seen += 1
        assert asked.sessions <= seen + 2 * 10
    assert (seen, asked.sessions) == (500, 500)


def test_the_memory_for_iter_soapp_does_not_grow_with_the_sessions(
    client: SessionsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going through five times as many sessions needs no more of it; a list of them does."""
    monkeypatch.setattr(scans, "BATCH_MAX", 250)  # of 1,000, all that follows would take four times as long

    def peak(call: Callable[[], object]) -> int:
        call()  # whatever is made once
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def each() -> None:
        for _session in client.iter_soapp(APP):
            pass

    for number in range(750):
        client.create(APP, f"user{number}", "192.0.2.1", d={"k": "v" * 1_000})
    few = peak(each)
    for number in range(3_000):
        client.create(APP, f"more{number}", "192.0.2.1", d={"k": "v" * 1_000})
    assert peak(each) < 1.5 * few
    assert peak(lambda: client.soapp(APP)) > 2 * few
    client.killall(APP)


@pytest.mark.parametrize("end", ["close", "break", "forget", "raise"])
def test_an_iter_soapp_that_is_left_leaks_nothing(
    own_memcached: Memcached, make_client: MakeClient, end: str
) -> None:
    """Its connection is closed, and no later call gets what was on its way."""
    rs = make_client(own_memcached.address)
    for number in range(400):
        rs.create(APP, f"user{number}", f"ip{number}", d={"k": "v" * 5_000})

    def leave() -> None:
        sessions: Any = rs.iter_soapp(APP)
        if end == "break":
            for _session in sessions:
                break
        elif end == "raise":
            for _session in sessions:
                raise KeyError
        else:
            next(sessions)
            if end == "close":
                sessions.close()
                assert list(sessions) == []

    for _ in range(20):
        with contextlib.suppress(KeyError):
            leave()
        assert [session["id"] for session in rs.soid(APP, "user7")] == ["user7"]
    give_up = time.monotonic() + 5
    while (left := int(own_memcached.stats()["curr_connections"])) > 3 and time.monotonic() < give_up:
        time.sleep(0.01)
    assert left <= 3, "the statistics', the client's and the server's own"


def test_several_iter_soapp_can_be_read_in_turns(client: SessionsClient) -> None:
    """And the client be used meanwhile."""
    fill(client)
    pairs = zip(client.iter_soapp(APP), client.iter_soapp(APP), strict=True)
    seen = []
    for one, other in pairs:
        assert one["ip"] == other["ip"]
        seen.append(one["ip"])
        assert client.activity(APP) == {"activity": USERS}
    assert sorted(seen) == expected()
