"""The store on memcached: how it is reached, what it will not talk to, what it repeats and what never."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymemcache import Client, PooledClient

from memsessions import SessionsClient, StoreFull, StoreUnavailable, UnsupportedServer
from memsessions.store.connection import Connection
from memsessions.store.operations import (
    FOREVER,
    Add,
    Append,
    Batch,
    Count,
    Delete,
    DeleteMany,
    Read,
    ReadMany,
)

from ..conftest import MakeClient, OnMemcached
from ..support.fakes import FakeServer, hello, reset
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.tries import at_one_try, least_s, until
from .conftest import PASSWORD, OpenAt


def works(rs: SessionsClient) -> None:
    """Go through the life of a session."""
    token = rs.create("forum", "user1234", "127.0.0.1", d={"k": "v"})["token"]
    session = rs.get("forum", token)
    assert session is not None
    assert (session["id"], session["r"], session["d"]) == ("user1234", 2, {"k": "v"})
    assert rs.set("forum", token, {"k": None}) is not None
    assert len(rs.soid("forum", "user1234")) == 1
    assert rs.kill("forum", token) == {"kill": 1}
    assert rs.ping() == "PONG"


# ----------------------------------------------------------------------------------------- addresses


def test_a_unix_socket_is_a_server(tmp_path: Path, make_client: MakeClient) -> None:
    with Memcached(unix=tmp_path / "memcached.sock") as server:
        rs = make_client(server.address)
        works(rs)
        server.kill()
        with pytest.raises(StoreUnavailable, match=f"^{server.address}: "):
            rs.ping()


def test_a_unix_socket_that_is_not_there_is_named(tmp_path: Path, make_client: MakeClient) -> None:
    with pytest.raises(StoreUnavailable, match=rf"^unix:{tmp_path}/none: No such file"):
        make_client(f"unix:{tmp_path}/none").ping()


@pytest.mark.parametrize("address", ["localhost:{}", "127.0.0.1:{}", "127.1:{}"])
def test_a_host_name_is_a_server(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient, address: str
) -> None:
    """Where `localhost` is `::1` first, on which nothing listens, its next address is tried."""
    works(make_client(address.format(memcached.port), ns=on_memcached.ns))


def test_an_address_and_port_in_a_tuple_are_a_server(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    works(make_client(("localhost", memcached.port), ns=on_memcached.ns))


def test_a_host_that_nobody_knows_is_named(make_client: MakeClient) -> None:
    with pytest.raises(StoreUnavailable, match=r"^no-such-host\.invalid:11211: "):
        make_client("no-such-host.invalid").ping()


# -------------------------------------------------------------------------------------- credentials


def test_the_right_credentials_open_a_guarded_server(guarded: Memcached, make_client: MakeClient) -> None:
    works(make_client(guarded.address, username="web", password=PASSWORD))


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ({}, "the server wants a user name and a password"),
        ({"username": "web", "password": "wrong-horse"}, "did not accept the user name and password"),
        ({"username": "web", "password": "secret"}, "did not accept the user name and password"),
        ({"username": "nobody", "password": PASSWORD}, "did not accept the user name and password"),
    ],
    ids=["none", "wrong password", "another's password", "wrong name"],
)
def test_other_credentials_do_not_and_are_not_shown(
    guarded: Memcached, make_client: MakeClient, credentials: dict[str, str], reason: str
) -> None:
    rs = make_client(guarded.address, **credentials)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=reason) as caught:
            rs.create("forum", "user1234", "127.0.0.1")
        assert guarded.address in str(caught.value)
        for value in credentials.values():
            assert value not in repr([caught.value, caught.value.__cause__, rs])


def test_credentials_that_nobody_asks_for_are_not_sent(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """A server without `-Y` would store them, and show them to everybody who asks."""
    works(make_client(memcached.address, ns=on_memcached.ns, username="web", password=PASSWORD))
    assert memcached.value("auth") is None


# ----------------------------------------------------------------------------------------------- TLS


def test_tls_is_spoken(encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient) -> None:
    rs = make_client(f"localhost:{encrypted.port}", tls_context=trusting)
    works(rs)
    works(rs)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_items_pass_through_tls(
    encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient, version: ssl.TLSVersion
) -> None:
    """In several records each way, of which some are in the buffers of TLS and not in the socket's."""
    trusting.minimum_version = trusting.maximum_version = version
    rs = make_client(f"localhost:{encrypted.port}", tls_context=trusting, timeout=5)
    values = [chr(ord("a") + number) * 700_000 for number in range(8)]
    tokens = [rs.create("forum", "user1234", "127.0.0.1", d={"k": value})["token"] for value in values]
    for token, value in zip(tokens, values, strict=True):
        session = rs.get("forum", token)
        assert session is not None
        assert session["d"] == {"k": value}
    assert len(rs.soapp("forum")) == len(values)
    assert rs.killall("forum") == {"kill": len(values)}


def test_a_tls_connection_is_used_again(
    encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient
) -> None:
    """Session tickets, which come after the handshake, do not make it look spoiled."""
    with Proxy(("127.0.0.1", encrypted.port)) as proxy:
        rs = make_client(f"localhost:{proxy.port}", tls_context=trusting)
        for _ in range(5):
            works(rs)
        assert proxy.connections == 1


def test_a_tls_server_that_restarts_is_found_again(
    encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient
) -> None:
    rs = make_client(f"localhost:{encrypted.port}", tls_context=trusting)
    works(rs)
    encrypted.kill()
    encrypted.start()
    works(rs)


def test_a_certificate_that_is_not_trusted_is_refused(encrypted: Memcached, make_client: MakeClient) -> None:
    rs = make_client(f"localhost:{encrypted.port}", tls_context=ssl.create_default_context())
    with pytest.raises(StoreUnavailable, match=f"^localhost:{encrypted.port}: .+"):
        rs.ping()


def test_a_certificate_for_another_host_is_refused(
    encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient
) -> None:
    rs = make_client(f"127.0.0.1:{encrypted.port}", tls_context=trusting)
    with pytest.raises(StoreUnavailable, match=f"^127.0.0.1:{encrypted.port}: .+"):
        rs.ping()


def test_a_client_without_tls_gets_no_answer_it_believes(
    encrypted: Memcached, make_client: MakeClient
) -> None:
    with pytest.raises(StoreUnavailable):
        make_client(encrypted.address).ping()


def test_a_server_without_tls_is_refused(
    memcached: Memcached, trusting: ssl.SSLContext, make_client: MakeClient
) -> None:
    with pytest.raises(StoreUnavailable):
        make_client(f"localhost:{memcached.port}", tls_context=trusting).ping()


def test_a_tls_server_that_does_not_shake_hands_costs_the_deadline_only(
    trusting: ssl.SSLContext, make_client: MakeClient
) -> None:
    with FakeServer(says_nothing) as server:

        def call() -> None:
            options = {"tls_context": trusting, "timeout": 0.3, "connect_timeout": 0.3}
            with pytest.raises(StoreUnavailable):
                make_client(f"localhost:{server.port}", **options).ping()

        assert least_s(call, 0.7) < 0.7


# ------------------------------------------------------------------------------ what it will not talk to


def all_calls(rs: SessionsClient) -> list[Callable[[], object]]:
    token = "0" * 64
    return [
        lambda: rs.create("forum", "user1234", "127.0.0.1"),
        lambda: rs.get("forum", token),
        lambda: rs.set("forum", token, {"k": "v"}),
        lambda: rs.soapp("forum"),
        lambda: rs.killall("forum"),
        rs.wipe,
        rs.ping,
    ]


@pytest.mark.parametrize("version", ["1.6.17", "1.5.6", "1.4.15"])
def test_a_server_that_is_too_old_is_said_to_be(make_client: MakeClient, version: str) -> None:
    with FakeServer(lambda sock: hello(sock, version.encode())) as server:
        rs = make_client(server.address)
        for call in all_calls(rs):
            with pytest.raises(UnsupportedServer) as caught:
                call()
            assert str(caught.value) == (
                f"{server.address}: it runs memcached {version}; memsessions needs 1.6.18 or later"
            )


def resets(sock: socket.socket) -> None:
    sock.recv(100)
    reset(sock)


def says_nothing(sock: socket.socket) -> None:
    while sock.recv(1000):
        pass


def speaks(*said: bytes) -> Callable[[socket.socket], None]:
    """A server that says this when spoken to, and then waits for more."""

    def talk(sock: socket.socket) -> None:
        for answer in said:
            sock.recv(1000)
            sock.sendall(answer)
        while sock.recv(1000):
            pass

    return talk


def speaks_first(sock: socket.socket) -> None:
    sock.sendall(b"220 mail.example.com ESMTP\r\n")
    while sock.recv(1000):
        sock.sendall(b"500 command not recognized\r\n")


STRANGERS = {
    "HTTP": speaks(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>\r\n"),
    "Redis": speaks(b"-ERR unknown command 'version'\r\n-ERR unknown command 'stats'\r\n"),
    "SMTP": speaks_first,
    "who hangs up": socket.socket.close,
    "who resets": resets,
    "a memcached without a clock": speaks(b"VERSION 1.6.18\r\n" + b"STAT pid 1\r\nEND\r\n" * 3),
}


@pytest.mark.parametrize("talk", STRANGERS.values(), ids=STRANGERS.keys())
def test_a_server_that_is_not_memcached_is_unavailable_and_not_waited_for(
    make_client: MakeClient, talk: Callable[[socket.socket], None]
) -> None:
    with FakeServer(talk) as server:

        def call_all() -> None:
            rs = make_client(server.address, timeout=30, connect_timeout=30)
            for call in all_calls(rs):
                with pytest.raises(StoreUnavailable, match=f"^{server.address}: .+"):
                    call()

        assert least_s(call_all, 10) < 10


# ------------------------------------------------------------------------------------------ repeating

REPEATABLE: dict[str, Batch] = {"read": (Read(b"none"),), "ping": ()}


def lose_replies(proxy: Proxy, number: int) -> None:
    """Have so many replies lost on their way, and the connection with them."""

    def to_client(chunk: bytes) -> bytes | None:
        nonlocal number
        number -= 1
        return chunk if number < 0 else None

    proxy.to_client = to_client


@pytest.mark.parametrize("batch", REPEATABLE.values(), ids=REPEATABLE.keys())
def test_what_may_be_repeated_is_repeated_when_a_used_connection_breaks(
    proxy: Proxy, open_at: OpenAt, batch: Batch
) -> None:
    store = open_at(proxy.port)
    store.ping()
    lose_replies(proxy, 1)
    assert store.run(batch, repeatable=True) == [None] * len(batch)
    assert proxy.connections == 2


def test_it_is_repeated_once_only(proxy: Proxy, open_at: OpenAt) -> None:
    store = open_at(proxy.port)
    store.ping()
    lose_replies(proxy, 100)
    with pytest.raises(StoreUnavailable):
        store.run((Read(b"none"),), repeatable=True)
    assert proxy.connections == 2


def test_it_is_not_repeated_when_the_connection_was_new(proxy: Proxy, open_at: OpenAt) -> None:
    """Then the server is down, rather than a connection that it had forgotten."""
    store = open_at(proxy.port)
    replies = 0

    def to_client(chunk: bytes) -> bytes | None:
        nonlocal replies
        replies += 1
        return chunk if replies == 1 else None

    proxy.to_client = to_client
    with pytest.raises(StoreUnavailable):
        store.run((Read(b"none"),), repeatable=True)
    assert proxy.connections == 1


@pytest.mark.parametrize(
    "write",
    [Add(b"%b", b"1", 60), Append(b"%b", b"1"), Count(b"%b"), Delete(b"%b")],
    ids=lambda op: type(op).__name__,
)
def test_a_write_whose_reply_is_lost_is_sent_once(
    proxy: Proxy, on_memcached: OnMemcached, open_at: OpenAt, write: Any
) -> None:
    store = open_at(proxy.port)
    store.ping()
    lose_replies(proxy, 1)
    key = on_memcached.ns.encode()
    before = proxy.sent.count(key)
    with pytest.raises(StoreUnavailable):
        store.run((write._replace(key=key),))
    assert (proxy.sent.count(key) - before, proxy.connections) == (1, 1)
    store.ping()


def test_nothing_is_repeated_after_a_timeout(proxy: Proxy, open_at: OpenAt) -> None:
    store = open_at(proxy.port)
    store.ping()
    store._timeout_s = 0.1
    proxy.hole = True
    sent = proxy.sent.count(b"none")
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        store.run((Read(b"none"),), repeatable=True)
    assert (proxy.sent.count(b"none") - sent, proxy.connections) == (1, 1)


def test_nothing_is_repeated_after_a_reply_without_sense(proxy: Proxy, open_at: OpenAt) -> None:
    store = open_at(proxy.port)
    store.ping()
    proxy.to_client = lambda chunk: b"x" + chunk
    with pytest.raises(StoreUnavailable):
        store.run((Read(b"none"),), repeatable=True)
    assert proxy.connections == 1


@pytest.mark.parametrize("repeatable", [True, False])
def test_connections_that_a_restart_left_behind_fail_no_call(
    own_memcached: Memcached, open_at: OpenAt, repeatable: bool
) -> None:
    """However many there were."""
    store = open_at(own_memcached.port)
    barrier = threading.Barrier(4)

    def use() -> None:
        connection, _ = store._acquire(store.deadline(), check=True)
        barrier.wait()
        store._pool.put(connection)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(own_memcached.stats()["curr_connections"]) >= 5
    own_memcached.kill()
    own_memcached.start()
    for _ in range(6):
        assert store.run((Read(b"none"),), repeatable=repeatable) == [None]


@pytest.mark.parametrize("kind", ["dump", "stream"])
def test_a_reply_that_waited_until_it_was_read_says_nothing_of_its_connection(
    own_memcached: Memcached, open_at: OpenAt, kind: str
) -> None:
    """Who reads slowly finds the end of a reply from before a restart: the next write does not go there."""
    store = open_at(own_memcached.port)
    store.run([Add(b"k", b"v", FOREVER)])
    parts: Iterator[Any] = (
        store.keys(b"") if kind == "dump" else store.stream([(Read(b"k"),), (Read(b"none"),)])
    )
    next(parts)
    (connection,) = store._open
    if kind == "dump":
        until(lambda: own_memcached.stats()["lru_crawler_running"] == "0")
    else:
        until(lambda: bool(connection._rest or connection._wait_in(0)))
    own_memcached.kill()
    own_memcached.start()
    assert list(parts) == ([] if kind == "dump" else [[None]])
    assert store.run([Add(b"k", b"v", FOREVER)]) == [True]
    assert store.connections().lost == 1


# ----------------------------------------------------------------------------------------- streaming


def test_a_stream_sends_the_next_batch_before_it_waits_for_the_last_reply(
    proxy: Proxy, on_memcached: OnMemcached, open_at: OpenAt
) -> None:
    """And none beyond that: at most two are under way."""
    store = open_at(proxy.port)
    store.ping()
    asked: list[int] = []

    def batches() -> Iterator[Batch]:
        for number in range(5):
            asked.append(number)
            yield (Delete(b"%b%d" % (on_memcached.ns.encode(), number)),)

    seen = [list(asked) for _answers in store.stream(batches())]
    assert [len(some) for some in seen] == [2, 3, 4, 5, 5]


def test_an_empty_stream_needs_no_connection(open_at: OpenAt) -> None:
    assert list(open_at(1).stream(())) == []


def test_a_stream_that_is_left_gives_its_connection_up(proxy: Proxy, open_at: OpenAt) -> None:
    """Replies that nobody asks for any more are never taken for those of a later call."""
    store = open_at(proxy.port)
    key = b"none"
    stream = store.stream([(DeleteMany(key, [b"%d" % number]),) for number in range(5)])
    assert next(stream) == [[False]]
    stream.close()
    assert store.run((Read(key), ReadMany(key, (b"1", b"2")))) == [None, [None, None]]
    assert proxy.connections == 2


def test_a_stream_that_was_read_to_its_end_keeps_its_connection(proxy: Proxy, open_at: OpenAt) -> None:
    store = open_at(proxy.port)
    assert list(store.stream([(Read(b"none"),)] * 5)) == [[None]] * 5
    store.ping()
    assert proxy.connections == 1


def test_what_comes_after_the_end_of_a_stream_is_left_to_no_later_call(proxy: Proxy, open_at: OpenAt) -> None:
    """The stream fails for it, or its connection is given up."""
    store = open_at(proxy.port)
    store.ping()
    proxy.to_client = lambda chunk: chunk + b"x"
    with contextlib.suppress(StoreUnavailable):
        assert list(store.stream([(Read(b"none"),)])) == [[None]]
    proxy.to_client = lambda chunk: chunk
    store.ping()
    assert store.run((Read(b"none"),)) == [None]


def test_a_stream_inside_of_which_the_store_is_used_takes_another_connection(
    proxy: Proxy, open_at: OpenAt
) -> None:
    store = open_at(proxy.port)
    for answers in store.stream([(Read(b"none"),)] * 3):
        assert answers == [None]
        store.ping()
    assert proxy.connections == 2


def test_a_stream_is_not_ended_by_a_slow_reader(proxy: Proxy, open_at: OpenAt) -> None:
    """The deadline is for each packet: only a silence of the server ends a scan."""
    store = open_at(proxy.port, timeout=0.15)

    def read_slowly() -> list[list[None]]:
        answers = []
        for answer in store.stream([(Read(b"none"),)] * 4):
            answers.append(answer)
            time.sleep(0.1)
        return answers

    assert at_one_try(read_slowly) == [[None]] * 4


def test_a_stream_from_which_the_server_turns_away_ends_in_time(proxy: Proxy, open_at: OpenAt) -> None:
    store = open_at(proxy.port, timeout=0.2)

    def turn_away() -> None:
        proxy.to_client = lambda chunk: chunk
        stream = at_one_try(begun)
        proxy.to_client = lambda _chunk: b""
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            list(stream)

    def begun() -> Iterator[list[Any]]:
        stream = store.stream([(Read(b"none"),)] * 100)
        next(stream)
        return stream

    assert least_s(turn_away, 0.6) < 0.6


# ------------------------------------------------------------------------------------- a full server


def test_a_session_that_cannot_be_listed_on_a_full_server_is_refused_and_leaves_nothing(
    make_client: MakeClient,
) -> None:
    """The index entry needs a longer item, and for that there is no memory; for the session there is."""
    with Memcached("-m", "3", "-M", "-t", "1") as server:
        rs = make_client(server.address, ns="full")
        create = partial(rs.create, "forum", "user1234", "127.0.0.1")
        for _ in range(30):
            create()
        size = 3000
        while size >= 1000:  # what the user's bucket grows into: it has 30 records of 49 bytes
            try:
                rs._nodes[0].store.run([Add(b"fill:%d" % time.monotonic_ns(), b"v" * size, FOREVER)])
            except StoreFull:
                size -= 20
        made = 30
        with pytest.raises(StoreFull):  # noqa: PT012  how many come before that does not matter
            for _ in range(60):
                create()
                made += 1
        records = sum(key.startswith("full:forum:s:") for key in server.keys("full"))
        assert len(rs.soid("forum", "user1234")) == made == records


# --------------------------------------------------------------------------- sharing with pymemcache


@pytest.mark.parametrize("kind", [Client, PooledClient])
def test_a_pymemcache_client_brings_its_address_and_prefix(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient, kind: Callable[..., Any]
) -> None:
    prefix = f"{on_memcached.ns}:prefix/"
    client = kind(("127.0.0.1", memcached.port), key_prefix=prefix.encode())
    rs = make_client(client=client, ns="web")
    rs.create("forum", "somebody else", "127.0.0.1")
    keys = memcached.keys(on_memcached.ns)
    assert len(keys) == 4
    assert all(key.startswith(f"{prefix}web:") for key in keys)
    assert client.get("web:apps") == b"forum\n", "pymemcache finds it under the same key"
    works(rs)
    client.close()


@pytest.mark.parametrize("kind", [Client, PooledClient])
def test_a_pymemcache_client_brings_its_tls(
    encrypted: Memcached, trusting: ssl.SSLContext, make_client: MakeClient, kind: Callable[..., Any]
) -> None:
    client = kind(("localhost", encrypted.port), tls_context=trusting)
    works(make_client(client=client))
    client.close()


def test_the_connection_of_a_shared_client_is_left_to_it(
    memcached: Memcached, on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    """A `Client` has one connection, which is not for two to use at once."""
    client = Client(("127.0.0.1", memcached.port))
    client.get("none")
    sock = client.sock
    works(make_client(client=client, ns=on_memcached.ns))
    assert client.sock is sock
    assert client.get("none") is None
    client.close()


def test_a_reply_that_is_there_is_taken_however_late_this_process_looks(
    memcached: Memcached, open_at: OpenAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was held up, by its other threads or by the system, takes that for no outage."""
    store = open_at(memcached.port, 0.05)
    store.ping()
    send = Connection.send

    def send_and_be_held_up(self: Connection, *given: Any) -> bytes:
        fence = send(self, *given)
        time.sleep(0.1)
        return fence

    monkeypatch.setattr(Connection, "send", send_and_be_held_up)
    assert store.run((Read(b"none"),)) == [None]
