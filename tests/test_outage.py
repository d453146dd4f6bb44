"""An outage is an error that names the server, in time, and never an empty answer; what follows it works."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import pytest

from memsessions import MemsessionsError, SessionsClient, StoreDamaged, StoreError, StoreUnavailable
from memsessions.store.memcached import MemcachedStore

from .conftest import MakeClient, OnMemcached
from .support.damage import counter_key, put
from .support.fakes import FakeServer, FullBacklog, hello, reset
from .support.memcached import Memcached
from .support.proxy import Proxy
from .support.relay import Exchange, Relay, untouched
from .support.stalls import Stalls

APP = "forum"
USER = "user1234"
IP = "127.0.0.1"
SECRET = "rosebud-0123456789"

# Far more than what has to succeed in that time takes, also on a busy machine.
TIMEOUT_S = 0.8
PATIENCE_S = 10.0
# What is promised beyond the timeout, and what a busy machine may add.
LATE_S = 0.1 + 0.25


class Method(NamedTuple):
    """A method of the client, and how many round trips it has at least."""

    call: Callable[[SessionsClient, str], object]
    trips: int


METHODS = {
    "create": Method(lambda rs, _: rs.create(APP, USER, IP, 3600, {"k": SECRET}), 1),
    "create in a new app": Method(lambda rs, _: rs.create("another", USER, IP, 3600, {"k": SECRET}), 2),
    "create_many": Method(
        lambda rs, _: rs.create_many(APP, [{"id": USER, "ip": IP, "d": {"k": SECRET}}] * 3), 1
    ),
    "get": Method(lambda rs, token: rs.get(APP, token), 1),
    "get of a session unknown": Method(lambda rs, _: rs.get(APP, "0" * 64), 1),
    "get_many": Method(lambda rs, token: rs.get_many(APP, [token, "0" * 64]), 1),
    "set": Method(lambda rs, token: rs.set(APP, token, {"more": SECRET}), 2),
    "rotate": Method(lambda rs, token: rs.rotate(APP, token), 2),
    "kill": Method(lambda rs, token: rs.kill(APP, token), 1),
    "kill_many": Method(lambda rs, token: rs.kill_many(APP, [token, "0" * 64]), 1),
    "soid": Method(lambda rs, _: rs.soid(APP, USER), 2),
    "soapp": Method(lambda rs, _: rs.soapp(APP), 3),
    "iter_soapp": Method(lambda rs, _: list(rs.iter_soapp(APP)), 3),
    "activity": Method(lambda rs, _: rs.activity(APP), 3),
    "killsoid": Method(lambda rs, _: rs.killsoid(APP, USER), 3),
    "killall": Method(lambda rs, _: rs.killall(APP), 3),
    "wipe": Method(lambda rs, _: rs.wipe(), 3),
    "ping": Method(lambda rs, _: rs.ping(), 1),
}


class Trouble:
    """Lets requests through to their `first`th, and has something happen to the replies from there on."""

    def __init__(self, proxy: Proxy, first: int, reply: Callable[[bytes], bytes | None]) -> None:
        self.left = first
        self.happened = False
        self._proxy = proxy
        self._reply = reply
        proxy.to_server = self._to_server
        proxy.to_client = self._to_client

    def _to_server(self, chunk: bytes) -> bytes:
        self.left -= chunk.count(b"memsessions:fence") + chunk.count(b"version\r\n")
        return chunk

    def _to_client(self, chunk: bytes) -> bytes | None:
        if self.left > 0:
            return chunk
        self.happened = True
        return self._reply(chunk)


def dripping(proxy: Proxy) -> Callable[[bytes], bytes | None]:
    """A byte now and then, and never the last one."""

    def reply(chunk: bytes) -> bytes:
        proxy.split_s = 0.05
        return chunk[:-1]

    return reply


def garbage(seed: int) -> Callable[[bytes], bytes | None]:
    noise = random.Random(seed)
    return lambda chunk: noise.randbytes(len(chunk))


TROUBLES: dict[str, Callable[[Proxy], Callable[[bytes], bytes | None]]] = {
    "the connection ends": lambda _: lambda _chunk: None,
    "half a reply and the end": lambda _: half_and_end(),
    "half a reply and silence": lambda _: lambda chunk: chunk[: len(chunk) // 2],
    "silence": lambda _: lambda _chunk: b"",
    "a byte now and then": dripping,
    "garbage": lambda _: garbage(1),
    "garbage in lines": lambda _: lambda chunk: b"HD\r\n" * (len(chunk) // 4 + 1),
    "another's reply": lambda _: lambda chunk: b"EN\r\nNF O99\r\n" + chunk,
    "an error": lambda _: lambda _chunk: b"SERVER_ERROR busy\r\n",
    "what was stored, backwards": lambda _: lambda chunk: chunk[::-1],
}


def half_and_end() -> Callable[[bytes], bytes | None]:
    sent = False

    def reply(chunk: bytes) -> bytes | None:
        nonlocal sent
        if sent or len(chunk) < 2:
            return None
        sent = True
        return chunk[: len(chunk) // 2]

    return reply


class Result(NamedTuple):
    """What a call came to."""

    name: str
    answer: object
    error: BaseException | None
    took_s: float


def timed(name: str, call: Callable[[], object]) -> Result:
    """What became of a call, and how long it took while this process was let run."""
    answer: object = None
    failure: Exception | None = None
    with Stalls() as stalls:
        started = time.monotonic()
        try:
            answer = call()
        except Exception as error:  # noqa: BLE001
            failure = error
        took_s = time.monotonic() - started
    return Result(name, answer, failure, took_s - stalls.late_s)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that a traceback of it would show."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def check(result: Result, server: str, *secrets: str) -> None:
    """That a call failed as it should: with the one error, which names the server and no secret, in time."""
    assert result.error is not None, f"{result.name} answered {result.answer!r}"
    assert isinstance(result.error, StoreUnavailable), f"{result.name} raised {result.error!r}"
    assert result.error.server == server, result.name
    assert str(result.error).startswith(f"{server}: "), result.name
    assert result.took_s < TIMEOUT_S + LATE_S, f"{result.name} took {result.took_s:.3f} s"
    shown = " ".join(f"{error} {error!r} {error.args}" for error in chain(result.error))
    for secret in (SECRET, *secrets):
        assert secret not in shown, result.name


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever goes wrong in these tests."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.records:
        assert SECRET not in f"{record.getMessage()} {record.exc_text}"


class Case(NamedTuple):
    """A client behind a proxy of its own, and a session for it."""

    name: str
    proxy: Proxy
    rs: SessionsClient
    token: str


def waiting(rs: SessionsClient, timeout_s: float) -> None:
    """From now on it waits so long: what has to succeed may take longer than what has to fail."""
    store = rs._nodes[0].store
    assert isinstance(store, MemcachedStore)
    store._timeout_s = store._connect_timeout_s = timeout_s


@pytest.fixture
def cases(memcached: Memcached, make_client: MakeClient) -> Iterator[list[Case]]:
    """One for each method, with connections that were used before."""
    made = []
    for name in METHODS:
        where = OnMemcached(memcached)
        proxy = Proxy(("127.0.0.1", memcached.port))
        rs = make_client(proxy.address, ns=where.ns)
        token = rs.create(APP, USER, IP, 3600, {"k": SECRET})["token"]
        waiting(rs, TIMEOUT_S)
        made.append(Case(name, proxy, rs, token))
    yield made
    for case in made:
        case.proxy.close()


def all_at_once(cases: list[Case], before: Callable[[Case], object]) -> list[Result]:
    """Call each method, after something happened to its proxy; together they take the time of one."""

    def run(case: Case) -> Result:
        before(case)
        return timed(case.name, lambda: METHODS[case.name].call(case.rs, case.token))

    with ThreadPoolExecutor(len(cases)) as threads:
        return list(threads.map(run, cases))


# ------------------------------------------------------------------------------- replies that go wrong


@pytest.mark.parametrize("which", ["first", "last"])
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_every_method_says_so_when_a_reply_goes_wrong_and_works_again_afterwards(
    cases: list[Case], trouble: Callable[[Proxy], Callable[[bytes], bytes | None]], which: str
) -> None:
    """The first of its replies, or the last; then, on a new connection, nothing of it is left."""
    troubles = {}

    def begin(case: Case) -> None:
        trip = 1 if which == "first" else METHODS[case.name].trips
        troubles[case.name] = Trouble(case.proxy, trip, trouble(case.proxy))

    for case, result in zip(cases, all_at_once(cases, begin), strict=True):
        assert troubles[case.name].happened, case.name
        check(result, case.proxy.address, case.token)
    for case in cases:
        case.proxy.to_client = lambda chunk: chunk
        case.proxy.split_s = None
        waiting(case.rs, PATIENCE_S)
        session = case.rs.get(APP, case.token)
        # Whether the call that failed took effect is not known: it may have ended the session.
        if session is None:
            assert case.name in ("kill", "kill_many", "killsoid", "killall", "rotate")
        else:
            assert (session["id"], session["ip"]) == (USER, IP)
            assert session["d"] in ({"k": SECRET}, {"k": SECRET, "more": SECRET})
        assert case.rs.ping() == "PONG"


def test_a_reply_with_any_byte_of_it_changed_raises_nothing_but_the_librarys_errors(
    memcached: Memcached, make_client: MakeClient
) -> None:
    """What cannot be noticed, as a digit for a digit, is answered; the shape of the answer stays right."""
    where = OnMemcached(memcached)
    direct = make_client(where.address, ns=where.ns)
    tokens = {flag: direct.create(APP, USER, IP, 3600, {"k": "v"}, flag)["token"] for flag in (False, True)}
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        rs = make_client(proxy.address, ns=where.ns, timeout=0.02)
        calls: list[Callable[[], object]] = [
            lambda: rs.get(APP, tokens[False]),
            lambda: rs.get(APP, tokens[True]),
            lambda: rs.soid(APP, USER),
        ]
        for call in calls:
            settle(rs)
            lengths: list[int] = []

            def measure(chunk: bytes, lengths: list[int] = lengths) -> bytes:
                lengths.append(len(chunk))
                return chunk

            proxy.to_client = measure
            call()
            for reply, length in enumerate(lengths):
                for at in range(length):
                    for byte in (b"x", b"\xff", b" ", b"0"):
                        left = reply

                        def change(chunk: bytes, at: int = at, byte: bytes = byte) -> bytes:
                            nonlocal left
                            left -= 1
                            return chunk[:at] + byte + chunk[at + 1 :] if left == -1 else chunk

                        settle(rs)
                        proxy.to_client = change
                        try:
                            answer = call()
                        except MemsessionsError as error:
                            assert isinstance(error, StoreError)  # noqa: PT017
                        else:
                            assert isinstance(answer, (dict, list))
                        proxy.to_client = lambda chunk: chunk


def settle(rs: SessionsClient) -> None:
    """Have a connection that is in order; with so short a time-out, a busy machine can need another try."""
    for _ in range(20):
        with suppress(StoreError):
            rs.ping()
            return
    rs.ping()


# --------------------------------------------------------------------------------- the server is away


def refused() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def resets_at_once(sock: socket.socket) -> None:
    sock.recv(100)
    reset(sock)


def resets_after_the_greeting(sock: socket.socket) -> None:
    hello(sock)
    sock.recv(100)
    reset(sock)


def greets_and_falls_silent(sock: socket.socket) -> None:
    hello(sock)
    while sock.recv(1 << 20):
        pass


def drips_the_greeting(sock: socket.socket) -> None:
    for byte in b"VERSION 1.6.18\r\n":
        time.sleep(0.05)
        sock.sendall(bytes([byte]))


def drips_for_ever(sock: socket.socket) -> None:
    hello(sock)
    while True:
        sock.sendall(b"H")
        time.sleep(0.02)


FAKES = {
    "reset at once": resets_at_once,
    "reset after the greeting": resets_after_the_greeting,
    "silent after the greeting": greets_and_falls_silent,
    "slow greeting": drips_the_greeting,
    "a byte now and then for ever": drips_for_ever,
    "closed at once": socket.socket.close,
}


def call_all(address: str, make_client: MakeClient) -> None:
    clients = [
        make_client(address, timeout=TIMEOUT_S, connect_timeout=TIMEOUT_S, username="web", password=SECRET)
        if name == "ping"
        else make_client(address, timeout=TIMEOUT_S, connect_timeout=TIMEOUT_S)
        for name in METHODS
    ]
    token = "A" * 64
    with ThreadPoolExecutor(len(METHODS)) as threads:
        work = [
            threads.submit(timed, name, partial(method.call, client, token))
            for (name, method), client in zip(METHODS.items(), clients, strict=True)
        ]
    for done in work:
        check(done.result(), address, token)


def test_every_method_says_so_when_the_connection_is_refused(make_client: MakeClient) -> None:
    call_all(refused(), make_client)


@pytest.mark.parametrize("talk", FAKES.values(), ids=FAKES.keys())
def test_every_method_says_so_when_the_server_is_sick(
    make_client: MakeClient, talk: Callable[[socket.socket], None]
) -> None:
    with FakeServer(talk) as server:
        call_all(server.address, make_client)


def test_every_method_says_so_when_connecting_is_not_answered(make_client: MakeClient) -> None:
    with FullBacklog() as silent:
        call_all(silent.address, make_client)


def test_every_method_says_so_when_the_server_is_frozen_and_works_when_it_is_not(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    """The replies that come late are read by nobody."""
    made = {}
    for name in METHODS:
        where = OnMemcached(own_memcached)
        rs = make_client(where.address, ns=where.ns)
        made[name] = rs, rs.create(APP, f"{USER} {name}", IP, 3600, {"k": SECRET})["token"]
        waiting(rs, TIMEOUT_S)
    own_memcached.freeze()
    with ThreadPoolExecutor(len(METHODS)) as threads:
        work = [
            threads.submit(timed, name, partial(method.call, *made[name])) for name, method in METHODS.items()
        ]
    results = [done.result() for done in work]
    own_memcached.thaw()
    for result in results:
        check(result, own_memcached.address, made[result.name][1])
    for name, (rs, token) in made.items():
        waiting(rs, PATIENCE_S)
        session = rs.get(APP, token)
        assert session is None or session["id"] == f"{USER} {name}"


# ----------------------------------------------------------------------------------------- the deadline


@pytest.mark.parametrize("name", ["set", "rotate", "create in a new app", "soid", "killsoid"])
def test_the_deadline_is_for_the_whole_call(cases: list[Case], name: str) -> None:
    """Each reply takes two thirds of it: the second one comes too late."""
    (case,) = (case for case in cases if case.name == name)
    case.proxy.delay_s = TIMEOUT_S * 2 / 3
    check(timed(name, lambda: METHODS[name].call(case.rs, case.token)), case.proxy.address)


def test_the_deadline_is_for_the_whole_call_of_a_read_that_has_to_make_a_counter(
    memcached: Memcached, cases: list[Case]
) -> None:
    """As memcached has thrown it away for want of memory: that takes a second round trip."""
    (case,) = (case for case in cases if case.name == "get")
    ns = case.rs._nodes[0].root.decode()
    (counter,) = (key for key in memcached.keys(ns) if key.startswith(f"{ns}:{APP}:r:"))
    memcached.delete(counter)
    case.proxy.delay_s = TIMEOUT_S * 2 / 3
    check(timed("get", lambda: case.rs.get(APP, case.token)), case.proxy.address)


def test_the_deadline_counts_the_connection_in(memcached: Memcached, make_client: MakeClient) -> None:
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        proxy.delay_s = TIMEOUT_S * 2 / 3
        rs = make_client(proxy.address, timeout=TIMEOUT_S)
        check(timed("ping", rs.ping), proxy.address)


def test_a_reply_that_comes_in_time_is_taken_however_slow(cases: list[Case]) -> None:
    for case in cases:
        case.proxy.delay_s = TIMEOUT_S / 3
    results = all_at_once([case for case in cases if METHODS[case.name].trips == 1], lambda _: None)
    assert [result.error for result in results] == [None] * len(results)


# ------------------------------------------------------------------------------------ split, and restarts


def test_every_method_works_when_replies_come_in_single_bytes(
    memcached: Memcached, make_client: MakeClient
) -> None:
    with Proxy(("127.0.0.1", memcached.port)) as proxy:
        proxy.split_s = 0
        rs = make_client(proxy.address, ns=OnMemcached(memcached).ns, timeout=10)
        token = rs.create(APP, USER, IP, 3600, {"k": "v\u00e9"})["token"]
        session = rs.get(APP, token)
        assert session == {
            "id": USER,
            "r": 2,
            "w": 1,
            "idle": 0,
            "ttl": 3600,
            "ip": IP,
            "d": {"k": "v\u00e9"},
        }
        session = rs.set(APP, token, {"n": 1})
        assert session is not None
        assert session["d"] == {"k": "v\u00e9", "n": 1}
        for sessions in (rs.soid(APP, USER), rs.soapp(APP)):
            assert [shown["d"] for shown in sessions] == [session["d"]]
        assert rs.activity(APP) == {"activity": 1}
        rotated = rs.rotate(APP, token)
        assert rotated is not None
        assert rs.kill(APP, token) == {"kill": 0}
        assert rs.kill(APP, rotated["token"]) == {"kill": 1}
        rs.create(APP, USER, IP)
        assert rs.killsoid(APP, USER) == {"kill": 1}
        rs.create(APP, USER, IP)
        assert rs.killall(APP) == {"kill": 1}
        assert set(rs.wipe()) == {"wiped"}
        assert rs.ping() == "PONG"


AFTER_RESTART: dict[str, object] = {
    "get": None,
    "get of a session unknown": None,
    "get_many": [None, None],
    "set": None,
    "rotate": None,
    "kill": {"kill": 0},
    "kill_many": {"kill": 0},
    "soid": [],
    "soapp": [],
    "iter_soapp": [],
    "activity": {"activity": 0},
    "killsoid": {"kill": 0},
    "killall": {"kill": 0},
    "wipe": {"wiped": 0},
    "ping": "PONG",
}


@pytest.mark.parametrize("connections", [1, 3])
def test_the_first_call_of_each_method_after_a_crash_and_restart_works(
    own_memcached: Memcached, make_client: MakeClient, connections: int
) -> None:
    """The sessions are gone, and that is the answer; however many connections were left of before."""
    made = {}
    for name in METHODS:
        rs = make_client(own_memcached.address, ns=OnMemcached(own_memcached).ns)
        token = rs.create(APP, USER, IP)["token"]
        barrier = threading.Barrier(connections)

        def use(rs: SessionsClient = rs, barrier: threading.Barrier = barrier) -> None:
            for _ in rs._nodes[0].store.stream([()] * 2):  # a connection is in use between two answers
                barrier.wait()

        threads = [threading.Thread(target=use) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made[name] = rs, token
    assert int(own_memcached.stats()["curr_connections"]) > len(METHODS) * connections
    own_memcached.kill()
    own_memcached.start()
    for name, (rs, token) in made.items():
        answer = METHODS[name].call(rs, token)
        if name == "create_many":
            assert isinstance(answer, list)
            assert None not in rs.get_many(APP, [each["token"] for each in answer])
            assert len(rs.soapp(APP)) == 3
        elif name.startswith("create"):
            app = APP if name == "create" else "another"
            assert isinstance(answer, dict)
            assert rs.get(app, answer["token"]) is not None
            assert len(rs.soapp(app)) == 1
        else:
            assert answer == AFTER_RESTART[name], name


def test_what_is_made_after_a_restart_is_listed_and_wiped_like_before(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    where = OnMemcached(own_memcached)
    rs = make_client(where.address, ns=where.ns)
    rs.create(APP, USER, IP)
    own_memcached.kill()
    own_memcached.start()
    rs.create(APP, USER, IP, ttl=10)
    assert (len(rs.soid(APP, USER)), len(rs.soapp(APP))) == (1, 1)
    where.advance(12)
    assert rs.wipe() == {"wiped": 1}


# ---------------------------------------------------------------------------------------------- secrets


def test_no_error_shows_a_token_or_data_that_comes_back_in_a_wrong_place(cases: list[Case]) -> None:
    """The server says what it was sent, and what it stores, where something else belongs."""

    def begin(case: Case) -> None:
        line = f"{case.token} {SECRET}\r\n".encode()
        Trouble(case.proxy, 1, lambda chunk: line + chunk)

    results = all_at_once(cases, begin)
    for case, result in zip(cases, results, strict=True):
        check(result, case.proxy.address, case.token)


def test_what_stands_for_a_session_and_is_none_is_not_shown(
    memcached: Memcached, make_client: MakeClient
) -> None:
    where = OnMemcached(memcached)
    rs = make_client(where.address, ns=where.ns)
    token = rs.create(APP, USER, IP, 3600, {"k": SECRET})["token"]
    (key,) = (key for key in memcached.keys(where.ns) if key.startswith(f"{where.ns}:{APP}:s:"))
    value = memcached.value(key)
    assert value is not None
    for damaged in (value[:-1], value + b"]", b'"' + SECRET.encode() + b'"', b"[%b" % SECRET.encode(), b"{}"):
        memcached.ask(b"set %b 0 60 %d\r\n%b\r\n" % (key.encode(), len(damaged), damaged), b"STORED\r\n")
        for name in ("get", "set", "rotate", "soid", "soapp"):
            result = timed(name, partial(METHODS[name].call, rs, token))
            assert isinstance(result.error, StoreError), (name, damaged, result)
            shown = " ".join(f"{error} {error!r}" for error in chain(result.error))
            assert SECRET not in shown
            assert token not in shown


@pytest.mark.parametrize("counter", [b"x", b"1x", b"9" * 4300, b"9" * 5000])
def test_a_counter_that_is_no_number_is_damage_also_where_memcached_could_not_count(
    memcached: Memcached, make_client: MakeClient, counter: bytes
) -> None:
    """A server that has no memory left to count is asked for the number instead."""
    where = OnMemcached(memcached)
    with Relay(memcached) as relay:
        rs = make_client(relay.address, ns=where.ns)
        token = rs.create(APP, USER, IP)["token"]
        put(rs, counter_key(rs, token), counter, 60)

        def refuse(exchange: Exchange) -> Iterator[bytes | None]:
            relay.tamper = untouched
            head, _, rest = exchange.reply.partition(b"]\r\n")
            assert rest.startswith(b"CLIENT_ERROR")
            yield head + b"]\r\nSERVER_ERROR out of memory in incr\r\n" + exchange.fence

        relay.tamper = refuse
        with pytest.raises(StoreDamaged):
            rs.get(APP, token)
