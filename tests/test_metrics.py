"""What a snapshot shows of the calls of this process's clients, and that it is right whatever happens."""

from __future__ import annotations

import gc
import itertools
import json
import math
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from memsessions import (
    SessionsClient,
    SessionTooLarge,
    StoreUnavailable,
    ValidationError,
    meters,
    metrics,
    repair,
)
from memsessions.changes import differences
from memsessions.meters import Meter
from memsessions.metrics import LATENCY_BOUNDS_S, Operation, ServerSnapshot
from memsessions.store.operations import Read
from memsessions.tallies import Tallies

from .conftest import MakeClient, OnMemcached, Where
from .support.memcached import Memcached

APP = "forum"
IP = "192.0.2.1"


def of(rs: SessionsClient) -> ServerSnapshot:
    """What was asked of the client's only server."""
    (server,) = metrics.snapshot(rs)["servers"].values()
    return server


def calls(rs: SessionsClient) -> dict[str, int]:
    return {operation: its["calls"] for operation, its in of(rs)["operations"].items()}


def test_each_call_of_a_client_counts_once_under_its_name(client: SessionsClient) -> None:
    token = client.create(APP, "user", IP)["token"]
    for _ in range(3):
        client.get(APP, token)
    client.set(APP, token, {"k": 1})
    rotated = client.rotate(APP, token)
    assert rotated is not None
    client.soid(APP, "user")
    client.soapp(APP)
    list(client.iter_soapp(APP))
    client.activity(APP)
    client.kill(APP, rotated["token"])
    tokens = [made["token"] for made in client.create_many(APP, [{"id": "user", "ip": IP}] * 3)]
    client.get_many(APP, tokens)
    client.kill_many(APP, tokens)
    client.killsoid(APP, "user")
    client.killall(APP)
    client.wipe()
    client.ping()
    repair(client)
    once = ["create", "set", "rotate", "soid", "soapp", "iter_soapp", "activity", "kill"]
    once += ["create_many", "get_many", "kill_many", "killsoid", "killall", "wipe", "ping", "repair"]
    assert calls(client) == {**dict.fromkeys(once, 1), "get": 3}


def test_each_call_of_documents_counts_once_under_its_name(client: SessionsClient) -> None:
    """So what web frameworks do counts, too."""
    documents = client.documents(APP)
    made = documents.create({"k": 1}, id="user", ttl=600)
    read = documents.read(made.token)
    assert read is not None
    saved = documents.save(read, differences(read.stored, {"k": 2}))
    assert saved is not None
    moved = documents.move(saved, {})
    assert moved is not None
    documents.exists(moved.token)
    (device,) = documents.devices("user")
    documents.end_device("user", device.handle)
    documents.end(moved.token)
    documents.end_unchanged(moved)
    documents.adopt(moved.token, {})
    names = ["create", "read", "save", "move", "exists", "devices", "end_device", "end", "end_unchanged"]
    names.append("adopt")
    assert calls(client) == {f"documents.{name}": 1 for name in names}


def test_what_asks_no_server_is_no_call(client: SessionsClient) -> None:
    """A refused argument, a token that cannot be one, an iterator that nobody reads."""
    with pytest.raises(ValidationError):
        client.get(APP, "no token")
    assert client.documents(APP).read("no token") is None
    client.iter_soapp(APP)
    client.create_many(APP, [])
    client.get_many(APP, [])
    client.kill_many(APP, [])
    assert calls(client) == {}


def test_an_iterator_that_is_left_early_is_one_call(client: SessionsClient) -> None:
    for _ in range(3):
        client.create(APP, "user", IP)
    iterator = client.iter_soapp(APP)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert calls(client)["iter_soapp"] == 1
    assert of(client)["operations"]["iter_soapp"]["errors"] == {}


def test_failures_are_counted_by_type_and_have_no_latency(
    own_memcached: Memcached, make_client: MakeClient
) -> None:
    rs = make_client(own_memcached.address, timeout=5)
    token = rs.create(APP, "user", IP)["token"]
    rs.set(APP, token, {"k": "x" * 600_000})
    with pytest.raises(SessionTooLarge):  # with what is there
        rs.set(APP, token, {"more": "x" * 600_000})
    own_memcached.kill()
    unreachable: list[Callable[[], object]] = [
        lambda: rs.get(APP, token),
        lambda: rs.get(APP, token),
        lambda: rs.killall(APP),
        lambda: list(rs.iter_soapp(APP)),
        lambda: rs.create_many(APP, [{"id": "user", "ip": IP}]),
        lambda: rs.get_many(APP, [token]),
        lambda: rs.kill_many(APP, [token]),
    ]
    for call in unreachable:
        with pytest.raises(StoreUnavailable):
            call()
    shown = {name: (its["errors"], its["latency"]["count"]) for name, its in of(rs)["operations"].items()}
    assert shown == {
        "create": ({}, 1),
        "set": ({"SessionTooLarge": 1}, 1),
        "get": ({"StoreUnavailable": 2}, 0),
        "killall": ({"StoreUnavailable": 1}, 0),
        "iter_soapp": ({"StoreUnavailable": 1}, 0),
        "create_many": ({"StoreUnavailable": 1}, 0),
        "get_many": ({"StoreUnavailable": 1}, 0),
        "kill_many": ({"StoreUnavailable": 1}, 0),
    }
    assert of(rs)["operations"]["get"]["latency"]["p99_s"] is None
    many = {"create_many": 1, "get_many": 1, "kill_many": 1}
    assert calls(rs) == {"create": 1, "set": 2, "get": 2, "killall": 1, "iter_soapp": 1, **many}


def test_of_several_servers_each_is_counted_by_itself(
    three_memcacheds: list[Memcached], make_client: MakeClient
) -> None:
    """A call of one session for its server, a call of many for each, a create for the one that took it."""
    rs = make_client({f"cache-{number}": server.address for number, server in enumerate(three_memcacheds)})
    tokens = [rs.create(APP, "user", IP)["token"] for _ in range(30)]
    for token in tokens:
        rs.get(APP, token)
    rs.soid(APP, "user")
    rs.killall(APP)
    rs.get(APP, "x" * 64)  # of a server that is not listed
    shown = {
        server: {name: its["calls"] for name, its in counts["operations"].items()}
        for server, counts in metrics.snapshot(rs)["servers"].items()
    }
    assert list(shown) == ["cache-0", "cache-1", "cache-2"]
    assert sum(counts["create"] for counts in shown.values()) == 30
    for counts in shown.values():
        assert counts["get"] == counts["create"]
        assert (counts["soid"], counts["killall"]) == (1, 1)


# ------------------------------------------------------------------------------------------ latencies


class Clock:
    """Shows the times that it is given, in nanoseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        monkeypatch.setattr(meters, "perf_counter_ns", lambda: self.now)

    def passes(self, ns: int) -> None:
        self.now += ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def timed(make_client: MakeClient, clock: Clock) -> Callable[..., Operation]:
    """Makes calls of so many nanoseconds each, and answers what is shown of them."""

    def make(*took: int) -> Operation:
        rs = make_client("memory://metrics")
        for each in took:
            rs._nodes[0].meter.call("get", clock.passes, each)
        return of(rs)["operations"]["get"]

    return make


@pytest.mark.parametrize("ns", [0, 1, 1023, 1024, 1025, 40_000, 2**30, 2**35 - 1, 2**35, 2**40, 2**63 - 1])
def test_a_call_is_in_the_bucket_of_its_time(timed: Callable[..., Operation], ns: int) -> None:
    """Whatever it took, up to centuries; the sum is exact."""
    latency = timed(ns)["latency"]
    (bucket,) = [number for number, count in enumerate(latency["buckets"]) if count]
    bounds = [0.0, *LATENCY_BOUNDS_S, math.inf]
    assert bounds[bucket] <= ns / 1e9 <= bounds[bucket + 1]
    assert latency["count"] == sum(latency["buckets"]) == 1
    assert latency["sum_s"] == ns / 1e9


def test_buckets_are_half_octaves_from_a_microsecond_to_half_a_minute() -> None:
    ratios = [after / before for before, after in itertools.pairwise(LATENCY_BOUNDS_S)]
    assert ratios == pytest.approx([math.sqrt(2)] * len(ratios))
    assert LATENCY_BOUNDS_S[0] == pytest.approx(1.024e-6)
    assert LATENCY_BOUNDS_S[-1] == pytest.approx(34.36, rel=0.001)


def test_percentiles_are_right_to_half_an_octave(timed: Callable[..., Operation]) -> None:
    """Of times from 10 microseconds to 10 milliseconds."""
    times = [10_000 * number for number in range(1, 1001)]
    latency = timed(*times)["latency"]
    for part, shown in ((0.5, latency["p50_s"]), (0.95, latency["p95_s"]), (0.99, latency["p99_s"])):
        exact = times[int(part * 1000) - 1] / 1e9
        assert shown is not None
        assert exact / math.sqrt(2) <= shown <= exact * math.sqrt(2)


def test_one_slow_call_of_a_hundred_is_beyond_the_99th_percentile(timed: Callable[..., Operation]) -> None:
    latency = timed(*[50_000] * 99, 900_000_000)["latency"]
    assert latency["p99_s"] is not None
    assert latency["p99_s"] < 100e-6
    assert timed(*[50_000] * 98, *[900_000_000] * 2)["latency"]["p99_s"] == pytest.approx(0.9, rel=0.42)


# ------------------------------------------------------------------------------------------ other counts


def test_connections_are_counted(own_memcached: Memcached, make_client: MakeClient) -> None:
    """Open, idle, opened so far, and lost: here to the end of the server."""
    rs = make_client(own_memcached.address, timeout=5)
    assert of(rs)["connections"] == {"open": 0, "idle": 0, "opened": 0, "lost": 0}
    for _ in range(3):
        rs.create(APP, "user", IP)
    stream = rs._nodes[0].store.stream([(Read(b"one"),), (Read(b"other"),)])
    next(stream)  # holds a connection
    rs.ping()
    assert of(rs)["connections"] == {"open": 2, "idle": 1, "opened": 2, "lost": 0}
    stream.close()  # and its reply with it
    rs.ping()
    own_memcached.kill()
    with pytest.raises(StoreUnavailable):
        rs.wipe()
    counts = of(rs)["connections"]
    assert (counts["open"], counts["idle"], counts["opened"]) == (0, 0, 2)
    assert counts["lost"] == 2


def test_closing_a_client_loses_no_connection(client: SessionsClient, where: Where) -> None:
    client.ping()
    client.close()
    opened = 1 if where.kind == "memcached" else 0
    assert of(client)["connections"] == {"open": 0, "idle": 0, "opened": opened, "lost": 0}


def test_the_cache_counts_what_it_had_and_what_it_had_not(where: Where, make_client: MakeClient) -> None:
    """And an answer from it asks no server, so it is no call."""
    rs = make_client(where.address, ns=where.ns, cachetime=60)
    token = rs.create(APP, "user", IP)["token"]
    for _ in range(5):
        rs.get(APP, token)
    assert metrics.snapshot(rs)["cache"] == {"hits": 4, "misses": 1}
    assert calls(rs)["get"] == 1


def test_wipes_and_what_they_removed_are_counted(where: Where, client: SessionsClient) -> None:
    """Three dead sessions of two users, and a living one of one of these, are listed in two index items."""
    client.create(APP, "user1", IP, 10)
    client.create(APP, "user1", IP, 10)
    client.create(APP, "user2", IP, 10)
    client.create(APP, "user1", IP, 3600)
    where.advance(60)
    client.wipe()
    client.wipe()
    counts = of(client)
    assert (counts["wipes"], counts["wiped"], counts["compactions"]) == (2, 3, 2)


def test_a_turn_of_the_background_wipe_is_counted_but_is_no_call(
    where: Where, make_client: MakeClient
) -> None:
    rs = make_client(where.address, ns=where.ns, wipe=10)
    rs.create(APP, "user", IP)
    assert rs._wipe_in_turn() == []
    assert of(rs)["wipes"] == 1
    assert "wipe" not in calls(rs)


def test_listing_a_session_again_is_counted(where: Where, client: SessionsClient) -> None:
    """Each quarter of a session's time to live, its use lists it again."""
    token = client.create(APP, "user", IP, 3600)["token"]
    client.get(APP, token)
    before = of(client)["relists"]
    for _ in range(4):
        where.advance(900)
        client.get(APP, token)
    assert of(client)["relists"] - before == 4


def test_what_a_repair_lists_again_is_counted(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    for number in range(3):
        rs.create(APP, f"user{number}", IP)
    for key in on_memcached.server.keys(on_memcached.ns):
        if ":i:" in key:
            on_memcached.server.delete(key)
    assert repair(rs)[APP]["relisted"] == 3
    assert of(rs)["relists"] == 3


def test_an_outage_shows_in_the_breaker(make_client: MakeClient) -> None:
    """Closed, open after a failure, closed again after a success; and how often it opened."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Memcached("-t", "1")) for _ in range(2)]
        rs = make_client([server.address for server in servers], timeout=5)
        rs.ping()
        for node in rs._nodes:  # whose pauses would pass by themselves
            assert node.breaker is not None
            node.breaker._clock = lambda: now
        now = 1000.0

        def shown() -> list[Any]:
            its = metrics.snapshot(rs)["servers"]
            return [its[server.address]["breaker"] for server in servers]

        idle = {"state": "closed", "opened": 0}
        assert shown() == [idle, idle]
        servers[0].kill()
        with pytest.raises(StoreUnavailable):
            rs.ping()
        assert shown() == [{"state": "open", "opened": 1}, idle]
        now += 60
        assert shown() == [{"state": "half-open", "opened": 1}, idle]
        servers[0].start()
        rs.ping()
        assert shown() == [{"state": "closed", "opened": 1}, idle]


# ------------------------------------------------------------------------------------------ whose calls


def test_all_living_clients_count_as_one(make_client: MakeClient, on_memcached: OnMemcached) -> None:
    """By server. What those counted that are gone stays: a sum that falls would look like a new process."""
    gc.collect()
    before = metrics.snapshot()["clients"]
    one, other = (make_client(on_memcached.address, ns=on_memcached.ns) for _ in range(2))
    gone = SessionsClient(on_memcached.address, ns=on_memcached.ns, wipe=0)
    for rs in (one, other, gone):
        rs.create("together", "user", IP)
    its = metrics.snapshot()["servers"][on_memcached.address]["operations"]["create"]
    assert metrics.snapshot()["clients"] == before + 3
    gone.close()
    del gone, rs
    gc.collect()
    assert metrics.snapshot()["clients"] == before + 2
    assert metrics.snapshot()["servers"][on_memcached.address]["operations"]["create"] == its
    assert calls(one) == calls(other) == {"create": 1}


def sums(shown: metrics.Snapshot, server: str) -> dict[str, object]:
    """All that only grows."""
    its = shown["servers"][server]
    counters = {name: its[name] for name in ("operations", "wipes", "wiped", "compactions", "relists")}
    connections = {name: its["connections"][name] for name in ("opened", "lost")}
    return {**counters, **connections, "outages": its["breaker"]["opened"], "cache": shown["cache"]}


def test_everything_that_a_client_counted_stays_when_it_is_gone(on_memcached: OnMemcached) -> None:
    """Also when others are made, which is when it is added up. What it had open is not there any more."""
    gc.collect()
    rs = SessionsClient([on_memcached.address, "127.0.0.1:1"], ns=on_memcached.ns, wipe=0, cachetime=60)
    token = rs.create(APP, "user", IP)["token"]
    rs.get(APP, token)
    rs.get(APP, token)
    rs.kill(APP, token)
    with pytest.raises(StoreUnavailable):
        rs.wipe()
    servers = (on_memcached.address, "127.0.0.1:1")
    shown = metrics.snapshot()
    before = [sums(shown, server) for server in servers]
    own = metrics.snapshot(rs)["servers"]
    assert own["127.0.0.1:1"]["breaker"]["opened"] == 1
    assert own[on_memcached.address]["wipes"] == 1
    open_before = shown["servers"][on_memcached.address]["connections"]["open"]
    rs.close()
    del rs
    gc.collect()
    for _ in range(3):
        shown = metrics.snapshot()
        assert [sums(shown, server) for server in servers] == before
        assert shown["servers"][on_memcached.address]["connections"]["open"] < open_before
        assert shown["servers"]["127.0.0.1:1"]["breaker"]["state"] == "closed"
        SessionsClient("memory://another", wipe=0)


def test_a_client_is_not_kept_alive_and_what_is_kept_does_not_grow_with_their_number() -> None:
    for _ in range(50):
        rs = SessionsClient("memory://many", wipe=0)
        rs.ping()
        gone, node = weakref.ref(rs), weakref.ref(rs._nodes[0])
        del rs
        gc.collect()
        assert gone() is None
        assert node() is None
    SessionsClient("memory://many", wipe=0)
    ended = [each for each in metrics._book._clients.values() if isinstance(each, Tallies)]
    assert len(ended) <= 1
    assert metrics.snapshot()["servers"]["memory://many"]["operations"]["ping"]["calls"] == 50


@pytest.mark.no_cover  # whose lock the threads would be waiting for most of the time
def test_sums_never_fall_while_clients_come_and_go() -> None:
    """In no snapshot that is taken meanwhile."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            SessionsClient("memory://falling", wipe=0).ping()

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    for thread in threads:
        thread.start()
    seen = 0
    try:
        for _ in range(100):
            its = metrics.snapshot()["servers"].get("memory://falling")
            now = its["operations"].get("ping", {"calls": 0})["calls"] if its else 0
            assert now >= seen
            seen = now
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()


def test_a_snapshot_is_ready_for_json_and_stays_as_it_is(client: SessionsClient) -> None:
    client.create(APP, "user", IP)
    before = metrics.snapshot(client)
    text = json.dumps(before)
    assert json.loads(text) == before
    client.create(APP, "user", IP)
    assert json.dumps(before) == text
    assert before["pid"] == os.getpid()
    assert before["since"] <= before["taken"]
    assert len(before["latency_bounds_s"]) + 1 == len(
        of(client)["operations"]["create"]["latency"]["buckets"]
    )


def test_no_call_is_lost_between_threads() -> None:
    """Though there is no lock: threads are switched as often as can be."""
    meter = Meter("server")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda: [meter.call("get", int) for _ in range(20_000)]) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(meter.times["get"][: meters.SUM]) == 120_000


def test_a_signal_handler_may_call_in_the_middle_of_a_call(where: Where, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns)
    token = rs.create(APP, "user", IP)["token"]
    handled = 0

    def handle(_number: int, _frame: object) -> None:
        nonlocal handled
        rs.get(APP, token)
        handled += 1

    old = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(500):
            rs.get(APP, token)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert calls(rs)["get"] == 500 + handled


def forked(work: Callable[[], object]) -> Any:
    """What some work answers in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_of_a_fork_does_not_count_what_clients_of_its_parent_left() -> None:
    SessionsClient("memory://left", wipe=0).ping()
    gc.collect()
    assert metrics.snapshot()["servers"]["memory://left"]["operations"]["ping"]["calls"] == 1

    def in_child() -> list[str]:
        return list(metrics.snapshot()["servers"])

    assert "memory://left" not in forked(in_child)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_of_a_fork_begins_at_nothing(where: Where, make_client: MakeClient) -> None:
    """And what it counts is not counted in the parent."""
    rs = make_client(where.address, ns=where.ns, cachetime=60)
    token = rs.create(APP, "user", IP)["token"]
    rs.get(APP, token)
    rs.get(APP, token)
    rs.wipe()
    before = metrics.snapshot(rs)

    def in_child() -> list[Any]:
        first = metrics.snapshot(rs)
        rs.create(APP, "user", IP)
        return [first, metrics.snapshot(rs)]

    first, then = forked(in_child)
    (server,) = first["servers"].values()
    assert server["operations"] == {}
    assert (server["wipes"], first["cache"]) == (0, {"hits": 0, "misses": 0})
    assert server["connections"] == {"open": 0, "idle": 0, "opened": 0, "lost": 0}
    assert first["since"] >= before["since"]
    assert first["pid"] != before["pid"]
    (server,) = then["servers"].values()
    assert {name: its["calls"] for name, its in server["operations"].items()} == {"create": 1}
    after = metrics.snapshot(rs)
    assert {**after, "taken": before["taken"]} == before


def test_a_snapshot_can_be_taken_while_clients_come_and_go() -> None:
    """Of all clients: those that are made or collected meanwhile may be in it or not."""
    stop = threading.Event()

    def come_and_go() -> None:
        number = 0
        while not stop.is_set():
            with SessionsClient(f"memory://metrics{number % 3}", wipe=0) as rs:
                rs.create(APP, "user", IP)
                rs.killall(APP)
            number += 1

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            metrics.snapshot()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
