"""What Prometheus is told: by a real scrape of real servers, which changes nothing on them."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from memsessions import ConfigurationError, SessionsClient, StoreUnavailable, metrics
from memsessions.operating import Census, census
from memsessions.prometheus import ProcessCollector, StoreCollector

from .conftest import MakeClient, OnMemcached
from .support.memcached import Memcached

APP = "forum"
IP = "192.0.2.1"

#: Every value, by its name and its labels.
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Scraped:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(scraped: Scraped, name: str, **labels: str) -> float:
    return scraped[name, frozenset(labels.items())]


def names(scraped: Scraped) -> set[str]:
    return {name for name, _ in scraped}


def collected(collector: StoreCollector | ProcessCollector) -> Scraped:
    registry = CollectorRegistry()
    registry.register(collector)
    return parsed(generate_latest(registry).decode())


@contextmanager
def over_http(collector: StoreCollector | ProcessCollector) -> Iterator[Callable[[], Scraped]]:
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape() -> Scraped:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            return parsed(response.read().decode())

    try:
        yield scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The hands of the clock by which sessions are counted again."""
    hands = [1000.0]
    monkeypatch.setattr("memsessions.prometheus.monotonic", lambda: hands[0])
    return hands


def items(server: Memcached, ns: str) -> dict[str, bytes]:
    """What stands under the keys of sessions and their counters, asked without using them.

    Whether it was read since it was stored, its size, the number of its last write, its flags, and the value.
    When it ends is left out, as time may pass in between.
    """
    keys = [key for key in server.keys(ns) if ":s:" in key or ":r:" in key]
    return {key: server.ask(b"mg %b h s c f v u\r\nmn\r\n" % key.encode(), b"MN\r\n") for key in keys}


# ------------------------------------------------------------------------------------- of the process


def test_calls_are_told_as_prometheus_has_them(client: SessionsClient) -> None:
    """A histogram of whole octaves whose buckets contain those before, with its sum, and counters."""
    for _ in range(3):
        client.create(APP, "user", IP)
    scraped = collected(ProcessCollector(client))
    (server,) = [node.store.server for node in client._nodes]
    labels = {"operation": "create", "server": server}
    latency = metrics.snapshot(client)["servers"][server]["operations"]["create"]["latency"]
    name = "memsessions_call_duration_seconds"
    assert value(scraped, f"{name}_count", **labels) == 3
    assert value(scraped, f"{name}_sum", **labels) == pytest.approx(latency["sum_s"])
    buckets = {
        float(dict(labels)["le"]): number
        for (each, labels), number in scraped.items()
        if each == f"{name}_bucket"
    }
    assert list(buckets) == sorted(buckets)
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets[float("inf")] == 3
    bounds = metrics.LATENCY_BOUNDS_S
    assert list(buckets)[:-1] == pytest.approx(bounds[::2])
    for bound, number in list(buckets.items())[:-1]:
        within = sum(
            count for upper, count in zip(bounds, latency["buckets"], strict=False) if upper <= bound * 1.0001
        )
        assert number == within


def test_everything_in_a_snapshot_is_told(where: Any, make_client: MakeClient) -> None:
    rs = make_client(where.address, ns=where.ns, cachetime=60)
    token = rs.create(APP, "user", IP, 10)["token"]
    rs.get(APP, token)
    rs.get(APP, token)
    rs.create(APP, "other", IP, 10)
    where.advance(60)
    rs.wipe()
    (server,) = [node.store.server for node in rs._nodes]
    scraped = collected(ProcessCollector(rs))
    told = {
        name.removeprefix("memsessions_"): value(scraped, name, server=server)
        for name in names(scraped)
        if (name, frozenset({("server", server)})) in scraped
    }
    connections = 1 if where.kind == "memcached" else 0
    assert told == {
        "connections_opened_total": connections,
        "connections_lost_total": 0,
        "breaker_open": 0,
        "breaker_opened_total": 0,
        "wipes_total": 1,
        "wiped_total": 2,
        "compactions_total": 2,
        "relists_total": told["relists_total"],
    }
    assert value(scraped, "memsessions_cache_hits_total") == 1
    assert value(scraped, "memsessions_cache_misses_total") == 1
    assert value(scraped, "memsessions_connections", server=server, state="idle") == connections
    assert value(scraped, "memsessions_connections", server=server, state="in_use") == 0


def test_failed_calls_are_told_by_type(make_client: MakeClient) -> None:
    rs = make_client("127.0.0.1:9", timeout=0.5)
    with pytest.raises(StoreUnavailable):
        rs.ping()
    labels = {"operation": "ping", "server": "127.0.0.1:9", "error": "StoreUnavailable"}
    assert value(collected(ProcessCollector(rs)), "memsessions_call_errors_total", **labels) == 1


# --------------------------------------------------------------------------------------- of the store


def test_a_scrape_over_http_tells_how_the_store_is(own_memcached: Memcached, make_client: MakeClient) -> None:
    rs = make_client(own_memcached.address, timeout=5)
    for user in ("alice", "alice", "bob"):
        rs.create(APP, user, IP)
    rs.create("other", "carol", IP)
    own_memcached.advance("rs:forum", 700)
    rs.create(APP, "dave", IP)
    with over_http(StoreCollector(rs)) as scrape:
        scraped = scrape()
    server = own_memcached.address
    assert value(scraped, "memsessions_up", server=server) == 1
    assert value(scraped, "memsessions_server_memory_limit_bytes", server=server) == 64 * 1024 * 1024
    assert 0 < value(scraped, "memsessions_server_memory_bytes", server=server) < 1024 * 1024
    assert value(scraped, "memsessions_server_items", server=server) > 8
    assert value(scraped, "memsessions_server_connections", server=server) >= 1
    assert value(scraped, "memsessions_server_evictions_total", server=server) == 0
    assert value(scraped, "memsessions_sessions", app=APP) == 4
    assert value(scraped, "memsessions_users", app=APP) == 3
    assert value(scraped, "memsessions_active_users", app=APP) == 1
    assert value(scraped, "memsessions_active_users", app="other") == 1
    assert value(scraped, "memsessions_census_success") == 1


def test_scraping_changes_nothing_of_any_session(
    on_memcached: OnMemcached, make_client: MakeClient, now: list[float]
) -> None:
    """Not when it was used last, not how often it was read, not when it ends; bytes and all."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    for number in range(20):
        token = rs.create(APP, f"user{number}", IP, 3600, no_resave=number % 2 == 0)["token"]
        for _ in range(number % 3):
            rs.get(APP, token)
    on_memcached.advance(700)
    sessions = sorted(rs.soapp(APP, 3600), key=lambda session: session["id"])
    before = items(on_memcached.server, on_memcached.ns)
    collector = StoreCollector(rs, 1)
    with over_http(collector) as scrape:
        for _ in range(5):
            assert value(scrape(), "memsessions_sessions", app=APP) == 20
            now[0] += 10  # so that they are counted again
    assert items(on_memcached.server, on_memcached.ns) == before
    after = sorted(rs.soapp(APP, 3600), key=lambda session: session["id"])
    for one, other in zip(sessions, after, strict=True):
        for session in (one, other):
            assert session["idle"] >= 700
        assert (one["r"], one["w"], one["id"]) == (other["r"], other["w"], other["id"])
        assert 0 <= other["idle"] - one["idle"] <= 60, "seconds that passed in this test"


def test_sessions_are_counted_once_in_an_interval(
    on_memcached: OnMemcached, make_client: MakeClient, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody asks; and not at all as long as nobody does."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, "user", IP)
    counts: list[str] = []
    original = census

    def counting(client: SessionsClient, app: str, dt: int) -> Census:
        counts.append(app)
        return original(client, app, dt)

    monkeypatch.setattr("memsessions.prometheus.census", counting)
    collector = StoreCollector(rs, 30)
    assert counts == []
    for _ in range(5):
        collected(collector)
    assert counts == [APP]
    now[0] += 29
    rs.create(APP, "other", IP)
    scraped = collected(collector)
    assert counts == [APP]
    assert value(scraped, "memsessions_sessions", app=APP) == 1
    assert value(scraped, "memsessions_census_age_seconds") == 29
    now[0] += 1
    assert value(collected(collector), "memsessions_sessions", app=APP) == 2
    assert counts == [APP] * 2


def test_whoever_scrapes_does_not_wait_for_a_long_count(
    on_memcached: OnMemcached, make_client: MakeClient, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what was counted before; only one count goes on at a time."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, "user", IP)
    collector = StoreCollector(rs, 30)
    collected(collector)
    go_on = threading.Event()
    original, counts = census, 0

    def slow(client: SessionsClient, app: str, dt: int) -> Census:
        nonlocal counts
        counts += 1
        go_on.wait(30)
        return original(client, app, dt)

    monkeypatch.setattr("memsessions.prometheus.census", slow)
    monkeypatch.setattr("memsessions.prometheus._PATIENCE_S", 0.01)
    rs.create(APP, "other", IP)
    now[0] += 60
    for _ in range(3):
        assert value(collected(collector), "memsessions_sessions", app=APP) == 1
    assert counts == 1
    thread = collector._thread
    assert thread is not None
    go_on.set()
    thread.join(30)
    assert value(collected(collector), "memsessions_sessions", app=APP) == 2


def test_a_server_that_is_down_is_told_as_such(make_client: MakeClient, now: list[float]) -> None:
    """With the other's figures, and without the sessions: they would seem to have ended."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Memcached("-t", "1")) for _ in range(2)]
        rs = make_client([server.address for server in servers], timeout=5)
        while {node.name for node in rs._nodes if node.registered} < {server.address for server in servers}:
            rs.create(APP, "user", IP)
        with over_http(StoreCollector(rs, 1)) as scrape:
            assert value(scrape(), "memsessions_users", app=APP) == 1
            servers[0].kill()
            now[0] += 60
            scraped = scrape()
            assert value(scraped, "memsessions_up", server=servers[0].address) == 0
            assert value(scraped, "memsessions_up", server=servers[1].address) == 1
            assert value(scraped, "memsessions_server_items", server=servers[1].address) > 0
            assert value(scraped, "memsessions_census_success") == 0
            assert not {"memsessions_sessions", "memsessions_users"} & names(scraped)
            servers[1].kill()
            now[0] += 60
            assert value(scrape(), "memsessions_up", server=servers[1].address) == 0
            for server in servers:
                server.start()
            now[0] += 60
            wait_until(lambda: value(scrape(), "memsessions_up", server=servers[0].address) == 1)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not happen")


def test_an_app_whose_index_is_damaged_leaves_the_others_alone(
    on_memcached: OnMemcached, make_client: MakeClient
) -> None:
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, "user", IP)
    rs.create("other", "user", IP)
    server = on_memcached.server
    (key,) = [key for key in server.keys(on_memcached.ns) if f":{APP}:i:" in key]
    server.ask(b"set %b 0 0 3\r\nxyz\r\nmn\r\n" % key.encode(), b"MN\r\n")
    scraped = collected(StoreCollector(rs))
    assert value(scraped, "memsessions_census_success") == 0
    assert value(scraped, "memsessions_sessions", app="other") == 1
    assert ("memsessions_sessions", frozenset({("app", APP)})) not in scraped


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_count_that_ends_by_whatever_error_is_no_success(
    on_memcached: OnMemcached, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a mistake in this program, which shows in the thread's traceback."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    for app in ("another", APP):
        rs.create(app, "user", IP)
    original = census

    def mistaken(client: SessionsClient, app: str, dt: int) -> Census:
        if app == APP:
            raise RuntimeError
        return original(client, app, dt)

    monkeypatch.setattr("memsessions.prometheus.census", mistaken)
    assert value(collected(StoreCollector(rs)), "memsessions_census_success") == 0


def test_as_long_as_nothing_was_counted_nothing_is_said_of_success(
    on_memcached: OnMemcached, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert on 0 would fire at each start of an exporter whose first count takes long."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, "user", IP)
    go_on = threading.Event()
    original = census

    def slow(client: SessionsClient, app: str, dt: int) -> Census:
        go_on.wait(30)
        return original(client, app, dt)

    monkeypatch.setattr("memsessions.prometheus.census", slow)
    monkeypatch.setattr("memsessions.prometheus._PATIENCE_S", 0.01)
    collector = StoreCollector(rs)
    assert "memsessions_census_success" not in names(collected(collector))
    thread = collector._thread
    assert thread is not None
    go_on.set()
    thread.join(30)
    assert value(collected(collector), "memsessions_census_success") == 1


def test_registering_asks_no_server(make_client: MakeClient) -> None:
    """Also in a registry that wants to know what it will be told."""
    rs = make_client("127.0.0.1:9", timeout=0.5)
    registry = CollectorRegistry(auto_describe=True)
    registry.register(StoreCollector(rs))
    registry.register(ProcessCollector(rs))
    (server,) = metrics.snapshot(rs)["servers"].values()
    assert server["operations"] == {}


@pytest.mark.parametrize("interval", [0, -1, "60", None, True])
def test_an_interval_that_is_none_is_refused(make_client: MakeClient, interval: Any) -> None:
    with pytest.raises(ConfigurationError, match="interval_s must be a number from 1"):
        StoreCollector(make_client("memory://"), interval)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_of_a_fork_counts_by_itself(on_memcached: OnMemcached, make_client: MakeClient) -> None:
    """Also when the parent is just counting, and holds the lock."""
    rs = make_client(on_memcached.address, ns=on_memcached.ns)
    rs.create(APP, "user", IP)
    collector = StoreCollector(rs, 3600)
    reading, writing = os.pipe()
    with collector._lock:
        child = os.fork()
        if child == 0:
            try:
                told = value(collected(collector), "memsessions_sessions", app=APP)
                os.write(writing, json.dumps(told).encode())
            finally:
                os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.read()) == 1
    os.waitpid(child, 0)
