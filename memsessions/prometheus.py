"""Metrics for Prometheus, by its official client library (extra `prometheus`).

Two collectors, each for any registry of `prometheus_client`:

    from prometheus_client import REGISTRY
    from memsessions.prometheus import ProcessCollector

    REGISTRY.register(ProcessCollector())       # what this process's clients do

`StoreCollector(client)` is for one process only, and is what `memsessions exporter` serves: how the servers
are, and how many sessions and users each app has. To count these, all sessions of all apps are gone through,
which takes a second for some 100,000 of them, refreshes none, and is done by a thread of its own at most once
in each `interval_s`, and only while somebody asks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import accumulate
from time import monotonic
from typing import NamedTuple

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    message = "memsessions.prometheus needs one more package: pip install 'memsessions[prometheus]'"
    raise ImportError(message) from error

from . import forks, metrics
from .client import SessionsClient
from .config import check_number
from .errors import StoreError, StoreUnavailable
from .operating import Census, app_names, census, on_each_server

#: What is shown of each server: the metric, what it says, and what memcached calls it.
_GAUGES = (
    ("memsessions_server_memory_bytes", "Memory that items take.", "bytes"),
    ("memsessions_server_memory_limit_bytes", "Memory that items may take.", "limit_maxbytes"),
    ("memsessions_server_items", "Items, those of others included.", "curr_items"),
    ("memsessions_server_connections", "Open connections, those of others included.", "curr_connections"),
)
_COUNTERS = (
    (
        "memsessions_server_evictions",
        "Items thrown out for want of memory: sessions or their index.",
        "evictions",
    ),
)
#: A user is active who used a session in so many seconds.
_ACTIVE_S = 600
# Who asks while sessions are being counted waits so long at most, and is told what was counted before.
_PATIENCE_S = 2.0


class ProcessCollector(Collector):
    """What `metrics.snapshot` shows, of one client or of all that this process has and had.

    Asks no server.
    """

    def __init__(self, client: SessionsClient | None = None) -> None:
        self._client = client

    def describe(self) -> list[Metric]:
        """Nothing is collected when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every metric, with the servers and operations that were used."""
        shown = metrics.snapshot(self._client)
        yield from _calls(shown)
        yield from _connections(shown)
        for key, name, text in (
            ("wipes", "memsessions_wipes", "Wipes by this process."),
            ("wiped", "memsessions_wiped", "Dead sessions whose index entries these wipes removed."),
            ("compactions", "memsessions_compactions", "Index items that they wrote anew."),
            ("relists", "memsessions_relists", "Sessions that were listed again."),
        ):
            counter = CounterMetricFamily(name, text, labels=["server"])
            for server, its in shown["servers"].items():
                counter.add_metric([server], its[key])  # type: ignore[literal-required]
            yield counter
        hits, misses = shown["cache"]["hits"], shown["cache"]["misses"]
        yield CounterMetricFamily("memsessions_cache_hits", "Sessions found in the cache.", hits)
        yield CounterMetricFamily("memsessions_cache_misses", "Sessions not found in the cache.", misses)


def _calls(shown: metrics.Snapshot) -> Iterator[Metric]:
    labels = ["operation", "server"]
    took = HistogramMetricFamily(
        "memsessions_call_duration_seconds", "How long calls took that were answered.", labels=labels
    )
    errors = CounterMetricFamily("memsessions_call_errors", "Calls that failed.", labels=[*labels, "error"])
    for server, its in shown["servers"].items():
        for operation, calls in its["operations"].items():
            latency = calls["latency"]
            totals = list(accumulate(latency["buckets"]))
            # Whole octaves are enough for a graph, and half as many time series.
            bounds = [repr(bound) for bound in shown["latency_bounds_s"][::2]]
            buckets = [*zip(bounds, totals[::2], strict=False), ("+Inf", totals[-1])]
            took.add_metric([operation, server], buckets, latency["sum_s"])
            for error, number in calls["errors"].items():
                errors.add_metric([operation, server, error], number)
    yield took
    yield errors


def _connections(shown: metrics.Snapshot) -> Iterator[Metric]:
    there = GaugeMetricFamily("memsessions_connections", "Connections.", labels=["server", "state"])
    opened = CounterMetricFamily("memsessions_connections_opened", "Connections opened.", labels=["server"])
    lost = CounterMetricFamily("memsessions_connections_lost", "Connections lost.", labels=["server"])
    is_open = GaugeMetricFamily(
        "memsessions_breaker_open",
        "Whether the server failed, and is not known to be back.",
        labels=["server"],
    )
    outages = CounterMetricFamily("memsessions_breaker_opened", "Outages of the server.", labels=["server"])
    for server, its in shown["servers"].items():
        counts = its["connections"]
        there.add_metric([server, "idle"], counts["idle"])
        there.add_metric([server, "in_use"], max(0, counts["open"] - counts["idle"]))
        opened.add_metric([server], counts["opened"])
        lost.add_metric([server], counts["lost"])
        is_open.add_metric([server], its["breaker"]["state"] != "closed")
        outages.add_metric([server], its["breaker"]["opened"])
    yield from (there, opened, lost, is_open, outages)


class _Counted(NamedTuple):
    """What was counted in all apps, when that was done, and how long it took; `whole` if nothing failed."""

    apps: dict[str, Census]
    done: float
    took_s: float
    whole: bool


class StoreCollector(Collector):
    """How a client's servers are, and how many sessions and users each app has.

    A server that does not answer is shown as `memsessions_up 0`. What is counted by app is not shown then, as
    sessions would seem to have ended.

    Parameters:
        client: whose servers and `ns` are looked at.
        interval_s: sessions are counted again when those counted last are as old as this, 1 at least.
    """

    def __init__(self, client: SessionsClient, interval_s: float = 60) -> None:
        check_number("interval_s", interval_s, 1)
        self._client = client
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._last: _Counted | None = None
        forks.call_in_child(self, StoreCollector._after_fork_in_child)

    def describe(self) -> list[Metric]:
        """Nothing is collected when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One round trip to each server, and what was counted last."""
        yield from self._servers()
        yield from _apps(self._latest())

    def _servers(self) -> Iterator[Metric]:
        outcomes = on_each_server(self._client, lambda node: node.meter.call("stats", node.store.stats))
        up = GaugeMetricFamily("memsessions_up", "Whether the server answers.", labels=["server"])
        for server, outcome in outcomes:
            up.add_metric([server], not isinstance(outcome, StoreError))
        yield up
        for families, kind in ((_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily)):
            for name, text, stat in families:
                family = kind(name, text, labels=["server"])
                for server, outcome in outcomes:
                    if not isinstance(outcome, StoreError) and outcome.get(stat, "").isdecimal():
                        family.add_metric([server], int(outcome[stat]))
                yield family

    def _latest(self) -> _Counted | None:
        """What was counted last, after it was begun to count again if that is long ago."""
        with self._lock:
            last, thread = self._last, self._thread
            if thread is None and (last is None or monotonic() - last.done >= self._interval_s):
                thread = threading.Thread(target=self._count, name="memsessions-census", daemon=True)
                self._thread = thread
                thread.start()
        if thread is not None:
            thread.join(_PATIENCE_S)
        return self._last

    def _count(self) -> None:
        started = monotonic()
        apps: dict[str, Census] = {}
        whole = False  # whatever may happen
        try:
            failed = 0
            for app in app_names(self._client):
                try:
                    apps[app] = census(self._client, app, _ACTIVE_S)
                except StoreUnavailable:
                    raise
                except StoreError:  # somebody else's data under this app's keys
                    failed += 1
            whole = not failed
        except StoreError:
            apps = {}
        finally:
            now = monotonic()
            self._last = _Counted(apps, now, now - started, whole)
            self._thread = None

    def _after_fork_in_child(self) -> None:
        """The thread stayed behind in the parent, and so may the holder of the lock."""
        self._lock = threading.Lock()
        self._thread = self._last = None


def _apps(counted: _Counted | None) -> Iterator[Metric]:
    if counted is None:
        return  # nothing was counted yet, which is no failure: no alert is to fire at each start
    success = GaugeMetricFamily(
        "memsessions_census_success", "Whether the sessions of all apps could be counted.", labels=[]
    )
    success.add_metric([], counted.whole)
    yield success
    age = monotonic() - counted.done
    yield GaugeMetricFamily("memsessions_census_age_seconds", "How long ago they were counted.", age)
    yield GaugeMetricFamily("memsessions_census_duration_seconds", "How long that took.", counted.took_s)
    for at, (name, text) in enumerate(
        (
            ("memsessions_sessions", "Living sessions."),
            ("memsessions_users", "Distinct users that they belong to."),
            ("memsessions_active_users", "Users who used a session in the 10 minutes before."),
        )
    ):
        family = GaugeMetricFamily(name, text, labels=["app"])
        for app, numbers in counted.apps.items():
            family.add_metric([app], numbers[at])
        yield family
