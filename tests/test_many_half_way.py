"""A `create_many` that fails or is interrupted half way: what it made is ended, or listed as a whole."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from memsessions import LogoutIncomplete, NewSession, SessionsClient, StoreUnavailable, batches

from .conftest import MakeClient
from .support.memcached import Memcached
from .support.proxy import Proxy
from .support.stalls import Stalls

APP = "forum"
NEW: NewSession = {"id": "user1234", "ip": "192.0.2.1", "d": {"k": 1}}
BATCHES, EACH = 4, 10
TIMEOUT_S = 0.8


class HalfWay(NamedTuple):
    """A client that makes sessions in four batches through a proxy, and one that looks."""

    server: Memcached
    proxy: Proxy
    rs: SessionsClient
    looking: SessionsClient

    def create(self) -> list[str]:
        return [made["token"] for made in self.rs.create_many(APP, [NEW] * (BATCHES * EACH))]

    def left(self) -> int:
        """How many sessions are there: whole ones, and all of them listed."""
        there, counters = (
            [key for key in self.server.keys("rs") if key.startswith(f"rs:{APP}:{kind}:")] for kind in "sr"
        )
        assert len(there) == len(counters)
        assert len(self.looking.soid(APP, NEW["id"])) == len(self.looking.soapp(APP)) == len(there)
        return len(there)

    def in_the_third(self, act: Callable[[bytes], bytes | None], way: str) -> None:
        """Have something happen to the third batch on its way to the server or back, and to no other."""
        fence = b"fence" if way == "there" else b"NF O"
        passed = 0

        def passing(chunk: bytes) -> bytes | None:
            nonlocal passed
            passed += chunk.count(fence)
            if passed < 3:
                return chunk
            self.proxy.to_server = self.proxy.to_client = lambda later: later
            return act(chunk)

        if way == "there":
            self.proxy.to_server = passing
        else:
            self.proxy.to_client = passing


@pytest.fixture
def half_way(
    own_memcached: Memcached, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HalfWay]:
    monkeypatch.setattr(batches, "BATCH_MAX", EACH)
    with Proxy(("127.0.0.1", own_memcached.port)) as proxy:
        looking = make_client(own_memcached.address, timeout=10)
        rs = make_client(proxy.address, timeout=TIMEOUT_S)
        for made in rs.create_many(APP, [NEW]):  # so that the app and the user's bucket are known
            rs.kill(APP, made["token"])
        yield HalfWay(own_memcached, proxy, rs, looking)


@pytest.mark.parametrize("way", ["there", "back"])
def test_where_the_connection_breaks_nothing_is_left(half_way: HalfWay, way: str) -> None:
    """Whether the batch was made or not: it is ended over another connection, and so are those before it."""
    half_way.in_the_third(lambda _chunk: None, way)
    with pytest.raises(StoreUnavailable) as caught:
        half_way.create()
    assert caught.value.server == half_way.proxy.address
    assert half_way.left() == 0
    tokens = half_way.create()
    assert half_way.left() == len(tokens) == BATCHES * EACH


def test_where_an_answer_is_late_nothing_is_left_either(half_way: HalfWay) -> None:
    """The time of its batch is over, but the server can be reached: it is ended with those before it."""
    half_way.in_the_third(lambda _chunk: b"", "back")
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        half_way.create()
    assert half_way.left() == 0


def test_where_a_connection_was_forgotten_reads_are_made_again_and_nothing_else(half_way: HalfWay) -> None:
    """As by the single calls: whether what changes something took effect is not known."""
    tokens = half_way.create()

    def forget(_chunk: bytes) -> None:
        half_way.proxy.to_server = lambda later: later

    half_way.proxy.to_server = forget
    sessions = half_way.rs.get_many(APP, tokens[:3])
    assert [session and session["r"] for session in sessions] == [2, 2, 2]
    half_way.proxy.to_server = forget
    with pytest.raises(LogoutIncomplete):
        half_way.rs.kill_many(APP, tokens)
    assert half_way.rs.kill_many(APP, tokens) == {"kill": BATCHES * EACH}


def test_where_the_server_answers_no_more_what_is_left_is_listed(half_way: HalfWay) -> None:
    """The call ends after one time-out more, and "log out everywhere" ends what the server still made."""

    def freeze(chunk: bytes) -> bytes:
        half_way.server.freeze()
        return chunk

    half_way.in_the_third(freeze, "there")
    try:
        with Stalls() as stalls:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                half_way.create()
            took_s = time.monotonic() - began
        assert took_s - stalls.late_s < 2 * TIMEOUT_S + 0.35
    finally:
        half_way.server.thaw()
    left = half_way.left()
    assert half_way.looking.killsoid(APP, NEW["id"]) == {"kill": left}


def test_what_is_interrupted_ends_at_once_and_what_it_made_is_listed(half_way: HalfWay) -> None:
    """It closes its connection, on which a reply may be on its way."""
    interrupted = threading.Event()

    def interrupt(_chunk: bytes) -> bytes:
        interrupted.set()
        return b""

    def stop() -> None:
        if interrupted.wait(5):
            signal.pthread_kill(main, signal.SIGINT)

    half_way.in_the_third(interrupt, "back")
    main = threading.get_ident()
    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(KeyboardInterrupt):
        half_way.create()
    stopping.join()
    assert half_way.left() == 3 * EACH
    assert half_way.looking.killsoid(APP, NEW["id"]) == {"kill": 3 * EACH}
    assert half_way.rs.ping() == "PONG"
    assert half_way.proxy.connections == 2
