"""What a call waits for, by count at the socket: it is fast because there is so little of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from memsessions import NewSession, SessionsClient

from .conftest import MakeClient, OnMemcached
from .support.proxy import Proxy

APP = "forum"
USER = "user1234"
IP = "127.0.0.1"


@pytest.fixture
def rs(proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient) -> SessionsClient:
    """A client behind the proxy that is connected and has used its app."""
    client = make_client(proxy.address, ns=on_memcached.ns, timeout=5)
    client.create(APP, "first", IP)
    return client


def trips(proxy: Proxy, call: Callable[[], object]) -> int:
    before = proxy.round_trips
    call()
    return proxy.round_trips - before


ONE_SESSION: dict[str, tuple[int, Callable[[SessionsClient, str], object]]] = {
    "create": (1, lambda rs, _: rs.create(APP, USER, IP)),
    "create with data": (1, lambda rs, _: rs.create(APP, USER, IP, 3600, {"k": "v" * 5000})),
    "create_many": (1, lambda rs, _: rs.create_many(APP, [{"id": USER, "ip": IP}] * 20)),
    "create without renewal": (1, lambda rs, _: rs.create(APP, USER, IP, 3600, no_resave=True)),
    "get": (1, lambda rs, token: rs.get(APP, token)),
    "get_many": (1, lambda rs, token: rs.get_many(APP, [token, "0" * 64, token])),
    "set": (2, lambda rs, token: rs.set(APP, token, {"k": "v"})),
    "kill": (1, lambda rs, token: rs.kill(APP, token)),
    "kill_many": (1, lambda rs, token: rs.kill_many(APP, [token, "0" * 64])),
    "rotate": (2, lambda rs, token: rs.rotate(APP, token)),
    "soid": (2, lambda rs, _: rs.soid(APP, USER)),
    "killsoid": (3, lambda rs, _: rs.killsoid(APP, USER)),
    "ping": (1, lambda rs, _: rs.ping()),
}


@pytest.mark.parametrize("no_resave", [False, True], ids=["renewed", "not renewed"])
@pytest.mark.parametrize("name", ONE_SESSION)
def test_a_call_waits_for_so_many_round_trips(
    proxy: Proxy, rs: SessionsClient, name: str, no_resave: bool
) -> None:
    token = rs.create(APP, USER, IP, 3600, {"theme": "dark"}, no_resave)["token"]
    expected, call = ONE_SESSION[name]
    assert trips(proxy, lambda: call(rs, token)) == expected
    assert proxy.connections == 1


UNKNOWN: dict[str, tuple[int, Callable[[SessionsClient], object]]] = {
    "get": (1, lambda rs: rs.get(APP, "0" * 64)),
    "get_many": (1, lambda rs: rs.get_many(APP, ["0" * 64] * 100)),
    "kill_many": (1, lambda rs: rs.kill_many(APP, ["0" * 64] * 100)),
    "set": (1, lambda rs: rs.set(APP, "0" * 64, {"k": "v"})),
    "kill": (1, lambda rs: rs.kill(APP, "0" * 64)),
    "rotate": (1, lambda rs: rs.rotate(APP, "0" * 64)),
    "soid": (1, lambda rs: rs.soid(APP, "nobody")),
    "killsoid": (1, lambda rs: rs.killsoid(APP, "nobody")),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_there_is_found_out_at_once(proxy: Proxy, rs: SessionsClient, name: str) -> None:
    expected, call = UNKNOWN[name]
    assert trips(proxy, lambda: call(rs)) == expected


@pytest.mark.parametrize("known", [False, True], ids=["new app", "app of others"])
def test_the_first_create_in_an_app_takes_one_more(
    proxy: Proxy, rs: SessionsClient, on_memcached: OnMemcached, make_client: MakeClient, known: bool
) -> None:
    if known:
        make_client(on_memcached.address, ns=on_memcached.ns).create("another", USER, IP)
    assert trips(proxy, lambda: rs.create("another", USER, IP)) == 2
    assert trips(proxy, lambda: rs.create("another", USER, IP)) == 1


def test_the_first_create_many_in_an_app_takes_one_more(proxy: Proxy, rs: SessionsClient) -> None:
    sessions: list[NewSession] = [{"id": USER, "ip": IP}] * 20
    assert trips(proxy, lambda: rs.create_many("another", sessions)) == 2
    assert trips(proxy, lambda: rs.create_many("another", sessions)) == 1


def test_moving_a_large_session_takes_one_more(proxy: Proxy, rs: SessionsClient) -> None:
    """Which a server may refuse to store again: its old place is given up only afterwards."""
    for size, expected in ((4_000, 2), (4_100, 3)):
        token = rs.create(APP, USER, IP, 3600, {"k": "v" * size})["token"]
        assert trips(proxy, partial(rs.rotate, APP, token)) == expected


@pytest.mark.parametrize("call", [SessionsClient.ping, lambda rs: rs.get(APP, "0" * 64)])
def test_a_new_connection_takes_one_more(
    proxy: Proxy, make_client: MakeClient, call: Callable[[SessionsClient], object]
) -> None:
    rs = make_client(proxy.address)
    assert trips(proxy, lambda: call(rs)) == 2
    assert trips(proxy, lambda: call(rs)) == 1


def test_a_read_from_the_cache_takes_none(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(proxy.address, ns=on_memcached.ns, cachetime=60)
    token = rs.create(APP, USER, IP)["token"]
    assert trips(proxy, lambda: rs.get(APP, token)) == 1
    assert trips(proxy, lambda: [rs.get(APP, token) for _ in range(10)]) == 0


def test_the_bytes_of_a_read_are_few(proxy: Proxy, rs: SessionsClient) -> None:
    """What a read sends does not grow with the session, and fits into one packet many times over."""
    token = rs.create(APP, USER, IP, 3600, {"k": "v" * 50_000})["token"]
    before = len(proxy.sent)
    rs.get(APP, token)
    assert len(proxy.sent) - before < 200


# ---------------------------------------------------------------------------------------- many sessions

FEW, MANY = 30, 3000
#: How many more round trips a hundred times as many sessions may take.
HANDFUL = 12

SCANS: dict[str, Callable[[SessionsClient, int], None]] = {}


def scan(check: Callable[[SessionsClient, int], None]) -> Callable[[SessionsClient, int], None]:
    SCANS[check.__name__] = check
    return check


@scan
def soapp(rs: SessionsClient, sessions: int) -> None:
    assert len(rs.soapp(APP)) == sessions


@scan
def activity(rs: SessionsClient, sessions: int) -> None:
    assert rs.activity(APP) == {"activity": sessions // 3}


@scan
def soid_of_all(rs: SessionsClient, sessions: int) -> None:
    """Three sessions each, so that this does not grow at all."""
    assert sessions >= FEW
    assert len(rs.soid(APP, "user1")) == 3


@scan
def wipe(rs: SessionsClient, sessions: int) -> None:
    assert rs.wipe() == {"wiped": 0}
    for session in rs.soapp(APP)[: sessions // 2]:
        assert session["r"] == 1


@scan
def killall(rs: SessionsClient, sessions: int) -> None:
    assert rs.killall(APP) == {"kill": sessions}


def filled(where: OnMemcached, make_client: MakeClient, sessions: int) -> None:
    direct = make_client(where.address, ns=where.ns)
    for number in range(sessions):
        direct.create(APP, f"user{number % (sessions // 3)}", IP, d={"k": "v" * 50})


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_of_many_sessions_takes_a_handful_more_round_trips_than_one_of_few(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient, name: str
) -> None:
    taken = []
    for sessions in (FEW, MANY):
        make_client(on_memcached.address, ns=on_memcached.ns).killall(APP)
        filled(on_memcached, make_client, sessions)
        rs = make_client(proxy.address, ns=on_memcached.ns, timeout=5)
        rs.ping()
        before = proxy.round_trips
        SCANS[name](rs, sessions)
        taken.append(proxy.round_trips - before)
    assert taken[0] <= 20
    assert taken[1] <= taken[0] + HANDFUL


def test_wiping_many_dead_sessions_takes_a_handful_more_round_trips_than_few(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    taken = []
    for sessions in (FEW, MANY):
        filled(on_memcached, make_client, sessions)
        on_memcached.advance(7300)
        rs = make_client(proxy.address, ns=on_memcached.ns, timeout=5)
        rs.ping()
        before = proxy.round_trips
        assert rs.wipe() == {"wiped": sessions}
        taken.append(proxy.round_trips - before)
    assert taken[1] <= taken[0] + HANDFUL


def requests(proxy: Proxy, call: Callable[[], object]) -> int:
    """As `trips`, of requests so long that the server begins to answer before it has the end of one."""
    before = proxy.sent.count(b"memsessions:fence")
    call()
    return proxy.sent.count(b"memsessions:fence") - before


@pytest.mark.parametrize(("sessions", "create", "get", "kill"), [(1000, 1, 2, 1), (2500, 3, 4, 3)])
def test_a_thousand_single_calls_at_once_take_one_round_trip(
    proxy: Proxy, rs: SessionsClient, sessions: int, create: int, get: int, kill: int
) -> None:
    """Or two, to read, as the first batch finds out how large they are."""
    ttl = 14 * 24 * 3600  # so long that none is likely to be listed again, should the clock tick
    new: list[NewSession] = [{"id": f"user{number}", "ip": IP, "ttl": ttl} for number in range(sessions)]
    tokens: list[str] = []
    assert (
        requests(proxy, lambda: tokens.extend(each["token"] for each in rs.create_many(APP, new))) == create
    )
    assert requests(proxy, lambda: rs.get_many(APP, tokens)) == get
    assert requests(proxy, lambda: rs.kill_many(APP, tokens)) == kill
    assert proxy.connections == 1
    assert requests(proxy, lambda: rs.get_many(APP, tokens[:128])) == 1


def test_reading_many_lists_all_again_that_are_due_in_one_round_trip(
    proxy: Proxy, rs: SessionsClient, on_memcached: OnMemcached
) -> None:
    """And removes the counters of all that have ended in another one."""
    tokens = [each["token"] for each in rs.create_many(APP, [{"id": USER, "ip": IP, "ttl": 400}] * 100)]
    on_memcached.advance(110)
    assert requests(proxy, lambda: rs.get_many(APP, tokens)) == 2
    on_memcached.advance(410)
    assert rs.get_many(APP, tokens[:1]) == [None], "its counter lives twice as long"
    assert requests(proxy, lambda: rs.get_many(APP, tokens)) == 2
    assert requests(proxy, lambda: rs.get_many(APP, tokens)) == 1


# ------------------------------------------------------------------------------------- what is under way


class UnderWay:
    """Watches through a proxy how many requests are unanswered, and how long the replies are.

    Every request ends with a fence, and so does every reply.
    """

    def __init__(self, proxy: Proxy) -> None:
        self.most_requests = 0
        self.longest_reply = 0
        self.longest_request = 0
        self._asked = 0
        self._answered = 0
        self._reply = 0
        self._request = 0
        self._tail = b""
        proxy.to_server = self._to_server
        proxy.to_client = self._to_client

    def _to_server(self, chunk: bytes) -> bytes:
        for piece in re.split(rb"(?<=fence O)", chunk):
            self._request += len(piece)
            self.longest_request = max(self.longest_request, self._request)
            if piece.endswith(b"fence O"):
                self._asked += 1
                self._request = 0
        self.most_requests = max(self.most_requests, self._asked - self._answered)
        return chunk

    def _to_client(self, chunk: bytes) -> bytes:
        for piece in re.split(rb"(?<=NF O)", chunk):
            self._reply += len(piece)
            self.longest_reply = max(self.longest_reply, self._reply)
            if piece.endswith(b"NF O"):
                self._answered += 1
                self._reply = 0
        return chunk


#: No more than this is asked for, or answered, at a time, however much there is.
MOST_BYTES = 4_000_000


@pytest.mark.parametrize("name", ["soapp", "activity", "wipe", "killall"])
def test_what_is_under_way_in_a_scan_is_bounded(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient, name: str
) -> None:
    """Two requests, and a few megabytes, of an app that holds many more."""
    direct = make_client(on_memcached.address, ns=on_memcached.ns, timeout=5)
    for number in range(600):
        direct.create(APP, f"user{number}", IP, d={"k": "v" * 30_000})
    rs = make_client(proxy.address, ns=on_memcached.ns, timeout=5)
    rs.ping()
    watch = UnderWay(proxy)
    results: dict[str, Any] = {
        "soapp": lambda: len(rs.soapp(APP)),
        "activity": lambda: rs.activity(APP)["activity"],
        "killall": lambda: rs.killall(APP)["kill"],
        "wipe": lambda: rs.wipe()["wiped"] + 600,
    }
    assert results[name]() == 600
    assert 1 <= watch.most_requests <= 2
    assert watch.longest_request <= MOST_BYTES
    assert watch.longest_reply <= MOST_BYTES
    if name == "soapp":
        assert watch.longest_reply > 500_000, "the watch sees the replies"
    direct.killall(APP)


def test_what_is_under_way_in_calls_for_many_is_bounded(
    proxy: Proxy, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """One request, and a few megabytes, of many more that are made, read and ended."""
    rs = make_client(proxy.address, ns=on_memcached.ns, timeout=5)
    watch = UnderWay(proxy)
    sessions: list[NewSession] = [
        {"id": f"user{number}", "ip": IP, "d": {"k": "v" * 30_000}} for number in range(600)
    ]
    tokens = [each["token"] for each in rs.create_many(APP, sessions)]
    assert 500_000 < watch.longest_request <= MOST_BYTES
    assert len([session for session in rs.get_many(APP, tokens) if session is not None]) == 600
    assert 500_000 < watch.longest_reply <= MOST_BYTES
    assert rs.kill_many(APP, tokens) == {"kill": 600}
    assert watch.most_requests == 1
