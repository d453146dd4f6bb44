"""One connection: a reply is the whole reply to its own request, by the deadline, or the end of it."""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from memsessions.store import connection as module
from memsessions.store.connection import Connection, TooOld
from memsessions.store.operations import (
    FOREVER,
    Add,
    Append,
    Batch,
    Delete,
    DeleteMany,
    LeftMany,
    Outcome,
    Read,
    ReadMany,
)
from memsessions.store.sockets import Broken, DeadlinePassed
from memsessions.store.wire import ProtocolError, Refused

from ..support.fakes import FakeServer, hello
from ..support.memcached import Memcached
from ..support.proxy import Proxy
from ..support.tries import least_s, until

ITEM_BYTES = 1024 * 1024


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


@contextlib.contextmanager
def connected(port: int, greet: bool = True) -> Iterator[Connection]:
    connection = Connection(socket.create_connection(("127.0.0.1", port), 20))
    try:
        if greet:
            connection.hello(soon(), None, None)
        yield connection
    finally:
        connection.close()


@pytest.fixture(params=["poll", "select"])
def waiting_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With `poll`, and as on systems that have only `select`."""
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return str(request.param)


@pytest.fixture
def connection(memcached: Memcached, waiting_by: str) -> Iterator[Connection]:
    with connected(memcached.port) as made:
        assert hasattr(select, "poll") == (waiting_by == "poll")
        yield made


@pytest.fixture
def key() -> bytes:
    return b"conn" + secrets.token_hex(6).encode()


# --------------------------------------------------------------------------------------------- hello


def test_hello_learns_the_servers_clock(memcached: Memcached, connection: Connection) -> None:
    assert connection.greeted
    assert abs(connection.server_time() - int(memcached.stats()["time"])) <= 1


def test_the_clock_is_the_servers_own() -> None:
    with FakeServer(hello) as server, connected(server.port) as connection:
        assert connection.server_time() in (1700000000, 1700000001)


@pytest.mark.parametrize("version", [b"1.6.18", b"1.6.18-rc1", b"1.6.39_5_g123", b"1.10.0", b"2.0.0"])
def test_versions_from_1_6_18_on_are_accepted(version: bytes) -> None:
    with FakeServer(lambda sock: hello(sock, version)) as server, connected(server.port) as connection:
        assert connection.greeted


@pytest.mark.parametrize("version", [b"1.6.17", b"1.6.9", b"1.5.6", b"1.4.39", b"0.9.9"])
def test_older_versions_are_not(version: bytes) -> None:
    with (
        FakeServer(lambda sock: hello(sock, version)) as server,
        connected(server.port, greet=False) as connection,
        pytest.raises(TooOld, match=version.decode()),
    ):
        connection.hello(soon(), None, None)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"-ERR unknown command 'version'\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"VERSION 1.6\r\n",
        b"VERSION 1.6.x\r\n",
        b"VERSION 1.6.%b\r\n" % (b"9" * 5000),
        b"VERSION 1.6.18\r\nSTAT time %b\r\nEND\r\nEND\r\n" % (b"9" * 400),
        b"VERSION 1.6.18\r\nSTAT time %b\r\nEND\r\nEND\r\n" % (b"9" * 5000),
        b"VERSION 1.6.18\n",
        b"VERSION 1.6.18\r\nHTTP\r\nEND\r\nEND\r\n",
        b"VERSION 1.6.18\r\nSTAT pid 1\r\nEND\r\nEND\r\n",
        b"ERROR\r\n",
        b"\n",
        b"\x15\x03\x01\x00\x02\x02\x0a\n",
    ],
)
def test_what_does_not_answer_as_memcached_is_a_protocol_error(said: bytes) -> None:
    def talk(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(said)
        sock.recv(1)

    with FakeServer(talk) as server, connected(server.port, greet=False) as connection:
        with pytest.raises(ProtocolError):
            connection.hello(soon(), None, None)
        assert not connection.greeted


@pytest.mark.parametrize("start", [b"", b"VERSION 1.6.18\r\n", b"VERSION 1.6.18\r\nSTAT time 1700000000\r\n"])
@pytest.mark.parametrize("endless", [b"x" * 1000, b"STAT x 1\r\n" * 100])
def test_an_endless_greeting_is_not_read_for_long(start: bytes, endless: bytes) -> None:
    sent = 0

    def talk(sock: socket.socket) -> None:
        nonlocal sent
        sock.sendall(start)
        while True:
            sent += sock.send(endless)

    with FakeServer(talk) as server, connected(server.port, greet=False) as connection:
        with pytest.raises(ProtocolError):
            connection.hello(soon(), None, None)
        assert len(connection._rest) < 2_000_000


def test_a_server_that_closes_at_once_is_broken_not_silent() -> None:
    with (
        FakeServer(socket.socket.close) as server,
        connected(server.port, greet=False) as connection,
        pytest.raises((Broken, ConnectionError)),
    ):
        connection.hello(soon(), None, None)


# ------------------------------------------------------------------------------------------ exchange


def test_an_exchange_gives_the_answers_to_its_batch(connection: Connection, key: bytes) -> None:
    assert connection.exchange((Add(key, b"v", 60), Read(key)), ITEM_BYTES, soon())[1].value == b"v"
    assert connection.exchange((Delete(key),), ITEM_BYTES, soon()) == [Outcome.DONE]
    assert connection.exchange((), ITEM_BYTES, soon()) == []


def test_batches_that_are_sent_ahead_are_answered_in_order(connection: Connection, key: bytes) -> None:
    batches: list[Batch] = [(Add(key, b"v" * 50_000, 60),), (Read(key),), (Delete(key),), (Read(key),)]
    fences = [connection.send(batch, soon()) for batch in batches]
    assert len(set(fences)) == len(fences)
    time.sleep(0.05)  # so that several replies come in one piece, as a rule
    added, read, deleted, gone = (
        connection.receive(batch, fence, ITEM_BYTES, soon())[0]
        for batch, fence in zip(batches, fences, strict=True)
    )
    assert (added, len(read.value), deleted, gone) == (True, 50_000, Outcome.DONE, None)
    assert connection.is_clean()


def test_a_packet_and_a_reply_of_many_megabytes_pass_each_other(connection: Connection, key: bytes) -> None:
    """The server stops reading while nobody reads its replies: who only writes would wait for ever."""
    connection.exchange((Add(key, b"v" * 1000, 60),), ITEM_BYTES, soon())
    names = [b""] * 30_000
    batch = (ReadMany(key, names), LeftMany(key, names))
    items, lefts = connection.exchange(batch, ITEM_BYTES, soon(20))
    assert sum(len(item.value) for item in items) == 30_000_000
    assert set(lefts) <= {58, 59, 60}


def test_a_reply_in_single_bytes_is_put_together(memcached: Memcached, waiting_by: str, key: bytes) -> None:
    assert waiting_by
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        proxy.split_s = 0
        with connected(proxy.port) as connection:
            answers = connection.exchange((Add(key, b"v", 60), Read(key), Delete(key)), ITEM_BYTES, soon())
    assert answers == [True, (b"v", answers[1].left, answers[1].cas), Outcome.DONE]


@pytest.mark.parametrize(
    "wrong", [b"NF O2\r\n", b"NF O11\r\n", b"NF O0\r\n", b"NF\r\n", b"HD O1\r\n", b"NF O1 "]
)
def test_no_reply_is_taken_that_is_not_the_one_to_this_request(memcached: Memcached, wrong: bytes) -> None:
    """The number that ends it is another's, or is not there."""
    with Proxy(("127.0.0.1", memcached.port)) as proxy, connected(proxy.port) as connection:
        proxy.to_client = lambda chunk: chunk.replace(b"NF O1\r\n", wrong)
        with pytest.raises((DeadlinePassed, ProtocolError)):
            connection.exchange((Delete(b"none"),), ITEM_BYTES, soon(0.1))


@pytest.mark.parametrize("stray", [b"x", b"\r\n", b"HD\r\n", b"NF\r\nNF O1\r\n", b"EN\r\nNF O7\r\n"])
def test_what_came_in_before_the_request_spoils_the_reply(memcached: Memcached, stray: bytes) -> None:
    with Proxy(("127.0.0.1", memcached.port)) as proxy, connected(proxy.port) as connection:
        proxy.to_client = lambda chunk: stray + chunk
        with pytest.raises(ProtocolError):
            connection.exchange((Delete(b"none"),), ITEM_BYTES, soon())


@pytest.mark.parametrize("extra", [b"x", b"\r\n", b"NF O1\r\n", b"NF O2\r\n"])
def test_what_comes_with_the_end_of_a_reply_spoils_it(memcached: Memcached, extra: bytes) -> None:
    with Proxy(("127.0.0.1", memcached.port)) as proxy, connected(proxy.port) as connection:
        proxy.to_client = lambda chunk: chunk + extra
        with pytest.raises(ProtocolError):
            connection.exchange((Delete(b"none"),), ITEM_BYTES, soon())


def test_a_refusal_leaves_the_connection_sound(connection: Connection, key: bytes) -> None:
    with pytest.raises(Refused) as caught:
        connection.exchange((Add(key, b"v" * 2_000_000, 60), Delete(key)), ITEM_BYTES, soon())
    assert caught.value.answers == [None, Outcome.MISSING]
    assert connection.is_clean()
    assert connection.exchange((Append(key, b"v"),), ITEM_BYTES, soon()) == [False]


# ------------------------------------------------------------------------------------- deadlines, limits


@pytest.mark.parametrize(
    "batch", [(Delete(b"k"),), (Add(b"k", b"v" * 20_000_000, FOREVER),)], ids=["short", "long"]
)
def test_a_server_that_reads_and_says_nothing_costs_the_time_that_is_left(
    waiting_by: str, batch: Batch
) -> None:
    """Whether what is sent fits into the buffers on the way or not."""
    assert waiting_by

    over = threading.Event()

    def talk(sock: socket.socket) -> None:
        hello(sock)
        over.wait(20)

    def ask() -> None:
        with connected(server.port) as connection, pytest.raises(DeadlinePassed):
            connection.exchange(batch, ITEM_BYTES, soon(0.1))

    with FakeServer(talk) as server:
        assert 0.1 <= least_s(ask, 0.5) < 0.5
        over.set()


@pytest.mark.parametrize(
    "batch", [(Delete(b"k"),), (DeleteMany(b"k", [b"x" * 100] * 50_000),)], ids=["short", "long"]
)
def test_no_more_than_a_valid_reply_is_ever_read(monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    """A server that says far more is left; what it had said by then is no more than was allowed."""

    def talk(sock: socket.socket) -> None:
        hello(sock)
        while True:
            sock.sendall(b"HD\r\n" * 10_000)

    with FakeServer(talk) as server, connected(server.port) as connection:
        buffers = lengths_read(monkeypatch, connection)
        with pytest.raises(ProtocolError, match=r"longer than any valid one|far more than it was asked for"):
            connection.exchange(batch, 1000, soon(20))
        names = sum(len(op.names) for op in batch if isinstance(op, DeleteMany))
        assert sum(buffers) <= 128 * (2 + names) + 2 * module._CHUNK_BYTES


def lengths_read(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> list[int]:
    """The lengths of all pieces that a connection will have read."""
    lengths: list[int] = []
    chunk = connection._chunk

    def counted(_self: Connection, deadline: float, most: int) -> bytes:
        data = chunk(deadline, most)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(Connection, "_chunk", counted)
    return lengths


@pytest.mark.parametrize(
    "said",
    [
        b"x" * 50_000,
        b"VA 2147483648 t1 c1\r\n" + b"x" * 50_000,
        b"EN\r\n" * 10_000,
        b"VA 2 t1 c1\r\n[]\r\n" * 5_000,
    ],
    ids=["a line", "a value", "misses", "values"],
)
def test_what_goes_on_for_ever_is_given_up_long_before_all_that_could_be_valid(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """512 items of 1 MiB could come, but no line that is longer, nor more lines than items have."""

    def talk(sock: socket.socket) -> None:
        hello(sock)
        sock.sendall(said)
        while True:
            sock.sendall(said[-50_000:])

    with FakeServer(talk) as server, connected(server.port) as connection:
        buffers = lengths_read(monkeypatch, connection)
        with pytest.raises(ProtocolError, match="longer than any valid one"):
            connection.exchange((ReadMany(b"k", [b"n"] * 512),), ITEM_BYTES, soon(20))
        assert sum(buffers) < ITEM_BYTES + 1000 + 2 * module._CHUNK_BYTES


def test_a_line_end_between_two_pieces_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(sock: socket.socket) -> None:
        hello(sock)
        while True:
            sock.sendall(b"EN\r\n" * 1000)

    with FakeServer(talk) as server, connected(server.port) as connection:
        chunk = connection._chunk
        monkeypatch.setattr(Connection, "_chunk", lambda _self, deadline, _most: chunk(deadline, 3))
        buffers = lengths_read(monkeypatch, connection)
        with pytest.raises(ProtocolError, match="longer than any valid one"):
            connection.exchange((ReadMany(b"k", [b"n"] * 5),), ITEM_BYTES, soon(20))
        assert sum(buffers) <= 4 * 13


def test_a_server_that_talks_while_it_is_sent_something_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says more than a valid reply, and reads nothing, while a large item is on its way."""

    def talk(sock: socket.socket) -> None:
        hello(sock)
        while True:
            sock.sendall(b"x" * 10_000)

    monkeypatch.setattr(module, "_CHUNK_BYTES", 1_000)
    with FakeServer(talk) as server, connected(server.port) as connection:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        with pytest.raises(ProtocolError, match="far more than it was asked for"):
            connection.exchange((Add(b"k", b"x" * 20_000_000, 60),), ITEM_BYTES, soon(20))


# ------------------------------------------------------------------------------------------- is it clean


def test_a_connection_is_clean_until_something_comes_in(memcached: Memcached, connection: Connection) -> None:
    assert connection.is_clean()
    connection.exchange((Delete(b"none"),), ITEM_BYTES, soon())
    assert connection.is_clean()
    connection.sock.send(b"mn\r\n")  # a request whose reply nobody reads
    until(lambda: not connection.is_clean())
    assert memcached.stats()


def test_a_connection_that_the_server_closed_is_not_clean(waiting_by: str) -> None:
    assert waiting_by
    with FakeServer(hello) as server, connected(server.port) as connection:
        until(lambda: not connection.is_clean())


def test_a_connection_that_was_closed_here_is_not_clean_even_if_its_number_is_in_use_again(
    memcached: Memcached, connection: Connection
) -> None:
    """As in a child process, which closes what its parent uses and opens sockets of its own."""
    number = connection.sock.fileno()
    connection.close()
    assert not connection.is_clean()
    others = [socket.create_connection(("127.0.0.1", memcached.port)) for _ in range(3)]
    assert number in [sock.fileno() for sock in others]
    try:
        assert not connection.is_clean()
    finally:
        for sock in others:
            sock.close()


def test_closing_twice_is_no_error(connection: Connection) -> None:
    connection.close()
    connection.close()


def test_a_connection_that_is_let_go_is_closed(own_memcached: Memcached) -> None:
    connection = Connection(socket.create_connection(("127.0.0.1", own_memcached.port), 5))
    sock = connection.sock
    del connection
    assert sock.fileno() == -1
